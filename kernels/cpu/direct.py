"""Convolutions from few channels: the first layer of a network, which reads a picture, and the gradient back to it.

Forward: the 3 channels of a pixel would fill a vector badly, but a filter sees kh*kw*C numbers, of which each filter
row's kw*C lie side by side. They are copied together, one row of numbers per output position, and multiplied by the
weights as they stand, (kh*kw*C, K), with bias, ReLU and the mask's bits while the result is in the cache.

Gradient: one product gives every position's share for each of its kh*kw*C inputs; every input then collects its shares
in the order (filter row, filter column), in strips of rows so that the shares stay in the cache. The rows of shares
that the next strip needs too are moved up, not made again.
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
STRIP_BYTES = 1 << 20           # shares held at a time by a thread
PIXEL = PICTURE_CHANNELS * SIZE    # bytes of a pixel as a short vector

(X, PANELS, BIAS, Y, BITS, N, H, W, C, OH, OW, K, KH, KW, ROW_STEP, COLUMN_STEP, TOP, LEFT, BITS_ROWS, BITS_COLUMNS,
 BITS_BYTES, RELU, STRIP, PART, PARTS, SHARES, ZEROS, END) = range(28)


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


@v.emit(8)
def _collect_fast(b, out, shares, p_step, p_count, q_step, q_count, pixels, step):
    """out[i] = sum over p, q of shares[p, q][i] for `pixels` positions, a multiple of four; distances in bytes.

    A pixel is one short vector, what is beyond its channels is never read. out: `pixels` of them side by side.
    """
    outer = v.Loop(b, pixels, [out, shares], step=4)
    out, shares = outer.carried
    rows = v.Loop(b, p_count, [ir.Constant(_FOUR, [0.0] * PICTURE_CHANNELS)] * 4 + [shares])
    columns = v.Loop(b, q_count, rows.carried)
    *sums, address = columns.carried
    place = address
    for i in range(4):
        sums[i] = b.fadd(sums[i], b.load(b.inttoptr(place, _FOUR.as_pointer()), align=4))
        place = b.add(place, step)
    columns.end([*sums, b.add(address, q_step)])
    rows.end([*sums, b.add(rows.carried[4], p_step)])
    for i in range(4):
        place = b.add(out, v.integer(i * PIXEL))
        b.store(rows.carried[i], b.inttoptr(place, _FOUR.as_pointer()), align=4)
    outer.end([b.add(out, v.integer(4 * PIXEL)), b.add(shares, v.scaled(b, step, 4))])


@helper
def _collect(d, shares, base, p_first, p_last, dx, begin, end):
    """Positions begin .. end-1 of a row of dx, for windows that overhang dy. base: h + TOP, counted from the first of
    the output rows that `shares` holds."""
    channels = d[C]
    for w in range(begin, end):
        for c in range(channels):
            dx[w * channels + c] = 0
        for p in range(p_first, p_last + 1, d[ROW_STEP]):
            oh = (base - p) // d[ROW_STEP]
            for q in range((w + d[LEFT]) % d[COLUMN_STEP], d[KW], d[COLUMN_STEP]):
                j = (w + d[LEFT] - q) // d[COLUMN_STEP]
                if 0 <= j < d[OW]:
                    source = (oh * d[OW] + j) * d[SHARES] + (p * d[KW] + q) * channels
                    for c in range(channels):
                        dx[w * channels + c] += shares[source + c]


@helper
def _collect_row(d, shares, first_row, rows, image, h, aside):
    """Row h of dx from the shares of output rows first_row .. first_row+rows-1. Positions whose every filter column
    counts go the fast way, those of each phase of the stride together."""
    image_row = d[X] + (image * d[H] + h) * d[W] * d[C] * SIZE
    dx, step = float32_at(image_row), d[COLUMN_STEP]
    base = h + d[TOP] - first_row * d[ROW_STEP]
    p_first = max(0, base - (rows - 1) * d[ROW_STEP])
    p_first += (base - p_first) % d[ROW_STEP]
    p_last = min(d[KH] - 1, base)
    p_count = (p_last - p_first) // d[ROW_STEP] + 1
    begin = max(0, d[KW] - 1 - d[LEFT])
    fast = (min(d[W], (d[OW] - 1) * step - d[LEFT] + 1) - begin) // (4 * step) * 4     # of each phase
    if p_last < p_first or fast <= 0 or step > d[KW]:
        _collect(d, float32_at(shares), base, p_first, p_last, dx, 0, d[W])
        return
    for phase in range(step):
        q = (begin + phase + d[LEFT]) % step
        j = (begin + phase + d[LEFT] - q) // step
        source = ((base - p_first) // d[ROW_STEP] * d[OW] + j) * d[SHARES] + (p_first * d[KW] + q) * d[C]
        _collect_fast(aside, shares + source * SIZE, (d[ROW_STEP] * d[KW] * d[C] - d[OW] * d[SHARES]) * SIZE, p_count,
                      (step * d[C] - d[SHARES]) * SIZE, (d[KW] - 1 - q) // step + 1, fast, d[SHARES] * SIZE)
        pixels = float32_at(aside)
        for i in range(fast):
            for c in range(d[C]):
                dx[(begin + phase + i * step) * d[C] + c] = pixels[i * PICTURE_CHANNELS + c]
    _collect(d, float32_at(shares), base, p_first, p_last, dx, 0, begin)
    _collect(d, float32_at(shares), base, p_first, p_last, dx, begin + fast * step, d[W])


@helper
def _share_rows(d, shares, image, first, last, held_first, held_last):
    """The shares of output rows first .. last-1; those of rows held_first .. held_last-1 lie there from before."""
    row = d[OW] * d[SHARES] * SIZE
    kept = max(0, held_last - max(first, held_first))
    for i in range(kept):
        v.copy(shares + i * row, shares + (first - held_first + i) * row, row)
    dy = d[Y] + (image * d[OH] + first) * d[OW] * d[K] * SIZE
    for i in range(kept * d[OW], (last - first) * d[OW], CHUNK):
        count = min(CHUNK, (last - first) * d[OW] - i)
        for j in range(0, d[SHARES], PANEL):
            multiply(dy + i * d[K] * SIZE, d[K], d[PANELS] + j * d[K] * SIZE, d[ZEROS], 0,
                     shares + (i * d[SHARES] + j) * SIZE, d[SHARES], count, d[K])


@kernel
def gradient_strips(d, scratch, first, last):
    """Items: parts of dx, of d[PART] rows, done strip after strip. X is dx, Y is dy, PANELS the weights as (panel of
    kh*kw*C, K, PANEL)."""
    aside = scratch
    shares = aside + d[W] * PIXEL
    for item in range(first, last):
        image = item // d[PARTS]
        part = (item - image * d[PARTS]) * d[PART]
        part_end = min(d[H], part + d[PART])
        held_begin, held_end = 0, 0
        for top in range(part, part_end, d[STRIP]):
            bottom = min(part_end, top + d[STRIP])
            # output rows whose windows (row * step - pad .. + kh - 1) meet rows top .. bottom-1
            begin = max(0, (top + d[TOP] - d[KH] + d[ROW_STEP]) // d[ROW_STEP])
            end = min(d[OH], (bottom - 1 + d[TOP]) // d[ROW_STEP] + 1)
            if end > begin:
                _share_rows(d, shares, image, begin, end, held_begin, held_end)
                held_begin, held_end = begin, end
            for h in range(top, bottom):
                _collect_row(d, shares, begin, end - begin, image, h, aside)


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
    wanted = -(-2 * threads.get_threads() // dx.shape[0])   # two for each thread
    parts = min(-(-dx.shape[1] // strip), wanted)
    part = -(-dx.shape[1] // parts)
    strip = -(-part // -(-part // strip))                   # of nearly equal strips
    zeros = np.zeros(PANEL, np.float32)
    d[[STRIP, PART, PARTS, SHARES, ZEROS]] = strip, part, -(-dx.shape[1] // part), shares, address(zeros)
    rows = -(-strip // stride[0]) + reach + 1
    threads.run(gradient_strips, d, dx.shape[0] * int(d[PARTS]), 1, dx.shape[2] * PIXEL + rows * row + PIXEL)


def _descriptor(x, y, w_shape, panels, stride, pad):
    d = np.zeros(END + 1, np.int64)
    d[[X, PANELS, Y]] = address(x), address(panels), address(y)
    d[N:LEFT + 1] = (*x.shape, *y.shape[1:], *w_shape[:2], *stride, pad[0], pad[2])
    return d
