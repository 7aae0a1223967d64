"""Convolutions from few channels: the first layer of a network, which reads a picture, and the gradient back to it.

Forward: the 3 channels of a pixel would fill a vector badly, but a filter sees kh*kw*C numbers, of which each filter
row's kw*C lie side by side. They are copied together, one row of numbers per output position, and multiplied by the
weights as they stand, (kh*kw*C, K), with bias, ReLU and the mask's bits while the result is in the cache.

Gradient: one product gives every position's share for each of its kh*kw*C inputs; every input then collects its shares
in the order (filter row, filter column), in strips of rows so that the shares stay in the cache.
"""
import numpy as np
from llvmlite import ir

from . import threads
from . import vector as v
from .addresses import address, float32_at
from .choice import PICTURE_CHANNELS
from .compile_cache import helper, kernel
from .gemm import PANEL, multiply

SIZE = 4
CHUNK = 112                     # output positions that are finished together: their numbers stay in the nearest cache
STRIP_BYTES = 512 << 10         # shares held at a time by a thread

(X, PANELS, BIAS, Y, BITS, N, H, W, C, OH, OW, K, KH, KW, ROW_STEP, COLUMN_STEP, TOP, LEFT, BITS_ROWS, BITS_COLUMNS,
 BITS_BYTES, RELU, STRIP, STRIPS, SHARES, END) = range(26)


def _up(value, multiple):
    return -(-value // multiple) * multiple


# ------------------------------------------------------------------------------------------------------- forward


@v.emit(3)
def _copy_vectors(b, target, source, size):
    """At least `size` bytes, in whole vectors: what lies behind is overwritten by the next call."""
    loop = v.Loop(b, size, [], step=v.REGISTER)
    v.store(b, v.load(b, b.add(source, loop.index)), b.add(target, loop.index))
    loop.end()


@v.emit(3)
def _finish(b, y, bits, count):
    """y = max(y, 0) and the bits of y > 0 for `count` numbers, a multiple of LANES."""
    loop = v.Loop(b, v.scaled(b, count, SIZE), [bits], step=v.REGISTER)
    x = v.load(b, b.add(y, loop.index))
    v.store_bits(b, v.positive(b, x), loop.carried[0])
    v.store(b, v.relu(b, x), b.add(y, loop.index))
    loop.end([b.add(loop.carried[0], v.integer(v.BITS_BYTES))])


@helper
def _gather(d, image, top, first, count, out):
    """The kh*kw*C inputs of output positions first .. first+count-1 of a row whose windows begin at input row `top`."""
    segment = d[KW] * d[C] * SIZE
    row = d[W] * d[C] * SIZE
    x = d[X] + image * d[H] * row
    for i in range(count):
        left = (first + i) * d[COLUMN_STEP] - d[LEFT]
        target = out + i * d[KH] * segment
        for p in range(d[KH]):
            source = x + (top + p) * row + left * d[C] * SIZE
            whole = 0 <= top + p < d[H] and left >= 0 and left + d[KW] <= d[W]
            if whole and source + segment + v.REGISTER <= d[END]:
                _copy_vectors(target + p * segment, source, segment)
            else:
                v.clear(target + p * segment, segment)
                if 0 <= top + p < d[H]:
                    begin, end = max(0, -left), min(d[KW], d[W] - left)
                    if begin < end:
                        v.copy(target + p * segment + begin * d[C] * SIZE, source + begin * d[C] * SIZE,
                               (end - begin) * d[C] * SIZE)


@kernel
def forward_rows(d, scratch, first, last):
    """Items: output rows of all pictures."""
    depth = d[KH] * d[KW] * d[C]
    whole = (d[K] + PANEL - 1) // PANEL * PANEL
    patch = scratch + CHUNK * depth * SIZE + v.REGISTER
    for item in range(first, last):
        image = item // d[OH]
        row = item - image * d[OH]
        for begin in range(0, d[OW], CHUNK):
            count = min(CHUNK, d[OW] - begin)
            _gather(d, image, row * d[ROW_STEP] - d[TOP], begin, count, scratch)
            y = d[Y] + (item * d[OW] + begin) * d[K] * SIZE
            bits = d[BITS] + ((image * d[BITS_ROWS] + row) * d[BITS_COLUMNS] + begin) * d[BITS_BYTES]
            straight = whole == d[K]
            target = y if straight else patch
            for k in range(0, whole, PANEL):
                multiply(scratch, depth, d[PANELS] + k * depth * SIZE, d[BIAS] + k * SIZE, 0, target + k * SIZE, whole,
                         count, depth)
            if straight:
                if d[RELU]:
                    _finish(y, bits, count * whole)
                continue
            for i in range(count):
                if d[RELU]:
                    vectors = (d[K] + v.LANES - 1) // v.LANES
                    _finish(patch + i * whole * SIZE, bits + i * d[BITS_BYTES], vectors * v.LANES)
                v.copy(y + i * d[K] * SIZE, patch + i * whole * SIZE, d[K] * SIZE)


# ------------------------------------------------------------------------------------------------------ gradient


_FOUR = ir.VectorType(ir.FloatType(), PICTURE_CHANNELS)


@v.emit(9)
def _collect_fast(b, dx, shares, p_step, p_count, q_step, q_count, pixels, dx_step, step):
    """dx[i] = sum over p, q of shares[p, q][i] for `pixels` positions, a multiple of four.

    A pixel is one short vector; where it has fewer numbers, the next pixel overwrites the rest. Distances in bytes.
    """
    outer = v.Loop(b, pixels, [dx, shares], step=4)
    dx, shares = outer.carried
    rows = v.Loop(b, p_count, [ir.Constant(_FOUR, [0.0] * PICTURE_CHANNELS)] * 4 + [shares])
    columns = v.Loop(b, q_count, rows.carried)
    *sums, address = columns.carried
    place = address
    for i in range(4):
        sums[i] = b.fadd(sums[i], b.load(b.inttoptr(place, _FOUR.as_pointer()), align=4))
        place = b.add(place, step)
    columns.end([*sums, b.add(address, q_step)])
    rows.end([*sums, b.add(rows.carried[4], p_step)])
    target = dx
    for i in range(4):
        b.store(rows.carried[i], b.inttoptr(target, _FOUR.as_pointer()), align=4)
        target = b.add(target, dx_step)
    outer.end([target, b.add(shares, v.scaled(b, step, 4))])


@helper
def _collect(d, shares, first_row, rows, h, dx, begin, end):
    """Positions begin .. end-1 of a row of dx from the shares of output rows first_row .. first_row+rows-1."""
    channels = d[C]
    for i in range(begin * channels, end * channels):
        dx[i] = 0
    for p in range(d[KH]):
        oh = h + d[TOP] - p
        if oh < 0 or oh % d[ROW_STEP] != 0:
            continue
        oh = oh // d[ROW_STEP] - first_row
        if oh < 0 or oh >= rows:
            continue
        for q in range(d[KW]):
            source = oh * d[OW] * d[SHARES] + (p * d[KW] + q) * channels
            for w in range(begin, end):
                j = w + d[LEFT] - q
                if j < 0 or j % d[COLUMN_STEP] != 0 or j >= d[OW] * d[COLUMN_STEP]:
                    continue
                j = j // d[COLUMN_STEP]
                for c in range(channels):
                    dx[w * channels + c] += shares[source + j * d[SHARES] + c]


@helper
def _collect_row(d, shares, first_row, rows, h):
    """Row h of dx. With stride 1 the positions whose every filter column counts go the fast way."""
    image_row = d[X] + h * d[W] * d[C] * SIZE
    begin = max(0, d[KW] - 1 - d[LEFT])
    fast = (min(d[W], d[OW] - d[LEFT]) - 2 - begin) // 4 * 4       # two at the end are left: fast vectors reach beyond
    if d[ROW_STEP] == 1 and d[COLUMN_STEP] == 1 and fast > 0:
        row = h % d[H]
        p_first = max(0, row + d[TOP] - (first_row + rows - 1))
        p_last = min(d[KH] - 1, row + d[TOP] - first_row)
        if p_first <= p_last:
            oh = row + d[TOP] - p_first - first_row
            source = shares + ((oh * d[OW] + begin + d[LEFT]) * d[SHARES] + p_first * d[KW] * d[C]) * SIZE
            _collect_fast(image_row + begin * d[C] * SIZE, source, (d[KW] * d[C] - d[OW] * d[SHARES]) * SIZE,
                          p_last - p_first + 1, (d[C] - d[SHARES]) * SIZE, d[KW], fast, d[C] * SIZE, d[SHARES] * SIZE)
            _collect(d, float32_at(shares), first_row, rows, row, float32_at(image_row), 0, begin)
            _collect(d, float32_at(shares), first_row, rows, row, float32_at(image_row), begin + fast, d[W])
            return
    _collect(d, float32_at(shares), first_row, rows, h % d[H], float32_at(image_row), 0, d[W])


@kernel
def gradient_strips(d, scratch, first, last):
    """Items: strips of rows of dx. X is dx, Y is dy, PANELS the weights as (panel of kh*kw*C, K, PANEL)."""
    zeros = scratch
    v.clear(zeros, PANEL * SIZE)
    shares = scratch + PANEL * SIZE
    for item in range(first, last):
        image = item // d[STRIPS]
        top = (item - image * d[STRIPS]) * d[STRIP]
        bottom = min(d[H], top + d[STRIP])
        # output rows whose windows (row * step - pad .. + kh - 1) meet rows top .. bottom-1
        begin = max(0, (top + d[TOP] - d[KH] + d[ROW_STEP]) // d[ROW_STEP])
        end = min(d[OH], (bottom - 1 + d[TOP]) // d[ROW_STEP] + 1)
        rows = end - begin
        if rows > 0:
            dy = d[Y] + (image * d[OH] + begin) * d[OW] * d[K] * SIZE
            for i in range(0, rows * d[OW], CHUNK):
                count = min(CHUNK, rows * d[OW] - i)
                for j in range(0, d[SHARES], PANEL):
                    multiply(dy + i * d[K] * SIZE, d[K], d[PANELS] + j * d[K] * SIZE, zeros, 0,
                             shares + (i * d[SHARES] + j) * SIZE, d[SHARES], count, d[K])
        for h in range(top, bottom):
            _collect_row(d, shares, begin, rows, image * d[H] + h)


# ---------------------------------------------------------------------------------------------- seen from Python


def pack_forward(w):
    """(kh, kw, C, K) -> panels (K / PANEL, kh*kw*C, PANEL), zeros beyond K."""
    return _panels(w.reshape(-1, w.shape[3]))


def pack_gradient(w):
    """(kh, kw, C, K) -> panels (kh*kw*C / PANEL, K, PANEL)."""
    return _panels(w.reshape(-1, w.shape[3]).T)


def _panels(matrix):
    rows, columns = matrix.shape
    padded = np.zeros((rows, _up(columns, PANEL)), np.float32)
    padded[:, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(rows, -1, PANEL).transpose(1, 0, 2))


def pack_bias(b, K):
    padded = np.zeros(_up(K, PANEL), np.float32)
    if b is not None:
        padded[:K] = b
    return padded


def forward(x, w_shape, panels, bias, y, stride, pad, decisions=None):
    """y = x * w + bias; with Decisions ("bits") also max(y, 0) and its bits. panels: pack_forward(w)."""
    d = _descriptor(x, y, w_shape, panels, stride, pad)
    d[[BIAS, END]] = address(bias), address(x) + x.nbytes
    if decisions is not None:
        d[[RELU, BITS, BITS_ROWS, BITS_COLUMNS, BITS_BYTES]] = (1, decisions.address, decisions.rows, decisions.columns,
                                                                decisions.bytes)
    depth = int(np.prod(w_shape[:3]))
    scratch = SIZE * CHUNK * (depth + _up(w_shape[3], PANEL)) + v.REGISTER
    threads.run(forward_rows, d, y.shape[0] * y.shape[1], 2, scratch)


def backward_input(dy, w_shape, panels, dx, stride, pad):
    """dx from dy. panels: pack_gradient(w)."""
    d = _descriptor(dx, dy, w_shape, panels, stride, pad)
    shares = _up(int(np.prod(w_shape[:3])), PANEL)
    row = dy.shape[2] * shares * SIZE                       # bytes of an output row's shares
    reach = -(-w_shape[0] // stride[0])                     # output rows more than the strip's own
    strip = max(stride[0], (STRIP_BYTES // row - reach) * stride[0])
    strip = min(strip, dx.shape[1])
    d[[STRIP, STRIPS, SHARES]] = strip, -(-dx.shape[1] // strip), shares
    rows = -(-strip // stride[0]) + reach + 1
    threads.run(gradient_strips, d, dx.shape[0] * int(d[STRIPS]), 1, PANEL * SIZE + rows * row)


def _descriptor(x, y, w_shape, panels, stride, pad):
    d = np.zeros(END + 1, np.int64)
    d[[X, PANELS, Y]] = address(x), address(panels), address(y)
    d[N:LEFT + 1] = (*x.shape, *y.shape[1:], *w_shape[:2], *stride, pad[0], pad[2])
    return d
