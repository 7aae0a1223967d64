"""One axis of a picture times a matrix: resizing, blurring, and their transposes.

Such matrices are banded: an output cell looks at a few input cells. The band of each row is found first, and only it
is multiplied. Along the rows of the picture a whole line (W * C numbers) is one vector. Along its columns the
channels are, if there are many; a picture's three are too few, so sixteen lines are turned on their side and make the
vectors.
"""
import numpy as np

from . import threads
from .addresses import address, float32_at, float64_at, int64_at
from .compile_cache import helper, kernel

_SIDE = 16      # lines turned at a time
_SPAN = 1024    # numbers of a line worked on at a time, to stay in the nearest cache

# descriptor: 0:x 1:matrix 2:y 3:bands (address of first and end of each row's band) 4:lines in 5:lines out
# 6:matrix rows 7:matrix columns 8:numbers per line


@helper
def _weighted_lines(x, m, y, begin, end, step, length):
    """y[0:length] = sum over t in begin..end-1 of m[t] * x[t*step : t*step+length], four at a time."""
    for i in range(length):
        y[i] = 0
    t = begin
    while t + 4 <= end:
        m0, m1, m2, m3 = m[t], m[t + 1], m[t + 2], m[t + 3]
        x0 = t * step
        x1, x2, x3 = x0 + step, x0 + 2 * step, x0 + 3 * step
        for i in range(length):
            y[i] += (m0 * x[x0 + i] + m1 * x[x1 + i]) + (m2 * x[x2 + i] + m3 * x[x3 + i])
        t += 4
    while t < end:
        m0, x0 = m[t], t * step
        for i in range(length):
            y[i] += m0 * x[x0 + i]
        t += 1


@helper
def _lines_job(d, at, size, first, last):
    """Items: output lines. x is (pictures, columns of m, length), y (pictures, rows of m, length)."""
    rows, columns, length = d[6], d[7], d[8]
    bands = int64_at(d[3])
    for item in range(first, last):
        n = item // rows
        i = item - n * rows
        for start in range(0, length, _SPAN):
            _weighted_lines(at(d[0] + size * (n * columns * length + start)), at(d[1] + size * i * columns),
                            at(d[2] + size * (item * length + start)), bands[2 * i], bands[2 * i + 1], length,
                            min(_SPAN, length - start))


@helper
def _turn(x, out, lines, length):
    """out (length, 16) from x (lines, length); lines <= 16, the rest zero."""
    for i in range(length):
        for l in range(lines):
            out[i * _SIDE + l] = x[l * length + i]
        for l in range(lines, _SIDE):
            out[i * _SIDE + l] = 0


@helper
def _turn_back(x, out, lines, length):
    for l in range(lines):
        for i in range(length):
            out[l * length + i] = x[i * _SIDE + l]


@helper
def _turned_job(d, at, size, scratch, first, last):
    """Items: groups of 16 lines. x is (lines, columns of m, C), y (lines, rows of m, C); C is d[8]."""
    lines, rows, columns, C = d[4], d[6], d[7], d[8]
    bands = int64_at(d[3])
    turned, result = scratch, scratch + size * columns * C * _SIDE
    for item in range(first, last):
        begin = item * _SIDE
        count = min(_SIDE, lines - begin)
        _turn(at(d[0] + size * begin * columns * C), at(turned), count, columns * C)
        for j in range(rows):
            _weighted_lines(at(turned), at(d[1] + size * j * columns), at(result + size * j * C * _SIDE), bands[2 * j],
                            bands[2 * j + 1], C * _SIDE, C * _SIDE)
        _turn_back(at(result), at(d[2] + size * begin * rows * C), count, rows * C)


@kernel
def _lines_float32(d, scratch, first, last):
    _lines_job(d, float32_at, 4, first, last)


@kernel
def _lines_float64(d, scratch, first, last):
    _lines_job(d, float64_at, 8, first, last)


@kernel
def _turned_float32(d, scratch, first, last):
    _turned_job(d, float32_at, 4, scratch, first, last)


@kernel
def _turned_float64(d, scratch, first, last):
    _turned_job(d, float64_at, 8, scratch, first, last)


def axis_matmul(x, m, axis):
    """Apply a matrix along the rows (axis 1) or columns (axis 2): y[n,i,w,c] = sum over h of m[i,h] x[n,h,w,c]."""
    x = np.ascontiguousarray(x)
    m = np.ascontiguousarray(m, x.dtype)
    N, H, W, C = x.shape
    if m.ndim != 2 or axis not in (1, 2) or m.shape[1] != x.shape[axis]:
        raise ValueError(f"axis_matmul: a matrix {m.shape} does not fit axis {axis} of x {x.shape}")
    rows = m.shape[0]
    y = np.empty((N, rows, W, C) if axis == 1 else (N, H, rows, C), x.dtype)
    bands = _bands(m)
    f32 = x.dtype == np.float32
    if axis == 1 or C >= _SIDE:
        pictures, length = (N, W * C) if axis == 1 else (N * H, C)
        job, items, scratch = (_lines_float32 if f32 else _lines_float64), pictures * rows, 0
    else:
        pictures, length = N * H, C
        job, items = (_turned_float32 if f32 else _turned_float64), -(-pictures // _SIDE)
        scratch = x.itemsize * _SIDE * C * (rows + W)
    d = np.array([address(x), address(m), address(y), address(bands), pictures, 0, rows, m.shape[1], length], np.int64)
    threads.run(job, d, items, max(1, (1 << 14) // max(1, length)) if not scratch else 1, scratch)
    return y


def _bands(m):
    """(rows, 2): where the numbers of each row that are not zero begin and end."""
    nonzero = m != 0
    first = nonzero.argmax(axis=1)
    end = m.shape[1] - nonzero[:, ::-1].argmax(axis=1)
    end[~nonzero.any(axis=1)] = 0
    return np.ascontiguousarray(np.stack((first, end), axis=1).astype(np.int64))
