"""Sum, mean, largest value and variance over axes.

`axis` is None (all), a number or several; keepdims leaves the reduced axes in place with size 1. The variance is the
biased one (divided by the count), as in batch and instance normalisation.
"""
import math

from .. import kernels
from ..tensor import Op


class Reduction(Op):
    """What reductions share: which axes, how many values each result is made of, and spreading a gradient back."""

    def __init__(self, axis=None, keepdims=False):
        self.axis, self.keepdims = axis, bool(keepdims)

    def _read(self, x):
        self.axes = normal_axes(self.axis, x.ndim, type(self).__name__.lower())
        self.x_shape = x.shape
        self.kept = tuple(1 if a in self.axes else size for a, size in enumerate(x.shape))
        self.y_shape = self.kept if self.keepdims else tuple(s for a, s in enumerate(x.shape) if a not in self.axes)
        self.count = math.prod(x.shape[a] for a in self.axes)
        if self.count == 0:
            raise ValueError(f"{type(self).__name__.lower()}: x {x.shape} has no values along axis {self.axis}")

    def _spread(self, dy):
        """dy repeated along the reduced axes, in memory of its own."""
        xp = kernels.xp(dy)
        return xp.array(xp.broadcast_to(dy.reshape(self.kept), self.x_shape), order="C")


class Sum(Reduction):
    """y = sum of x; dx = dy, for every value that was summed."""

    def forward(self, x):
        self._read(x)
        return x.sum(axis=self.axes, keepdims=self.keepdims)

    def backward(self, dy):
        return self._spread(dy)


class Mean(Reduction):
    """y = sum of x / count; dx = dy / count."""

    def forward(self, x):
        self._read(x)
        return x.mean(axis=self.axes, keepdims=self.keepdims)

    def backward(self, dy):
        return self._spread(dy / self.count)


class Max(Reduction):
    """y = the largest (or smallest) x; the first of equal ones, in index order, gets the whole gradient."""

    def __init__(self, axis=None, keepdims=False, *, smallest=False):
        super().__init__(axis, keepdims)
        self.smallest = smallest

    def forward(self, x):
        self._read(x)
        xp = kernels.xp(x)
        others = tuple(a for a in range(x.ndim) if a not in self.axes)
        rows = x.transpose(others + self.axes).reshape(*(x.shape[a] for a in others), self.count)
        where = (rows.argmin if self.smallest else rows.argmax)(axis=-1)
        self.where = where if self.needs[0] else None
        return xp.take_along_axis(rows, where[..., None], axis=-1).reshape(self.y_shape)

    def backward(self, dy):
        xp = kernels.xp(dy)
        others = tuple(a for a in range(len(self.x_shape)) if a not in self.axes)
        chosen = self.where[..., None] == xp.arange(self.count)
        rows = xp.where(chosen, dy.reshape(self.where.shape)[..., None], 0)
        order = others + self.axes
        dx = rows.reshape([self.x_shape[a] for a in order]).transpose([order.index(a) for a in range(len(order))])
        return xp.asarray(dx, order="C")


class Variance(Reduction):
    """y = mean of (x - mean)^2; dx = 2 (x - mean) dy / count. (The mean's own share sums to zero.)"""

    def forward(self, x):
        self._read(x)
        centred = x - x.mean(axis=self.axes, keepdims=True)
        self.centred = centred if self.needs[0] else None
        return (centred * centred).mean(axis=self.axes, keepdims=self.keepdims)

    def backward(self, dy):
        return self.centred * (2 * dy.reshape(self.kept) / self.count)


def normal_axes(axis, ndim, op):
    """None, -1 or (0, -2) -> sorted axes counted from 0."""
    axes = range(ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"{op}: axis {axis} of an array with {ndim} axes")
    normal = tuple(sorted({a % ndim for a in axes}))
    if axis is not None and len(normal) != len(list(axes)):
        raise ValueError(f"{op}: axis {axis} names an axis twice")
    return normal


def sum(x, axis=None, keepdims=False):
    """The sum over axes."""
    return Sum(axis, keepdims)(x)


def mean(x, axis=None, keepdims=False):
    """The mean over axes."""
    return Mean(axis, keepdims)(x)


def max(x, axis=None, keepdims=False):
    """The largest value over axes; the first of equal ones gets the gradient."""
    return Max(axis, keepdims)(x)


def min(x, axis=None, keepdims=False):
    """The smallest value over axes; the first of equal ones gets the gradient."""
    return Max(axis, keepdims, smallest=True)(x)


def variance(x, axis=None, keepdims=False):
    """The mean squared distance from the mean over axes (biased: divided by the count)."""
    return Variance(axis, keepdims)(x)
