"""Which input pixels a unit sees, and which units see a pixel, for any layer table.

Everything follows from one question, asked of one layer along one axis: which cells of its input does output cell i
read? `_taps` answers it; walking the table backward from a unit gives its pixels, walking it forward from a pixel its
units. Rows and columns never mix in a convolution or pooling, so each axis is walked by itself. Where branches meet,
the walk takes the union. Dense layers, global averages and instance normalisation read everything.

Two kinds of box: the *nominal* one has the same size for every unit and may reach over the border, into the padding;
the *exact* one holds the pixels that can change the unit at all, at borders too (a layer's padding is no pixel, and
what lies behind cells that a stride never reads is not seen). Araujo et al. 2019, doi:10.23915/distill.00021.
"""
import functools
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from .errors import MinivisError
from .ops.geometry import pair
from .preprocessing import Box
from .shapes import infer_shapes, pads, steps

_EVERYTHING = ("global_avg_pool", "flatten", "linear", "instance_norm")
_WINDOWS = ("conv", "conv_transpose", "max_pool", "avg_pool", "pad", "upsample")
_HIDDEN_STRIDES = 64        # enough unit positions to meet every phase of nets that enlarge


class Field(NamedTuple):
    """The nominal receptive field of a layer's units, each entry (vertical, horizontal), in input pixels.

    size     how many pixels a unit spans (None: all of the picture); the largest if units differ (after enlarging)
    stride   how far apart the fields of neighbouring units lie; a fraction where layers enlarge
    start    where the field of unit (0, 0) begins; negative: in the padding
    """
    size: tuple | None
    stride: tuple | None
    start: tuple | None


def field(net, layer, size=None):
    """The Field of `layer` for pictures of `size` (None: the network's own; matters for "same" padding only)."""
    size = net.input_size or (224, 224) if size is None else (size, size) if isinstance(size, int) else tuple(size)
    return _field(net.table, net.layer_name(layer), size)


@functools.lru_cache(256)           # a class activation map asks for it each time, and the walk takes longer than a net
def _field(table, layer, size):
    names = table.needed([layer])
    shapes = infer_shapes(table, (*size, table.layers[0]["shape"][2]), names=names)
    if len(shapes[layer]) != 3 or any(table[n].kind in _EVERYTHING for n in names if n != names[0]):
        return Field(None, None, None)
    boxes = [_nominal(table, names, shapes, layer, a, _phases(shapes[layer][a])) for a in (0, 1)]
    size = tuple(int((high - low + 1).max()) for low, high in boxes)
    return Field(size, tuple(_stride(table, layer, a) for a in (0, 1)), tuple(int(low[0]) for low, _ in boxes))


def nominal_box(net, layer, row, column, size=None):
    """The Box of pixels in the field of unit (row, column); it may reach beyond the picture, into the padding."""
    layer, shapes, names = _prepare(net, layer, size)
    _check_unit(layer, shapes[layer], row, column)
    if len(shapes[layer]) != 3:
        return Box(0, 0, *shapes[names[0]][:2])
    (top,), (bottom,) = _nominal(net.table, names, shapes, layer, 0, np.array([row]))
    (left,), (right,) = _nominal(net.table, names, shapes, layer, 1, np.array([column]))
    return Box(int(top), int(left), int(bottom) + 1, int(right) + 1)


def pixels_seen(net, layer, row, column, size=None):
    """The smallest Box that holds every pixel which unit (row, column) can depend on; None if it sees no pixel.

    A unit of a dense or global layer has no position: its row and column are ignored.
    """
    layer, shapes, names = _prepare(net, layer, size)
    _check_unit(layer, shapes[layer], row, column)
    start = names[0]
    masks = {name: [np.zeros(side, bool) for side in shapes[name][:2]] if len(shapes[name]) == 3 else []
             for name in names}     # rows and columns that matter; none for vectors, of which all matters
    if len(shapes[layer]) == 3:
        masks[layer][0][row] = masks[layer][1][column] = True
    for name in reversed(names):
        if name == start:
            continue
        for source in net.table.reads[name]:
            for a, mask in enumerate(masks[source]):
                mask |= _read_by(net.table[name], shapes[source], a, masks[name])
            if masks[source] and not all(mask.any() for mask in masks[source]):
                for mask in masks[source]:
                    mask[:] = False         # no rows: then no columns either
    return _box(masks[start])


def units_seeing(net, layer, row, column, size=None):
    """The smallest Box of units (rows, columns) of `layer` that can depend on pixel (row, column); None if none does.

    For a dense or global layer, whose units see everything, Box(0, 0, 1, 1).
    """
    layer, shapes, names = _prepare(net, layer, size)
    _check_unit("the input", shapes[names[0]], row, column)
    masks = {}
    for name in names:
        if name == names[0]:
            masks[name] = [np.arange(side) == at for side, at in zip(shapes[name], (row, column))]
            continue
        masks[name] = _unite([_reached(net.table[name], shapes[source], shapes[name], masks[source])
                              for source in net.table.reads[name]])
    if not masks[layer]:
        return Box(0, 0, 1, 1) if masks[layer] is not None else None
    return _box(masks[layer])


# ---------------------------------------------------------------------------------------------------------- one layer

def _taps(layer, shape, a, i, clip=True):
    """Which cells of the input (of `shape`), along axis a, the output cells i read.

    -> indices (len(i), T) and whether each is read. With clip, cells outside the input are not read (or, in reflecting
    and repeating padding, are those inside that they copy); without, they keep their numbers, negative ones too.
    """
    n, i = shape[a], np.asarray(i)[:, None]
    if layer.kind == "upsample":
        j = i // layer["factor"]
        return j, np.ones(j.shape, bool)
    if layer.kind in _WINDOWS:
        before = pads(layer, shape)[2 * a]
    if layer.kind == "pad":
        j = i - before
        if clip and layer["mode"] == "edge":
            j = np.clip(j, 0, n - 1)
        elif clip and layer["mode"] == "reflect":
            j = np.abs(j)
            j = np.where(j >= n, 2 * (n - 1) - j, j)
        read = np.ones(j.shape, bool)
    elif layer.kind in _WINDOWS:
        kernel = pair(layer["kernel"], "kernel")[a]
        stride, dilation = (s[a] for s in steps(layer))
        if layer.kind == "conv_transpose":
            j = (i + before) // stride - np.arange(-(-kernel // stride))
            read = i + before - j * stride < kernel
        else:
            j = i * stride - before + np.arange(kernel) * dilation
            read = np.ones(j.shape, bool)
    else:
        j, read = i, np.ones(i.shape, bool)             # one value at a time: ReLU, sums, channels among themselves
    return j, read & (j >= 0) & (j < n) if clip else read


def _read_by(layer, shape, a, masks):
    """Which input cells along axis a the marked output cells read. No masks: the output is a vector."""
    if layer.kind in _EVERYTHING or not masks:
        return np.full(shape[a], not masks or all(m.any() for m in masks))
    i = np.flatnonzero(masks[a])
    j, read = _taps(layer, shape, a, i)
    found = np.zeros(shape[a], bool)
    found[j[read]] = True
    return found


def _reached(layer, shape, out, masks):
    """Which output cells (of shape `out`) read any marked input cell: two masks, [] for a vector, None for none."""
    if masks is None or not all(m.any() for m in masks):
        return None
    if len(out) != 3:
        return []
    if layer.kind in _EVERYTHING:
        return [np.ones(side, bool) for side in out[:2]]
    found = []
    for a in (0, 1):
        j, read = _taps(layer, shape, a, np.arange(out[a]))
        found.append((masks[a][np.clip(j, 0, shape[a] - 1)] & read).any(axis=1))
    return found if all(m.any() for m in found) else None


def _unite(many):
    """The union of what the branches reach."""
    many = [masks for masks in many if masks is not None]
    return [np.logical_or.reduce(along) for along in zip(*many)] if many else None


# ------------------------------------------------------------------------------------------------- the nominal walk

def _nominal(table, names, shapes, layer, a, i):
    """(first, last) input cell of output cells i along axis a, with nothing cut off at borders."""
    spans = {layer: (i, i)}
    for name in reversed(names):
        if name == names[0] or name not in spans:
            continue
        low, high = spans[name]
        for source in table.reads[name]:
            if table[name].kind in _EVERYTHING:
                new = np.zeros_like(low), np.full_like(high, shapes[source][a] - 1)
            else:
                new = tuple(_end(table[name], shapes[source], a, at, end) for at, end in ((low, min), (high, max)))
            old = spans.get(source, new)
            spans[source] = np.minimum(old[0], new[0]), np.maximum(old[1], new[1])
    return spans[names[0]]


def _end(layer, shape, a, i, end):
    """The lowest or highest cell that cells i read; where they read none, the nearest."""
    j, read = _taps(layer, shape, a, i, clip=False)
    if end is min:
        return np.where(read.any(axis=1), np.where(read, j, np.iinfo(j.dtype).max).min(axis=1), j.min(axis=1))
    return np.where(read.any(axis=1), np.where(read, j, np.iinfo(j.dtype).min).max(axis=1), j.max(axis=1))


def _phases(side):
    return np.arange(min(side, _HIDDEN_STRIDES))


def _stride(table, layer, a):
    """How many input pixels one step in the layer is: the product of strides, divided by what was enlarged."""
    stride, name = Fraction(1), layer
    while table.reads[name]:
        row = table[name]
        if row.kind == "upsample":
            stride /= row["factor"]
        elif row.kind in ("conv", "conv_transpose", "max_pool", "avg_pool"):
            own = steps(row)[0][a]
            stride = stride / own if row.kind == "conv_transpose" else stride * own
        name = table.reads[name][0]
    return int(stride) if stride.denominator == 1 else stride


# -------------------------------------------------------------------------------------------------------------- helpers

def _prepare(net, layer, size):
    """(layer's own name, shapes of the layers it depends on, their names in order)"""
    layer = net.layer_name(layer)
    names = net.table.needed([layer])
    size = net.input_size or (224, 224) if size is None else (size, size) if isinstance(size, int) else tuple(size)
    shape = (*size, net.table.layers[0]["shape"][2])
    return layer, infer_shapes(net.table, shape, names=names), names


def _check_unit(layer, shape, row, column):
    if len(shape) == 3 and not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise MinivisError(f"{layer} has {shape[0]} rows and {shape[1]} columns here: there is no unit @{row},{column}")


def _box(masks):
    rows, columns = (np.flatnonzero(mask) for mask in masks)
    if not len(rows) or not len(columns):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
