"""The kernels behind general.py: how a tile of a tap convolution is computed.

Three ways: `tiles` (output positions are the rows of a block, output channels its columns), `flat` (few output
channels: they are the rows, and neighbouring positions the columns, read from a strip with the channels turned
outside), and `depthwise` (every channel by itself, channels side by side in a vector). And the packing of weights
into panels. Descriptors and phase tables are made in general.py; the numbers below are the places in them.
"""
from . import vector as v
from .addresses import float32_at, float64_at, int64_at, uint8_at
from .compile_cache import helper, kernel
from .contract import (
    DEPTHWISE_ROWS,
    DOUBLE_WIDE,
    FLAT,
    FLAT_ROWS,
    NARROW,
    WIDE,
    decide_vectors,
    depthwise_block,
    double_any_block,
    flat_block,
    rectify_vectors,
    single_block,
)
from .gemm import ROWS

(SOURCE, OUT, N, H, W, C, OUT_H, OUT_W, K, GROUPS, GROUP_C, GROUP_K, ROW_STEP, COLUMN_STEP, ROW_MIN, COLUMN_MIN,
 ROW_SPAN, COLUMN_SPAN, OUT_ROW_STEP, OUT_COLUMN_STEP, TILE_H, TILE_W, DOWN, ACROSS, PARTS, PHASES, PHASE_TABLE,
 BIAS, IN_PLACE, GRID_H, GRID_W, STRIP_W, RELU, BITS, BITS_ROW, BITS_PICTURE, BITS_POSITION) = range(37)
(SEGMENTS, DEPTH, TABLE, PANELS, ROW_PHASE, COLUMN_PHASE) = range(6)
PHASE_FIELDS = 6


@helper
def _first_row(d, item):
    """Of the grid; likewise the other bounds of the item's tile."""
    return item // (d[PARTS] * d[ACROSS]) % d[DOWN] * d[TILE_H]


@helper
def _first_column(d, item):
    return item // d[PARTS] % d[ACROSS] * d[TILE_W]


@helper
def _picture(d, item):
    return item // (d[PARTS] * d[ACROSS] * d[DOWN])


@helper
def fill_strip(source, strip, H, W, C, row0, column0, rows, columns):
    """strip (rows, columns, C) = the source picture from (row0, column0) on, zeros outside of it."""
    left = min(max(0, -column0), columns)
    right = max(left, min(columns, W - column0))
    for r in range(rows):
        out = r * columns * C
        h = row0 + r
        inside = 0 <= h < H
        begin, end = (out + left * C, out + right * C) if inside else (out, out)
        for i in range(out, begin):
            strip[i] = 0
        shift = (h * W + column0) * C - out
        for i in range(begin, end):
            strip[i] = source[shift + i]
        for i in range(end, out + columns * C):
            strip[i] = 0


@helper
def _tile_source(d, at, size, item, strip):
    """Where the tile's part of the source begins: in place, or copied to `strip` first."""
    u0, v0, n = _first_row(d, item), _first_column(d, item), _picture(d, item)
    row0, column0 = u0 * d[ROW_STEP] + d[ROW_MIN], v0 * d[COLUMN_STEP] + d[COLUMN_MIN]
    if d[IN_PLACE]:
        return d[SOURCE] + ((n * d[H] + row0) * d[W] + column0) * d[C] * size
    rows = (min(d[TILE_H], d[GRID_H] - u0) - 1) * d[ROW_STEP] + d[ROW_SPAN]
    fill_strip(at(d[SOURCE] + n * d[H] * d[W] * d[C] * size), at(strip), d[H], d[W], d[C], row0, column0, rows,
               d[STRIP_W])
    return strip


@helper
def _positions(d, phase, v0):
    """How many columns of the grid, from v0 to the tile's end, lie inside the destination."""
    inside = (d[OUT_W] - phase[COLUMN_PHASE] + d[OUT_COLUMN_STEP] - 1) // d[OUT_COLUMN_STEP]
    return min(v0 + d[TILE_W], d[GRID_W], inside) - v0


@helper
def _finish(d, at, size, n, row, column, channel, y, y_row, count, channels):
    """ReLU and, if asked for, its bits (decisions.py; float32 without groups) on `count` neighbouring positions."""
    vectors = channels // v.LANES if size == 4 else 0
    for i in range(count):
        place = y + i * y_row
        bits = d[BITS] + n * d[BITS_PICTURE] + row * d[BITS_ROW] + (column + i * d[OUT_COLUMN_STEP]) * d[BITS_POSITION]
        bits += channel // v.LANES * v.BITS_BYTES
        if vectors and d[BITS]:
            decide_vectors(place, bits, vectors)
        elif vectors:
            rectify_vectors(place, vectors)
        numbers, out = at(place), uint8_at(bits + vectors * v.BITS_BYTES)
        byte = 0
        for j in range(vectors * v.LANES, channels):
            bit = j - vectors * v.LANES
            if numbers[j] > 0:
                byte |= 1 << (bit & 7)
            numbers[j] = 0 if numbers[j] <= 0 else numbers[j]
            if d[BITS] and (bit & 7 == 7 or j == channels - 1):
                out[bit >> 3] = byte
                byte = 0


# ---------------------------------------------------------------------------------------------------------- tiles


@helper
def _copy_columns(block, y, rows, columns, block_row, y_row):
    for i in range(rows):
        for j in range(columns):
            y[i * y_row + j] = block[i * block_row + j]


@helper
def _row_of_blocks(block, narrow, at, size, width, step, count, columns, a, a_row, phase, panel, bias, out, out_row,
                   aside):
    """`count` output positions side by side, `columns` <= width output channels; step: bytes of a row of the panel."""
    blocks = (count + ROWS - 1) // ROWS
    for i in range(blocks):
        begin = count * i // blocks             # blocks of nearly equal height: no thin one at the end
        rows = count * (i + 1) // blocks - begin
        c = out + begin * out_row
        target, target_row = (c, out_row) if columns == width else (aside, size * width)
        block(narrow, rows, a + begin * a_row, a_row, size, phase[TABLE], phase[SEGMENTS], panel, step, phase[DEPTH],
              bias, 0, target, target_row)
        if columns < width:
            _copy_columns(at(aside), at(c), rows, columns, width, out_row // size)


@helper
def _panel_of_tile(d, phase, block, narrow, at, size, width, step, channel, count, panel, bias, a, item, aside):
    """All positions of a tile, `count` output channels from `channel` on. a: where the tile begins in the source."""
    u0, v0, n = _first_row(d, item), _first_column(d, item), _picture(d, item)
    positions = _positions(d, phase, v0)
    row_bytes = d[STRIP_W] * d[C] * size * d[ROW_STEP]
    column = v0 * d[OUT_COLUMN_STEP] + phase[COLUMN_PHASE]
    out_row = d[OUT_COLUMN_STEP] * d[K] * size
    for u in range(u0, min(u0 + d[TILE_H], d[GRID_H])):
        row = u * d[OUT_ROW_STEP] + phase[ROW_PHASE]
        if row < d[OUT_H] and positions > 0:
            out = d[OUT] + size * (((n * d[OUT_H] + row) * d[OUT_W] + column) * d[K] + channel)
            _row_of_blocks(block, narrow, at, size, width, step, positions, count, a + (u - u0) * row_bytes,
                           d[COLUMN_STEP] * d[C] * size, phase, panel, bias, out, out_row, aside)
            if d[RELU]:
                _finish(d, at, size, n, row, column, channel, out, out_row, positions, count)


@helper
def _tiles(d, at, size, width, narrow_width, block, scratch, first, last):
    """Items: (picture, tile row, tile column, part of the output channels)."""
    panels = (d[GROUP_K] + width - 1) // width
    for item in range(first, last):
        part = item % d[PARTS]
        a = _tile_source(d, at, size, item, scratch + ROWS * width * size)
        for f in range(d[PHASES]):
            phase = int64_at(d[PHASE_TABLE] + 8 * PHASE_FIELDS * f)
            for gp in range(d[GROUPS] * panels):
                g = gp // panels
                p = gp - g * panels
                if phase[SEGMENTS] > 0 and panels * part // d[PARTS] <= p < panels * (part + 1) // d[PARTS]:
                    count = min(width, d[GROUP_K] - p * width)
                    panel = phase[PANELS] + gp * phase[SEGMENTS] * phase[DEPTH] * width * size
                    source, channel = a + g * d[GROUP_C] * size, g * d[GROUP_K] + p * width
                    bias = d[BIAS] + gp * width * size
                    narrow = count <= narrow_width
                    _panel_of_tile(d, phase, block, narrow, at, size, narrow_width if narrow else width, width * size,
                                   channel, count, panel, bias, source, item, scratch)


@kernel
def tiles_float32(d, scratch, first, last):
    _tiles(d, float32_at, 4, WIDE, NARROW, single_block, scratch, first, last)


@kernel
def tiles_float64(d, scratch, first, last):
    _tiles(d, float64_at, 8, DOUBLE_WIDE, 0, double_any_block, scratch, first, last)


# ----------------------------------------------------------------------------------------------------------- flat


@helper
def _fill_turned(source, strip, H, W, C, row0, column0, rows, columns):
    """strip (rows, C, columns) = the source picture with channels outside, zeros beyond its border."""
    for r in range(rows):
        h = row0 + r
        for j0 in range(0, columns, 16):            # a cache line of each channel at a time
            j1 = min(j0 + 16, columns)
            inside = 0 <= h < H and column0 + j0 >= 0 and column0 + j1 <= W
            for c in range(C):
                out = (r * C + c) * columns
                if inside:
                    for j in range(j0, j1):
                        strip[out + j] = source[(h * W + column0 + j) * C + c]
                else:
                    for j in range(j0, j1):
                        w = column0 + j
                        strip[out + j] = source[(h * W + w) * C + c] if 0 <= h < H and 0 <= w < W else 0


@kernel
def flat_float32(d, scratch, first, last):
    """Items: (picture, tile row, tile column). Few output channels per group, source steps of 1."""
    spread, aside = scratch, scratch + FLAT_ROWS * FLAT * 4       # a bias in every column; a finished block
    strip = aside + FLAT_ROWS * FLAT * 4
    few = d[GROUP_K]
    for item in range(first, last):
        u0, v0, n = _first_row(d, item), _first_column(d, item), _picture(d, item)
        u1 = min(u0 + d[TILE_H], d[GRID_H])
        _fill_turned(float32_at(d[SOURCE] + n * d[H] * d[W] * d[C] * 4), float32_at(strip), d[H], d[W], d[C],
                     u0 + d[ROW_MIN], v0 + d[COLUMN_MIN], u1 - u0 - 1 + d[ROW_SPAN], d[STRIP_W])
        for g in range(d[GROUPS]):
            bias, starts, block = float32_at(d[BIAS] + 4 * WIDE * g), float32_at(spread), float32_at(aside)
            for i in range(few * FLAT):
                starts[i] = bias[i // FLAT]
            for f in range(d[PHASES]):
                phase = int64_at(d[PHASE_TABLE] + 8 * PHASE_FIELDS * f)
                positions = _positions(d, phase, v0) if phase[SEGMENTS] > 0 else 0
                panel = phase[PANELS] + g * phase[SEGMENTS] * phase[DEPTH] * WIDE * 4
                for u in range(u0, u1):
                    row = u * d[OUT_ROW_STEP] + phase[ROW_PHASE]
                    if row >= d[OUT_H]:
                        break
                    source = strip + 4 * ((u - u0) * d[C] + g * d[GROUP_C]) * d[STRIP_W]
                    for j0 in range(0, positions, FLAT):
                        flat_block(few, panel, 4, 4 * WIDE, phase[TABLE], phase[SEGMENTS], source + 4 * j0,
                                   4 * d[STRIP_W], phase[DEPTH], spread, 4 * FLAT, aside, 4 * FLAT)
                        column = (v0 + j0) * d[OUT_COLUMN_STEP] + phase[COLUMN_PHASE]
                        place = d[OUT] + 4 * (((n * d[OUT_H] + row) * d[OUT_W] + column) * d[K] + g * few)
                        out, out_row, count = float32_at(place), d[OUT_COLUMN_STEP] * d[K], min(FLAT, positions - j0)
                        for k in range(few):
                            for j in range(count):
                                out[j * out_row + k] = block[k * FLAT + j]
                        if d[RELU]:
                            _finish(d, float32_at, 4, n, row, column, g * few, place, 4 * out_row, count, few)


# ------------------------------------------------------------------------------------------------------ depthwise


@kernel
def depthwise_float32(d, scratch, first, last):
    """Items: (picture, tile row, tile column). One input and one output channel per group; at least LANES channels."""
    channels = d[C]
    vectors = (channels + v.LANES - 1) // v.LANES
    for item in range(first, last):
        u0, v0, n = _first_row(d, item), _first_column(d, item), _picture(d, item)
        a = _tile_source(d, float32_at, 4, item, scratch)
        for f in range(d[PHASES]):
            phase = int64_at(d[PHASE_TABLE] + 8 * PHASE_FIELDS * f)
            positions = _positions(d, phase, v0) if phase[SEGMENTS] > 0 else 0
            column = v0 * d[OUT_COLUMN_STEP] + phase[COLUMN_PHASE]
            out_row = 4 * d[OUT_COLUMN_STEP] * channels
            for u in range(u0, min(u0 + d[TILE_H], d[GRID_H])):
                row = u * d[OUT_ROW_STEP] + phase[ROW_PHASE]
                if row >= d[OUT_H] or positions <= 0:
                    break
                out = d[OUT] + 4 * ((n * d[OUT_H] + row) * d[OUT_W] + column) * channels
                source = a + 4 * (u - u0) * d[ROW_STEP] * d[STRIP_W] * channels
                for i in range(0, positions, DEPTHWISE_ROWS):
                    for vector in range(vectors):
                        c = 4 * min(vector * v.LANES, channels - v.LANES)   # the last may overlap: the same numbers
                        depthwise_block(min(DEPTHWISE_ROWS, positions - i),
                                        source + 4 * i * d[COLUMN_STEP] * channels + c,
                                        4 * d[COLUMN_STEP] * channels, phase[TABLE], phase[SEGMENTS],
                                        phase[PANELS] + c, d[BIAS] + c, out + i * out_row + c, out_row)
                if d[RELU]:
                    _finish(d, float32_at, 4, n, row, column, 0, out, out_row, positions, channels)


# ---------------------------------------------------------------------------------------------- packing of weights

(WEIGHTS, PACKED, TAPS, TAP_TABLE, ROWS_PER_TAP, ROW_STRIDE, COLUMN_STRIDE, COLUMNS, PACK_PANELS,
 GROUP_STRIDE) = range(10)


@helper
def _pack(d, at, size, width, first, last):
    """Items: (group, panel). packed[tap, row, column] = weights[tap offset + group, row and column strides], else 0."""
    taps = int64_at(d[TAP_TABLE])
    rows = d[ROWS_PER_TAP]
    for item in range(first, last):
        g = item // d[PACK_PANELS]
        begin = (item - g * d[PACK_PANELS]) * width
        columns = min(width, d[COLUMNS] - begin)
        for t in range(d[TAPS]):
            source = at(d[WEIGHTS] + size * (taps[t] + g * d[GROUP_STRIDE] + begin * d[COLUMN_STRIDE]))
            out = at(d[PACKED] + size * (item * d[TAPS] + t) * rows * width)
            if columns < width:
                for i in range(rows * width):
                    out[i] = 0
            if d[COLUMN_STRIDE] == 1:
                for r in range(rows):
                    for c in range(columns):
                        out[r * width + c] = source[r * d[ROW_STRIDE] + c]
            else:
                for r0 in range(0, rows, 16):           # whole cache lines of a transposed matrix
                    for c in range(columns):
                        for r in range(r0, min(r0 + 16, rows)):
                            out[r * width + c] = source[r * d[ROW_STRIDE] + c * d[COLUMN_STRIDE]]


@kernel
def pack_float32(d, scratch, first, last):
    _pack(d, float32_at, 4, WIDE, first, last)


@kernel
def pack_float64(d, scratch, first, last):
    _pack(d, float64_at, 8, DOUBLE_WIDE, first, last)
