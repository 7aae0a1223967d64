"""The basic iterative method: small steps of the fast gradient sign method."""
from typing import Literal

from ..options import Network, Picture, Target
from ..results import Adversarial
from .pgd import attack


def bim(net: Network, picture: Picture, *, target: Target = None, epsilon: float = 4.0,
        norm: Literal["linf", "l2"] = "linf", steps: int = 10, rate: float = 0.0, stop_early: bool = True, seed=0,
        monitor=None) -> Adversarial:
    """The fast gradient sign method in small steps from the picture itself, never further than `epsilon` away.

    Kurakin, Goodfellow, Bengio 2017, arXiv:1607.02533. `pgd` is the same from a random start.

    target      the class to be taken for; none means any but the network's first choice
    epsilon     largest change, in grey levels: of any value (linf) or the Euclidean norm over all (l2)
    norm        how the change is measured
    steps       steps at most
    rate        size of a step, in grey levels; 0 means a fifth of epsilon
    stop_early  stop once the picture, rounded to 8 bits, is taken for what is wanted
    """
    return attack(bim, net, picture, target, epsilon, norm, steps, rate or epsilon / 5, False, stop_early, seed,
                  monitor)
