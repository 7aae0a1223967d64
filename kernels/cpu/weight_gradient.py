"""The weight gradient of a convolution: dw[p,q] = sum over positions of x (as cell p,q sees it, C) times dy (K).

For filter row p this is a matrix product with the positions as depth: the rows are (q, c), which lie side by side in
a row of x, the columns are the outputs; both x and dy are read as they stand. The positions are cut into units of
about DEPTH, small enough that a unit's x and dy stay in the nearest caches while all of dw passes over them. Where x
is padded, a unit's part of it is copied into scratch memory with the zeros.

Units are summed in order within a chunk, and chunks in order at the end. The chunks depend on the shapes alone, so the
bits do not depend on threads. The same product of x with itself is the Gram matrix, and that of two plain matrices the
weight gradient of a linear layer. 3x3 filters go through winograd_weight.py.
"""
import numpy as np

from . import buffers, choice, threads, winograd_weight
from . import vector as v
from .addresses import address, float32_at, float64_at, int64_at
from .compile_cache import helper, kernel
from .contract import DOUBLE_WIDE, NARROW, WIDE, double_any_block, single_block
from .gemm import ROWS
from .taps import fill_strip

DEPTH = 256                         # positions per unit, about
_LARGE = 1 << 20                    # bytes of dw from which on it comes from further away: units are twice as deep
_CHUNKS = 16                        # at most
_PARTIAL_BYTES = 48 << 20           # for the chunks' own sums, at most (one chunk is always allowed)

(X, DY, PARTIAL, N, H, W, C, OH, OW, K, GROUPS, GROUP_C, GROUP_K, KH, KW, STEP_H, STEP_W, DILATION_H, DILATION_W,
 TOP, LEFT, UNIT_H, UNIT_W, DOWN, ACROSS, UNITS, CHUNKS, PARTS, IN_PLACE, STRIP_W, MERGED, ZEROS, PADDED_K,
 TAP_BYTES, PANEL_BYTES, ROW_BYTES, CHUNK_BYTES, UNIT_N, SYMMETRIC) = range(39)


@helper
def _panel(block, narrow, size, a, a_step, table, segments, b, b_step, depth, rows, c, c_row, zeros, first):
    """c[rows, one panel] += sum over segments and depth of a[., row] * b[., column]."""
    blocks = (rows + ROWS - 1) // ROWS
    for i in range(blocks):
        begin = rows * i // blocks
        place = c + begin * c_row
        start, start_row = (zeros, 0) if first else (place, c_row)
        block(narrow, rows * (i + 1) // blocks - begin, a + size * begin, size, a_step, table, segments, b, b_step,
              depth, start, start_row, place, c_row)


@helper
def _unit(d, at, size, width, narrow_width, block, unit, first, part, partial, scratch):
    """Add the unit's share to this chunk's partial sum; part: of the panels."""
    n = unit // (d[DOWN] * d[ACROSS]) * d[UNIT_N]
    i0, j0 = unit // d[ACROSS] % d[DOWN] * d[UNIT_H], unit % d[ACROSS] * d[UNIT_W]
    pictures, lines, depth = min(d[UNIT_N], d[N] - n), min(d[UNIT_H], d[OH] - i0), min(d[UNIT_W], d[OW] - j0)
    segments = pictures * lines
    table = scratch
    strip = table + 16 * d[UNIT_N] * d[UNIT_H]
    row0, column0 = i0 * d[STEP_H] - d[TOP], j0 * d[STEP_W] - d[LEFT]
    a, a_picture = d[X] + ((n * d[H] + row0) * d[W] + column0) * d[C] * size, d[H] * d[W] * d[C] * size
    rows = (lines - 1) * d[STEP_H] + (d[KH] - 1) * d[DILATION_H] + 1
    copy = strip
    if not d[IN_PLACE]:
        a, a_picture = strip, rows * d[STRIP_W] * d[C] * size
        copy += pictures * a_picture
        for i in range(pictures):
            fill_strip(at(d[X] + (n + i) * d[H] * d[W] * d[C] * size), at(strip + i * a_picture), d[H], d[W], d[C],
                       row0, column0, rows, d[STRIP_W])
    b, b_step = d[DY] + ((n * d[OH] + i0) * d[OW] + j0) * d[K] * size, d[K] * size
    b_row, b_picture = d[OW] * d[K] * size, d[OH] * d[OW] * d[K] * size
    if d[PADDED_K] != d[K]:         # whole vectors of dy are read: bring the last ones inside the scratch memory
        for i in range(segments):
            source, out = at(b + i // lines * b_picture + i % lines * b_row), at(copy + i * depth * d[PADDED_K] * size)
            for j in range(depth):
                for k in range(d[K]):
                    out[j * d[PADDED_K] + k] = source[j * d[K] + k]
        b, b_step = copy, d[PADDED_K] * size
        b_row, b_picture = depth * b_step, lines * depth * b_step
    pairs = int64_at(table)
    for i in range(segments):
        pairs[2 * i] = i // lines * a_picture + i % lines * d[STEP_H] * d[STRIP_W] * d[C] * size
        pairs[2 * i + 1] = i // lines * b_picture + i % lines * b_row
    panels = (d[GROUP_K] + width - 1) // width
    cells = 1 if d[MERGED] else d[KW]
    rows = d[GROUP_C] * d[KW] // cells              # of the product
    for tap in range(d[KH] * cells):
        p = tap // cells
        q = tap - p * cells
        cell = (p * d[DILATION_H] * d[STRIP_W] + q * d[DILATION_W]) * d[C]
        for gp in range(d[GROUPS] * panels):
            g = gp // panels
            panel = gp - g * panels
            if panels * part // d[PARTS] <= panel < panels * (part + 1) // d[PARTS]:
                c = partial + tap * d[TAP_BYTES] + gp * d[PANEL_BYTES]
                source = a + (cell + g * d[GROUP_C]) * size
                k = (g * d[GROUP_K] + panel * width) * size
                narrow = d[GROUP_K] - panel * width <= narrow_width
                if d[SYMMETRIC]:                # what lies below the panel's square on the diagonal is mirrored later
                    rows = min(d[GROUP_C], (panel + 1) * width)
                _panel(block, narrow, size, source, d[STEP_W] * d[C] * size, table, segments, b + k, b_step, depth,
                       rows, c, d[ROW_BYTES], d[ZEROS], first)


@helper
def _chunks(d, at, size, width, narrow_width, block, scratch, first, last):
    """Items: (chunk, part of the panels)."""
    for item in range(first, last):
        chunk = item // d[PARTS]
        begin, end = d[UNITS] * chunk // d[CHUNKS], d[UNITS] * (chunk + 1) // d[CHUNKS]
        partial = d[PARTIAL] + chunk * d[CHUNK_BYTES]
        for unit in range(begin, end):
            _unit(d, at, size, width, narrow_width, block, unit, unit == begin, item - chunk * d[PARTS],
                  partial, scratch)


@kernel
def _chunks_float32(d, scratch, first, last):
    _chunks(d, float32_at, 4, WIDE, NARROW, single_block, scratch, first, last)


@kernel
def _chunks_float64(d, scratch, first, last):
    _chunks(d, float64_at, 8, DOUBLE_WIDE, 0, double_any_block, scratch, first, last)


# --------------------------------------------------------------------------------------------------- depthwise, sum


@helper
def _depthwise_chunks(d, at, size, first, last):
    """Items: chunks. Every channel by itself: partial (kh, kw, C) += x * dy."""
    channels = d[C]
    for chunk in range(first, last):
        partial = at(d[PARTIAL] + chunk * d[KH] * d[KW] * channels * size)
        for i in range(d[KH] * d[KW] * channels):
            partial[i] = 0
        for unit in range(d[UNITS] * chunk // d[CHUNKS], d[UNITS] * (chunk + 1) // d[CHUNKS]):
            n = unit // (d[DOWN] * d[ACROSS])
            i0, j0 = unit // d[ACROSS] % d[DOWN] * d[UNIT_H], unit % d[ACROSS] * d[UNIT_W]
            for i in range(i0, min(i0 + d[UNIT_H], d[OH])):
                for tap in range(d[KH] * d[KW]):
                    p = tap // d[KW]
                    h, shift = i * d[STEP_H] + p * d[DILATION_H] - d[TOP], (tap - p * d[KW]) * d[DILATION_W] - d[LEFT]
                    total = at(d[PARTIAL] + (chunk * d[KH] * d[KW] + tap) * channels * size)
                    for j in range(j0, min(j0 + d[UNIT_W], d[OW]) if 0 <= h < d[H] else j0):
                        w = j * d[STEP_W] + shift
                        if 0 <= w < d[W]:
                            x = at(d[X] + ((n * d[H] + h) * d[W] + w) * channels * size)
                            dy = at(d[DY] + ((n * d[OH] + i) * d[OW] + j) * channels * size)
                            for c in range(channels):
                                total[c] += x[c] * dy[c]


@kernel
def _depthwise_float32(d, scratch, first, last):
    _depthwise_chunks(d, float32_at, 4, first, last)


@kernel
def _depthwise_float64(d, scratch, first, last):
    _depthwise_chunks(d, float64_at, 8, first, last)


@helper
def _sum(d, at, size, first, last):
    """Items: (tap, group and panel). out (tap, row, K) = the chunks' sums (tap, group and panel, row, width) in order.

    d: 0:partial 1:out 2:chunk bytes 3:chunks 4:groups 5:panels 6:rows 7:K 8:width
    """
    group_k, width = d[7] // d[4], d[8]
    for item in range(first, last):
        tap = item // (d[4] * d[5])
        gp = item - tap * d[4] * d[5]
        g = gp // d[5]
        k = (gp - g * d[5]) * width
        columns = min(width, group_k - k)
        for chunk in range(d[3]):
            partial = at(d[0] + chunk * d[2] + item * d[6] * width * size)
            out = at(d[1] + (tap * d[6] * d[7] + g * group_k + k) * size)
            for r in range(d[6]):
                if chunk == 0:
                    for i in range(columns):
                        out[r * d[7] + i] = partial[r * width + i]
                else:
                    for i in range(columns):
                        out[r * d[7] + i] += partial[r * width + i]


@kernel
def _sum_float32(d, scratch, first, last):
    _sum(d, float32_at, 4, first, last)


@kernel
def _sum_float64(d, scratch, first, last):
    _sum(d, float64_at, 8, first, last)


# ------------------------------------------------------------------------------------------------------- the calls


def _accumulate(x, dy, w_shape, stride, pad, dilation, groups, out, symmetric=False):
    """out (kh, kw, C/groups, K) = the weight gradient; x and dy contiguous and of one dtype.

    symmetric: x is dy and w_shape (1, 1, C, C); only what lies above the diagonal, and a little more, is filled.
    """
    (N, H, W, C), (_, OH, OW, K), (kh, kw) = x.shape, dy.shape, w_shape[:2]
    size, single = x.itemsize, x.dtype == np.float32
    width = WIDE if single else DOUBLE_WIDE
    depthwise = {C, K} == {groups}
    most = DEPTH if out.nbytes < _LARGE else 2 * DEPTH
    unit_w = min(OW, most) if most <= OW // 2 else OW
    unit_h = min(OH, max(1, most // unit_w))
    positions = OH * OW
    unit_n = 1 if depthwise or positions > most // 2 else min(N, most // positions)
    down, across = -(-OH // unit_h), -(-OW // unit_w)
    units = -(-N // unit_n) * down * across
    merged = groups == 1 and dilation[1] == 1
    taps, rows = (kh, kw * C) if merged else (kh * kw, C // groups)
    if depthwise:       # as if it were one panel with a row per tap
        taps, rows, panels, width, groups_ = 1, kh * kw, 1, C, 1
    else:
        panels, groups_ = -(-(K // groups) // width), groups
    panel_bytes = rows * width * size
    chunk_bytes = taps * groups_ * panels * panel_bytes
    chunks = int(max(1, min(units, _CHUNKS, _PARTIAL_BYTES // chunk_bytes)))
    aside = chunks > 1 or bool((K // groups_) % width)
    if not aside:       # one chunk of whole panels goes straight to its place
        panel_bytes = width * size
    parts = 1 if depthwise else min(panels, -(-2 * threads.get_threads() // chunks))
    reach = [(w_shape[a] - 1) * dilation[a] + 1 for a in (0, 1)]
    in_place = not any(pad)
    strip_w = W if in_place else (unit_w - 1) * stride[1] + reach[1]
    strip = 0 if in_place else unit_n * ((unit_h - 1) * stride[0] + reach[0]) * strip_w * C
    lanes = v.LANES if single else width
    padded_k = -(-K // lanes) * lanes
    if groups > 1 and (K // groups) % lanes:
        padded_k = K + width            # the last group's last panel reaches over its end
    copy = unit_n * unit_h * unit_w * padded_k if padded_k != K else 0
    zeros = np.zeros(width, x.dtype)
    with buffers.Lease(chunks * chunk_bytes if aside else 0) as partial:
        target = address(partial) if aside else address(out)
        d = np.array([address(x), address(dy), target, N, H, W, C, OH, OW, K, groups, C // groups, K // groups, kh, kw,
                      *stride, *dilation, pad[0], pad[2], unit_h, unit_w, down, across, units, chunks, parts, in_place,
                      strip_w, merged, address(zeros), padded_k, chunk_bytes // taps, panel_bytes,
                      (width if aside else K) * size, chunk_bytes, unit_n, symmetric], np.int64)
        if depthwise:
            threads.run(_depthwise_float32 if single else _depthwise_float64, d, chunks)
        else:
            job = _chunks_float32 if single else _chunks_float64
            threads.run(job, d, chunks * parts, 1, size * (strip + copy) + 16 * unit_n * unit_h)
        if aside:
            d = np.array([target, address(out), chunk_bytes, chunks, groups_, panels, rows, K, width])
            job = _sum_float32 if single else _sum_float64
            threads.run(job, d, taps * groups_ * panels, 4)


def conv2d_backward_weight(dy, x, w_shape, stride, pad, dilation, groups, precision="float32"):
    """dw[p,q,c,k] = sum over n,i,j of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * dy[n,i,j,k]."""
    how = choice.algorithm(dy.shape[1:3], w_shape, stride, pad, dilation, groups, precision, dy.dtype)
    dy = np.ascontiguousarray(dy)
    x = np.ascontiguousarray(x, dy.dtype)
    dw = (np.empty if dy.size else np.zeros)(w_shape, dy.dtype)
    if not (dw.size and dy.size):
        return dw
    if how.tile:
        winograd_weight.weight_gradient(x, dy, dw, how.tile, (pad[0], pad[2]))
    else:
        _accumulate(x, dy, w_shape, stride, pad, dilation, groups, dw)
    return dw


def linear_backward_weight(dy, x):
    """dw[c,k] = sum over n of x[n,c] dy[n,k]."""
    (N, C), K = x.shape, dy.shape[1]
    dw = conv2d_backward_weight(dy.reshape(1, 1, N, K), x.reshape(1, 1, N, C), (1, 1, C, K), (1, 1), (0, 0, 0, 0),
                                (1, 1), 1)
    return dw.reshape(C, K)


def gram(x):
    """G[n,c,d] = sum over positions of x[n,i,j,c] x[n,i,j,d]. Gatys et al. 2015, arXiv:1505.07376.

    G is symmetric: the products above the diagonal are made, the others copied.
    """
    x = np.ascontiguousarray(x)
    C = x.shape[3]
    G = np.zeros((x.shape[0], C, C), x.dtype)
    for n in range(x.shape[0] if x.size else 0):
        _accumulate(x[n:n + 1], x[n:n + 1], (1, 1, C, C), (1, 1), (0, 0, 0, 0), (1, 1), 1, G[n].reshape(1, 1, C, C),
                    symmetric=True)
        for k in range(0, C, NARROW):
            G[n, k + NARROW:, k:k + NARROW] = G[n, k:k + NARROW, k + NARROW:].T
    return G
