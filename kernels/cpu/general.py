"""Convolution of any kind, and its input gradient: filters of any size, stride, padding, dilation, groups.

Both directions are one problem here, a "tap convolution". A source picture is read at a regular grid of positions; at
each, every tap (dr, dc) contributes source[row + dr, column + dc] times that tap's matrix; the result goes to a regular
grid of positions in the destination.

    forward    one grid; source steps by the stride, destination by 1; taps (p*dh, q*dw)
    gradient   one grid per phase (row % sh, column % sw) of dx, since each phase meets another part of the filter;
               source dy steps by 1, destination by the stride; the taps of a phase are the p with
               (row + top - p*dh) % sh == 0, at dr = (row + top - p*dh) / sh

The destination is cut into tiles. For a tile, the rows of the source that it reads are copied into scratch memory with
zeros for the padding (not where nothing is padded), a cache-sized strip; then contract.py runs over the strip in place.
Taps that are neighbours in a row make one segment of the sum, since their channels lie side by side. Weights are first
packed into panels of as many output channels as the micro-kernel's registers hold, in the order of the sum.

Every number is one sum in the order of taps and channels, so no bit depends on tiles, threads or batch.
"""
import itertools
from typing import NamedTuple

import numpy as np

from .. import reference
from . import buffers, threads
from .addresses import address, float32_at, float64_at, int64_at
from .compile_cache import helper, kernel
from .contract import DOUBLE_WIDE, NARROW, ROWS, WIDE, double_block, narrow_block, wide_block

_STRIP_BYTES = 384 << 10     # a strip and a panel of weights share the second-level cache
_TILE = 32 * ROWS            # output positions per tile, about: a panel is fetched once per tile

(SOURCE, OUT, N, H, W, C, OUT_H, OUT_W, K, GROUPS, GROUP_C, GROUP_K, ROW_STEP, COLUMN_STEP, ROW_MIN, COLUMN_MIN, ROW_SPAN,
 COLUMN_SPAN, OUT_ROW_STEP, OUT_COLUMN_STEP, TILE_H, TILE_W, DOWN, ACROSS, PARTS, PHASES, PHASE_TABLE, BIAS, IN_PLACE,
 RELU, GRID_H, GRID_W, STRIP_W) = range(33)
(SEGMENTS, DEPTH, TABLE, PANELS, ROW_PHASE, COLUMN_PHASE) = range(6)
PHASE_FIELDS = 6


# -------------------------------------------------------------------------------------------------------- kernels


@helper
def _fill_strip(source, strip, H, W, C, row0, column0, rows, columns):
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
def _rectify(y, count):
    for i in range(count):
        y[i] = 0 if y[i] <= 0 else y[i]


@helper
def _copy_columns(block, y, rows, columns, block_row, y_row):
    for i in range(rows):
        for j in range(columns):
            y[i * y_row + j] = block[i * block_row + j]


@helper
def _row_of_blocks(block, at, size, width, panel_width, count, columns, a, a_row, phase, panel, bias, out, out_row, aside,
                   relu):
    """`count` output positions side by side, `columns` <= width output channels."""
    blocks = (count + ROWS - 1) // ROWS
    step = size * panel_width
    for i in range(blocks):
        begin = count * i // blocks             # blocks of nearly equal height: no thin one at the end
        rows = count * (i + 1) // blocks - begin
        c = out + begin * out_row
        target, target_row = (c, out_row) if columns == width else (aside, size * width)
        block(rows, a + begin * a_row, a_row, size, phase[TABLE], phase[SEGMENTS], panel, step, step * phase[DEPTH],
              phase[DEPTH], bias, 0, target, target_row)
        if columns < width:
            _copy_columns(at(aside), at(c), rows, columns, width, out_row // size)
        if relu:
            for r in range(rows):
                _rectify(at(c + r * out_row), columns)


@helper
def _panel_of_tile(d, phase, block, at, size, width, panel_width, column, count, panel, bias, a, row_bytes, n, u0, u1, v0,
                   v1, aside):
    """All positions of a tile, `count` output channels from `column` on. a: where the tile begins in the source."""
    a_row = d[COLUMN_STEP] * d[C] * size
    out_row = d[OUT_COLUMN_STEP] * d[K] * size
    wide = min(v1, (d[OUT_W] - phase[COLUMN_PHASE] + d[OUT_COLUMN_STEP] - 1) // d[OUT_COLUMN_STEP]) - v0
    for u in range(u0, u1):
        row = u * d[OUT_ROW_STEP] + phase[ROW_PHASE]
        if row < d[OUT_H] and wide > 0:
            position = (n * d[OUT_H] + row) * d[OUT_W] + v0 * d[OUT_COLUMN_STEP] + phase[COLUMN_PHASE]
            _row_of_blocks(block, at, size, width, panel_width, wide, count, a + (u - u0) * d[ROW_STEP] * row_bytes, a_row,
                           phase, panel, bias, d[OUT] + size * (position * d[K] + column), out_row, aside, d[RELU])


@helper
def _tiles(d, at, size, width, narrow, wide_block, narrow_block, scratch, first, last):
    """Items: (picture, tile row, tile column, part of the output channels)."""
    panels = (d[GROUP_K] + width - 1) // width
    for item in range(first, last):
        part = item % d[PARTS]
        tile = item // d[PARTS]
        n = tile // (d[DOWN] * d[ACROSS])
        tile -= n * d[DOWN] * d[ACROSS]
        u0, v0 = tile // d[ACROSS] * d[TILE_H], tile % d[ACROSS] * d[TILE_W]
        u1, v1 = min(u0 + d[TILE_H], d[GRID_H]), min(v0 + d[TILE_W], d[GRID_W])
        row0, column0 = u0 * d[ROW_STEP] + d[ROW_MIN], v0 * d[COLUMN_STEP] + d[COLUMN_MIN]
        aside, a = scratch, scratch + ROWS * width * size
        row_bytes = d[STRIP_W] * d[C] * size
        if d[IN_PLACE]:
            a = d[SOURCE] + ((n * d[H] + row0) * d[W] + column0) * d[C] * size
        else:
            _fill_strip(at(d[SOURCE] + n * d[H] * d[W] * d[C] * size), at(a), d[H], d[W], d[C], row0, column0,
                        (u1 - u0 - 1) * d[ROW_STEP] + d[ROW_SPAN], d[STRIP_W])
        for f in range(d[PHASES]):
            phase = int64_at(d[PHASE_TABLE] + 8 * PHASE_FIELDS * f)
            if phase[SEGMENTS] == 0:
                continue
            for gp in range(d[GROUPS] * panels):
                g = gp // panels
                p = gp - g * panels
                if panels * part // d[PARTS] <= p < panels * (part + 1) // d[PARTS]:
                    count = min(width, d[GROUP_K] - p * width)
                    panel = phase[PANELS] + gp * phase[SEGMENTS] * phase[DEPTH] * width * size
                    source = a + g * d[GROUP_C] * size
                    column = g * d[GROUP_K] + p * width
                    bias = d[BIAS] + gp * width * size
                    if count > narrow:
                        _panel_of_tile(d, phase, wide_block, at, size, width, width, column, count, panel, bias, source,
                                       row_bytes, n, u0, u1, v0, v1, aside)
                    else:
                        _panel_of_tile(d, phase, narrow_block, at, size, narrow, width, column, count, panel, bias,
                                       source, row_bytes, n, u0, u1, v0, v1, aside)


@kernel
def _tiles_float32(d, scratch, first, last):
    _tiles(d, float32_at, 4, WIDE, NARROW, wide_block, narrow_block, scratch, first, last)


@kernel
def _tiles_float64(d, scratch, first, last):
    _tiles(d, float64_at, 8, DOUBLE_WIDE, 0, double_block, double_block, scratch, first, last)


# ---------------------------------------------------------------------------------------------- packing of weights

(WEIGHTS, PACKED, TAPS, TAP_TABLE, ROWS_PER_TAP, ROW_STRIDE, PANEL_STRIDE, COLUMNS, PACK_PANELS, GROUP_STRIDE) = range(10)


@helper
def _pack(d, at, size, width, first, last):
    """Items: (group, panel). packed[tap, row, column] = weights[tap offset + group, row and column strides], 0 beyond."""
    taps = int64_at(d[TAP_TABLE])
    rows = d[ROWS_PER_TAP]
    for item in range(first, last):
        g = item // d[PACK_PANELS]
        begin = (item - g * d[PACK_PANELS]) * width
        columns = min(width, d[COLUMNS] - begin)
        for t in range(d[TAPS]):
            source = at(d[WEIGHTS] + size * (taps[t] + g * d[GROUP_STRIDE] + begin * d[PANEL_STRIDE]))
            out = at(d[PACKED] + size * (item * d[TAPS] + t) * rows * width)
            if columns < width:
                for i in range(rows * width):
                    out[i] = 0
            if d[PANEL_STRIDE] == 1:
                for r in range(rows):
                    for c in range(columns):
                        out[r * width + c] = source[r * d[ROW_STRIDE] + c]
            else:
                for r0 in range(0, rows, 16):           # whole cache lines of a transposed matrix
                    for c in range(columns):
                        for r in range(r0, min(r0 + 16, rows)):
                            out[r * width + c] = source[r * d[ROW_STRIDE] + c * d[PANEL_STRIDE]]


@kernel
def _pack_float32(d, scratch, first, last):
    _pack(d, float32_at, 4, WIDE, first, last)


@kernel
def _pack_float64(d, scratch, first, last):
    _pack(d, float64_at, 8, DOUBLE_WIDE, first, last)


# ------------------------------------------------------------------------------------------------------- planning


class _Phase(NamedTuple):
    """One grid of outputs: where it begins in the destination, and its taps (dr, dc, p, q) in the order of the sum."""
    row: int
    column: int
    taps: list


def _forward_phases(kernel_size, dilation, pad):
    taps = [(p * dilation[0] - pad[0], q * dilation[1] - pad[2], p, q)
            for p in range(kernel_size[0]) for q in range(kernel_size[1])]
    return [_Phase(0, 0, taps)]


def _gradient_phases(kernel_size, stride, dilation, pad):
    def meets(axis, phase):
        """(source step, filter cell) of the cells that reach the outputs of this phase, nearest source first."""
        found = [((phase + pad[2 * axis] - p * dilation[axis]), p) for p in range(kernel_size[axis])]
        return sorted((distance // stride[axis], p) for distance, p in found if distance % stride[axis] == 0)
    return [_Phase(a, b, [(dr, dc, p, q) for dr, p in meets(0, a) for dc, q in meets(1, b)])
            for a, b in itertools.product(range(stride[0]), range(stride[1]))]


def _merged(taps, groups):
    """How many taps in a row are neighbours in the source, so that they make one segment: the same number everywhere."""
    if groups > 1:
        return 1
    width = sum(1 for t in taps if t[0] == taps[0][0])
    neighbours = all(b[1] == a[1] + 1 for a, b in itertools.pairwise(taps[:width]))
    return width if neighbours else 1


class _Taps:
    """A tap convolution from (N, H, W, C) to (N, OH, OW, K): geometry, weights as (tap matrices) and how they lie.

    step: of the source; out_step: of the destination. weights: the array (kh, kw, ., .); along_depth and along_columns
    name its axes that are summed over and that become output channels.
    """

    def __init__(self, source, out, groups, step, out_step, phases, weights, along_depth, along_columns):
        self.source, self.out, self.groups, self.step, self.out_step = source, out, groups, step, out_step
        self.phases, self.weights = phases, weights
        self.size = source.itemsize
        self.width = WIDE if self.size == 4 else DOUBLE_WIDE
        self.group_c, self.group_k = source.shape[3] // groups, out.shape[3] // groups
        self.panels = -(-self.group_k // self.width)
        self.w_strides = [s // self.size for s in weights.strides]
        self.depth_stride, self.column_stride = self.w_strides[along_depth], self.w_strides[along_columns]
        everything = [t for phase in phases for t in phase.taps]
        self.low = [min(t[a] for t in everything) for a in (0, 1)]
        self.span = [max(t[a] for t in everything) - self.low[a] + 1 for a in (0, 1)]
        self.grid = [-(-out.shape[1 + a] // out_step[a]) for a in (0, 1)]
        self._cut()

    def _cut(self):
        """Tiles, and whether the source can be read where it is."""
        _, H, W, C = self.source.shape
        rows, columns = self.grid
        self.in_place = all(self.low[a] >= 0 and (self.grid[a] - 1) * self.step[a] + self.low[a] + self.span[a]
                            <= self.source.shape[1 + a] for a in (0, 1))
        most = _TILE if rows == 1 else 8 * ROWS
        across = -(-columns // most)
        self.tile_w = columns if across == 1 else -(-columns // across // ROWS) * ROWS + ROWS
        self.strip_w = W if self.in_place else (self.tile_w - 1) * self.step[1] + self.span[1]
        fitting = (_STRIP_BYTES // (self.strip_w * C * self.size) - self.span[0]) // self.step[0] + 1
        tall = max(1, min(rows, -(-_TILE // self.tile_w), rows if self.in_place else fitting))
        self.down = -(-rows // tall)
        self.tile_h = -(-rows // self.down)
        self.across = -(-columns // self.tile_w)
        items = self.source.shape[0] * self.down * self.across
        self.parts = min(self.panels, max(1, -(-4 * threads.get_threads() // items)))
        self.items = items * self.parts

    def run(self, bias, relu=False):
        """Pack the weights, compute."""
        taps = sum(len(phase.taps) for phase in self.phases)
        packed_bytes = taps * self.group_c * self.groups * self.panels * self.width * self.size
        start = np.zeros((self.groups, self.panels * self.width), self.source.dtype)
        if bias is not None:
            start[:, :self.group_k] = bias.reshape(self.groups, self.group_k)
        with buffers.Lease(packed_bytes) as packed:
            table, keep = self._pack(address(packed))
            N, H, W, C = self.source.shape
            d = np.array([address(self.source), address(self.out), N, H, W, C, *self.out.shape[1:], self.groups,
                          self.group_c, self.group_k, *self.step, *self.low, *self.span, *self.out_step, self.tile_h,
                          self.tile_w, self.down, self.across, self.parts, len(self.phases), address(table),
                          address(start), self.in_place, relu, *self.grid, self.strip_w], np.int64)
            strip = 0 if self.in_place else ((self.tile_h - 1) * self.step[0] + self.span[0]) * self.strip_w * C
            job = _tiles_float32 if self.size == 4 else _tiles_float64
            threads.run(job, d, self.items, 1, self.size * (ROWS * self.width + strip))
            del keep

    def _pack(self, place):
        """Pack each phase's weights from address `place` on. -> the phase table, and arrays it points to."""
        table, keep = np.zeros((len(self.phases), PHASE_FIELDS), np.int64), []
        job = _pack_float32 if self.size == 4 else _pack_float64
        for row, phase in zip(table, self.phases):
            if not phase.taps:
                continue
            together = _merged(phase.taps, self.groups)
            offsets = np.array([((dr - self.low[0]) * self.strip_w + dc - self.low[1]) * self.source.shape[3] * self.size
                                for dr, dc, _, _ in phase.taps[::together]], np.int64)
            cells = np.array([p * self.w_strides[0] + q * self.w_strides[1] for _, _, p, q in phase.taps], np.int64)
            row[:] = (len(offsets), together * self.group_c, address(offsets), place, phase.row, phase.column)
            d = np.array([address(self.weights), place, len(cells), address(cells), self.group_c, self.depth_stride,
                          self.column_stride, self.group_k, self.panels, self.group_k_stride()], np.int64)
            threads.run(job, d, self.groups * self.panels)
            place += len(cells) * self.group_c * self.groups * self.panels * self.width * self.size
            keep.append(offsets)
        return table, keep

    def group_k_stride(self):
        """From one group's weights to the next: groups always divide the last axis of (kh, kw, C/groups, K)."""
        return self.weights.shape[3] // self.groups * self.w_strides[3]


# -------------------------------------------------------------------------------------------------------- kernels


def conv2d_forward(x, w, b, stride, pad, dilation, groups, precision="float32"):
    """y[n,i,j,k] = b[k] + sum over p,q,c of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * w[p,q,c,k]."""
    x, w = np.ascontiguousarray(x), np.asarray(w, x.dtype)
    kh, kw, _, K = w.shape
    out = np.empty((x.shape[0], *reference._output_shape(x.shape, (kh, kw), stride, pad, dilation), K), x.dtype)
    source, target = _flat(x, out, w, stride, pad)
    _Taps(source, target, groups, stride, (1, 1), _forward_phases((kh, kw), dilation, pad), w, 2, 3).run(b)
    return out


def conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups, precision="float32"):
    """dx: every output position hands dy[k] * w[p,q,c,k] back to the input cell it read. The transpose of forward."""
    dy, w = np.ascontiguousarray(dy), np.asarray(w, dy.dtype)
    phases = _gradient_phases(w.shape[:2], stride, dilation, pad)
    dx = (np.empty if all(phase.taps for phase in phases) else np.zeros)(x_shape, dy.dtype)
    source, target = _flat(dy, dx, w, stride, pad)
    _Taps(source, target, groups, (1, 1), stride, phases, w, 3, 2).run(None)
    return dx


def _flat(source, out, w, stride, pad):
    """A 1x1 filter without stride and padding knows no rows: all positions are one long row."""
    if w.shape[:2] == (1, 1) and tuple(stride) == (1, 1) and not any(pad):
        return source.reshape(1, 1, -1, source.shape[3]), out.reshape(1, 1, -1, out.shape[3])
    return source, out
