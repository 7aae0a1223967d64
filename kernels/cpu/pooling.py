"""Average pooling, any window, stride and padding, overlapping or not; and what max pooling (max_pooling.py) shares.

Forward works output row by output row. Backward works input row by input row and gathers from the windows that cover
it, so no two threads ever add to the same number. The innermost loop runs over channels, which lie side by side.
"""
import numpy as np

from .. import reference
from . import buffers, threads
from .addresses import address, float32_at, float64_at
from .compile_cache import helper, kernel

# Every descriptor here: four addresses, then
# 4:N 5:H 6:W 7:C 8:OH 9:OW 10:kh 11:kw 12:sh 13:sw 14:top 15:left 16:bottom 17:right 18:count_pad


def descriptor(addresses, x_shape, out, size, stride, pad, count_pad=False):
    return np.array([*addresses, *[0] * (4 - len(addresses)), *x_shape, *out, *size, *stride,
                     pad[0], pad[2], pad[1], pad[3], count_pad], np.int64)


def output_size(x_shape, size, stride, pad, ceil):
    return reference._pool_geometry(x_shape, size, stride, pad, ceil)[0]


@helper
def first_window(cell, k, stride, pad):
    """The first output position whose window holds this input position (it may lie beyond the last output)."""
    return max(0, (cell + pad - k + stride) // stride)


def rows_per_chunk(array):
    """Rows of about 32 Ki numbers together: a few dozen microseconds of work."""
    return max(1, (1 << 15) // max(1, array.shape[2] * array.shape[3]))


def check(name, dy, x_shape, size, stride, pad, ceil):
    out = tuple(output_size(x_shape, size, stride, pad, ceil))
    if dy.shape != (x_shape[0], *out, x_shape[3]):
        raise ValueError(f"{name}: dy {dy.shape} is not the shape of the output, {(x_shape[0], *out, x_shape[3])}")


@helper
def _counted(start, k, size, before, after, count_pad):
    """How many cells of the window that begins at `start` count, along one axis."""
    if count_pad:
        return min(start + k, size + after) - max(start, -before)
    return min(start + k, size) - max(start, 0)


@helper
def _average_rows(d, x, y, first, last):
    H, W, C, OH, OW, kh, kw = d[5], d[6], d[7], d[8], d[9], d[10], d[11]
    for row in range(first, last):
        n = row // OH
        top = (row - n * OH) * d[12] - d[14]
        height = _counted(top, kh, H, d[14], d[16], d[18])
        for j in range(OW):
            left = j * d[13] - d[15]
            cells = height * _counted(left, kw, W, d[15], d[17], d[18])
            out = (row * OW + j) * C
            for c in range(C):
                y[out + c] = 0
            for p in range(max(0, -top), min(kh, H - top)):
                for q in range(max(0, -left), min(kw, W - left)):
                    cell = ((n * H + top + p) * W + left + q) * C
                    for c in range(C):
                        y[out + c] += x[cell + c]
            for c in range(C):
                y[out + c] /= cells


@helper
def _average_back_rows(d, dy, dx, first, last):
    H, W, C, OH, OW, kh, kw = d[5], d[6], d[7], d[8], d[9], d[10], d[11]
    for row in range(first, last):
        n = row // H
        h = row - n * H
        for i in range(row * W * C, (row + 1) * W * C):
            dx[i] = 0
        for i in range(first_window(h, kh, d[12], d[14]), min(OH, (h + d[14]) // d[12] + 1)):
            height = _counted(i * d[12] - d[14], kh, H, d[14], d[16], d[18])
            for j in range(OW):
                left = j * d[13] - d[15]
                cells = height * _counted(left, kw, W, d[15], d[17], d[18])
                out = ((n * OH + i) * OW + j) * C
                for q in range(max(0, -left), min(kw, W - left)):
                    cell = (row * W + left + q) * C
                    for c in range(C):
                        dx[cell + c] += dy[out + c] / cells


@kernel
def _average_float32(d, scratch, first, last):
    _average_rows(d, float32_at(d[0]), float32_at(d[1]), first, last)


@kernel
def _average_float64(d, scratch, first, last):
    _average_rows(d, float64_at(d[0]), float64_at(d[1]), first, last)


@kernel
def _average_back_float32(d, scratch, first, last):
    _average_back_rows(d, float32_at(d[0]), float32_at(d[1]), first, last)


@kernel
def _average_back_float64(d, scratch, first, last):
    _average_back_rows(d, float64_at(d[0]), float64_at(d[1]), first, last)


def avg_pool_forward(x, size, stride, pad, ceil, count_pad):
    """The mean of each window. count_pad True divides by all cells of the padded picture, False by real cells only."""
    return average_forward(x, size, stride, pad, ceil, count_pad)


def average_forward(x, size, stride, pad, ceil, count_pad, out=None):
    """avg_pool_forward; out: a contiguous array to fill and give back."""
    x = np.ascontiguousarray(x)
    cells = output_size(x.shape, size, stride, pad, ceil)
    y = buffers.empty((x.shape[0], *cells, x.shape[3]), x.dtype) if out is None else out
    d = descriptor((address(x), address(y)), x.shape, cells, size, stride, pad, count_pad)
    job = _average_float32 if x.dtype == np.float32 else _average_float64
    threads.run(job, d, x.shape[0] * cells[0], rows_per_chunk(y))
    return y


def avg_pool_backward(dy, x_shape, size, stride, pad, ceil, count_pad):
    """dx: each output shares its gradient equally among the cells it counted."""
    return average_backward(dy, x_shape, size, stride, pad, ceil, count_pad)


def average_backward(dy, x_shape, size, stride, pad, ceil, count_pad, out=None):
    """avg_pool_backward; out: a contiguous array to fill and give back."""
    dy = np.ascontiguousarray(dy)
    check("avg_pool_backward", dy, x_shape, size, stride, pad, ceil)
    dx = buffers.empty(x_shape, dy.dtype) if out is None else out
    d = descriptor((address(dy), address(dx)), x_shape, dy.shape[1:3], size, stride, pad, count_pad)
    job = _average_back_float32 if dy.dtype == np.float32 else _average_back_float64
    threads.run(job, d, x_shape[0] * x_shape[1], rows_per_chunk(dx))
    return dx
