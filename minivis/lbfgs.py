"""L-BFGS: steps that know the curvature of the last few steps.

Liu and Nocedal 1989; the two-loop recursion and the line search follow Nocedal and Wright, Numerical Optimization
(2006), algorithms 7.4, 3.5 and 3.6, with cubic interpolation (their equation 3.59). The recursion works on coefficients
alone: every vector in it is a sum of the gradient and the pairs, so their products with one another are all it needs
(Chen, Wang, Zhou 2014, "Large-scale L-BFGS using MapReduce"). The pairs are read in two passes, for the products and
for the sum, and no direction under way is written and read again for each of them.
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
        self.pairs = Pairs()
        self.known = None           # (z, Point) at the end of the last step
        self.last = None            # (z, gradient) at its beginning
        self.begun = False

    def step(self, z, evaluate):
        point = self._known_at(z) or evaluate(z)
        direction = self._direction(z, point.gradient)
        slope = kernels.dot(point.gradient, direction)
        if not slope < 0:                       # rounding has spoilt the memory: the steepest descent, anew
            self.pairs = Pairs()
            direction, slope = -point.gradient, -kernels.dot(point.gradient, point.gradient)
        if slope == 0:
            return z, point
        t = self.rate
        if not self.begun or (self.search == "wolfe" and not self.pairs):
            steep = float(kernels.xp(z).abs(point.gradient).sum(dtype="float64"))
            t *= min(1.0, 1.0 / steep) if self.first is None else self.first / steep
        self.begun, self.last = True, (z, point.gradient)
        if self.search == "none":
            self.known = None
            return kernels.combination([z, direction], [1, t]), point
        return self._search(z, point, direction, slope, t, evaluate), point

    def _search(self, z, point, direction, slope, t, evaluate):
        def trial(t):
            there = kernels.combination([z, direction], [1, t])
            found = evaluate(there)
            return Trial(t, float(found.loss.sum()), kernels.dot(found.gradient, direction), there, found)
        end = strong_wolfe(trial, Trial(0.0, float(point.loss.sum()), slope, z, point), t)
        if end.t == 0:
            self.pairs, self.last = Pairs(), None    # no progress along this direction: forget what led here
        self.known = end.z, end.point
        return end.z

    def _known_at(self, z):
        """The loss and gradient at z if the last step ended there and nobody moved it since."""
        if self.known is None or self.fresh:
            return None
        at, point = self.known
        return point if at is z or bool((at == z).all()) else None

    def _direction(self, z, g):
        """-H g, by the two-loop recursion; H0 = (s.y / y.y) of the last pair. What the last step taught comes first."""
        new = []
        if self.last is not None:
            new = [kernels.combination(pair, (1, -1)) for pair in ((z, self.last[0]), (g, self.last[1]))]
        sg, yg = self.pairs.meet(new, g, self.memory)
        past, sy, yy = range(len(self.pairs)), self.pairs.sy, self.pairs.yy
        if not past:
            return -g
        a, c = np.zeros(len(past)), np.zeros(len(past))
        for i in reversed(past):        # q = g - sum of a_j y_j over the later pairs; a_i = s_i.q / s_i.y_i
            a[i] = (sg[i] - sy[i, i + 1:] @ a[i + 1:]) / sy[i, i]
        scale = sy[-1, -1] / yy[-1, -1]
        for i in past:              # r = scale q + sum of c_j s_j over the earlier ones; c_i = a_i - y_i.r / s_i.y_i
            c[i] = a[i] - (scale * (yg[i] - yy[i] @ a) + sy[:i, i] @ c[:i]) / sy[i, i]
        return kernels.combination([g, *self.pairs.s, *self.pairs.y], [-scale, *-c, *scale * a])

    def state(self):
        known = None if self.known is None else {
            "z": host(self.known[0]), "loss": self.known[1].loss, "gradient": host(self.known[1].gradient),
            "terms": dict(self.known[1].terms)}
        last = None if self.last is None else [host(a) for a in self.last]
        pairs = [[host(s), host(y)] for s, y in zip(self.pairs.s, self.pairs.y)]
        return {"begun": self.begun, "pairs": pairs, "known": known, "last": last}

    def restore(self, state, xp=np):
        self.begun = bool(state["begun"])
        self.pairs = Pairs([(xp.asarray(s), xp.asarray(y)) for s, y in state["pairs"]])
        self.last = None if state["last"] is None else tuple(xp.asarray(a) for a in state["last"])
        k = state["known"]
        self.known = None if k is None else (xp.asarray(k["z"]), Point(np.asarray(k["loss"]), xp.asarray(k["gradient"]),
                                                                     {n: np.asarray(v) for n, v in k["terms"].items()}))


class Pairs:
    """The last pairs s = dz, y = dg of L-BFGS, the oldest first, with sy[i, j] = s_i.y_j and yy[i, j] = y_i.y_j."""

    def __init__(self, pairs=()):
        self.s, self.y = [s for s, _ in pairs], [y for _, y in pairs]
        self.sy, self.yy = (kernels.products(a, self.y) if pairs else np.zeros((0, 0)) for a in (self.s, self.y))

    def __len__(self):
        return len(self.s)

    def meet(self, new, g, memory):
        """Take in the pair `new`, (s, y) or (), unless its curvature is lost in rounding; at most `memory` stay.
        -> s_i.g, y_i.g of those that are there now. All products are made in one pass over the vectors."""
        old, columns = len(self), [*new, g]
        if not old and not new:
            return np.zeros((2, 0))
        table = kernels.products([*self.s, *self.y, *new], columns)
        of_s, of_y = table[:old], table[old:2 * old]
        if new:
            (ss, sy, _), (_, yy, _) = table[-2:]
            if sy > 1e-10 * math.sqrt(ss * yy):
                self.sy = np.block([[self.sy, of_s[:, 1:2]], [of_y[:, 0], sy]])[-memory:, -memory:]
                self.yy = np.block([[self.yy, of_y[:, 1:2]], [of_y[:, 1], yy]])[-memory:, -memory:]
                self.s, self.y = [*self.s, new[0]][-memory:], [*self.y, new[1]][-memory:]
                of_s, of_y = np.vstack([of_s, table[-2]]), np.vstack([of_y, table[-1]])
        return of_s[-memory:, -1], of_y[-memory:, -1]


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
