"""Batch normalisation with the batch's own statistics, and the ReLU behind it, for training.

x is rows of C channels. The rows fall into blocks that fit into the nearest cache: each block gives its sums, centred
on its own first row or mean, and the blocks are put together in float64 (Chan, Golub, LeVeque 1983). So memory is read
once for the statistics, nothing is lost to cancellation, and the result does not depend on the number of threads.

A step of training is bound by memory here, not by arithmetic; hence the ReLU in the same pass. In float32, with whole
vectors of channels, a block is worked off in columns of 16 channels, whose sums stay in registers; the helpers in plain
Numba below say the same for every other case, and there the ReLU is a pass of its own (`relu.py`).
"""
import numpy as np
from llvmlite import ir

from . import relu, threads
from . import vector as v
from .addresses import address, float32_at, float64_at
from .compile_cache import helper, kernel

_BLOCK = 1 << 13        # numbers of x in a block, at least one row
_WIDE = 16              # channels of a column, whatever the registers: LLVM splits them up
_VECTOR = ir.VectorType(ir.FloatType(), _WIDE)
_ZERO = ir.Constant(_VECTOR, [0.0] * _WIDE)
_BITS = ir.IntType(_WIDE)
_FLAGS = ir.VectorType(ir.IntType(1), _WIDE)

# descriptor: 0:x 1:y (back: 1:dy) 2:dx 3:channel numbers 4:rows 5:C 6:rows per block 7:sums 8:bits of the ReLU or 0


def _load(b, base, offset):
    return b.load(b.inttoptr(b.add(base, offset), _VECTOR.as_pointer()), align=4)


def _store(b, value, base, offset):
    b.store(value, b.inttoptr(b.add(base, offset), _VECTOR.as_pointer()), align=4)


def _column(b, rows, C):
    """A loop over the rows of a column, and the offset in bytes of its row."""
    def start(carried):
        loop = v.Loop(b, rows, carried)
        return loop, v.scaled(b, b.mul(loop.index, C), 4)
    return start


def _where_positive(b, value, bits, offset):
    """value where its bit in the ReLU's mask is set, else 0. bits: those of the first row; offset: of x, in bytes."""
    word = b.load(b.inttoptr(b.add(bits, b.lshr(offset, v.integer(5))), _BITS.as_pointer()), align=1)
    return b.select(b.bitcast(word, _FLAGS), value, _ZERO)


@v.emit(4)
def _moments_column(b, x, sums, rows, C):
    """As _moments, but centred on the first row: sums of x - x0 and (x - x0)^2, and x0 itself, C apart."""
    first = _load(b, x, v.integer(0))
    loop, at = _column(b, rows, C)([_ZERO, _ZERO])
    away = b.fsub(_load(b, x, at), first)
    one, two = loop.carried
    loop.end([b.fadd(one, away), b.fadd(two, b.fmul(away, away))])
    for i, value in enumerate((*loop.carried, first)):
        _store(b, value, sums, v.scaled(b, b.mul(C, v.integer(i)), 4))


def _write_products(b, x, dy, bits, mean, sums, rows, C):
    middle = _load(b, mean, v.integer(0))
    loop, at = _column(b, rows, C)([_ZERO, _ZERO])
    slope = _load(b, dy, at)
    if bits is not None:
        slope = _where_positive(b, slope, bits, at)
    one, two = loop.carried
    away = b.fsub(_load(b, x, at), middle)
    loop.end([b.fadd(one, slope), b.fadd(two, b.fmul(slope, away))])
    for i, value in enumerate(loop.carried):
        _store(b, value, sums, v.scaled(b, b.mul(C, v.integer(i)), 4))


@v.emit(6)
def _products_column(b, x, dy, mean, sums, rows, C):
    _write_products(b, x, dy, None, mean, sums, rows, C)


@v.emit(7)
def _products_relu_column(b, x, dy, bits, mean, sums, rows, C):
    _write_products(b, x, dy, bits, mean, sums, rows, C)


def _numbers(b, numbers, C, count):
    return [_load(b, numbers, v.scaled(b, b.mul(C, v.integer(i)), 4)) for i in range(count)]


def _write_apply(b, x, y, bits, numbers, rows, C):
    mean, factor, shift = _numbers(b, numbers, C, 3)
    loop, at = _column(b, rows, C)([])
    value = b.fadd(b.fmul(b.fsub(_load(b, x, at), mean), factor), shift)
    if bits is not None:
        word = b.bitcast(b.fcmp_ordered(">", value, _ZERO), _BITS)
        b.store(word, b.inttoptr(b.add(bits, b.lshr(at, v.integer(5))), _BITS.as_pointer()), align=1)
        value = b.select(b.fcmp_ordered("<=", value, _ZERO), _ZERO, value)      # a nan stays a nan
    _store(b, value, y, at)
    loop.end()


@v.emit(5)
def _apply_column(b, x, y, numbers, rows, C):
    _write_apply(b, x, y, None, numbers, rows, C)


@v.emit(6)
def _apply_relu_column(b, x, y, bits, numbers, rows, C):
    _write_apply(b, x, y, bits, numbers, rows, C)


def _write_apply_back(b, x, dy, dx, bits, numbers, rows, C):
    mean, factor, slope, constant = _numbers(b, numbers, C, 4)
    loop, at = _column(b, rows, C)([])
    above = _load(b, dy, at)
    if bits is not None:
        above = _where_positive(b, above, bits, at)
    away = b.fmul(slope, b.fsub(_load(b, x, at), mean))
    _store(b, b.fadd(b.fadd(b.fmul(factor, above), away), constant), dx, at)
    loop.end()


@v.emit(6)
def _apply_back_column(b, x, dy, dx, numbers, rows, C):
    _write_apply_back(b, x, dy, dx, None, numbers, rows, C)


@v.emit(7)
def _apply_back_relu_column(b, x, dy, dx, bits, numbers, rows, C):
    _write_apply_back(b, x, dy, dx, bits, numbers, rows, C)


@helper
def _moments(x, sums, rows, C):
    """sums[0] = sum of x, sums[1] = sum of (x - its mean in this block)^2, per channel."""
    for c in range(2 * C):
        sums[c] = 0
    for r in range(rows):
        for c in range(C):
            sums[c] += x[r * C + c]
    for r in range(rows):
        for c in range(C):
            away = x[r * C + c] - sums[c] / rows
            sums[C + c] += away * away


@helper
def _products(x, dy, mean, sums, rows, C):
    """sums[0] = sum of dy, sums[1] = sum of dy (x - mean), per channel."""
    for c in range(2 * C):
        sums[c] = 0
    for r in range(rows):
        for c in range(C):
            sums[c] += dy[r * C + c]
            sums[C + c] += dy[r * C + c] * (x[r * C + c] - mean[c])


@helper
def _apply(x, y, numbers, rows, C):
    """y = (x - mean) factor + shift; numbers: mean, factor, shift."""
    for r in range(rows):
        for c in range(C):
            y[r * C + c] = (x[r * C + c] - numbers[c]) * numbers[C + c] + numbers[2 * C + c]


@helper
def _apply_back(x, dy, dx, numbers, rows, C):
    """dx = factor dy + slope (x - mean) + constant; numbers: mean, factor, slope, constant."""
    for r in range(rows):
        for c in range(C):
            dx[r * C + c] = (numbers[C + c] * dy[r * C + c] + numbers[2 * C + c] * (x[r * C + c] - numbers[c])
                             + numbers[3 * C + c])


@kernel
def _moments_columns(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        for c in range(0, C, _WIDE):
            _moments_column(d[0] + 4 * (start * C + c), d[7] + 4 * (3 * block * C + c), min(d[6], d[4] - start), C)


@kernel
def _products_columns(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        rows = min(d[6], d[4] - start)
        for c in range(0, C, _WIDE):
            at, sums = 4 * (start * C + c), d[7] + 4 * (2 * block * C + c)
            if d[8]:
                _products_relu_column(d[0] + at, d[1] + at, d[8] + (at >> 5), d[3] + 4 * c, sums, rows, C)
            else:
                _products_column(d[0] + at, d[1] + at, d[3] + 4 * c, sums, rows, C)


@kernel
def _apply_columns(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        rows = min(d[6], d[4] - start)
        for c in range(0, C, _WIDE):
            at = 4 * (start * C + c)
            if d[8]:
                _apply_relu_column(d[0] + at, d[1] + at, d[8] + (at >> 5), d[3] + 4 * c, rows, C)
            else:
                _apply_column(d[0] + at, d[1] + at, d[3] + 4 * c, rows, C)


@kernel
def _apply_back_columns(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        rows = min(d[6], d[4] - start)
        for c in range(0, C, _WIDE):
            at = 4 * (start * C + c)
            if d[8]:
                _apply_back_relu_column(d[0] + at, d[1] + at, d[2] + at, d[8] + (at >> 5), d[3] + 4 * c, rows, C)
            else:
                _apply_back_column(d[0] + at, d[1] + at, d[2] + at, d[3] + 4 * c, rows, C)


@kernel
def _moments_float32(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        _moments(float32_at(d[0] + 4 * start * C), float32_at(d[7] + 8 * block * C), min(d[6], d[4] - start), C)


@kernel
def _moments_float64(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        _moments(float64_at(d[0] + 8 * start * C), float64_at(d[7] + 16 * block * C), min(d[6], d[4] - start), C)


@kernel
def _products_float32(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        at = 4 * start * C
        _products(float32_at(d[0] + at), float32_at(d[1] + at), float32_at(d[3]), float32_at(d[7] + 8 * block * C),
                  min(d[6], d[4] - start), C)


@kernel
def _products_float64(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        at = 8 * start * C
        _products(float64_at(d[0] + at), float64_at(d[1] + at), float64_at(d[3]), float64_at(d[7] + 16 * block * C),
                  min(d[6], d[4] - start), C)


@kernel
def _apply_float32(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        at = 4 * start * C
        _apply(float32_at(d[0] + at), float32_at(d[1] + at), float32_at(d[3]), min(d[6], d[4] - start), C)


@kernel
def _apply_float64(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        at = 8 * start * C
        _apply(float64_at(d[0] + at), float64_at(d[1] + at), float64_at(d[3]), min(d[6], d[4] - start), C)


@kernel
def _apply_back_float32(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        at = 4 * start * C
        _apply_back(float32_at(d[0] + at), float32_at(d[1] + at), float32_at(d[2] + at), float32_at(d[3]),
                    min(d[6], d[4] - start), C)


@kernel
def _apply_back_float64(d, scratch, first, last):
    for block in range(first, last):
        start, C = block * d[6], d[5]
        at = 8 * start * C
        _apply_back(float64_at(d[0] + at), float64_at(d[1] + at), float64_at(d[2] + at), float64_at(d[3]),
                    min(d[6], d[4] - start), C)


def batch_norm_forward(x, scale, shift, eps, rectify=False):
    """y = scale (x - mean) / sqrt(var + eps) + shift over all axes but the last. -> y, mean, var (biased), mask.

    rectify: y is max(that, 0), and the mask that of a ReLU; else the mask is None.
    """
    x = np.ascontiguousarray(x)
    rows = x.size // x.shape[-1]
    means, squares, counts = _block_moments(x)
    mean = (counts * means).sum(axis=0) / rows
    var = (squares.sum(axis=0) + (counts * (means - mean) ** 2).sum(axis=0)) / rows
    numbers = np.stack([mean, scale / np.sqrt(var + eps), shift]).astype(x.dtype)
    y, fused = np.empty_like(x), rectify and _columns(x)
    mask = np.empty((x.size + 7) // 8, np.uint8) if fused else None
    _run(_choose(x, _apply_columns, _apply_float32, _apply_float64), x, y, y, numbers, mask=mask)
    if rectify and not fused:
        y, mask = relu.relu_forward(y)
    return y, mean.astype(x.dtype), var.astype(x.dtype), mask


def batch_norm_backward(dy, x, scale, mean, var, eps, mask=None):
    """-> dx, dscale, dshift. With z = (x - mean) / sqrt(var + eps): dx = scale (dy - mean(dy) - z mean(dy z)) / sqrt.

    mean and var are those of x, and the gradient through them is in it. mask: that of a ReLU behind.
    """
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    if mask is not None and not _columns(x):
        dy, mask = relu.relu_backward(dy, mask), None
    rows, C, _, count = _cut(x)
    sums = np.empty((count, 2, C), x.dtype)
    job = _choose(x, _products_columns, _products_float32, _products_float64)
    _run(job, x, dy, x, np.ascontiguousarray(mean, x.dtype), sums, mask)
    dshift, inner = sums.sum(axis=0, dtype=np.float64)
    inverse = 1 / np.sqrt(var.astype(np.float64) + eps)
    factor = scale * inverse
    numbers = np.stack([mean, factor, -factor * inverse**2 * inner / rows, -factor * dshift / rows]).astype(x.dtype)
    dx = np.empty_like(x)
    _run(_choose(x, _apply_back_columns, _apply_back_float32, _apply_back_float64), x, dy, dx, numbers, mask=mask)
    return dx, (inner * inverse).astype(x.dtype), dshift.astype(x.dtype)


def _block_moments(x):
    """float64 mean (blocks, C) of every block, sum of squared distances from it (blocks, C); its rows (blocks, 1)."""
    rows, C, block, count = _cut(x)
    counts = np.minimum(block, rows - block * np.arange(count))[:, None]
    columns = _columns(x)
    sums = np.empty((count, 3 if columns else 2, C), x.dtype)
    _run(_choose(x, _moments_columns, _moments_float32, _moments_float64), x, x, x, sums, sums)
    sums = sums.astype(np.float64)
    if not columns:
        return sums[:, 0] / counts, sums[:, 1], counts
    away = sums[:, 0] / counts
    return sums[:, 2] + away, sums[:, 1] - counts * away**2, counts


def _columns(x):
    return x.dtype == np.float32 and x.shape[-1] % _WIDE == 0


def _choose(x, columns, narrow, wide):
    return columns if _columns(x) else narrow if x.dtype == np.float32 else wide


def _cut(x):
    C = x.shape[-1]
    rows, block = x.size // C, max(1, _BLOCK // C)
    return rows, C, block, -(-rows // block)


def _run(job, x, y, dx, numbers, sums=None, mask=None):
    rows, C, block, count = _cut(x)
    where = address(numbers if sums is None else sums)
    bits = 0 if mask is None else address(mask)
    threads.run(job, np.array([address(x), address(y), address(dx), address(numbers), rows, C, block, where, bits],
                              np.int64), count)
