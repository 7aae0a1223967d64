"""A network run again on pictures that differ from a clean one in a box: only what the box can change is recomputed.

Every layer's clean output is kept. A changed box of the picture reaches, in each layer, a box of outputs: the *dirty*
box, which grows with a kernel's size and shrinks with its stride. Its input is cut out of the clean values, the changed
part is laid on, and the layer runs on that cutting alone, padding included in it and therefore set to none. Many
pictures run at once: at each layer those whose boxes, in whole tiles, have the same size form one batch. The result is
that of the whole network to float rounding. The idea: Nakandala, Kumar, Papakonstantinou 2019, "Incremental and
approximate inference for faster occlusion-based deep CNN explanations", SIGMOD, doi:10.1145/3299869.3319874.

Layers after a global average or a flattening read everything and run whole, as do the rare kinds for which a box would
not pay (dirty_boxes.WHOLE).
"""
import functools

import numpy as np

from . import kernels
from .batching import default_budget, parse_bytes, split
from .chains import Chain, step_of
from .dirty_boxes import TILE, WINDOWS, Boxes, Reach, groups, scaled
from .kernels import cpu
from .kernels.cpu import threads
from .kernels.cpu.boxes import Patches
from .layer_ops import run_layer
from .layers import Layer
from .monitor import SilentMonitor, Stop
from .shapes import infer_shapes
from .tensor import Tensor

MOST_AT_ONCE = 256      # more pictures in a batch would gain nothing
CACHED = 12 << 20       # bytes of a batch's cuttings: what is laid out should be read again before it leaves the caches
DENSE_ROWS, LARGE_MATRIX, SLAB = 256, 1 << 20, 256      # rows of a block; the size that needs so many; columns a thread


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
        self.reach = Reach(self.table, self.shapes)
        self._padded, self._chains, self._ratio = {}, {}, {}
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
        first, given = self.names[0], Patches(len(boxes))
        where = {first: Boxes(boxes[:, :2], np.maximum(0, boxes[:, 2:] - boxes[:, :2]))}
        cells = {first: given}      # of each layer: the new values of each picture's dirty box
        for i, values in enumerate(contents):
            values = np.ascontiguousarray(values, self.clean.dtype)
            given.put([i], values[None], 0, values.shape[:2])
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
            if name not in where:
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
            where[name] = self.reach.of(name, where)
            read = sum(self.reach.cells_read_by_one(name, source, where[name]) for source in self.table.reads[name])
            held[name] = int(np.prod(self.shapes[name] if where[name] is None
                                     else (*self.reach.tiled(name, where[name].size[0] + 1), self.shapes[name][2])))
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

        with kernels.keeping():
            for part in split(len(boxes), each, budget):
                where, cells = self._below(boxes[part], [content(i) for i in range(part.start, part.stop)])
                if whole or where is None:
                    waiting.append(self._whole(self.joint, where, cells))
                else:
                    found.append(self._weighed_boxes(where, cells, weights))
                if sum(map(len, waiting)) >= DENSE_ROWS:
                    rows = self._one_after_another(waiting)
                    finish(rows[:DENSE_ROWS])
                    waiting = [rows[DENSE_ROWS:]]
                try:
                    monitor.step(part.stop, len(boxes))
                except Stop:
                    if not may_stop:
                        raise
                    break
        if any(map(len, waiting)):
            finish(self._one_after_another(waiting))
        return self._one_after_another(found)

    def _one_after_another(self, arrays):
        return arrays[0] if len(arrays) == 1 else self.xp.concatenate(arrays)

    # -------------------------------------------------------------------------------------------------- one layer

    def _layer(self, name, where, cells):
        """Compute one layer of all pictures into `cells`, or it and what goes at once with it."""
        layer, sources = self.table[name], self.table.reads[name]
        where[name] = self.reach.of(name, where)
        if where[name] is None:                 # whole, for all pictures at once
            if layer.kind == "global_avg_pool" and where[sources[0]] is not None:
                cells[name] = self._average(sources[0], where[sources[0]], cells[sources[0]])
            elif layer.kind == "linear":
                cells[name] = self._dense(name, self._whole(sources[0], where[sources[0]], cells[sources[0]]))
            else:
                inputs = [Tensor(self._whole(n, where[n], cells[n])) for n in sources]
                cells[name] = run_layer(layer, inputs, self.net.weights, precision=self.net.precision).data
            return
        together = [name, *self._behind(name)]
        for after in together[1:]:
            where[after] = self.reach.of(after, where)
        last, scale = together[-1], 2 if len(together) == 3 else 1          # a pooling halves the map
        dirty, found = where[last], Patches(len(where[last].start))
        for size, members in self._batches(name, sources, self.reach.tiled(last, dirty.size, TILE // scale), scale):
            start = np.minimum(dirty.start[members], np.subtract(self.shapes[last][:2], size))
            cut = functools.partial(self._cut, name, where=where, cells=cells, members=members, start=scale * start,
                                    size=scaled(size, scale))
            if layer.kind == "concat":
                y = self._joined_boxes(name, cut, len(members), size)
            else:
                y = self._compute(together, [cut(source) for source in sources], start, size)
            found.put(members, y, dirty.start[members] - start, dirty.size[members])
        cells[last] = found

    def _batches(self, name, sources, size, scale):
        """((height, width), indices) of pictures whose boxes have the same size, some at a time: a batch that stays in
        the processor's caches is laid out and read sooner than it could be in memory. scale: layer `name` has so many
        cells to one of the box."""
        for box, members in groups(size):
            each = sum(self.reach.cells_read(name, scaled(box, scale), source) for source in sources)
            step = max(1, CACHED // (each * self.clean.dtype.itemsize))
            for first in range(0, len(members), step):
                yield box, members[first:first + step]

    def _joined_boxes(self, name, cut, count, size):
        """A concatenation: what it joins is cut out into its channels."""
        y, first = kernels.empty((count, *size, self.shapes[name][2]), self.clean), 0
        for source in self.table.reads[name]:
            last = first + self.shapes[source][2]
            cut(source, out=y[..., first:last])
            first = last
        return y

    def _cut(self, name, source, where, cells, members, start, size, out=None):
        """(n, h, w, C): what outputs of boxes of `size` at `start` read in `source`, of the pictures `members`."""
        shape, values, step, before = size, self.values[source], 1, 0
        if self.table[name].kind in WINDOWS:
            geometry = self.reach.geometry(name)
            shape = [(side - 1) * stride + extent for side, (extent, stride, _, _) in zip(size, geometry)]
            step, before = np.array([g[1:3] for g in geometry]).T
            values = self._with_padding(name, source, geometry)
        places = start * step                   # counted from the first row and column of the padding
        return cpu.cut_boxes(values, places, shape, cells[source], members,
                             where[source].start[members] + before - places, out)

    def _with_padding(self, name, source, geometry):
        """The clean values of `source` with all the padding that layer `name` reads around them."""
        lowest = -np.inf if self.table[name].kind == "max_pool" else 0
        widths = tuple((before, after) for _, _, before, after in geometry)
        key = source, widths, lowest
        if key not in self._padded:
            self._padded[key] = self.values[source] if not any(map(any, widths)) else self.xp.pad(
                self.values[source], ((0, 0), *widths, (0, 0)), constant_values=lowest)
        return self._padded[key]

    def _compute(self, names, inputs, start, size):
        """One layer, or a convolution and what goes at once with it, on cuttings that have all padding inside."""
        net, layer = self.net, self.table[names[0]]
        if layer.kind not in WINDOWS:
            return run_layer(layer, [Tensor(x) for x in inputs], net.weights, precision=net.precision).data
        if len(names) > 1:
            if layer.name not in self._chains:
                rows = [_bare(layer), *(self.table[name] for name in names[1:])]
                self._chains[layer.name] = ([(row.name, row.kind) for row in rows],
                                            [step_of(row, inputs[0].shape[1:]) for row in rows],
                                            [net.pair(layer.name), *[None] * (len(rows) - 1)], net.precision,
                                            {"weights": net.derived})
            return Chain(*self._chains[layer.name])(Tensor(inputs[0])).data
        y = run_layer(_bare(layer), [Tensor(inputs[0])], net.weights, precision=net.precision).data
        return y if layer.kind != "avg_pool" else y * self._shares(layer, start, size)

    def _behind(self, name):
        """What the kernels compute at once with a convolution: the ReLU that alone reads it, and the 2x2 pooling that
        alone reads that."""
        behind = []
        for kind in ("relu", "max_pool"):
            readers = self.readers[name]
            fits = (len(readers) == 1 and self.table[readers[0]].kind == kind and name != self.layer
                    and self.net.precision != "float64" and (behind or self.table[name].kind == "conv"))
            if not fits or (kind == "max_pool" and self.reach.geometry(readers[0]) != [(2, 2, 0, 0)] * 2):
                break
            name = readers[0]
            behind.append(name)
        return behind

    def _shares(self, layer, start, size):
        """(n, h, w, 1): by how much the mean over a window, padding counted as zeros, falls short of the layer's own
        mean: both are asked for a picture of ones."""
        if layer.name not in self._ratio:
            source = self.table.reads[layer.name][0]
            ones = self.xp.ones((1, *self.shapes[source][:2], 1), self.clean.dtype)
            own = run_layer(layer, [Tensor(ones)], self.net.weights).data
            widths = [(before, after) for _, _, before, after in self.reach.geometry(layer.name)]
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
        values = kernels.empty((len(new), *self.shapes[name]), self.clean)
        values[:] = self.values[name]
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
            block = given = x[first:first + rows]
            if len(given) < rows:
                block = self.xp.empty((rows, x.shape[1]), x.dtype)
                block[:len(given)], block[len(given):] = given, 0
            y[first:first + rows] = _product(block, w)[:len(given)]
        return y if bias is None else y + bias.data


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


def _paste(picture, cells, top, left):
    """Lay `cells` on the picture at (top, left); what hangs over any edge is cut off."""
    y, x = max(0, top), max(0, left)
    part = cells[y - top:picture.shape[0] - top, x - left:picture.shape[1] - left]
    picture[y:y + part.shape[0], x:x + part.shape[1]] = part
