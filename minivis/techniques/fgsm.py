"""The fast gradient sign method: one step."""
from typing import Literal

from ..options import Network, Picture, Target
from ..results import Adversarial
from .pgd import attack


def fgsm(net: Network, picture: Picture, *, target: Target = None, epsilon: float = 4.0,
         norm: Literal["linf", "l2"] = "linf", seed=0) -> Adversarial:
    """One step of `epsilon` grey levels along the sign of the gradient: often enough, and the whole network need not be
    known better than by its slope.

    u' = clip(u + epsilon sign(dJ/du)), J the cross-entropy of the network's first choice; with a target u' = clip(u -
    epsilon sign(dJ/du)), J that of the target. Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572. With the norm l2 the
    gradient is divided by its Euclidean norm and not replaced by its sign: the fast gradient method.

    target    the class to be taken for; none means any but the network's first choice
    epsilon   change of every value (linf), or the Euclidean norm of the change over all values (l2), in grey levels
    norm      how the change is measured
    """
    return attack(fgsm, net, picture, target, epsilon, norm, 1, epsilon, False, False, seed, None)
