"""L-BFGS: steps that know the curvature of the last few steps.

Liu and Nocedal 1989; the two-loop recursion and the line search follow Nocedal and Wright, Numerical Optimization
(2006), algorithms 7.4, 3.5 and 3.6, with cubic interpolation (their equation 3.59).
"""
import math
from typing import NamedTuple

import numpy as np

from . import kernels
from .errors import MinivisError
from .optimize import Point, host


class LBFGS:
    """z <- z - t H g; H, the inverse Hessian, is estimated from the last `memory` pairs s = dz, y = dg.

    search   "wolfe": t meets the strong Wolfe conditions, sufficient decrease (c1 = 1e-4) and a flatter slope
             (c2 = 0.9). "none": t = rate, and in the very first step rate min(1, 1 / sum |g|).
    first    the sum of |dz| in the very first trial, where nothing is known of the curvature; None: at most 1. A loss
             with tiny gradients (a mean over a picture) would otherwise begin with a change lost in rounding.
    fresh    the loss of the same z differs from step to step (random transforms): evaluate it anew for every step.

    All pictures of a batch are one vector; their losses are summed.
    """

    def __init__(self, rate=1.0, memory=10, search="wolfe", fresh=False, first=None):
        if not rate > 0 or memory < 1 or search not in ("wolfe", "none"):
            raise MinivisError(f"L-BFGS: rate {rate} must be above 0, memory {memory} at least 1, search {search!r} "
                               "wolfe or none")
        if first is not None and not first > 0:
            raise MinivisError(f"L-BFGS: first {first} must be above 0")
        self.rate, self.memory, self.search, self.fresh, self.first = rate, memory, search, fresh, first
        self.pairs = []             # [(s, y, their product)], the oldest first
        self.known = None           # (z, Point) at the end of the last step
        self.last = None            # (z, gradient) at its beginning
        self.begun = False

    def step(self, z, evaluate):
        point = self._known_at(z) or evaluate(z)
        if self.last is not None:
            self._learn(z, point.gradient)
        direction = -self._inverse_hessian_times(point.gradient)
        slope = float(kernels.dot(point.gradient, direction))
        if not slope < 0:                       # rounding has spoilt the memory: the steepest descent, anew
            self.pairs = []
            direction, slope = -point.gradient, -float(kernels.dot(point.gradient, point.gradient))
        if slope == 0:
            return z, point
        t = self.rate
        if not self.begun or (self.search == "wolfe" and not self.pairs):
            steep = float(kernels.xp(z).abs(point.gradient).sum(dtype="float64"))
            t *= min(1.0, 1.0 / steep) if self.first is None else self.first / steep
        self.begun, self.last = True, (z, point.gradient)
        if self.search == "none":
            self.known = None
            return z + direction * direction.dtype.type(t), point
        return self._search(z, point, direction, slope, t, evaluate), point

    def _search(self, z, point, direction, slope, t, evaluate):
        def trial(t):
            there = z + direction * direction.dtype.type(t)
            found = evaluate(there)
            return Trial(t, float(found.loss.sum()), float(kernels.dot(found.gradient, direction)), there, found)
        end = strong_wolfe(trial, Trial(0.0, float(point.loss.sum()), slope, z, point), t)
        if end.t == 0:
            self.pairs, self.last = [], None    # no progress along this direction: forget what led here
        self.known = end.z, end.point
        return end.z

    def _known_at(self, z):
        """The loss and gradient at z if the last step ended there and nobody moved it since."""
        if self.known is None or self.fresh:
            return None
        at, point = self.known
        return point if at is z or bool((at == z).all()) else None

    def _learn(self, z, gradient):
        s, y = z - self.last[0], gradient - self.last[1]
        sy = float(kernels.dot(s, y))
        if sy > 1e-10 * math.sqrt(float(kernels.dot(s, s)) * float(kernels.dot(y, y))):
            self.pairs = [*(self.pairs[-self.memory + 1:] if self.memory > 1 else ()), (s, y, sy)]

    def _inverse_hessian_times(self, g):
        """The two-loop recursion; H0 = (s.y / y.y) of the last pair."""
        xp, of, q, shares = kernels.xp(g), g.dtype.type, g, []
        for s, y, sy in reversed(self.pairs):
            share = float(kernels.dot(s, q)) / sy
            shares.append(share)
            move = y * of(share)
            q = xp.subtract(q, move, out=move)
        if self.pairs:
            _, y, sy = self.pairs[-1]
            q = q * of(sy / float(kernels.dot(y, y)))
        for (s, y, sy), share in zip(self.pairs, reversed(shares)):
            move = s * of(share - float(kernels.dot(y, q)) / sy)
            q = xp.add(q, move, out=move)
        return q

    def state(self):
        known = None if self.known is None else {
            "z": host(self.known[0]), "loss": self.known[1].loss, "gradient": host(self.known[1].gradient),
            "terms": dict(self.known[1].terms)}
        last = None if self.last is None else [host(a) for a in self.last]
        pairs = [[host(s), host(y)] for s, y, _ in self.pairs]
        return {"begun": self.begun, "pairs": pairs, "known": known, "last": last}

    def restore(self, state, xp=np):
        self.begun = bool(state["begun"])
        pairs = [(xp.asarray(s), xp.asarray(y)) for s, y in state["pairs"]]
        self.pairs = [(s, y, float(kernels.dot(s, y))) for s, y in pairs]
        self.last = None if state["last"] is None else tuple(xp.asarray(a) for a in state["last"])
        k = state["known"]
        self.known = None if k is None else (xp.asarray(k["z"]), Point(np.asarray(k["loss"]), xp.asarray(k["gradient"]),
                                                                     {n: np.asarray(v) for n, v in k["terms"].items()}))


class Trial(NamedTuple):
    """A point on the line: the step length, loss and slope there, and what was computed."""
    t: float
    loss: float
    slope: float
    z: object
    point: object


def strong_wolfe(trial, start, t, c1=1e-4, c2=0.9, most=25):
    """The first Trial met with loss <= start + c1 t slope and |slope| <= c2 |start's slope|.

    trial   f(t) -> Trial; start the one at t = 0, whose slope is negative; t the first length tried.
    After `most` evaluations the best trial with sufficient decrease is given, and `start` itself if there is none.
    """
    def enough(here):
        return math.isfinite(here.loss) and here.loss <= start.loss + c1 * here.t * start.slope

    def flat(here):
        return abs(here.slope) <= -c2 * start.slope
    previous = start
    for count in range(most):
        here = trial(t)
        if not enough(here) or (count and here.loss >= previous.loss):
            return _zoom(trial, previous, here, enough, flat, most - count - 1)
        if flat(here):
            return here
        if here.slope >= 0:
            return _zoom(trial, here, previous, enough, flat, most - count - 1)
        ahead = _cubic(previous, here)
        t, previous = min(max(ahead, 1.5 * here.t), 10 * here.t) if math.isfinite(ahead) else 2 * here.t, here
    return previous


def _zoom(trial, low, high, enough, flat, most):
    """Between low, the best so far with sufficient decrease, and high lies an acceptable length: narrow it down."""
    for _ in range(most):
        width = high.t - low.t
        if abs(width) <= 1e-12 * max(abs(high.t), abs(low.t)):
            break
        t = _cubic(low, high)
        inner = sorted((low.t + 0.1 * width, high.t - 0.1 * width))
        t = min(max(t, inner[0]), inner[1]) if math.isfinite(t) else low.t + 0.5 * width
        here = trial(t)
        if not enough(here) or here.loss >= low.loss:
            high = here
            continue
        if flat(here):
            return here
        if here.slope * width >= 0:
            high = low
        low = here
    return low


def _cubic(a, b):
    """The minimum of the cubic through two trials with their slopes; not a number if it has none."""
    if not (math.isfinite(b.loss) and math.isfinite(b.slope) and math.isfinite(a.loss)) or a.t == b.t:
        return math.nan
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    under = d1 * d1 - a.slope * b.slope
    if not under >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(under), b.t - a.t)
    below = b.slope - a.slope + 2 * d2
    return b.t - (b.t - a.t) * (b.slope + d2 - d1) / below if below else math.nan
