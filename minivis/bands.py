"""A network of local layers and instance normalisations on a picture larger than memory: in bands of rows, exactly.

A row of a local layer (a convolution, a padding, a ReLU ...) depends on few rows of what it reads, so any band of rows
can be made alone. An instance normalisation is the exception: it needs the mean and the variance of every channel over
the whole picture. But once these are known it is two numbers per channel, and as local as the rest. So:

    for each normalisation, in order: go through what it reads in bands and add the moments up;
    then go through the output in bands.

What is small (the layers inside, at a quarter of the picture's sides) is kept on the way; what is large is made again
whenever it is needed. Up to rounding nothing differs from the whole picture at once.
"""
import itertools
import math
from typing import NamedTuple

import numpy as np

from . import kernels
from .errors import MinivisError
from .layer_ops import run_layer
from .layers import Layer
from .ops.geometry import pair
from .ops.norm import Scale
from .ops.shape import Pad
from .shapes import infer_shapes, pads, steps
from .tensor import Tensor

_AT_ONCE = ("relu", "leaky_relu", "clip", "tanh", "sigmoid", "add", "multiply", "concat", "scale", "batch_norm",
            "dropout", "lrn")                                   # one position at a time
_LOCAL = ("input", "conv", "conv_transpose", "pad", "upsample", "instance_norm", *_AT_ONCE)
_BAND = 2**26           # bytes that a band should take: many would gain nothing
_FEWEST = 16            # rows of a band: fewer would mostly be surroundings
_WORK = 3               # times the values of a band: padded copies, tiles and the like


class Moments:
    """Mean and variance of every channel, added up over parts (Chan, Golub, LeVeque 1983)."""

    def __init__(self):
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, a):
        """a (1, h, w, C)"""
        count, axes = a.shape[1] * a.shape[2], (0, 1, 2)
        mean, squares = a.mean(axis=axes, dtype="float64"), a.var(axis=axes, dtype="float64") * count
        gap, both = mean - self.mean, self.count + count
        self.squares = self.squares + squares + gap * gap * (self.count * count / both)
        self.mean, self.count = self.mean + gap * (count / both), both

    @property
    def variance(self):
        return self.squares / self.count


def _copied(rows, n, mode):
    """The rows of n that those of a padding are copies of; zeros count as copies of the nearest."""
    if mode == "reflect":
        rows = np.abs(rows)
        rows = np.where(rows >= n, 2 * (n - 1) - rows, rows)
    return np.clip(rows, 0, n - 1)


class Plan(NamedTuple):
    """kept: names of layers whose values are held while they are needed; peak: the most bytes that these take."""
    kept: frozenset
    peak: int


class Bands:
    """The network's output layer for pictures of `size` (H, W), made within `budget` bytes; see `fits`."""

    def __init__(self, net, size, budget):
        self.net, self.table, self.output = net, net.table, net.output_layer
        self.names = self.table.needed([self.output])
        self.first = self.names[0]
        self.shapes = infer_shapes(self.table, (*size, self.table.layers[0]["shape"][2]), names=self.names)
        self.wrong = next((n for n in self.names if not self._is_local(n)), None)
        self.norms = {self.table.reads[n][0]: [] for n in self.names if self.table[n].kind == "instance_norm"}
        for name in self.names:
            if self.table[name].kind == "instance_norm":
                self.norms[self.table.reads[name][0]].append(name)
        self.budget = budget
        self.plan = None if self.wrong else self._plan()
        self.values, self.constants = {}, {}

    def _is_local(self, name):
        layer = self.table[name]
        if layer.kind != "conv":
            return layer.kind in _LOCAL
        low, high = self._window(layer, self.table.reads[name][0], 0, 1)
        return low < 0 <= high or low == 0          # a window of nothing but padding is not provided for

    @property
    def fits(self):
        """Whether the budget is enough."""
        return self.plan is not None

    def run(self, rows_of_input):
        """Arrays (1, rows, W, C) of the output, from the top; rows_of_input(first, end) -> array (1, rows, W, C)."""
        if self.wrong:
            raise MinivisError(f"layer {self.wrong} ({self.table[self.wrong].kind}) needs the whole picture at once")
        self.rows_of_input, self.values, self.constants = rows_of_input, {}, {}
        stages = self._stages(self.plan.kept)
        for i, name in enumerate(stages[:-1]):
            self._stage(name)
            needed = set().union(*(self._needs(later, self.plan.kept) for later in stages[i + 1:]))
            for old in [n for n in self.values if n not in needed]:
                del self.values[old]
        for first, end in self._pieces(self.output):
            yield self._band(self.output, first, end)

    def _stage(self, name):
        """Go through a layer: keep it, and the constants of the normalisations that read it."""
        moments, whole = Moments(), None
        for first, end in self._pieces(name):
            band = self._band(name, first, end)
            if name in self.norms:
                moments.add(band)
            if name in self.plan.kept:
                whole = kernels.xp(band).empty((1, *self.shapes[name]), band.dtype) if whole is None else whole
                whole[:, first:end] = band
        if whole is not None:
            self.values[name] = whole
        for norm in self.norms.get(name, ()):
            self.constants[norm] = self._constants(norm, moments)

    def _constants(self, name, moments):
        """The two Tensors (C,) that a normalisation with these moments multiplies by and adds."""
        w, styles = self.net.weights, self.table[name]["styles"]
        found = [w[f"{name}/{part}"].data if f"{name}/{part}" in w else None for part in ("scale", "shift")]
        scale, shift = (a[0] if a is not None and styles > 1 else a for a in found)
        factor = (1.0 if scale is None else scale) / kernels.xp(moments.variance).sqrt(
            moments.variance + self.table[name]["eps"])
        offset = (0.0 if shift is None else shift) - moments.mean * factor
        return [Tensor(a.astype(self.net.dtype)) for a in (factor, offset)]

    # -------------------------------------------------------------------------------------------------------- a band

    def _band(self, name, first, end):
        """Rows first..end of a layer."""
        spans = self._spans(name, first, end)
        order = [n for n in self.names if n in spans]
        last = {source: n for n in order if not self._held(n) for source in self.table.reads[n]}
        made = {}
        for n in order:
            low, high = spans[n]
            if n in self.values:
                made[n] = self.values[n][:, low:high]
            elif n == self.first:
                made[n] = self.rows_of_input(low, high)
            else:
                sources = self.table.reads[n]
                made[n] = self._rows(n, [made[s] for s in sources], [spans[s] for s in sources], low, high)
                for s in [s for s in made if last.get(s) == n]:
                    del made[s]
        return made[name]

    def _held(self, name):
        return name in self.values or name == self.first

    def _spans(self, name, first, end):
        """{layer: (first row, end)} of all that has to be made, or looked up, for these rows of a layer."""
        spans = {name: (first, end)}
        for n in reversed(self.names):
            if n not in spans or self._held(n):
                continue
            for source in self.table.reads[n]:
                low, high = self._read(n, source, *spans[n])
                old = spans.get(source, (low, high))
                spans[source] = min(low, old[0]), max(high, old[1])
        return spans

    def _read(self, name, source, first, end):
        """The rows of `source` that rows first..end of a layer read, as (first, end)."""
        layer, n = self.table[name], self.shapes[source][0]
        if layer.kind == "pad":
            j = _copied(np.arange(first, end) - pads(layer, self.shapes[source])[0], n, layer["mode"])
            return int(j.min()), int(j.max()) + 1
        if layer.kind == "upsample":
            return first // layer["factor"], -(-end // layer["factor"])
        if layer.kind == "conv":
            low, high = self._window(layer, source, first, end)
        elif layer.kind == "conv_transpose":
            top, stride = pads(layer, self.shapes[source])[0], steps(layer)[0][0]
            low = -((pair(layer["kernel"], "kernel")[0] - 1 - first - top) // stride)
            high = (end - 1 + top) // stride + 1
        else:
            return first, end
        low = min(max(low, 0), n - 1)           # where only padding is read, any row serves
        return low, max(min(high, n), low + 1)

    def _window(self, layer, source, first, end):
        """The rows that a convolution's rows first..end read, padding counted too: negative, and beyond the end."""
        stride, dilation = (s[0] for s in steps(layer))
        low = first * stride - pads(layer, self.shapes[source])[0]
        return low, low + (end - 1 - first) * stride + (pair(layer["kernel"], "kernel")[0] - 1) * dilation + 1

    def _rows(self, name, inputs, spans, low, high):
        """Rows low..high of a layer from arrays of the rows `spans` of its inputs."""
        layer = self.table[name]
        if layer.kind in _AT_ONCE or layer.kind == "instance_norm":
            cut = [Tensor(self._cut(x, low - a, high - a)) for x, (a, _) in zip(inputs, spans)]
            if layer.kind == "instance_norm":
                return Scale()(*cut, *self.constants[name]).data
            return self._run(layer, cut)
        (x,), ((a, _),), source = inputs, spans, self.table.reads[name][0]
        if layer.kind == "upsample":
            f = layer["factor"]
            x = self._run(layer, [Tensor(self._cut(x, low // f - a, -(-high // f) - a))])
            return self._cut(x, low % f, low % f + high - low)
        n, (top, _, left, right) = self.shapes[source][0], pads(layer, self.shapes[source])
        if layer.kind == "pad":
            rows = np.arange(low, high) - top
            x = x[:, kernels.xp(x).asarray(_copied(rows, n, layer["mode"]) - a)]
            if layer["mode"] == "zero" and (rows[0] < 0 or rows[-1] >= n):
                x[:, kernels.xp(x).asarray((rows < 0) | (rows >= n))] = 0
            return Pad((0, 0, left, right), layer["mode"])(Tensor(x)).data
        if layer.kind == "conv_transpose":
            y, at = self._run(layer, [Tensor(x)], pad=(0, 0, left, right)), top - a * steps(layer)[0][0]
            return self._cut(y, low + at, high + at)
        first, end = self._window(layer, source, low, high)
        x = self._cut(x, min(max(first, 0), n - 1) - a, max(min(end, n), 1) - a)
        return self._run(layer, [Tensor(x)], pad=(max(0, -first), max(0, end - n), left, right))

    def _run(self, layer, inputs, **instead):
        """A layer's op, with other settings than its own."""
        if instead:
            layer = Layer(layer.name, layer.kind, **{**layer.settings, **instead})
        return run_layer(layer, inputs, self.net.weights, precision=self.net.precision).data

    @staticmethod
    def _cut(x, low, high):
        return x if (low, high) == (0, x.shape[1]) else kernels.xp(x).ascontiguousarray(x[:, low:high])

    # ---------------------------------------------------------------------------------------------------------- plan

    def _plan(self):
        """The Plan that keeps as much as fits; None if even keeping as little as possible does not."""
        can = sorted({n for n in self.names[1:] if n != self.output
                      and (n in self.norms or self.table[n].kind in ("add", "concat"))}, key=self._bytes, reverse=True)
        for skip in range(len(can) + 1):
            if skip and skip < len(can) and self._bytes(can[skip]) == self._bytes(can[skip - 1]):
                continue                # all of one size, or none
            kept = frozenset(can[skip:])
            plan = Plan(kept, self._peak(kept))
            least = max(self._row_bytes(n, kept) for n in self._stages(kept)) * 2 * _FEWEST
            if plan.peak + least <= self.budget:
                return plan
        return None

    def _stages(self, kept):
        """The layers to go through, in order; the last is the output."""
        return [*(n for n in self.names[1:] if n in self.norms or n in kept), self.output]

    def _peak(self, kept):
        stages, held, most = self._stages(kept), set(), 0
        for i, name in enumerate(stages):
            held |= {name} & kept
            most = max(most, sum(map(self._bytes, held)))
            held &= set().union(*(self._needs(later, kept) for later in stages[i + 1:]))
        return most

    def _needs(self, name, kept):
        """The kept layers that are looked up when a layer is gone through."""
        return {n for n in self._behind(name, kept) if n in kept and n != name}

    def _behind(self, name, kept):
        """A layer and all that is made or looked up for it."""
        found, todo = {name}, [name]
        while todo:
            n = todo.pop()
            if n == name or n not in kept:
                new = [s for s in self.table.reads[n] if s not in found]
                found.update(new)
                todo += new
        return found

    def _bytes(self, name):
        return math.prod(self.shapes[name]) * self.net.dtype.itemsize

    def _row_bytes(self, name, kept):
        """Bytes that a row of a layer takes, with all that is made for it."""
        made = {n for n in self._behind(name, kept) if n not in kept or n == name}
        return _WORK * sum(self._bytes(n) for n in made) / self.shapes[name][0]

    def _pieces(self, name):
        """[(first row, end)] of the bands of a layer."""
        row = self._row_bytes(name, self.plan.kept)
        rows = max(_FEWEST, int(min(_BAND, self.budget - self.plan.peak) / row))
        H = self.shapes[name][0]
        count = -(-H // rows)
        edges = [H * i // count for i in range(count + 1)]
        return list(itertools.pairwise(edges))
