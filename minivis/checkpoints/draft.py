"""A network while it is being read from somebody's file: rows and weights, then put in canonical form.

Weights are NumPy arrays, often views into a mapped file, or `Rearranged`: a view that has still to be copied in another
order. Only the writer copies, block by block.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import MinivisError, WeightFileError
from ..layers import Layer, Table
from ..shapes import infer_shapes, weight_shapes

BLOCK_BYTES = 32 << 20


class Rearranged:
    """The array view.reshape(shape), not yet made: `view` may have any strides and number of axes."""

    def __init__(self, view, shape):
        self.view, self.shape, self.dtype = view, tuple(shape), view.dtype

    def __array__(self, dtype=None, copy=None):
        return np.ascontiguousarray(self.view, dtype).reshape(self.shape)


def blocks(array):
    """Yield consecutive runs of rows (axis 0 of the final shape) of an array or Rearranged, contiguous, <= 32 MB."""
    view, shape = (array.view, array.shape) if isinstance(array, Rearranged) else (array, array.shape)
    if 0 in view.shape or view.ndim == 0:
        yield np.ascontiguousarray(view).reshape(shape)
        return
    step = max(1, BLOCK_BYTES // (math.prod(view.shape[1:]) * view.itemsize))
    for start in range(0, len(view), step):
        yield np.ascontiguousarray(view[start:start + step]).reshape(-1, *shape[1:])


@dataclass
class Draft:
    """What a file says about a network. `weights` {"conv1/weight": array}; `notes` are said to the user."""

    form: str
    rows: list = field(default_factory=list)
    weights: dict = field(default_factory=dict)
    output: str | None = None
    logits_layer: str | None = None
    features_layer: str | None = None
    architecture: str = "custom"
    family: str | None = None           # of preprocessing.py in this folder
    labels: list | None = None
    preprocessing: dict | None = None
    source: str = ""
    licence: str = "unknown"
    notes: list = field(default_factory=list)
    mapped: object = None

    def add(self, name, kind, inputs=None, weights=None, **settings):
        """Append a row, with its weights {"weight": array, ...}; returns its name made legal and unique."""
        legal = "".join(c if c.isprintable() and c != "/" else "." for c in str(name)).strip(".")[:150] or kind
        unique, count = legal, 1
        names = {row.name for row in self.rows}
        while unique in names:
            count += 1
            unique = f"{legal}_{count}"
        self.rows.append(Layer(unique, kind, inputs, **settings))
        for part, array in (weights or {}).items():
            self.weights[f"{unique}/{part}"] = array
        self.output = unique
        return unique

    def shape(self, name):
        """Output shape of a row so far, (H, W, C) or (C,)."""
        return infer_shapes(Table(self.rows))[name]

    def row(self, name):
        return next(row for row in self.rows if row.name == name)

    def consumers(self, name):
        return [row for row in self.rows if row.inputs and name in row.inputs]


def spell_out_inputs(draft):
    """Give every row its inputs by name, so that rows may be removed."""
    reads = Table(draft.rows).reads
    draft.rows = [Layer(row.name, row.kind, list(reads[row.name]) or None, **row.settings) for row in draft.rows]


def remove(draft, name):
    """Take a row out; who read it reads its input instead."""
    gone = draft.row(name)
    draft.rows = [Layer(row.name, row.kind, row.inputs and [gone.inputs[0] if i == name else i for i in row.inputs],
                        **row.settings) for row in draft.rows if row is not gone]
    for key in [key for key in draft.weights if key.rsplit("/", 1)[0] == name]:
        del draft.weights[key]
    draft.output = gone.inputs[0] if draft.output == name else draft.output


def fold_batch_norms(draft):
    """w' = w s, b' = (b - mean) s + shift with s = scale / sqrt(var + eps), where only the norm reads the layer below.

    Both are linear, so the network stays the same function; computed in float64. A norm after anything but a
    convolution or dense layer stays a row of its own.
    """
    for row in [row for row in draft.rows if row.kind == "batch_norm"]:
        below = draft.row(row.inputs[0])
        if below.kind not in ("conv", "linear") or len(draft.consumers(below.name)) != 1 or below.name == draft.output:
            continue
        def part(name, default, row=row):
            return np.asarray(draft.weights.get(f"{row.name}/{name}", default), np.float64)
        spread = part("var", 1.0) + row["eps"]
        sizes = {np.shape(draft.weights[key]) for key in draft.weights if key.rsplit("/", 1)[0] == row.name}
        K = below["filters"] if below.kind == "conv" else below["outputs"]
        if sizes != {(K,)} or draft.weights[f"{below.name}/weight"].shape[-1] != K or not (spread > 0).all():
            raise WeightFileError(f"layer {row.name}: its batch normalisation does not fit the {K} outputs of "
                                  f"{below.name}, or has a negative variance")
        s = part("scale", 1.0) / np.sqrt(spread)
        bias = np.asarray(draft.weights.get(f"{below.name}/bias", np.zeros(K)), np.float64)
        draft.weights[f"{below.name}/weight"] = np.asarray(draft.weights[f"{below.name}/weight"], np.float64) * s
        draft.weights[f"{below.name}/bias"] = (bias - part("mean", 0.0)) * s + part("shift", 0.0)
        where = draft.rows.index(below)
        draft.rows[where] = Layer(below.name, below.kind, below.inputs, **{**below.settings, "bias": True})
        remove(draft, row.name)


_ELEMENTWISE = ("relu", "leaky_relu", "clip", "tanh", "sigmoid", "dropout")


def flatten_in_our_order(draft):
    """Turn flatten order "chw" into "hwc", permuting the rows of the dense layers that read it.

    Caffe's descendants flatten (C, H, W), this engine (H, W, C): row c*H*W + h*W + w of a weight (in, out) becomes row
    (h*W + w)*C + c. Where anything but dense layers reads the vector, the flatten keeps its order.
    """
    for row in [row for row in draft.rows if row.kind == "flatten" and row["order"] == "chw"]:
        readers, todo = [], [row.name]
        while todo:
            for reader in draft.consumers(todo.pop()):
                readers.append(reader)
                if reader.kind in _ELEMENTWISE:
                    todo.append(reader.name)
        dense = [reader for reader in readers if reader.kind == "linear"]
        if not all(reader.kind in (*_ELEMENTWISE, "linear") for reader in readers) or not dense:
            continue
        shape = draft.shape(row.inputs[0])
        if len(shape) != 3 or None in shape:
            continue
        H, W, C = shape
        for reader in dense:
            weight = draft.weights[f"{reader.name}/weight"]
            if weight.shape[0] != C * H * W:
                raise WeightFileError(f"layer {reader.name}: its weight has {weight.shape[0]} rows, but {C} x {H} x "
                                      f"{W} values flow into it")
            if H * W > 1:
                view = weight.view if isinstance(weight, Rearranged) else weight
                view = view.reshape(C, H * W, -1).transpose(1, 0, 2)
                draft.weights[f"{reader.name}/weight"] = Rearranged(view, weight.shape)
        draft.rows[draft.rows.index(row)] = Layer(row.name, "flatten", row.inputs)


def find_ends(draft):
    """The logits: what the last softmax or sigmoid reads, else the output."""
    last = draft.row(draft.output)
    if draft.logits_layer is None and (last.kind in ("softmax", "sigmoid", "linear") or any(
            row.kind in ("linear", "global_avg_pool") for row in draft.rows)):
        draft.logits_layer = last.inputs[0] if last.kind in ("softmax", "sigmoid") and last.inputs else last.name


def drop_head(draft, path):
    """Leave out everything from the first flatten or global average on: what remains takes pictures of any size."""
    end = next((i for i, row in enumerate(draft.rows) if row.kind in ("flatten", "global_avg_pool", "linear")), None)
    if end is not None:
        draft.rows = draft.rows[:end]
        while len(draft.rows) > 1 and draft.rows[-1].kind == "dropout":
            draft.rows.pop()
    if len(draft.rows) < 2:
        raise WeightFileError(f"{path}: nothing is left of the network without its dense layers")
    names = {row.name for row in draft.rows}
    draft.weights = {key: array for key, array in draft.weights.items() if key.rsplit("/", 1)[0] in names}
    first = draft.rows[0]
    draft.rows[0] = Layer(first.name, "input", shape=[None, None, first["shape"][2]])
    draft.output, draft.logits_layer, draft.features_layer, draft.labels = draft.rows[-1].name, None, None, None


def check(draft, path):
    """Every weight the table wants is there with its shape and nothing more; one clear line otherwise."""
    try:
        wanted = weight_shapes(Table(draft.rows))
    except WeightFileError:
        raise
    except MinivisError as error:
        raise WeightFileError(f"{path}: {error}") from None
    for key, shape in wanted.items():
        layer = key.rsplit("/", 1)[0]
        if key not in draft.weights:
            raise WeightFileError(f"{path}: layer {layer}: its {key.rsplit('/', 1)[1]} {shape} is missing")
        if tuple(draft.weights[key].shape) != tuple(shape):
            raise WeightFileError(f"{path}: layer {layer}: {key.rsplit('/', 1)[1]} has shape "
                                  f"{tuple(draft.weights[key].shape)}, but must be {tuple(shape)}")
        if np.dtype(draft.weights[key].dtype).kind != "f":
            raise WeightFileError(f"{path}: layer {layer}: {key.rsplit('/', 1)[1]} holds "
                                  f"{draft.weights[key].dtype}, not floating-point numbers")
    for key in set(draft.weights) - set(wanted):
        raise WeightFileError(f"{path}: {key} belongs to no layer")


def settle(draft, path):
    """Canonical form, in this order; each step keeps the function that the network computes."""
    try:
        spell_out_inputs(draft)
        fold_batch_norms(draft)
        flatten_in_our_order(draft)
        find_ends(draft)
    except WeightFileError as error:
        raise error if str(path) in str(error) else WeightFileError(f"{path}: {error}") from None
    except MinivisError as error:
        raise WeightFileError(f"{path}: {error}") from None
    check(draft, path)
    return draft
