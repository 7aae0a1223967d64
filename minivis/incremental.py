"""A network run again on pictures that differ from a clean one in a box: only what the box can change is recomputed.

Every layer's clean output is kept. A changed box of the picture reaches, in each layer, a box of outputs: the *dirty*
box, which grows with a kernel's size and shrinks with its stride. Its input is cut out of the clean values, the changed
part is laid on, and the layer runs on that cutting alone, padding included in it and therefore set to none. Many
pictures run at once: at each layer those whose boxes have the same size form one batch. The result is that of the whole
network to float rounding. The idea: Nakandala, Kumar, Papakonstantinou 2019, "Incremental and approximate inference for
faster occlusion-based deep CNN explanations", SIGMOD, doi:10.1145/3299869.3319874.

Layers after a global average or a flattening read everything and run whole, as do the rare kinds (_WHOLE) for which a
box would not pay.
"""
from typing import NamedTuple

import numpy as np

from . import kernels
from .batching import default_budget, parse_bytes, split
from .chains import Chain, step_of
from .kernels import cpu
from .kernels.cpu import threads
from .layer_ops import run_layer
from .layers import Layer
from .monitor import SilentMonitor, Stop
from .ops.geometry import pair
from .shapes import infer_shapes, pads, steps
from .tensor import Tensor

_WINDOWS = ("conv", "max_pool", "avg_pool")
_JOINS = ("concat", "add", "multiply")
MOST_AT_ONCE = 256      # more pictures in a batch would gain nothing
DENSE_ROWS, LARGE_MATRIX, SLAB = 256, 1 << 20, 256      # rows of a block; the size that needs so many; columns a thread
_WHOLE = ("conv_transpose", "instance_norm", "pad", "upsample")      # and whatever gives vectors


class Boxes(NamedTuple):
    """The dirty boxes of N pictures in one layer: integer arrays (N, 2), first cell and size along both axes."""
    start: np.ndarray
    size: np.ndarray


class Incremental:
    """The network `net` around one clean input x (1, H, W, C), an array in network units.

    layer    whose values are wanted; None: the output layer
    clean    that layer's values for x

    All clean values are kept, and padded copies of what convolutions and poolings read: about twice one picture's
    activations, beside what `bytes_each` counts.
    """

    def __init__(self, net, x, layer=None):
        self.net, self.table = net, net.table
        self.layer = net.layer_name(layer or net.output_layer)
        self.names = self.table.needed([self.layer])
        self.shapes = infer_shapes(self.table, x.shape[1:], names=self.names)
        values = net(x, layers=self.names)
        self.values = {name: values[name].data for name in self.names}
        self.clean = self.values[self.layer]
        self.xp = kernels.xp(x)
        self.readers = {name: [n for n in self.names if name in self.table.reads[n]] for name in self.names}
        self.last = {name: max((self.names.index(n) for n in readers), default=len(self.names))
                     for name, readers in self.readers.items()}
        self._padded, self._chains, self._ratio, self._geometries = {}, {}, {}, {}
        self.joint = self._before_dense()

    def _before_dense(self):
        """The first vector, if all that follows is made of it alone and dense layers are among it; else the layer."""
        at = next((i for i, name in enumerate(self.names) if len(self.shapes[name]) == 1), len(self.names) - 1)
        below, after = set(self.names[:at]), self.names[at + 1:]
        alone = not any(below & set(self.table.reads[name]) for name in after)
        return self.names[at] if alone and any(self.table[n].kind == "linear" for n in after) else self.layer

    def run(self, boxes, contents):
        """Values of `layer`, (N, ...), for N pictures that are the clean one but for a box each.

        boxes      (N, 4) integers: top, left, bottom, right, inside the picture; may be empty
        contents   N arrays (bottom - top, right - left, C): what stands there
        """
        return self._above(self._whole(self.joint, *self._below(boxes, contents)))

    def _below(self, boxes, contents):
        """(Boxes or None, new values) of the layer `joint`."""
        boxes = np.asarray(boxes).reshape(-1, 4)
        first = self.names[0]
        where = {first: Boxes(boxes[:, :2], np.maximum(0, boxes[:, 2:] - boxes[:, :2]))}
        # of each layer: the new values of each picture's dirty box
        cells = {first: [np.ascontiguousarray(cells, self.clean.dtype) for cells in contents]}
        self._walk(where, cells, self.names[:self.names.index(self.joint) + 1])
        return where.get(self.joint), cells[self.joint]

    def _above(self, values):
        """Values of `layer` from those of `joint`."""
        where, cells = {self.joint: None}, {self.joint: values}
        self._walk(where, cells, self.names[self.names.index(self.joint) + 1:])
        return cells[self.layer]

    def _walk(self, where, cells, names):
        """Compute these layers into `where` and `cells`."""
        for name in names:
            if name not in cells:
                self._layer(name, where, cells)
            done = self.names.index(name)
            for old in [n for n in cells if self.last[n] <= done and n not in (self.layer, names[-1])]:
                del cells[old]

    def bytes_each(self, height, width, whole=True):
        """An upper bound of the memory that one picture takes whose changed box has this size; `whole`: the values of
        `joint` are laid into a whole layer."""
        middle = [(self.shapes[self.names[0]][a] - side) // 2 for a, side in enumerate((height, width))]
        where = {self.names[0]: Boxes(np.array([middle]), np.array([[height, width]]))}
        size, most, held = self.clean.dtype.itemsize, 0, {self.names[0]: height * width * self.shapes[self.names[0]][2]}
        for i, name in enumerate(self.names[1:], 1):
            where[name] = self._reach(name, where)
            read = sum(self._cutting_cells(name, source, where[name]) for source in self.table.reads[name])
            held[name] = int(np.prod(self.shapes[name] if where[name] is None
                                     else (*where[name].size[0] + 1, self.shapes[name][2])))
            most = max(most, sum(held.values()) + 2 * read + held[name])     # kernels may copy what they read once
            held = {n: count for n, count in held.items() if self.last[n] > i}
            if whole and name == self.joint:
                most = max(most, sum(held.values()) + int(np.prod(self.shapes[name])))
        return most * size

    def run_all(self, boxes, content, memory=None, monitor=None, may_stop=False, weights=None):
        """As run, for any number of boxes: as many at once as the budget allows; content(i) is made when needed.

        may_stop   when the monitor says Stop, give the values so far instead of passing it on
        weights    an array like `clean`: give sum(weights * values) of every picture, (N,) float64, without ever
                   holding all those values
        """
        boxes = np.asarray(boxes).reshape(-1, 4)
        monitor = monitor or SilentMonitor()
        budget = default_budget() if memory is None else parse_bytes(memory)
        whole = weights is None or self.joint != self.layer
        each = max(self.bytes_each(*(boxes[:, 2:] - boxes[:, :2]).max(axis=0), whole), budget / MOST_AT_ONCE)
        found, waiting = [], []         # dense layers take as long for few rows as for many: rows wait for more

        def finish(rows):
            values = self._above(rows)
            found.append(values if weights is None else _weighed(values, weights))

        for part in split(len(boxes), each, budget):
            where, cells = self._below(boxes[part], [content(i) for i in range(part.start, part.stop)])
            if whole or where is None:
                waiting.append(self._whole(self.joint, where, cells))
            else:
                found.append(self._weighed_boxes(where, cells, weights))
            if sum(map(len, waiting)) >= DENSE_ROWS:
                rows = self.xp.concatenate(waiting)
                finish(rows[:DENSE_ROWS])
                waiting = [rows[DENSE_ROWS:]]
            try:
                monitor.step(part.stop, len(boxes))
            except Stop:
                if not may_stop:
                    raise
                break
        if any(map(len, waiting)):
            finish(self.xp.concatenate(waiting))
        return self.xp.concatenate(found)

    # -------------------------------------------------------------------------------------------------- one layer

    def _layer(self, name, where, cells):
        """Compute one layer of all pictures into `cells`, and the ReLU that follows it if both go at once."""
        layer, sources = self.table[name], self.table.reads[name]
        where[name] = self._reach(name, where)
        if where[name] is None:                 # whole, for all pictures at once
            if layer.kind == "global_avg_pool" and where[sources[0]] is not None:
                cells[name] = self._average(sources[0], where[sources[0]], cells[sources[0]])
            elif layer.kind == "linear":
                cells[name] = self._dense(name, self._whole(sources[0], where[sources[0]], cells[sources[0]]))
            else:
                inputs = [Tensor(self._whole(n, where[n], cells[n])) for n in sources]
                cells[name] = run_layer(layer, inputs, self.net.weights, precision=self.net.precision).data
            return
        fused = self._relu_after(name)
        found = [None] * len(where[name].start)
        for size, members in _groups(where[name].size):
            inputs = [self._cut(name, source, where, cells, members, size) for source in sources]
            y = self._compute(layer, fused, inputs, where[name].start[members], size)
            for i, values in zip(members, y):
                found[i] = values
        cells[fused or name] = found
        if fused:
            where[fused] = where[name]

    def _reach(self, name, where):
        """The dirty Boxes of a layer, from those of the layers it reads; None where everything is dirty."""
        layer, sources = self.table[name], self.table.reads[name]
        if len(self.shapes[name]) != 3 or layer.kind in _WHOLE or any(where[n] is None for n in sources):
            return None
        if layer.kind in _JOINS:
            return _union([where[n] for n in sources])
        before = where[sources[0]]
        if layer.kind not in _WINDOWS:
            return before                       # one position at a time: ReLU, normalisation over channels, ...
        start, end = np.empty_like(before.start), np.empty_like(before.start)
        for a, (kernel, stride, pad, _) in enumerate(self._geometry(name)):
            first = before.start[:, a] + pad
            start[:, a] = np.maximum(0, -(-(first - kernel + 1) // stride))
            end[:, a] = np.minimum(self.shapes[name][a], (first + before.size[:, a] - 1) // stride + 1)
        size = np.maximum(0, end - start)
        size[(size == 0).any(axis=1) | (before.size == 0).any(axis=1)] = 0
        return Boxes(start, size)

    def _geometry(self, name):
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

    def _cut(self, name, source, where, cells, members, size):
        """(n, h, w, C): what outputs of a box of `size` read in `source`, of the pictures `members`."""
        start, shape, values = where[name].start[members], size, self.values[source]
        if self.table[name].kind in _WINDOWS:
            geometry = self._geometry(name)
            shape = [(side - 1) * stride + extent for side, (extent, stride, _, _) in zip(size, geometry)]
            start = np.stack([start[:, a] * geometry[a][1] - geometry[a][2] for a in (0, 1)], axis=1)
            values = self._with_padding(name, source, geometry)
            before = [g[2] for g in geometry]
        else:
            before = [0, 0]
        new = cells[source]
        return cpu.cut_boxes(values, start + before, shape, [new[i] for i in members],
                             where[source].start[members] - start)

    def _with_padding(self, name, source, geometry):
        """The clean values of `source` with all the padding that layer `name` reads around them."""
        lowest = -np.inf if self.table[name].kind == "max_pool" else 0
        widths = tuple((before, after) for _, _, before, after in geometry)
        key = source, widths, lowest
        if key not in self._padded:
            self._padded[key] = self.values[source] if not any(map(any, widths)) else self.xp.pad(
                self.values[source], ((0, 0), *widths, (0, 0)), constant_values=lowest)
        return self._padded[key]

    def _compute(self, layer, fused, inputs, start, size):
        """One layer, and the ReLU that follows a convolution, on cuttings that have all padding inside."""
        net = self.net
        if layer.kind not in _WINDOWS:
            return run_layer(layer, [Tensor(x) for x in inputs], net.weights, precision=net.precision).data
        if fused:
            if layer.name not in self._chains:
                chain = [step_of(_bare(layer), inputs[0].shape[1:]), step_of(self.table[fused], None)]
                self._chains[layer.name] = ([(layer.name, "conv"), (fused, "relu")], chain,
                                            [net.pair(layer.name), None], net.precision, {"weights": net.derived})
            return Chain(*self._chains[layer.name])(Tensor(inputs[0])).data
        y = run_layer(_bare(layer), [Tensor(inputs[0])], net.weights, precision=net.precision).data
        return y if layer.kind != "avg_pool" else y * self._shares(layer, start, size)

    def _relu_after(self, name):
        """The ReLU that reads a convolution, if it alone does and the kernels may compute both at once."""
        readers = self.readers[name]
        if (self.table[name].kind != "conv" or len(readers) != 1 or self.table[readers[0]].kind != "relu"
                or self.net.precision == "float64" or name == self.layer):
            return None
        return readers[0]

    def _shares(self, layer, start, size):
        """(n, h, w, 1): by how much the mean over a window, padding counted as zeros, falls short of the layer's own
        mean: both are asked for a picture of ones."""
        if layer.name not in self._ratio:
            source = self.table.reads[layer.name][0]
            ones = self.xp.ones((1, *self.shapes[source][:2], 1), self.clean.dtype)
            own = run_layer(layer, [Tensor(ones)], self.net.weights).data
            widths = [(before, after) for _, _, before, after in self._geometry(layer.name)]
            full = self.xp.pad(ones, ((0, 0), *widths, (0, 0)))
            bare = Layer(layer.name, "avg_pool", kernel=layer["kernel"], stride=layer["stride"], pad=0)
            mean = run_layer(bare, [Tensor(full)], self.net.weights).data
            self._ratio[layer.name] = (own / mean[:, :own.shape[1], :own.shape[2]])[0]
        ratio = self._ratio[layer.name]
        return self.xp.stack([ratio[y:y + size[0], x:x + size[1]] for y, x in start.tolist()])

    # --------------------------------------------------------------------------------------------------- whole layers

    def _whole(self, name, where, new):
        """(N, ...): a layer's values of all pictures."""
        if where is None:
            return new
        values = self.xp.repeat(self.values[name], len(new), axis=0)
        for picture, cells, (top, left) in zip(values, new, where.start.tolist()):
            if cells is not None:
                _paste(picture, cells, top, left)
        return values

    def _weighed_boxes(self, where, new, weights):
        """(N,) float64: sum(weights * values) of `layer`: the clean sum, and what each picture's box changes in it."""
        clean, weights = (array[0].astype(np.float64) for array in (self.clean, weights))
        total, rows = (clean * weights).sum(), []
        for cells, (top, left) in zip(new, where.start.tolist()):
            if cells is None:
                rows.append(total)
                continue
            here = np.s_[top:top + cells.shape[0], left:left + cells.shape[1]]
            rows.append(total + ((cells - clean[here]) * weights[here]).sum())
        return self.xp.asarray(rows, np.float64)

    def _average(self, source, where, new):
        """(N, C): the clean average, and what each picture's box changes in the sum, added up in float64."""
        clean = self.values[source][0].astype(np.float64)
        total, positions = clean.sum(axis=(0, 1)), clean.shape[0] * clean.shape[1]
        rows = []
        for cells, (top, left) in zip(new, where.start.tolist()):
            if cells is None:
                rows.append(total)
                continue
            old = clean[top:top + cells.shape[0], left:left + cells.shape[1]]
            rows.append(total + (cells - old).sum(axis=(0, 1)))
        return (self.xp.stack(rows) / positions).astype(self.clean.dtype)

    def _dense(self, name, x):
        """x @ w + b for many rows. A dense layer's time is that of reading its weights, so rows go in blocks; these are
        always of the same size, because BLAS may round differently when it is given another number of rows."""
        w, bias = self.net.weights[f"{name}/weight"].data, self.net.weights.get(f"{name}/bias")
        rows = DENSE_ROWS if w.size > LARGE_MATRIX else DENSE_ROWS // 8
        y = self.xp.empty((len(x), w.shape[1]), x.dtype)
        for first in range(0, len(x), rows):
            block = self.xp.zeros((rows, x.shape[1]), x.dtype)
            given = x[first:first + rows]
            block[:len(given)] = given
            y[first:first + rows] = _product(block, w)[:len(given)]
        return y if bias is None else y + bias.data

    def _cutting_cells(self, name, source, where):
        """How many values of `source` one picture's box in layer `name` reads."""
        if where is None:
            return int(np.prod(self.shapes[source]))
        size = where.size[0] + 1
        if self.table[name].kind in _WINDOWS:
            size = [(s - 1) * stride + extent for s, (extent, stride, _, _) in zip(size, self._geometry(name))]
        return int(np.prod(size)) * self.shapes[source][2]


def _weighed(values, weights):
    """(N,) float64: the sum of weights (1, ...) times values (N, ...) of every picture."""
    return (values.astype(np.float64) * weights).reshape(len(values), -1).sum(axis=1)


def _bare(layer):
    """A layer with windows as it is on cuttings that have all padding inside."""
    plain = {k: v for k, v in layer.settings.items() if k not in ("ceil", "count_pad")} | {"pad": 0}
    return Layer(layer.name, layer.kind, **plain)


def _product(x, w):
    """x @ w; on the CPU each thread takes slabs of columns, since BLAS's own threads wait for one another."""
    if not isinstance(x, np.ndarray):
        return x @ w
    y = np.empty((len(x), w.shape[1]), x.dtype)

    def job(_, scratch, first, last):
        for at in range(first * SLAB, min(last * SLAB, w.shape[1]), SLAB):
            y[:, at:at + SLAB] = x @ w[:, at:at + SLAB]

    with threads.one_blas_thread():
        threads.run(job, None, -(-w.shape[1] // SLAB))
    return y


def _groups(size):
    """((height, width), indices) of the boxes that have the same size; those without cells are left out."""
    found, which = np.unique(size, axis=0, return_inverse=True)
    return [(tuple(row), np.flatnonzero(which.reshape(-1) == i)) for i, row in enumerate(found.tolist()) if min(row)]


def _union(many):
    """The smallest Boxes around several; those without cells do not count."""
    empty = [(b.size == 0).any(axis=1)[:, None] for b in many]
    far = np.iinfo(np.int64).max // 2
    start = np.min([np.where(e, far, b.start) for b, e in zip(many, empty)], axis=0)
    end = np.max([np.where(e, 0, b.start + b.size) for b, e in zip(many, empty)], axis=0)
    nothing = np.all(empty, axis=0)
    return Boxes(np.where(nothing, 0, start), np.where(nothing, 0, end - start))


def _paste(picture, cells, top, left):
    """Lay `cells` on the picture at (top, left); what hangs over any edge is cut off."""
    y, x = max(0, top), max(0, left)
    part = cells[y - top:picture.shape[0] - top, x - left:picture.shape[1] - left]
    picture[y:y + part.shape[0], x:x + part.shape[1]] = part
