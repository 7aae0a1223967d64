"""A fooling picture by plain gradient ascent on the target's score."""
from typing import Literal

import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..optimize import Descent, Point, Run
from ..options import Network, Picture, Target
from ..parameterize import to_device
from ..results import Adversarial
from .common import recipe
from .pgd import UntilFooled
from .synthesis import follow
from .victim import ATTACK, account, check_victim, goal_of


def fool(net: Network, picture: Picture, target: Target, *, rate: float = 57.0, steps: int = 100,
         start: Literal["picture", "noise"] = "picture", seed=0, monitor=None) -> Adversarial:
    """The picture, changed by ascending the target's logit until the network takes it for the target.

    u <- clip(u + rate g / |g|), g the gradient of the logit. Szegedy et al. 2014, arXiv:1312.6199, showed that so
    little is needed; from noise: Nguyen, Yosinski, Clune 2015, arXiv:1412.1897, who need no picture at all.

    target   the class to be taken for
    rate     Euclidean norm of a step, in grey levels, over all values
    steps    steps at most; the run ends as soon as the picture, rounded to 8 bits, is taken for the target
    start    begin at the picture, or at noise of its size
    """
    if not rate > 0 or steps < 1:
        raise MinivisError(f"fool: rate {rate} must be above 0 and steps {steps} at least 1")
    victim = check_victim(net, "fool")
    original = net.see(picture).picture
    if start == "noise":
        noise = np.random.default_rng([seed, ATTACK, 1]).normal(127, 40, original.shape)
        original = np.rint(np.clip(noise, 0, 255)).astype(np.uint8)
    u = victim.of(original)
    held, sign = goal_of(victim, victim.look(u), target)
    weights = np.eye(victim.look(u).shape[1])[held]

    def evaluate(u, i):
        logits, g = victim.slope(u, weights)
        return Point(-logits[:, held].astype(np.float64), -g, {"score": logits[:, held].astype(np.float64)})
    xp = kernels.xp(u)
    run = UntilFooled(Run(evaluate, to_device(net, u), Descent(rate / 255, normalize="l2"), steps,
                           after=lambda u, point, i: xp.clip(u, 0, 1), start=monitor and monitor.load()),
                       victim, held, sign)
    follow(run, monitor, lambda u: victim.rounded(u))
    return account(victim, original, victim.rounded(run.z), run.z, run.history, held=held, sign=sign,
                   numbers={"steps": run.done},
                   recipe=recipe(fool, net, seed, target=target, rate=rate, steps=steps, start=start))
