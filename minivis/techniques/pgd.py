"""Projected gradient descent: the strongest simple attack within a given distance."""
from typing import Literal

import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..optimize import Descent, Point, Run, normalized
from ..options import Network, Picture, Target
from ..parameterize import to_device
from ..results import Adversarial
from .common import recipe
from .synthesis import follow
from .victim import ATTACK, account, check_victim, fooled, goal_of


def pgd(net: Network, picture: Picture, *, target: Target = None, epsilon: float = 8.0,
        norm: Literal["linf", "l2"] = "linf", steps: int = 40, rate: float = 0.0, random_start: bool = True,
        stop_early: bool = True, seed=0, monitor=None) -> Adversarial:
    """The picture within `epsilon` that the network likes least (or takes for the target).

    u <- project(u + rate n(dJ/du)), J the cross-entropy, n the sign (linf) or division by the Euclidean norm (l2);
    `project` brings u back to the ball around the picture and to valid colours. Madry et al. 2018, arXiv:1706.06083.

    target        the class to be taken for; none means any but the network's first choice
    epsilon       largest difference, in grey levels: of any value (linf) or the Euclidean norm over all (l2)
    norm          how the difference is measured
    steps         steps at most
    rate          size of a step, in grey levels; 0 means 1/30 of epsilon (linf) or 1/40 (l2)
    random_start  begin at a random place within epsilon
    stop_early    stop once the picture, rounded to 8 bits, is taken for what is wanted
    """
    return attack(pgd, net, picture, target, epsilon, norm, steps, rate or epsilon / (30 if norm == "linf" else 40),
                  random_start, stop_early, seed, monitor)


def attack(technique, net, picture, target, epsilon, norm, steps, rate, random_start, stop_early, seed, monitor):
    """A gradient attack, for the techniques that differ in their settings alone."""
    if not epsilon > 0 or not rate > 0 or steps < 1:
        raise MinivisError(f"{technique.__name__}: epsilon {epsilon} and rate {rate} must be above 0, steps {steps} at "
                           "least 1")
    victim = check_victim(net, technique.__name__)
    original = net.see(picture).picture
    u0 = victim.of(original)
    held, sign = goal_of(victim, victim.look(u0), target)
    u = start(victim, u0, epsilon / 255, norm, seed) if random_start else u0
    run = steps_within(victim, u0, u, held, sign, epsilon / 255, rate / 255, norm, steps,
                       start=monitor and monitor.load())
    if stop_early:
        run = UntilFooled(run, victim, held, sign)
    follow(run, monitor, lambda u: victim.rounded(u))
    return account(victim, original, victim.rounded(run.z), run.z, run.history, held=held, sign=sign,
                   numbers={"steps": run.done},
                   recipe=recipe(technique, net, seed, target=target, epsilon=epsilon, norm=norm, steps=steps,
                                 rate=rate, random_start=random_start, stop_early=stop_early))


def steps_within(victim, u0, u, held, sign, epsilon, rate, norm, steps, start=None):
    """The Run of signed or normalised steps from u, projected to the ball around u0 after each; colours 0 to 1."""
    xp = kernels.xp(u0)

    def evaluate(u, i):
        loss, g = victim.cross_entropy(u, [held] * len(u))
        direction = xp.sign(g) if norm == "linf" else normalized(g, "l2")
        return Point(np.array([-sign * loss]), -sign * direction, {"score": np.array([-loss])})

    def project(u, point, i):
        return xp.clip(u0 + ball(u - u0, epsilon, norm), 0, 1)
    return Run(evaluate, u, Descent(rate), steps, after=project, start=start)


def ball(d, epsilon, norm):
    """d, brought back to |d| <= epsilon for each picture."""
    xp = kernels.xp(d)
    if norm == "linf":
        return xp.clip(d, -epsilon, epsilon)
    size = xp.sqrt((d.astype("float64") ** 2).sum(axis=(1, 2, 3), keepdims=True))
    return d * xp.minimum(1, epsilon / xp.maximum(size, 1e-12)).astype(d.dtype)


def start(victim, u0, epsilon, norm, seed):
    """A random place within epsilon of u0: uniform in the cube (linf) or in the ball (l2)."""
    draw = np.random.default_rng([seed, ATTACK, 0])
    if norm == "linf":
        d = draw.uniform(-epsilon, epsilon, u0.shape)
    else:
        d = draw.standard_normal(u0.shape)
        d *= epsilon * draw.uniform() ** (1 / d[0].size) / np.sqrt((d ** 2).sum())
    return kernels.xp(u0).clip(u0 + to_device(victim.net, d.astype(u0.dtype)), 0, 1)


class UntilFooled:
    """A Run that ends once the rounded picture is taken for what is wanted."""

    def __init__(self, run, victim, held, sign):
        self.run, self.victim, self.held, self.sign = run, victim, held, sign

    def __iter__(self):
        while self.run.done < self.run.steps and not self._done():
            yield self.run.advance()

    def _done(self):
        return bool(fooled(self.victim.look(self.victim.of(self.victim.rounded(self.run.z))), self.held, self.sign)[0])

    def __getattr__(self, name):
        return getattr(self.run, name)
