"""Convolution of any kind, and its input gradient: filters of any size, stride, padding, dilation, groups.

Both directions are one problem here, a "tap convolution". A source picture is read at a regular grid of positions; at
each, every tap (dr, dc) contributes source[row + dr, column + dc] times that tap's matrix; the result goes to a
regular grid of positions in the destination.

    forward    one grid; source steps by the stride, destination by 1; taps (p*dh - top, q*dw - left)
    gradient   one grid per phase (row % sh, column % sw) of dx, since each phase meets another part of the filter;
               source dy steps by 1, destination by the stride; the taps of a phase are the p with
               (row + top - p*dh) % sh == 0, at dr = (row + top - p*dh) / sh

The destination is cut into tiles. For a tile, the rows of the source that it reads are copied into scratch memory
with zeros for the padding (not where nothing is padded), a cache-sized strip; then a micro-kernel of contract.py runs
over the strip in place (taps.py). Taps that are neighbours in a row make one segment of the sum, since their channels
lie side by side. Weights are first packed into panels of as many output channels as the micro-kernel's registers
hold.

Every number is one sum in the order of taps and channels, so no bit depends on tiles, threads or batch.
"""
import functools
import itertools
from typing import NamedTuple

import numpy as np

from .. import reference
from . import buffers, taps, threads
from . import vector as v
from .addresses import address
from .contract import DOUBLE_WIDE, FLAT, FLAT_ROWS, WIDE
from .gemm import ROWS

_STRIP_BYTES = 384 << 10     # a strip and a panel of weights share the second-level cache
_ALONE = 1 << 21             # multiply-adds that are done before another thread has woken up
_TILE = 32 * ROWS            # output positions per tile, about: a panel is fetched once per tile


# ----------------------------------------------------------------------------------------------------------- grids


class _Phase(NamedTuple):
    """One grid of outputs: where it begins in the destination, and its taps (dr, dc, p, q) in the order of the sum."""
    row: int
    column: int
    taps: list


def _forward_phases(kernel_size, dilation, pad):
    return [_Phase(0, 0, [(p * dilation[0] - pad[0], q * dilation[1] - pad[2], p, q)
                          for p in range(kernel_size[0]) for q in range(kernel_size[1])])]


def _gradient_phases(kernel_size, stride, dilation, pad):
    def meets(axis, phase):
        """(source step, filter cell) of the cells that reach the outputs of this phase, in the order of the source."""
        found = [(phase + pad[2 * axis] - p * dilation[axis], p) for p in range(kernel_size[axis])]
        return sorted((distance // stride[axis], p) for distance, p in found if distance % stride[axis] == 0)
    return [_Phase(a, b, [(dr, dc, p, q) for dr, p in meets(0, a) for dc, q in meets(1, b)])
            for a, b in itertools.product(range(stride[0]), range(stride[1]))]


def _neighbours(phase_taps):
    """How many taps in a row are neighbours in the source, so that they make one segment; everywhere the same."""
    width = sum(1 for t in phase_taps if t[0] == phase_taps[0][0])
    return width if all(b[1] == a[1] + 1 for a, b in itertools.pairwise(phase_taps[:width])) else 1


# ----------------------------------------------------------------------------------------------------------- plans


class _Geometry(NamedTuple):
    """All that a plan depends on."""
    forward: bool
    source: tuple           # (N, H, W, C)
    out: tuple              # (N, OH, OW, K)
    w_strides: tuple        # in numbers
    size: int               # bytes per number
    kernel_size: tuple
    stride: tuple
    pad: tuple
    dilation: tuple
    groups: int
    threads: int            # decides about the cut, never about a bit of the result


class _Plan:
    """How a convolution of a given geometry is cut and what its kernels are told; no address of its arrays yet."""

    def __init__(self, g):
        self.g = g
        forward = g.forward
        self.phases = (_forward_phases(g.kernel_size, g.dilation, g.pad) if forward
                       else _gradient_phases(g.kernel_size, g.stride, g.dilation, g.pad))
        self.step, self.out_step = (g.stride, (1, 1)) if forward else ((1, 1), g.stride)
        self.covers = all(phase.taps for phase in self.phases)      # else some outputs have no tap at all: zeros
        self.width = WIDE if g.size == 4 else DOUBLE_WIDE
        self.group_c, self.group_k = g.source[3] // g.groups, g.out[3] // g.groups
        self.panels = -(-self.group_k // self.width)
        everything = [t for phase in self.phases for t in phase.taps]
        self.low = [min(t[a] for t in everything) for a in (0, 1)]
        self.span = [max(t[a] for t in everything) - self.low[a] + 1 for a in (0, 1)]
        self.grid = [-(-g.out[1 + a] // self.out_step[a]) for a in (0, 1)]
        self.way = self._choose_way()
        self._cut()
        self._phase_table()
        self._packing()
        self.head = np.array([g.source[0], *g.source[1:], *g.out[1:], g.groups, self.group_c, self.group_k, *self.step,
                              *self.low, *self.span, *self.out_step, self.tile_h, self.tile_w, self.down, self.across,
                              self.parts, len(self.phases)], np.int64)
        self.tail = np.array([self.in_place, *self.grid, self.strip_w], np.int64)

    def _choose_way(self):
        g = self.g
        if g.size == 4 and self.group_c == self.group_k == 1 and g.groups >= v.LANES:
            return "depthwise"
        if g.size == 4 and self.group_k <= FLAT_ROWS and self.step == (1, 1) and self.grid[1] >= v.LANES:
            return "flat"
        return "tiles"

    def _cut(self):
        """Tiles, strips, and whether the source can be read where it is."""
        N, H, W, C = self.g.source
        rows, columns = self.grid
        fits = (self.low[a] >= 0 and (self.grid[a] - 1) * self.step[a] + self.low[a] + self.span[a] <= (H, W)[a]
                for a in (0, 1))
        self.in_place = self.way != "flat" and all(fits)
        most = _TILE if rows == 1 else 8 * ROWS
        across = -(-columns // most)
        self.tile_w = columns if across == 1 else -(-columns // across // ROWS) * ROWS + ROWS
        self.strip_w = W if self.in_place else (self.tile_w - 1) * self.step[1] + self.span[1]
        if self.way == "flat":
            self.tile_w = min(columns, 2 * FLAT)
            self.strip_w = -(-self.tile_w // FLAT) * FLAT + self.span[1] - 1
        fitting = (_STRIP_BYTES // (self.strip_w * C * self.g.size) - self.span[0]) // self.step[0] + 1
        tall = max(1, min(rows, -(-_TILE // self.tile_w), rows if self.in_place else fitting))
        if self.way == "flat":
            tall = max(1, min(rows, max(fitting, self.span[0])))
        self.down = -(-rows // tall)
        self.across = -(-columns // self.tile_w)
        if N * self.across * self.down < 4 * self.g.threads and self.panels == 1:
            self.down = min(rows, -(-4 * self.g.threads // (N * self.across)))
        self.tile_h = -(-rows // self.down)
        self.down = -(-rows // self.tile_h)
        tiles = N * self.down * self.across
        self.parts = min(self.panels, max(1, -(-4 * self.g.threads // tiles))) if self.way == "tiles" else 1
        self.items = tiles * self.parts
        work = N * rows * columns * sum(len(phase.taps) for phase in self.phases) * self.group_c * self.g.out[3]
        self.chunk = self.items if work < _ALONE else 1
        strip = 0 if self.in_place else ((self.tile_h - 1) * self.step[0] + self.span[0]) * self.strip_w * C
        aside = {"tiles": ROWS * self.width, "flat": 2 * FLAT_ROWS * FLAT, "depthwise": 0}[self.way]
        self.scratch = self.g.size * (strip + aside)

    def _phase_table(self):
        """What the kernels are told of each phase; the places of packed weights count from their beginning."""
        self.table, self.keep, place = np.zeros((len(self.phases), taps.PHASE_FIELDS), np.int64), [], 0
        C, size = self.g.source[3], self.g.size
        for row, phase in zip(self.table, self.phases):
            if not phase.taps:
                continue
            merged = _neighbours(phase.taps) if self.way == "tiles" and self.g.groups == 1 else 1
            depth = merged * self.group_c
            pairs = []
            for i, (dr, dc, p, q) in enumerate(phase.taps[::merged]):
                r, c = dr - self.low[0], dc - self.low[1]
                here, weights = (r * self.strip_w + c) * C * size, i * depth * self.width * size
                pairs.append({"tiles": (here, weights), "flat": (weights, (r * C * self.strip_w + c) * size),
                              "depthwise": (here, (p * self.g.kernel_size[1] + q) * C * size)}[self.way])
            pairs = np.array(pairs, np.int64)
            self.keep.append(pairs)
            row[:] = len(pairs), depth, address(pairs), place, phase.row, phase.column
            if self.way != "depthwise":
                place += len(phase.taps) * self.group_c * self.g.groups * self.panels * self.width * size
        self.packed_bytes = place

    def _packing(self):
        """For each phase the end of a descriptor for the packing kernel, after the two addresses."""
        strides = self.g.w_strides
        cells = [[p * strides[0] + q * strides[1] for _, _, p, q in phase.taps] for phase in self.phases]
        depth, columns = (strides[2], strides[3]) if self.g.forward else (strides[3], strides[2])
        group = (self.group_k if self.g.forward else self.group_c) * strides[3]     # groups divide the last axis of w
        self.packing = []
        for offsets in cells:
            offsets = np.array(offsets, np.int64)
            self.keep.append(offsets)
            self.packing.append([len(offsets), address(offsets), self.group_c, depth, columns, self.group_k,
                                 self.panels, group])

    # ------------------------------------------------------------------------------------------------ running

    def pack(self, w, place):
        """Bring the weights into panels from address `place` on."""
        job = taps.pack_float32 if self.g.size == 4 else taps.pack_float64
        for row, rest in zip(self.table, self.packing):
            if rest[0]:
                threads.run(job, np.array([address(w), place + row[taps.PANELS], *rest]), self.g.groups * self.panels)

    def describe(self, weights, bias, dtype):
        """-> the descriptor without its arrays' addresses, and what it points to. weights: the address of the packed
        panels (depthwise: of w itself)."""
        columns = self.g.groups * self.panels * self.width if self.way != "depthwise" else self.g.out[3]
        start = np.zeros(columns, dtype)
        if bias is not None:
            start.reshape(self.g.groups, -1)[:, :self.group_k] = bias.reshape(self.g.groups, self.group_k)
        table = self.table.copy()
        table[:, taps.PANELS] += weights
        d = np.concatenate(((0, 0), self.head, (address(table), address(start)), self.tail, (0, 0, 0, 0, 0)))
        return d, (table, start)

    def launch(self, d, source, out, relu=False, decisions=None):
        """Run with a descriptor of one's own. out may be some of the channels of a larger array where the way is
        "tiles": there K is nothing but the distance of its positions."""
        d[taps.SOURCE], d[taps.OUT], d[taps.RELU] = address(source), address(out), relu
        if not out.flags.c_contiguous:
            d[taps.K] = out.strides[2] // out.itemsize
        if decisions is not None:
            picture, row, position, _ = decisions.memory.strides
            d[taps.BITS:] = decisions.address, row, picture, position
        threads.run(_JOBS[self.way, self.g.size], d, self.items, self.chunk, self.scratch)

    def run(self, source, out, weights, bias, relu=False, decisions=None):
        d, kept = self.describe(weights, bias, source.dtype)
        self.launch(d, source, out, relu, decisions)
        del kept                # the kernel has read it


_JOBS = {("tiles", 4): taps.tiles_float32, ("tiles", 8): taps.tiles_float64, ("flat", 4): taps.flat_float32,
         ("depthwise", 4): taps.depthwise_float32}
_plan = functools.lru_cache(maxsize=1024)(_Plan)


def _run(plan, source, out, w, bias, relu, decisions, cache):
    if plan.way == "depthwise":
        w = np.ascontiguousarray(w)
        plan.run(source, out, address(w), bias, relu, decisions)
    elif cache is None:
        with buffers.Lease(plan.packed_bytes) as packed:
            plan.pack(w, address(packed))
            plan.run(source, out, address(packed), bias, relu, decisions)
    else:
        plan.run(source, out, address(_packed(plan, w, cache)), bias, relu, decisions)


def _packed(plan, w, cache):
    """The weights as `plan` wants them, made once per cache."""
    if plan.way == "depthwise":
        return w
    key = ("general", id(w), plan.g.forward, plan.g.stride, plan.g.pad, plan.g.dilation, plan.g.groups)
    if key not in cache:
        packed = np.empty(plan.packed_bytes, np.uint8)
        plan.pack(w, address(packed))
        cache[key] = packed, w              # w is held so that no other array can take its id
    return cache[key][0]


class Prepared:
    """A convolution (forward) or its input gradient of known geometry and frozen weights: what is left to say at a call
    is where the arrays lie. Making the descriptor takes as long as a small layer."""

    def __init__(self, forward, source_shape, out_shape, w, bias, settings, cache, rowless):
        if rowless and _rowless(w, settings["stride"], settings["pad"]):
            source_shape, out_shape = ((1, 1, shape[0] * shape[1] * shape[2], shape[3])
                                       for shape in (source_shape, out_shape))
        self.plan = _plan(_geometry(forward, source_shape, out_shape, w, **settings))
        self.weights = _packed(self.plan, np.ascontiguousarray(w) if self.plan.way == "depthwise" else w, cache)
        self.descriptor, self.kept = self.plan.describe(address(self.weights), bias, w.dtype)

    def __call__(self, source, out, relu=False, decisions=None):
        if not self.plan.covers:
            out[...] = 0
        self.plan.launch(self.descriptor.copy(), source, out, relu, decisions)


def _geometry(forward, source, out, w, stride, pad, dilation, groups):
    """Of an aligned problem. A 1x1 filter without stride and padding knows no rows: all positions are one long row."""
    return _Geometry(forward, source, out, tuple(s // w.itemsize for s in w.strides), w.itemsize, w.shape[:2],
                     tuple(stride), tuple(pad), tuple(dilation), groups, threads.get_threads())


def _rowless(w, stride, pad):
    return w.shape[:2] == (1, 1) and tuple(stride) == (1, 1) and not any(pad)


def forward(x, w, b, stride, pad, dilation, groups, relu=False, decisions=None, cache=None, out=None):
    """conv2d_forward, and on the way relu: y = max(y, 0), with the signs kept in `decisions` (kind "bits"; groups 1).

    cache: a dict in which the packed weights stay, for weights that never change while it lives.
    out: an array to fill and give back; see _Plan.launch.
    """
    x, w = np.ascontiguousarray(x), np.asarray(w, x.dtype)
    K = w.shape[3]
    if x.shape[3] != w.shape[2] * groups or K % groups:
        raise ValueError(f"conv2d_forward: x {x.shape} has {x.shape[3]} channels, w {w.shape} in {groups} groups wants "
                         f"{w.shape[2] * groups}")
    shape = (x.shape[0], *reference._output_shape(x.shape, w.shape[:2], stride, pad, dilation), K)
    y = buffers.empty(shape, x.dtype) if out is None else out
    if y.size:
        source, target = x.shape, shape
        if decisions is None and _rowless(w, stride, pad):
            source, target = (1, 1, x.size // x.shape[3], x.shape[3]), (1, 1, y.size // K, K)
        plan = _plan(_geometry(True, source, target, w, stride, pad, dilation, groups))
        _run(plan, x, y, w, b, relu, decisions, cache)
    return y


def conv2d_forward(x, w, b, stride, pad, dilation, groups, precision="float32"):
    """y[n,i,j,k] = b[k] + sum over p,q,c of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * w[p,q,c,k]."""
    return forward(x, w, b, stride, pad, dilation, groups)


def backward_input(dy, w, x_shape, stride, pad, dilation, groups, cache=None, out=None):
    """conv2d_backward_input; cache and out as in `forward`."""
    dy, w = np.ascontiguousarray(dy), np.asarray(w, dy.dtype)
    shape = (x_shape[0], *reference._output_shape(x_shape, w.shape[:2], stride, pad, dilation), w.shape[3])
    if dy.shape != shape:
        raise ValueError(f"conv2d_backward_input: dy {dy.shape} is not the output's shape, {shape}")
    source, target = dy.shape, tuple(x_shape)
    if dy.size and _rowless(w, stride, pad):
        source, target = (1, 1, dy.size // dy.shape[3], dy.shape[3]), (1, 1, dy.size // dy.shape[3], x_shape[3])
    plan = _plan(_geometry(False, source, target, w, stride, pad, dilation, groups))
    dx = buffers.empty(x_shape, dy.dtype) if out is None else out
    if not plan.covers:
        dx[...] = 0
    if dx.size:
        _run(plan, dy, dx, w, None, False, None, cache)
    return dx


def conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups, precision="float32"):
    """dx: every output position hands dy[k] * w[p,q,c,k] back to the input cell it read. The transpose of forward."""
    return backward_input(dy, w, x_shape, stride, pad, dilation, groups)
