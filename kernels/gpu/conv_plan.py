"""What a convolution is to the GPU kernels: one or several dense contractions. Pure functions of shapes; no GPU needed.

The forward pass is one contraction of the input with the filters (conv.cuh, ConvShape). The gradient with respect to
the input is one too where the stride is 1: dy contracted with the filters turned by 180 degrees and input and output
channels swapped. With a stride s, input rows h fall into s classes by (h + top) mod s, and the rows of a class meet
only every s-th row of the filter: the class is a dense contraction of dy with that part of the filter. So no product
with an inserted zero is ever computed. In one dimension, with dilation d and g = gcd(s, d):

    dx[h] = sum over t of  dy[(h + top)/s - t*d/s] * w[t]          over the t for which the quotient is whole.

For h = first + s*i these are t = t0, t0 + s/g, ...; each further one reads d/g rows of dy lower. A class that meets no
row of the filter has zero gradient.
"""
import math
from typing import NamedTuple

import numpy as np

from ..reference import conv_output_size

# The struct ConvShape of conv.cuh
_FIELDS = ("N", "H", "W", "C", "OH", "OW", "K", "kh", "kw", "stride_h", "stride_w", "top", "left", "dilation_h",
           "dilation_w", "groups", "YH", "YW", "first_h", "first_w", "step_h", "step_w")
SHAPE = np.dtype([(name, np.int32) for name in _FIELDS], align=True)


class Contraction(NamedTuple):
    """One dense contraction: the fields of ConvShape, and which part of the filter it uses.

    rows, columns   slices of the filter's rows and columns: everything forward; for a gradient the part that its class
                    of positions meets, from the last to the first
    """
    N: int
    H: int
    W: int
    C: int
    OH: int
    OW: int
    K: int
    kh: int
    kw: int
    stride: tuple
    origin: tuple           # top, left: may be negative
    dilation: tuple
    groups: int
    result: tuple           # YH, YW
    first: tuple
    step: tuple
    rows: slice
    columns: slice

    @property
    def positions(self):
        return self.N * self.OH * self.OW

    def struct(self, channels=None):
        """ConvShape as kernels take it, by value. channels: of x where it is padded."""
        return np.array((self.N, self.H, self.W, channels or self.C, self.OH, self.OW, self.K, self.kh, self.kw,
                         *self.stride, *self.origin, *self.dilation, self.groups, *self.result, *self.first,
                         *self.step), SHAPE)[()]


def forward(x_shape, w_shape, stride, pad, dilation, groups):
    """The contraction of the forward pass. ValueError where channels do not fit or no output is left."""
    N, H, W, C = x_shape
    kh, kw, Cg, K = w_shape
    if Cg * groups != C or K % groups:
        raise ValueError(f"conv2d: x {tuple(x_shape)} has {C} channels, w {tuple(w_shape)} wants {Cg} in each of "
                         f"{groups} group(s)")
    out = tuple(conv_output_size(size, k, s, before + after, d) for size, k, s, before, after, d in
                zip((H, W), (kh, kw), stride, pad[::2], pad[1::2], dilation))
    if min(out) < 1:
        raise ValueError(f"conv2d: a filter of {kh} x {kw}, dilated by {tuple(dilation)}, does not fit into x "
                         f"{tuple(x_shape)} with pad {tuple(pad)}")
    _check_size(N * max(H * W, math.prod(out)))
    return Contraction(N, H, W, C, *out, K, kh, kw, tuple(stride), (pad[0], pad[2]), tuple(dilation), groups, out,
                       (0, 0), (1, 1), slice(0, kh), slice(0, kw))


def backward_input(dy_shape, w_shape, x_shape, stride, pad, dilation, groups):
    """-> [Contraction], one for each class of input positions that meets the filter; and whether that is every one."""
    there = forward(x_shape, w_shape, stride, pad, dilation, groups)
    y_shape = (there.N, there.OH, there.OW, there.K)
    if tuple(dy_shape) != y_shape:
        raise ValueError(f"conv2d_backward_input: dy {tuple(dy_shape)} must be {y_shape}, the output of x "
                         f"{tuple(x_shape)} and w {tuple(w_shape)}")
    vertical = _classes(x_shape[1], w_shape[0], stride[0], pad[0], dilation[0])
    horizontal = _classes(x_shape[2], w_shape[1], stride[1], pad[2], dilation[1])
    complete = len(vertical) == min(stride[0], x_shape[1]) and len(horizontal) == min(stride[1], x_shape[2])
    return [Contraction(there.N, there.OH, there.OW, there.K, v.count, h.count, there.C, v.taps, h.taps, (1, 1),
                        (v.origin, h.origin), (v.dilation, h.dilation), groups, tuple(x_shape[1:3]), (v.first, h.first),
                        tuple(stride), v.filter, h.filter) for v in vertical for h in horizontal], complete


class _Class(NamedTuple):
    first: int          # the rows first, first + stride, ...
    count: int          # so many
    taps: int
    dilation: int
    origin: int         # row i of the class reads dy rows i - origin + u * dilation, u = 0 .. taps-1
    filter: slice       # the rows of the filter, in the order of u


def _classes(size, k, stride, top, dilation):
    """One dimension of the classes that meet the filter."""
    g = math.gcd(stride, dilation)
    apart, found = stride // g, []
    for first in range(min(stride, size)):
        t0 = next((t for t in range(min(k, apart)) if (first + top - t * dilation) % stride == 0), None)
        if t0 is None:
            continue
        taps = len(range(t0, k, apart))
        lowest = t0 + (taps - 1) * apart                    # the filter row that reads the lowest row of dy
        origin = -((first + top - lowest * dilation) // stride)
        stop = t0 - apart
        found.append(_Class(first, len(range(first, size, stride)), taps, dilation // g, origin,
                            slice(lowest, stop if stop >= 0 else None, -apart)))
    return found


def _check_size(cells):
    if cells >= 1 << 31:
        raise ValueError(f"conv2d: {cells} positions are more than the GPU kernels count (2^31 - 1); give smaller "
                         "batches")


# ------------------------------------------------------------------------------------------------------- filters


def filters(w, part, gradient):
    """The filter of a contraction, (kh, kw, C/groups, K), contiguous: w itself, or its turned and swapped part."""
    if not gradient:
        return w
    w = w[part.rows, part.columns]
    kh, kw, Cg, K = w.shape
    w = w.reshape(kh, kw, Cg, part.groups, K // part.groups).transpose(0, 1, 4, 3, 2)
    return w.reshape(kh, kw, K // part.groups, part.groups * Cg)
