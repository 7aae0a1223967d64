"""The one loop that improves pictures, and the rules by which it takes a step.

    run = Run(evaluate, z, Adam(0.05), steps=256)
    for step in run:                        # a generator: whoever iterates may look, stop, or save run.state()
        print(step.done, step.terms)

Everything descends: `evaluate(z, i) -> Point` gives the loss of each picture at step i and its gradient, and whoever
wants to climb hands over a negative score. z is any array (N, ...), in the memory of the host or of a GPU; the N
pictures share nothing but the step, except in L-BFGS, which treats all of them as one long vector.

A run that is resumed from `state()` continues with the same bits: the state holds the array, the best so far, the
history and what the optimiser remembers, and random draws depend on the step's number alone.
"""
import math
from typing import NamedTuple

import numpy as np

from . import kernels
from .errors import MinivisError


class Point(NamedTuple):
    """What is known at one z: loss (N,) float64, its gradient (an array like z), terms {name: (N,) float64}."""
    loss: np.ndarray
    gradient: object
    terms: dict


class Step(NamedTuple):
    """A finished step: the loss and its terms were read *before* it was taken; z is the array after it."""
    done: int
    total: int
    loss: np.ndarray
    terms: dict
    z: object


class Run:
    """`steps` steps of `optimiser` from z.

    evaluate   f(z, i) -> Point; what it draws at random must depend on the step i alone
    after      f(z, point, i) -> z, applied to what a step gave: decay, blur, clipping
    start      the `state()` of an interrupted run of the same problem: go on from there
    event      the name of a term: the first array of each picture at which it is above zero is kept
    best_from  the step at which the best so far is forgotten, because what `evaluate` measures changes there

    z, done, best (the array with the least loss of each picture), best_loss, first (at the event; NaN before it),
    first_at (N,) (the step at which it was met, counted from 1; 0 before it) and history {name: [(N,), ...]} may be
    read at any time.
    """

    def __init__(self, evaluate, z, optimiser, steps, *, after=None, start=None, event=None, best_from=0):
        if steps < 0:
            raise MinivisError(f"optimisation: steps {steps} must be at least 0")
        self.evaluate, self.optimiser, self.steps, self.after = evaluate, optimiser, int(steps), after
        self.z, self.done, self.history, self.event, self.best_from = z, 0, {}, event, best_from
        self.best, self.best_loss = z, np.full(len(z), np.inf)
        self.first, self.first_at = (None if event is None else z * np.nan), np.zeros(len(z), np.int64)
        if start is not None:
            self._resume(start)

    def __iter__(self):
        with kernels.keeping():
            while self.done < self.steps:
                yield self.advance()

    def advance(self):
        """Take one step."""
        i = self.done
        before = self.z
        z, point = self.optimiser.step(before, lambda at: self._checked(at, i))
        self._remember(before, point)
        self.z = z if self.after is None else self.after(z, point, i)
        self.done += 1
        return Step(self.done, self.steps, point.loss, point.terms, self.z)

    def state(self):
        """All that a later run needs to go on from here: a nested dict of arrays and numbers on the host."""
        return {"done": self.done, "z": host(self.z), "best": host(self.best), "best_loss": self.best_loss,
                "history": {name: np.stack(rows) for name, rows in self.history.items()},
                "first": None if self.event is None else host(self.first), "first_at": self.first_at,
                "optimiser": self.optimiser.state()}

    def _resume(self, start):
        xp = kernels.xp(self.z)
        self.done, self.z, self.best = int(start["done"]), xp.asarray(start["z"]), xp.asarray(start["best"])
        self.best_loss = np.asarray(start["best_loss"])
        self.history = {name: list(rows) for name, rows in start["history"].items()}
        if self.event is not None:
            self.first, self.first_at = xp.asarray(start["first"]), np.asarray(start["first_at"])
        self.optimiser.restore(start["optimiser"], xp)

    def _checked(self, z, i):
        point = self.evaluate(z, i)
        if not math.isfinite(kernels.dot(point.gradient, point.gradient)):
            raise MinivisError(f"step {i + 1}: the gradient is not finite (loss {point.loss}); a smaller --rate may "
                               "help")
        return point

    def _remember(self, z, point):
        better = point.loss < (np.inf if self.done == self.best_from else self.best_loss)
        self.best = chosen(better, z, self.best)
        self.best_loss = np.where(better, point.loss, self.best_loss)
        if self.event is not None:
            met = (self.first_at == 0) & (np.asarray(point.terms[self.event]) > 0)
            self.first = chosen(met, z, self.first)
            self.first_at = np.where(met, self.done + 1, self.first_at)
        for name, value in {"loss": point.loss, **point.terms}.items():
            self.history.setdefault(name, []).append(np.asarray(value, np.float64))


# ------------------------------------------------------------------------------------------------- first-order methods


class Descent:
    """z <- z - r v, v <- m v + n(g): gradient descent with momentum m (Polyak 1964) and a normalised gradient n(g).

    normalize   "none"; "l2": g / |g| of each picture; "l1": g / mean |g|, DeepDream's; "rms": g / root mean square
    policy      "constant": r = rate. "progress": r = min(rate, progress / |g|^2), so that to first order every step
                changes the loss by at most `progress`; "progress01": the same with min(progress, (1 - s) / 2), for a
                score s = -loss that ends at 1. Both are Yosinski et al.'s, arXiv:1506.06579 (code).
    stages      [(steps, factor), ...]: for so many steps the rate is `factor` times as large; each stage begins at
                rest. What comes after the last stage goes on as the last.
    """

    def __init__(self, rate, momentum=0.0, normalize="none", policy="constant", progress=2.0, stages=()):
        if normalize not in ("none", "l2", "l1", "rms"):
            raise MinivisError(f"optimiser: normalize {normalize!r} must be none, l2, l1 or rms")
        if policy not in ("constant", "progress", "progress01"):
            raise MinivisError(f"optimiser: policy {policy!r} must be constant, progress or progress01")
        if not rate > 0 or not 0 <= momentum < 1:
            raise MinivisError(f"optimiser: rate {rate} must be above 0 and momentum {momentum} in 0 <= m < 1")
        self.rate, self.momentum, self.normalize = rate, momentum, normalize
        self.policy, self.progress = policy, progress
        self.stages, self.count, self.velocity = list(stages), 0, None

    def step(self, z, evaluate):
        point = evaluate(z)
        if self.count in np.cumsum([steps for steps, _ in self.stages[:-1]]):
            self.velocity = None
        factor = self._factor()
        self.count += 1
        v = normalized(point.gradient, self.normalize)
        if self.momentum:
            v = v if self.velocity is None else self.velocity * v.dtype.type(self.momentum) + v
            self.velocity = v
        return z - v * (self._rates(point, v) * factor).astype(v.dtype), point

    def _factor(self):
        ends = np.cumsum([steps for steps, _ in self.stages])
        return self.stages[min(int((self.count >= ends).sum()), len(ends) - 1)][1] if self.stages else 1.0

    def _rates(self, point, v):
        xp = kernels.xp(v)
        if self.policy == "constant":
            return xp.full((len(v), *[1] * (v.ndim - 1)), self.rate)
        wanted = self.progress
        if self.policy == "progress01":
            wanted = np.minimum(wanted, np.maximum(1 + point.loss, 0) / 2)
        steep = per_picture(v * point.gradient)
        return xp.minimum(self.rate, xp.asarray(wanted).reshape(-1, *[1] * (v.ndim - 1))
                          / xp.maximum(xp.abs(steep), 1e-300))

    def state(self):
        velocity = {} if self.velocity is None else {"velocity": host(self.velocity)}
        return {"count": self.count, **velocity}

    def restore(self, state, xp=np):
        self.count = int(state["count"])
        self.velocity = xp.asarray(state["velocity"]) if "velocity" in state else None


class Adam:
    """m <- b1 m + (1 - b1) g, s <- b2 s + (1 - b2) g^2; z <- z - rate m' / (sqrt(s') + eps), m' and s' without the bias
    of starting at zero. Kingma and Ba 2015, arXiv:1412.6980.

    settle   a number of steps: over their last 40 percent the rate falls along a cosine to a fiftieth
    """

    def __init__(self, rate=0.05, beta1=0.9, beta2=0.999, eps=1e-8, settle=None):
        if not rate > 0 or not 0 <= beta1 < 1 or not 0 <= beta2 < 1:
            raise MinivisError(f"Adam: rate {rate} must be above 0, beta1 {beta1} and beta2 {beta2} in 0 <= b < 1")
        self.rate, self.beta1, self.beta2, self.eps, self.settle = rate, beta1, beta2, eps, settle
        self.count, self.mean, self.square = 0, None, None

    def step(self, z, evaluate):
        point = evaluate(z)
        g, of = point.gradient, point.gradient.dtype.type
        xp = kernels.xp(g)
        if self.mean is None:
            self.mean, self.square = xp.zeros_like(g), xp.zeros_like(g)
        self.count += 1
        self.mean = self.mean * of(self.beta1) + g * of(1 - self.beta1)
        self.square = self.square * of(self.beta2) + g * g * of(1 - self.beta2)
        size = of(self._rate_now() / (1 - self.beta1 ** self.count))
        root = xp.sqrt(self.square) / of(math.sqrt(1 - self.beta2 ** self.count)) + of(self.eps)
        return z - size * self.mean / root, point

    def _rate_now(self):
        if not self.settle:
            return self.rate
        late = min(1.0, max(0.0, ((self.count - 1) / self.settle - 0.6) / 0.4))
        return self.rate * max(0.02, 0.5 + 0.5 * math.cos(math.pi * late))

    def state(self):
        if self.mean is None:
            return {}
        return {"count": self.count, "mean": host(self.mean), "square": host(self.square)}

    def restore(self, state, xp=np):
        self.count = int(state.get("count", 0))
        self.mean = xp.asarray(state["mean"]) if self.count else None
        self.square = xp.asarray(state["square"]) if self.count else None


# ---------------------------------------------------------------------------------------------------------- arithmetic


def host(array):
    """The array in main memory."""
    return array.get() if hasattr(array, "get") else array


def chosen(which, a, b):
    """a for the pictures of which (N,) is True, b for the others."""
    if which.all() or not which.any():
        return a if which.any() else b
    xp = kernels.xp(a)
    return xp.where(xp.asarray(which).reshape(-1, *[1] * (a.ndim - 1)), a, b)


def per_picture(a):
    """Sums over everything but the first axis, float64, of shape (N, 1, ...)."""
    return a.sum(axis=tuple(range(1, a.ndim)), keepdims=True, dtype="float64")


def normalized(g, how):
    """Each picture's gradient divided by its size: "l2", "l1" (mean of absolute values), "rms", or "none". A gradient
    of zero stays zero."""
    if how == "none":
        return g
    xp, count = kernels.xp(g), g[0].size
    if how == "l1":
        size = per_picture(xp.abs(g)) / count
    else:
        size = xp.sqrt(per_picture(g.astype("float64") ** 2) / (count if how == "rms" else 1))
    return g / xp.where(size > 0, size, 1).astype(g.dtype)
