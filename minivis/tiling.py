"""Losses of pictures that are too large to be looked at in one go, and their exact gradients.

A Gram matrix is a sum over positions, and so is a squared distance. The picture is cut into tiles; every position of
every layer belongs to one tile, and a tile is looked at with as much of the picture around it as these positions can
see (their receptive fields), so that they have the values that they have in the whole picture. Hence two passes:

    1. S = sum over tiles of statistic(tile), then the loss f(S) and dS = df/dS;
    2. dz = sum over tiles of the gradient of <statistic(tile), dS>,

and no more than a tile's activations are ever in memory. Up to rounding nothing differs from the whole picture at once;
with a single tile the two passes are one. A torus, whose right side meets its left one, is cut in the same way: so
come tileable textures.
"""
import itertools
import math
from typing import NamedTuple

import numpy as np

from . import kernels
from .errors import MinivisError
from .graphs import Replays
from .optimize import Point, host
from .receptive_field import field
from .tensor import Tensor, gradient


class Part(NamedTuple):
    """Rows top..bottom and columns left..right of a layer that has `height` rows and `width` columns in all."""
    top: int
    left: int
    bottom: int
    right: int
    height: int
    width: int

    @classmethod
    def whole(cls, height, width):
        return cls(0, 0, height, width, height, width)

    @property
    def rows(self):
        return slice(self.top, self.bottom)

    @property
    def columns(self):
        return slice(self.left, self.right)


class Tile(NamedTuple):
    """A part of the picture and what is its own in the layers.

    rows, columns   (first, last + 1) of the pixels looked at; on a torus they may be negative or beyond the end
    parts           {layer: (Part, row and column of its first cell in what net(crop) gives)}
    """
    rows: tuple
    columns: tuple
    parts: dict


class Tiles:
    """A picture of `size` (H, W), cut so that a tile's own pixels are at most side x side (None: not cut).

    layers  those whose positions are to be shared out. wrap: the picture is a torus; its sides must be multiples of
            `step`, the largest distance between neighbouring cells of these layers.
    """

    def __init__(self, net, layers, size, side=None, wrap=False):
        self.net, self.layers, self.size, self.wrap = net, [net.layer_name(n) for n in layers], tuple(size), wrap
        self.side = side
        if side is None and not wrap:
            shapes = self._shapes()
            parts = {name: (Part.whole(*shapes[name][:2]), (0, 0)) for name in self.layers}
            self.tiles = [Tile((0, size[0]), (0, size[1]), parts)]
            return
        self.fields = fields_of(net, self.layers, self.size)
        self.step = step_of(self.fields)
        if wrap and any(n % self.step for n in self.size):
            raise MinivisError(f"a picture without borders must have sides that are multiples of {self.step}, "
                               f"not {self.size[0]} x {self.size[1]}")
        shapes = None if wrap else self._shapes()
        axes = [self._axis(a, None if wrap else {name: shapes[name][a] for name in self.layers}) for a in (0, 1)]
        self.tiles = [self._tile(down, across) for down in axes[0] for across in axes[1]]

    def _shapes(self):
        from .shapes import infer_shapes
        channels = self.net.table.layers[0]["shape"][2]
        return infer_shapes(self.net.table, (*self.size, channels), names=self.net.table.needed(set(self.layers)))

    def _axis(self, a, cells):
        """[(first pixel, end, {layer: (first own cell, end, all cells, first own cell within the crop)})]"""
        n, S = self.size[a], self.step
        side = n if self.side is None else max(S, self.side // S * S)
        edges = [*range(0, n, side), n]
        found = []
        for low, high in itertools.pairwise(edges):
            own = {}
            for name, f in self.fields.items():
                count = n // f.stride[a] if cells is None else cells[name]
                begin = min(low // f.stride[a], count)
                own[name] = begin, count if high == n else min(high // f.stride[a], count), count
            spans = [(f.start[a] + begin * f.stride[a], f.start[a] + (end - 1) * f.stride[a] + f.size[a])
                     for f, (begin, end, _) in zip(self.fields.values(), own.values()) if begin < end]
            if not spans:
                continue
            first, end = min(s[0] for s in spans) // S * S, max(s[1] for s in spans)
            if not self.wrap:
                first, end = max(first, 0), min(end, n)
            own = {name: (*own[name], own[name][0] - first // self.fields[name].stride[a]) for name in own}
            found.append((first, end, own))
        return found

    def _tile(self, down, across):
        parts = {}
        for name in self.layers:
            (top, bottom, height, row), (left, right, width, column) = down[2][name], across[2][name]
            if top < bottom and left < right:
                parts[name] = Part(top, left, bottom, right, height, width), (row, column)
        return Tile(down[:2], across[:2], parts)

    @property
    def largest(self):
        """(H, W) of the largest crop."""
        return tuple(max(end - first for first, end in spans)
                     for spans in ([t.rows for t in self.tiles], [t.columns for t in self.tiles]))

    def look(self, z, to_input, needs_grad=False, pool=None):
        """For each tile: (tile, Tensor of its pixels, {layer: (Tensor of the tile's own cells, their Part)}).

        z (1, H, W, 3); to_input(Tensor of pixels) -> Tensor of network input.
        """
        for tile in self.tiles:
            t = Tensor(self._crop(z, tile), needs_grad=needs_grad)
            values = self.net(to_input(t), layers=list(tile.parts), pool=pool)
            own = {}
            for name, (part, (row, column)) in tile.parts.items():
                a, h, w = values.pop(name), part.bottom - part.top, part.right - part.left
                whole = (row, column, h, w) == (0, 0, *a.shape[1:3])
                own[name] = (a if whole else a[:, row:row + h, column:column + w]), part
                del a
            yield tile, t, own

    def _crop(self, z, tile):
        if not self.wrap:
            return kernels.xp(z).ascontiguousarray(z[:, slice(*tile.rows), slice(*tile.columns)])
        xp = kernels.xp(z)
        rows, columns = (np.arange(*span) % n for span, n in zip((tile.rows, tile.columns), self.size))
        return xp.ascontiguousarray(z[:, kernels.kept(rows, z)][:, :, kernels.kept(columns, z)])

    def add(self, g, tile, d):
        """g[pixels of the tile] += d."""
        for to_row, from_row in _pieces(*tile.rows, self.size[0]):
            for to_column, from_column in _pieces(*tile.columns, self.size[1]):
                g[:, to_row, to_column] += d[:, from_row, from_column]

    def values(self, z, to_input, pool=None):
        """{layer: array (1, h, w, C)} of the whole picture, put together from the tiles."""
        found = {}
        for _, _, own in self.look(z, to_input, pool=pool):
            for name, (a, part) in own.items():
                if name not in found:
                    shape = (1, part.height, part.width, a.shape[3])
                    found[name] = kernels.xp(a.data).zeros(shape, a.dtype)
                found[name][:, part.rows, part.columns] = a.data
        return found

    def sums(self, z, to_input, statistics, pool=None):
        """[float64 array] of statistics [(layer, f(Tensor, Part) -> Tensor)], each added up over the tiles."""
        found = [None] * len(statistics)
        for _, _, own in self.look(z, to_input, pool=pool):
            _add_up(found, [f(*own[name]) if name in own else None for name, f in statistics])
            own.clear()
        return found


class TiledLoss:
    """evaluate(z, i) for optimize.Run: the weighted sum of terms of the layers and of penalties of the pixels.

    terms       [(group, weight, losses.Term)]; the history holds the sum of each group
    penalties   [(group, weight, f(Tensor of pixels) -> Tensor (1,))], of the whole picture at once

    MINIVIS_CUDA_GRAPHS=1 records the step of an uncut picture on a GPU as a graph (graphs.py) and replays it.
    """

    def __init__(self, tiles, to_input, terms, penalties=(), pool=None):
        self.tiles, self.to_input, self.terms, self.penalties, self.pool = tiles, to_input, terms, penalties, pool
        self.replays = Replays()
        self.statistics = [(term.layers[0], term.statistic) for _, _, term in terms]

    def sums(self, z):
        """The float64 statistic of each term."""
        return self.tiles.sums(z, self.to_input, self.statistics, self.pool)

    def losses(self, z):
        """The value of each term, not weighted."""
        return [float(term.loss(Tensor(s)).data.sum()) for (_, _, term), s in zip(self.terms, self.sums(z))]

    def __call__(self, z, i=0):
        g, *values = self.replays(self._step, z) if len(self.tiles.tiles) == 1 else self._step(z)
        groups = {name: host(value) for name, value in zip(self.names, values)}
        return Point(sum(groups.values(), np.zeros(1)), g, groups)

    def _step(self, z):
        """[gradient, loss of each group], all where z lies; the groups' names are left in `names`."""
        g, groups = kernels.xp(z).zeros_like(z), {}
        if len(self.tiles.tiles) == 1:
            (tile, t, own), = self.tiles.look(z, self.to_input, needs_grad=True, pool=self.pool)
            here = [f(*own[name]) for name, f in self.statistics]
            found = [None] * len(here)
            _add_up(found, here)
            self.tiles.add(g, tile, self._pull(t, here, self._slopes(found, groups)))
            del t, own, here
        else:
            slopes = self._slopes(self.sums(z), groups)
            for tile, t, own in self.tiles.look(z, self.to_input, needs_grad=True, pool=self.pool):
                here = [f(*own[name]) if name in own else None for name, f in self.statistics]
                self.tiles.add(g, tile, self._pull(t, here, slopes))
                own.clear()
                del t, here
        for name, weight, f in self.penalties:
            t = Tensor(z, needs_grad=True)
            value = f(t) * weight
            g += gradient(value, t)
            groups[name] = groups.get(name, 0.0) + value.data.astype(np.float64)
        self.names = list(groups)
        return [g, *groups.values()]

    def _slopes(self, sums, groups):
        """d loss / d statistic of each term; adds the losses to `groups`."""
        slopes = []
        for (name, weight, term), s in zip(self.terms, sums):
            s = Tensor(s, needs_grad=True)
            loss = term.loss(s) * weight
            groups[name] = groups.get(name, 0.0) + loss.data
            slopes.append(gradient(loss, s))
        return slopes

    @staticmethod
    def _pull(t, here, slopes):
        """The gradient of sum <statistic, slope> with respect to the pixels t."""
        found = [(s, slope) for s, slope in zip(here, slopes) if s is not None]
        return gradient([s for s, _ in found], t, seed=[slope for _, slope in found])


def plan_side(net, layers, size, budget, wrap=False):
    """The largest tile side (None: no cutting) with which a pass there and back stays within `budget` bytes, and a note
    if even the smallest does not."""
    def needed(tiles):
        names = list(dict.fromkeys(name for tile in tiles.tiles for name in tile.parts))
        return net.bytes_needed((1, *tiles.largest, 3), names, backward=True)
    if needed(Tiles(net, layers, size, None, wrap)) <= budget:
        return None, None
    step = step_of(fields_of(net, [net.layer_name(n) for n in layers], size))
    before = None
    for count in range(1, -(-max(size) // step) + 1):
        side = -(-max(size) // count // step) * step
        if side == before:
            continue
        before = side
        if needed(Tiles(net, layers, size, side, wrap)) <= budget:
            return side, None
        if side <= 128:         # smaller tiles hardly need less: their surroundings are most of them
            break
    least = needed(Tiles(net, layers, size, before, wrap))
    return before, (f"The smallest tiles, {before} pixels, need {least / 1e6:.0f} MB, more than the "
                    f"{max(0, budget) / 1e6:.0f} MB that the memory limit leaves them.")


def fields_of(net, layers, size):
    """{layer: receptive_field.Field}, or an error that says why this network's pictures cannot be cut."""
    for name in net.table.needed(set(layers)):
        row = net.table[name]
        if row["pad"] == "same" and row["stride"] not in (None, 1, (1, 1), [1, 1]):
            raise MinivisError(f"layer {name} pads by an amount that depends on the picture's size (\"same\" with "
                               "stride), so the picture cannot be cut into tiles; give more --memory or a smaller size")
    fields = {name: field(net, name, size) for name in layers}
    for name, f in fields.items():
        if f.size is None or None in (f.stride or (None,)) or any(int(s) != s or s < 1 for s in f.stride):
            raise MinivisError(f"a cell of layer {name} sees the whole picture or lies between its pixels, so the "
                               "picture cannot be cut into tiles; choose lower layers, more --memory or a smaller size")
    return fields


def step_of(fields):
    """The distance in pixels at which the cells of all these layers fall on the same places again."""
    return math.lcm(*(int(s) for f in fields.values() for s in f.stride))


def _pieces(first, end, n):
    """Pixels first..end of a torus of n as [(slice of the picture, slice of the crop)]."""
    pieces, at = [], first
    while at < end:
        stop = min(end, (at // n + 1) * n)
        pieces.append((slice(at % n, at % n + stop - at), slice(at - first, stop - first)))
        at = stop
    return pieces


def _add_up(found, here):
    """found[i] += here[i] in float64."""
    for i, s in enumerate(here):
        if s is not None:
            wide = s.data.astype(np.float64)
            found[i] = wide if found[i] is None else found[i] + wide
