"""Where a change of one box of the picture reaches: the dirty box of every layer."""
from typing import NamedTuple

import numpy as np

from .ops.geometry import pair
from .shapes import pads, steps

WINDOWS = ("conv", "max_pool", "avg_pool")
JOINS = ("concat", "add", "multiply")
WHOLE = ("conv_transpose", "instance_norm", "pad", "upsample")      # and whatever gives vectors
TILE = 4                # boxes are computed in multiples of this: few sizes, and no slower, since Winograd takes 4 x 4


class Boxes(NamedTuple):
    """The dirty boxes of N pictures in one layer: integer arrays (N, 2), first cell and size along both axes."""
    start: np.ndarray
    size: np.ndarray


class Reach:
    """How boxes grow and shrink from layer to layer of a table. shapes: {name: (H, W, C) or (C,)} of its layers."""

    def __init__(self, table, shapes):
        self.table, self.shapes, self._geometries = table, shapes, {}

    def of(self, name, where):
        """The dirty Boxes of a layer, from those of the layers it reads; None where everything is dirty."""
        layer, sources = self.table[name], self.table.reads[name]
        if len(self.shapes[name]) != 3 or layer.kind in WHOLE or any(where[n] is None for n in sources):
            return None
        if layer.kind in JOINS:
            return union([where[n] for n in sources])
        before = where[sources[0]]
        if layer.kind not in WINDOWS:
            return before                       # one position at a time: ReLU, normalisation over channels, ...
        start, end = np.empty_like(before.start), np.empty_like(before.start)
        for a, (kernel, stride, pad, _) in enumerate(self.geometry(name)):
            first = before.start[:, a] + pad
            start[:, a] = np.maximum(0, -(-(first - kernel + 1) // stride))
            end[:, a] = np.minimum(self.shapes[name][a], (first + before.size[:, a] - 1) // stride + 1)
        size = np.maximum(0, end - start)
        size[(size == 0).any(axis=1) | (before.size == 0).any(axis=1)] = 0
        return Boxes(start, size)

    def geometry(self, name):
        """[(extent of the kernel, stride, padding before, cells that outputs read after the last)] of both axes."""
        if name not in self._geometries:
            self._geometries[name] = list(self._window(name))
        return self._geometries[name]

    def _window(self, name):
        layer, shape = self.table[name], self.shapes[self.table.reads[name][0]]
        stride, dilation = steps(layer)
        padding = pads(layer, shape)
        for a in (0, 1):
            extent = (pair(layer["kernel"], "kernel")[a] - 1) * dilation[a] + 1
            after = (self.shapes[name][a] - 1) * stride[a] + extent - padding[2 * a] - shape[a]
            yield extent, stride[a], padding[2 * a], max(0, after)

    def tiled(self, name, size, tile=TILE):
        """Sizes of boxes (..., 2) in layer `name` as they are computed: in whole tiles, or the whole layer."""
        return np.minimum(-(-size // tile) * tile, self.shapes[name][:2])

    def cells_read_by_one(self, name, source, where):
        """How many values of `source` one picture's box in layer `name` reads."""
        if where is None:
            return int(np.prod(self.shapes[source]))
        return self.cells_read(name, self.tiled(name, where.size[0] + 1), source)

    def cells_read(self, name, size, source):
        """How many values of `source` a box of this size in layer `name` is computed from."""
        if self.table[name].kind in WINDOWS:
            size = [(s - 1) * stride + extent for s, (extent, stride, _, _) in zip(size, self.geometry(name))]
        return int(np.prod(size)) * self.shapes[source][2]


def scaled(size, factor):
    return tuple(side * factor for side in size)


def groups(size):
    """((height, width), indices) of the boxes that have the same size; those without cells are left out."""
    found, which = np.unique(size, axis=0, return_inverse=True)
    return [(tuple(row), np.flatnonzero(which.reshape(-1) == i)) for i, row in enumerate(found.tolist()) if min(row)]


def union(many):
    """The smallest Boxes around several; those without cells do not count."""
    empty = [(b.size == 0).any(axis=1)[:, None] for b in many]
    far = np.iinfo(np.int64).max // 2
    start = np.min([np.where(e, far, b.start) for b, e in zip(many, empty)], axis=0)
    end = np.max([np.where(e, 0, b.start + b.size) for b, e in zip(many, empty)], axis=0)
    nothing = np.all(empty, axis=0)
    return Boxes(np.where(nothing, 0, start), np.where(nothing, 0, end - start))
