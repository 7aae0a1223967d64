"""What a network costs: a row per layer for the summary table, and the memory of a pass."""
import math
from typing import NamedTuple

import numpy as np

from . import kernels
from .shapes import infer_shapes, multiply_adds

_VIEWS = ("dropout", "flatten")     # give their input's own memory on
_WORKING = ("conv", "conv_transpose", "max_pool", "avg_pool", "lrn", "instance_norm")
WORK = 2.5      # times input and output of such a layer: padded copies, tiles, windows; measured: at most 2.3


class Row(NamedTuple):
    """One layer of the summary: shapes are those of one picture, fields are (vertical, horizontal) in input pixels."""
    name: str
    kind: str
    shape: tuple
    parameters: int
    multiply_adds: int
    receptive_field: tuple | None       # None: the whole picture
    stride: tuple | None


def summary(net, size=None):
    """A Row per layer for pictures of `size` (None: the network's own, or 224 x 224 if it takes any)."""
    from .receptive_field import field
    size = _size(net, size)
    shapes = net.shapes(size)
    rows = []
    for layer in net.table:
        ins = [shapes[name] for name in net.table.reads[layer.name]]
        seen = field(net, layer.name, size)
        parameters = sum(math.prod(shape) for name, shape in net.weights.shapes.items()
                         if name.split("/")[0] == layer.name and not name.endswith(("/mean", "/var")))
        rows.append(Row(layer.name, layer.kind, shapes[layer.name], parameters,
                        multiply_adds(layer, ins, shapes[layer.name]), seen.size, seen.stride))
    return rows


def _size(net, size):
    """(H, W) from a side or a pair; None: the network's own, or 224 x 224 if it takes any."""
    size = size or net.input_size or (224, 224)
    return (size, size) if isinstance(size, int) else tuple(size)


def bytes_needed(net, shape, layers=None, backward=False):
    """Bytes that net(x, layers) takes at its highest point beside the weights, x of `shape` (N, H, W, C) among them.

    It adds up, layer by layer, the values alive and what kernels work in (see WORK); backward adds what the way back
    needs: the values that ops keep and the two gradients that live at once. Fused chains stay below it. Transformed
    weights, which do not grow with N, are not in it.
    """
    layers = [net.output_layer] if layers is None else [layers] if isinstance(layers, str) else list(layers)
    asked = {net.layer_name(name) for name in layers}
    names, table = net.table.needed(asked), net.table
    shapes = infer_shapes(table, shape[1:], names=names)
    size = np.dtype(net.dtype).itemsize
    cells = {name: shape[0] * math.prod(shapes[name]) for name in names}
    last = {name: i for i, name in enumerate(names)}
    for i, name in enumerate(names):
        last.update((source, i) for source in table.reads[name])
    alive, peak, kept, back = 0, 0, 0, 0
    for i, name in enumerate(names):
        around = sum(cells[n] for n in (name, *table.reads[name])) * size
        work = around * WORK if table[name].kind in _WORKING else 0
        alive += 0 if table[name].kind in _VIEWS else cells[name] * size
        kept += _kept(table, name, cells, size) if backward else 0
        peak, back = max(peak, alive + kept + work), max(back, around + work)
        alive -= sum(cells[n] * size for n in {name, *table.reads[name]}
                     if last[n] == i and n not in asked and n != names[0] and table[n].kind not in _VIEWS)
    return math.ceil(max(peak, alive + kept + back) if backward else peak)


def _kept(table, name, cells, size):
    """Bytes that the op of a layer keeps for the way back, its weights frozen."""
    kind, out = table[name].kind, cells[name]
    before = sum(cells[source] for source in table.reads[name])
    if kind == "relu":
        return -(-out // 8)                                 # one bit a value
    if kind == "max_pool":
        return out                                          # one byte a window
    if kind in ("clip", "leaky_relu"):
        return out                                          # one boolean a value
    if kind == "lrn":
        return 2 * out * size                               # the input and the divisors
    if kind in ("tanh", "sigmoid", "softmax", "instance_norm"):
        return out * size
    return before * size if kind == "multiply" else 0


def plan(net, size=None):
    """How net(x) and its gradient run on one picture: [(layer names, algorithm, bytes kept for the gradient or None)].

    Layers that the kernels do in one go share a row. None: the layer is an op of its own, which keeps what it says.
    """
    size = _size(net, size)
    some = next(iter(net.weights.values())).data
    shapes, rows = net.shapes(size), []
    for run in net.runs((*size, shapes[net.table.names[0]][2])):
        if run.steps is None:
            rows.append((run.names, run.layers[0][1].replace("_", " "), None))
            continue
        names = [name for name, kind in run.layers if kind != "dropout"]
        weights = [net.pair(name) if step.kind == "conv" else None for name, step in zip(names, run.steps)]
        x_shape = (1, *shapes[run.reads[0]])
        for where, how, kept in kernels.of(some).describe_chain(x_shape, run.steps, weights, net.precision):
            rows.append(([names[i] for i in where], how, kept))
    return rows
