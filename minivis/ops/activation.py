"""What treats every value by itself, other than ReLU: tanh, sigmoid, clip, rounding, dropout."""
import numpy as np

from .. import kernels
from ..tensor import Op


class Tanh(Op):
    """y = tanh(x); dy/dx = 1 - y^2."""
    kind = "tanh"

    def forward(self, x):
        y = kernels.xp(x).tanh(x)
        self.y = y if self.needs[0] else None
        return y

    def backward(self, dy):
        return dy * (1 - self.y * self.y)


class Sigmoid(Op):
    """y = 1 / (1 + e^-x), without overflow for any x; dy/dx = y (1 - y)."""
    kind = "sigmoid"

    def forward(self, x):
        xp = kernels.xp(x)
        small = xp.exp(-xp.abs(x))
        y = xp.where(x >= 0, 1, small) / (1 + small)
        self.y = y if self.needs[0] else None
        return y

    def backward(self, dy):
        return dy * (self.y * (1 - self.y))


class Clip(Op):
    """y = min(max(x, low), high); dy/dx = 1 where low <= x <= high, the bounds included, else 0.

    low, high: numbers, arrays that broadcast to x (constants), or None for no bound.
    """
    kind = "clip"

    def __init__(self, low=None, high=None):
        self.low, self.high = low, high

    def forward(self, x):
        xp = kernels.xp(x)
        low, high = (None if v is None else xp.asarray(v, dtype=x.dtype) for v in (self.low, self.high))
        y = x if low is None else xp.maximum(x, low)
        y = y if high is None else xp.minimum(y, high)
        if y.shape != x.shape:
            bounds = f"{np.shape(self.low)} and {np.shape(self.high)}"
            raise ValueError(f"clip: the bounds {bounds} do not broadcast to x {x.shape}")
        self.inside = y == x if self.needs[0] else None
        return y

    def backward(self, dy):
        return kernels.xp(dy).where(self.inside, dy, 0)


class RoundThrough(Op):
    """y = the whole number nearest to x, from low to high; the gradient passes as though y were x (straight-through
    estimator: Bengio, Leonard, Courville 2013, arXiv:1308.3432). The true one is zero wherever there is one."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def forward(self, x):
        xp = kernels.xp(x)
        return xp.clip(xp.rint(x), self.low, self.high)

    def backward(self, dy):
        return dy


class Dropout(Op):
    """y = x, or in training x / (1 - rate) with a share `rate` of the values set to 0. Srivastava et al. 2014.

    rng: a numpy Generator when training, None otherwise. It draws float32 on the host, so every device drops the same.
    """
    kind = "dropout"

    def __init__(self, rate=0.5, rng=None):
        if not 0 <= rate < 1:
            raise ValueError(f"dropout: rate {rate} must be at least 0 and below 1")
        self.rate, self.rng = float(rate), rng

    def forward(self, x):
        if self.rng is None or self.rate == 0:
            self.kept = None
            return x
        kept = kernels.xp(x).asarray(self.rng.random(x.shape, dtype=np.float32) >= self.rate)
        self.kept = kept if self.needs[0] else None
        return self._drop(x, kept)

    def backward(self, dy):
        return dy if self.kept is None else self._drop(dy, self.kept)

    def _drop(self, values, kept):
        return kernels.xp(values).where(kept, values * (1 / (1 - self.rate)), 0)


def tanh(x):
    """The hyperbolic tangent."""
    return Tanh()(x)


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return Sigmoid()(x)


def clip(x, low=None, high=None):
    """x held between low and high; the gradient passes where low <= x <= high."""
    return Clip(low, high)(x)


def round_through(x, low, high):
    """The nearest whole number from low to high; the gradient passes as though nothing had been rounded."""
    return RoundThrough(low, high)(x)


def dropout(x, rate=0.5, rng=None):
    """Identity, unless a numpy Generator is given: then a share `rate` is dropped and the rest scaled up."""
    return Dropout(rate, rng)(x)
