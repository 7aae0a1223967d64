"""Max pooling, any window, stride and padding, overlapping or not.

Forward works output row by output row, backward input row by input row: it gathers from the windows that cover a cell,
so no two threads ever add to the same number. Switches are one byte per output for windows of up to 127 cells, else
four.

The usual case, float32 with byte switches and at least a vector of channels, keeps the best value and its cell in
registers while it goes through the window, and backward the sum while it goes through the windows of a cell; the last
vector may overlap the one before it, which computes the same numbers twice. The plain loops below are for all others.
"""
import numpy as np

from . import buffers, threads
from . import vector as v
from .addresses import address, float32_at, float64_at, int32_at, uint8_at
from .compile_cache import helper, kernel
from .decisions import RULES, pull_bits_vectors
from .pooling import check, descriptor, first_window, output_size, rows_per_chunk

_BYTE_CELLS = 127

# Every descriptor here: pooling.descriptor, and backward 19:bits of a ReLU below, or 0 20:bytes of its rows
# 21:bytes of its pictures 22:its rule


# -------------------------------------------------------------------------------------------------------- vectors


def _over_channels(b, count):
    """A loop over `count` channels, two vectors at a time -> the loop, the channels at which they begin."""
    loop = v.Loop(b, count, [], step=2 * v.LANES)
    last = b.sub(count, v.integer(v.LANES))
    begins = []
    for i in range(2):
        begin = b.add(loop.index, v.integer(i * v.LANES))
        begins.append(b.select(b.icmp_signed("<", begin, last), begin, last))
    return loop, begins


@v.emit(10)
def _largest(b, x, row, column, rows, columns, code, code_row, y, codes, count):
    """y[c] = the largest x[p, q, c] over rows x columns cells, `row` and `column` bytes apart; codes[c] = code +
    p * code_row + q of the first such cell."""
    loop, begins = _over_channels(b, count)
    start = [v.FLOAT32.constant(-np.inf)] * 2 + [v.integers_constant(0)] * 2
    outer = v.Loop(b, rows, [*start, x, code])
    inner = v.Loop(b, columns, outer.carried)
    *best, place, now = inner.carried
    cell = v.everywhere(b, b.trunc(now, v.I32))
    for i, begin in enumerate(begins):
        value = v.load(b, b.add(place, v.scaled(b, begin, 4)))
        larger = b.fcmp_ordered(">", value, best[i])
        best[i] = b.select(larger, value, best[i])
        best[2 + i] = b.select(larger, cell, best[2 + i])
    inner.end([*best, b.add(place, column), b.add(now, v.integer(1))])
    *best, _, _ = inner.carried
    outer.end([*best, b.add(outer.carried[4], row), b.add(outer.carried[5], code_row)])
    for i, begin in enumerate(begins):
        v.store(b, best[i], b.add(y, v.scaled(b, begin, 4)))
        v.store_bytes(b, best[2 + i], b.add(codes, begin))
    loop.end()


@v.emit(10)
def _gathered(b, dy, codes, row, rows, columns, code, code_row, code_column, dx, count):
    """dx[c] = sum over i < rows, j < columns of dy[i, j, c] where codes[i, j, c] == code - i * code_row -
    j * code_column. row: numbers from one row of dy to the next; `count` from one column to the next."""
    loop, begins = _over_channels(b, count)
    outer = v.Loop(b, rows, [*[v.FLOAT32.constant(0)] * 2, v.integer(0), code])
    inner = v.Loop(b, columns, outer.carried)
    *sums, place, now = inner.carried
    cell = v.everywhere(b, b.trunc(now, v.I8))
    for i, begin in enumerate(begins):
        at = b.add(place, begin)
        chosen = b.icmp_unsigned("==", v.load_bytes(b, b.add(codes, at)), cell)
        above = v.load(b, b.add(dy, v.scaled(b, at, 4)))
        sums[i] = b.fadd(sums[i], b.select(chosen, above, v.FLOAT32.constant(0)))
    inner.end([*sums, b.add(place, count), b.sub(now, code_column)])
    *sums, _, _ = inner.carried
    outer.end([*sums, b.add(outer.carried[2], row), b.sub(outer.carried[3], code_row)])
    for i, begin in enumerate(begins):
        v.store(b, sums[i], b.add(dx, v.scaled(b, begin, 4)))
    loop.end()


@kernel
def _max_vectors(d, scratch, first, last):
    """Items: output rows. d: 0:x 1:y 2:switches"""
    H, W, C, OH, OW, kh, kw = d[5], d[6], d[7], d[8], d[9], d[10], d[11]
    for item in range(first, last):
        n = item // OH
        top = (item - n * OH) * d[12] - d[14]
        p, bottom = max(0, -top), min(kh, H - top)
        for j in range(OW):
            left = j * d[13] - d[15]
            q, right = max(0, -left), min(kw, W - left)
            out = (item * OW + j) * C
            if bottom <= p or right <= q:       # a window of padding alone
                y = float32_at(d[1] + 4 * out)
                for c in range(C):
                    y[c] = -np.inf
                v.clear(d[2] + out, C)
                continue
            _largest(d[0] + 4 * (((n * H + top + p) * W) + left + q) * C, 4 * W * C, 4 * C, bottom - p, right - q,
                     p * kw + q, kw, d[1] + 4 * out, d[2] + out, C)


@kernel
def _max_back_vectors(d, scratch, first, last):
    """Items: input rows. d: 0:dy 1:switches 2:dx"""
    H, W, C, OH, OW, kh, kw = d[5], d[6], d[7], d[8], d[9], d[10], d[11]
    for item in range(first, last):
        n = item // H
        h = item - n * H
        i = first_window(h, kh, d[12], d[14])
        rows = min(OH, (h + d[14]) // d[12] + 1) - i
        for w in range(W):
            j = first_window(w, kw, d[13], d[15])
            columns = min(OW, (w + d[15]) // d[13] + 1) - j
            dx = d[2] + 4 * (item * W + w) * C
            if rows > 0 and columns > 0:
                above = ((n * OH + i) * OW + j) * C
                code = (h + d[14] - i * d[12]) * kw + w + d[15] - j * d[13]
                _gathered(d[0] + 4 * above, d[1] + above, OW * C, rows, columns, code, d[12] * kw, d[13], dx, C)
            else:
                v.clear(dx, 4 * C)
        if d[19]:
            row = d[2] + 4 * item * W * C
            pull_bits_vectors(row, row, d[19] + n * d[21] + h * d[20], W * C, d[22])


# ---------------------------------------------------------------------------------------------------- plain loops


@helper
def _max_rows(d, x, y, switches, first, last):
    H, W, C, OH, OW, kh, kw = d[5], d[6], d[7], d[8], d[9], d[10], d[11]
    for row in range(first, last):
        n = row // OH
        top = (row - n * OH) * d[12] - d[14]
        for j in range(OW):
            left = j * d[13] - d[15]
            out = (row * OW + j) * C
            for c in range(C):
                y[out + c] = -np.inf
                switches[out + c] = 0
            for p in range(max(0, -top), min(kh, H - top)):
                for q in range(max(0, -left), min(kw, W - left)):
                    cell = ((n * H + top + p) * W + left + q) * C
                    code = p * kw + q
                    for c in range(C):
                        larger = x[cell + c] > y[out + c]
                        y[out + c] = x[cell + c] if larger else y[out + c]
                        switches[out + c] = code if larger else switches[out + c]


@helper
def _max_back_rows(d, dy, switches, dx, first, last):
    H, W, C, OH, OW, kh, kw = d[5], d[6], d[7], d[8], d[9], d[10], d[11]
    for row in range(first, last):
        n = row // H
        h = row - n * H
        for i in range(row * W * C, (row + 1) * W * C):
            dx[i] = 0
        for i in range(first_window(h, kh, d[12], d[14]), min(OH, (h + d[14]) // d[12] + 1)):
            p = h + d[14] - i * d[12]
            for j in range(OW):
                left = j * d[13] - d[15]
                out = ((n * OH + i) * OW + j) * C
                for q in range(max(0, -left), min(kw, W - left)):
                    cell = (row * W + left + q) * C
                    code = p * kw + q
                    for c in range(C):
                        dx[cell + c] += dy[out + c] if switches[out + c] == code else 0


@kernel
def _max_float32(d, scratch, first, last):
    _max_rows(d, float32_at(d[0]), float32_at(d[1]), uint8_at(d[2]), first, last)


@kernel
def _max_float32_large(d, scratch, first, last):
    _max_rows(d, float32_at(d[0]), float32_at(d[1]), int32_at(d[2]), first, last)


@kernel
def _max_float64(d, scratch, first, last):
    _max_rows(d, float64_at(d[0]), float64_at(d[1]), uint8_at(d[2]), first, last)


@kernel
def _max_float64_large(d, scratch, first, last):
    _max_rows(d, float64_at(d[0]), float64_at(d[1]), int32_at(d[2]), first, last)


@kernel
def _max_back_float32(d, scratch, first, last):
    _max_back_rows(d, float32_at(d[0]), uint8_at(d[1]), float32_at(d[2]), first, last)


@kernel
def _max_back_float32_large(d, scratch, first, last):
    _max_back_rows(d, float32_at(d[0]), int32_at(d[1]), float32_at(d[2]), first, last)


@kernel
def _max_back_float64(d, scratch, first, last):
    _max_back_rows(d, float64_at(d[0]), uint8_at(d[1]), float64_at(d[2]), first, last)


@kernel
def _max_back_float64_large(d, scratch, first, last):
    _max_back_rows(d, float64_at(d[0]), int32_at(d[1]), float64_at(d[2]), first, last)


_MAX = {("float32", "uint8"): (_max_float32, _max_back_float32),
        ("float32", "int32"): (_max_float32_large, _max_back_float32_large),
        ("float64", "uint8"): (_max_float64, _max_back_float64),
        ("float64", "int32"): (_max_float64_large, _max_back_float64_large)}


def max_pool_forward(x, size, stride, pad, ceil):
    """y = the largest value of each window (padding is -inf), and the switches: which cell it was; the first wins ties.

    -> y (N, OH, OW, C), switches of the same shape: row * kw + column inside the window, uint8 or int32.
    """
    return max_forward(x, size, stride, pad, ceil)


def max_forward(x, size, stride, pad, ceil, out=None):
    """max_pool_forward; out: a contiguous array to fill and give back."""
    x = np.ascontiguousarray(x)
    cells = output_size(x.shape, size, stride, pad, ceil)
    y = buffers.empty((x.shape[0], *cells, x.shape[3]), x.dtype) if out is None else out
    switches = buffers.empty(y.shape, np.uint8 if size[0] * size[1] <= _BYTE_CELLS else np.int32)
    d = descriptor((address(x), address(y), address(switches)), x.shape, cells, size, stride, pad)
    job = _max_vectors if _suits_vectors(x, size) else _MAX[x.dtype.name, switches.dtype.name][0]
    threads.run(job, d, x.shape[0] * cells[0], rows_per_chunk(y))
    return y, switches


def max_pool_backward(dy, switches, x_shape, size, stride, pad, ceil):
    """dx: each output hands its gradient to the cell its switch names; overlapping windows add."""
    return max_backward(dy, switches, x_shape, size, stride, pad, ceil)


def max_backward(dy, switches, x_shape, size, stride, pad, ceil, out=None, below=None, rule=None):
    """max_pool_backward; out: a contiguous array to fill and give back; below: Decisions of a ReLU whose rule dx goes
    through as well."""
    dy = np.ascontiguousarray(dy)
    check("max_pool_backward", dy, x_shape, size, stride, pad, ceil)
    dx = buffers.empty(x_shape, dy.dtype) if out is None else out
    d = descriptor((address(dy), address(switches), address(dx)), x_shape, dy.shape[1:3], size, stride, pad)
    fused = below is not None and below.kind == "bits" and _suits_vectors(dx, size) and x_shape[3] % v.LANES == 0
    picture, row, _, _ = below.memory.strides if fused else (0, 0, 0, 0)
    d = np.append(d, (below.address, row, picture, RULES[rule]) if fused else (0, 0, 0, 0))
    job = _max_back_vectors if _suits_vectors(dx, size) else _MAX[dy.dtype.name, switches.dtype.name][1]
    threads.run(job, d, x_shape[0] * x_shape[1], rows_per_chunk(dx))
    if below is not None and not fused:
        below.pull(dx, rule, dx)
    return dx


def _suits_vectors(x, size):
    return x.dtype == np.float32 and x.shape[3] >= v.LANES and size[0] * size[1] <= _BYTE_CELLS
