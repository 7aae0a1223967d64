"""Moving values without changing them: reshape, transpose, concatenate, index, pad, roll, flip, flatten.

Each backward sends a gradient to the place its value came from; a place that was copied several times gets the sum.
"""
import itertools
import math

import numpy as np

from .. import kernels
from ..tensor import Op
from .geometry import check_picture, padding
from .reduce import normal_axes


class Reshape(Op):
    """The same values in another shape; one size may be -1."""

    def __init__(self, shape):
        self.shape = tuple(shape)

    def forward(self, x):
        self.x_shape = x.shape
        known = math.prod(s for s in self.shape if s != -1)
        if self.shape.count(-1) > 1 or (x.size % max(known, 1) if -1 in self.shape else x.size != known):
            raise ValueError(f"reshape: x {x.shape} has {x.size} values, which do not fit into {self.shape}")
        return x.reshape(self.shape)

    def backward(self, dy):
        return dy.reshape(self.x_shape)


class Transpose(Op):
    """y's axis i is x's axis axes[i]; None reverses all."""

    def __init__(self, axes=None):
        self.axes = axes

    def forward(self, x):
        axes = tuple(range(x.ndim))[::-1] if self.axes is None else tuple(a % x.ndim for a in self.axes)
        if sorted(axes) != list(range(x.ndim)):
            raise ValueError(f"transpose: axes {self.axes} must name each axis of x {x.shape} once")
        self.back = tuple(axes.index(a) for a in range(x.ndim))
        return kernels.xp(x).asarray(x.transpose(axes), order="C")

    def backward(self, dy):
        return kernels.xp(dy).asarray(dy.transpose(self.back), order="C")


class Concatenate(Op):
    """Inputs joined along an axis: channels by default. `out`, set before the call: the array for the result; what lies
    in its place there already is not copied."""
    kind = "concat"
    out = None

    def __init__(self, axis=-1):
        self.axis = axis

    def forward(self, *xs):
        axis, = normal_axes(self.axis, xs[0].ndim, "concatenate")
        rest = {x.shape[:axis] + x.shape[axis + 1:] for x in xs}
        if len(rest) > 1:
            shapes = ", ".join(str(x.shape) for x in xs)
            raise ValueError(f"concatenate: inputs {shapes} may differ along axis {self.axis} only")
        ends = list(itertools.accumulate(x.shape[axis] for x in xs))
        self.parts = [(slice(None),) * axis + (slice(a, b),) for a, b in zip([0, *ends], ends)]
        shape = (*xs[0].shape[:axis], ends[-1], *xs[0].shape[axis + 1:])
        out, self.out = self.out, None
        if out is None:
            out = kernels.empty(shape, xs[0]) if all(x.dtype == xs[0].dtype for x in xs) else None
            return kernels.xp(xs[0]).concatenate(xs, axis=axis, out=out)
        for part, x in zip(self.parts, xs):
            if not _is_there(x, out[part]):
                out[part] = x
        return out

    def backward(self, dy):
        xp = kernels.xp(dy)
        parts = (dy[part] if need else None for part, need in zip(self.parts, self.needs))
        if xp is np:            # kernels on the CPU read any layout
            return tuple(parts)
        return tuple(None if part is None else xp.ascontiguousarray(part) for part in parts)


def _is_there(x, place):
    return isinstance(x, np.ndarray) and x.__array_interface__ == place.__array_interface__


class Index(Op):
    """y = x[index]: slices, integers and integer or boolean arrays, as in NumPy. The result is a copy, so x may go."""

    def __init__(self, index):
        self.index = index

    def forward(self, x):
        self.x_shape = x.shape
        try:
            return kernels.xp(x).array(x[self.index], order="C")
        except IndexError as error:
            raise IndexError(f"index {self.index} of x {x.shape}: {error}") from None

    def backward(self, dy):
        xp = kernels.xp(dy)
        dx = xp.zeros(self.x_shape, dy.dtype)
        index = self.index if isinstance(self.index, tuple) else (self.index,)
        if all(i is None or i is Ellipsis or isinstance(i, (int, np.integer, slice)) for i in index):
            dx[self.index] = dy             # every place is met once
        elif xp is np:
            np.add.at(dx, self.index, dy)
        else:
            add_in_turns(dx, self.index, dy)
        return dx


def add_in_turns(dx, index, dy):
    """dx[index] += dy where places may repeat, always in the order of dy and without atomic additions.

    A place's first gradients are added in one go, then the second ones, and so on: in each turn no place is met twice.
    """
    xp = kernels.xp(dx)
    places = xp.arange(dx.size).reshape(dx.shape)[index].ravel()
    order = xp.argsort(places, kind="stable")
    places, values = places[order], dy.ravel()[order]
    turn = xp.arange(places.size) - xp.searchsorted(places, places, side="left")
    flat = dx.reshape(-1)
    for t in range(int(turn.max()) + 1 if places.size else 0):
        now = turn == t
        flat[places[now]] += values[now]


class Pad(Op):
    """Rows and columns around (N, H, W, C): `value`, the mirrored inside ("reflect"), the border again ("edge")."""
    kind = "pad"

    def __init__(self, pad, mode="zero", value=0):
        if mode not in ("zero", "reflect", "edge"):
            raise ValueError(f"pad: mode {mode!r} must be 'zero', 'reflect' or 'edge'")
        if isinstance(pad, str):
            raise ValueError(f"pad: {pad!r} is for windows only; give a number or (top, bottom, left, right)")
        self.pad, self.mode, self.value = padding(pad, (), (), ()), mode, value

    def forward(self, x):
        check_picture(x, "pad")
        top, bottom, left, right = self.pad
        if self.mode == "reflect" and (max(top, bottom) >= x.shape[1] or max(left, right) >= x.shape[2]):
            raise ValueError(f"pad: x {x.shape} is too small to be mirrored by {self.pad}; each must be below the side")
        how = {"mode": "constant", "constant_values": self.value} if self.mode == "zero" else {"mode": self.mode}
        return kernels.xp(x).pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), **how)

    def backward(self, dy):
        dx = self._fold(dy, 1, *self.pad[:2])
        return kernels.xp(dy).ascontiguousarray(self._fold(dx, 2, *self.pad[2:]))

    def _fold(self, dy, axis, before, after):
        """Along one axis: the gradient of the inner part, plus that of the copies where they were taken from."""
        dy = dy.swapaxes(0, axis)
        size = dy.shape[0] - before - after
        dx = dy[before:before + size]
        if self.mode != "zero":
            dx = dx.copy()
            first, last = dy[:before], dy[before + size:]
            if self.mode == "edge":
                dx[0] += first.sum(axis=0)
                dx[-1] += last.sum(axis=0)
            else:
                dx[1:before + 1] += first[::-1]
                dx[size - 1 - after:size - 1] += last[::-1]
        return dx.swapaxes(0, axis)


class Roll(Op):
    """Shift along axes; what leaves at one side enters at the other."""

    def __init__(self, shift, axis):
        self.shift = (shift,) if isinstance(shift, int) else tuple(shift)
        self.axis = (axis,) if isinstance(axis, int) else tuple(axis)
        if len(self.shift) != len(self.axis):
            raise ValueError(f"roll: one shift per axis, not shift {shift} and axis {axis}")

    def forward(self, x):
        return kernels.xp(x).roll(x, self.shift, self.axis)

    def backward(self, dy):
        return kernels.xp(dy).roll(dy, tuple(-s for s in self.shift), self.axis)


class Flip(Op):
    """Reverse the order along an axis or several."""

    def __init__(self, axis):
        self.axis = axis

    def forward(self, x):
        xp = kernels.xp(x)
        return xp.ascontiguousarray(xp.flip(x, self.axis))

    def backward(self, dy):
        return self.forward(dy)


class Flatten(Op):
    """(N, H, W, C) -> (N, H W C). order "hwc": as the values lie; "chw": channel by channel, as Caffe and torch do."""
    kind = "flatten"

    def __init__(self, order="hwc"):
        if order not in ("hwc", "chw"):
            raise ValueError(f"flatten: order {order!r} must be 'hwc' or 'chw'")
        self.order = order

    def forward(self, x):
        self.x_shape = x.shape
        if self.order == "chw" and x.ndim == 4:
            x = x.transpose(0, 3, 1, 2)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def backward(self, dy):
        if self.order == "hwc" or len(self.x_shape) != 4:
            return dy.reshape(self.x_shape)
        N, H, W, C = self.x_shape
        return kernels.xp(dy).ascontiguousarray(dy.reshape(N, C, H, W).transpose(0, 2, 3, 1))


def reshape(x, *shape):
    """reshape(x, 2, -1) or reshape(x, (2, -1))."""
    return Reshape(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)(x)


def transpose(x, axes=None):
    """Axes in another order; None reverses them."""
    return Transpose(axes)(x)


def concatenate(xs, axis=-1):
    """Join tensors along an axis."""
    return Concatenate(axis)(*xs)


def index(x, i):
    """x[i] as in NumPy, always a copy."""
    return Index(i)(x)


def pad(x, pad, mode="zero", value=0):
    """Pad a picture's sides by n or (top, bottom, left, right). mode: "zero" (or `value`), "reflect", "edge"."""
    return Pad(pad, mode, value)(x)


def roll(x, shift, axis):
    """Shift circularly: roll(x, (down, right), (1, 2))."""
    return Roll(shift, axis)(x)


def flip(x, axis):
    """Mirror along an axis: 1 upside down, 2 left to right."""
    return Flip(axis)(x)


def flatten(x, order="hwc"):
    """(N, H, W, C) -> (N, H W C) in the order "hwc" or "chw"."""
    return Flatten(order)(x)
