"""The fast gradient sign method: one step."""
from ..options import Network, Picture, Target
from ..results import Adversarial
from .pgd import attack


def fgsm(net: Network, picture: Picture, *, target: Target = None, epsilon: float = 4.0, seed=0) -> Adversarial:
    """One step of `epsilon` grey levels along the sign of the gradient: often enough, and the whole network need not be
    known better than by its slope.

    u' = clip(u + epsilon sign(dJ/du)), J the cross-entropy of the network's first choice; with a target u' = clip(u -
    epsilon sign(dJ/du)), J that of the target. Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572.

    target    the class to be taken for; none means any but the network's first choice
    epsilon   change of every value, in grey levels
    """
    return attack(fgsm, net, picture, target, epsilon, "linf", 1, epsilon, False, False, seed, None)
