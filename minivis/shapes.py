"""What every layer of a table makes of a size: output shapes, weight shapes, multiply-adds.

Shapes are those of one picture, (H, W, C) or (C,) after the dense part begins. H and W may be None, unknown; what
follows from them is then unknown too.
"""
import math

from .errors import MinivisError
from .kernels.reference import pool_output_size
from .layers import MOST_CELLS
from .ops.geometry import padding, pair


def infer_shapes(table, shape=None, *, start=None, names=None):
    """{layer: shape} of the layers `names` (in order; None: all), given the shape of `start` (None: of the input)."""
    start = table.layers[0].name if start is None else start
    shapes = {start: tuple(table.layers[0]["shape"] if shape is None else shape)}
    for name in table.names if names is None else names:
        if name != start:
            layer = table[name]
            ins = [shapes[n] for n in table.reads[name]]
            shapes[name] = _output_shape(layer, ins)
    return shapes


def weight_shapes(table):
    """{"conv1/weight": shape, ...} of every weight that the table calls for, from its own input shape."""
    shapes = infer_shapes(table)
    wanted = {}
    for layer in table:
        ins = [shapes[n] for n in table.reads[layer.name]]
        for part, shape in layer_weights(layer, ins).items():
            wanted[f"{layer.name}/{part}"] = shape
    return wanted


def layer_weights(layer, ins):
    """{"weight": (kh, kw, C/groups, K), "bias": (K,)} and the like, of one layer whose inputs have the shapes `ins`."""
    kind = layer.kind
    if kind in ("conv", "conv_transpose"):
        C, K, g = ins[0][-1], layer["filters"], layer["groups"]
        if (C % g) or (K % g):
            raise MinivisError(f"layer {layer.name}: {C} channels and {K} filters do not fall into {g} groups")
        split = (C // g, K) if kind == "conv" else (C, K // g)
        shape = (*pair(layer["kernel"], "kernel"), *split)
        return {"weight": shape, "bias": (K,)} if layer["bias"] else {"weight": shape}
    if kind == "linear":
        if ins[0][0] is None:
            raise MinivisError(f"layer {layer.name}: a dense layer needs a fixed input size in the table")
        shape = (ins[0][0], layer["outputs"])
        return {"weight": shape, "bias": shape[1:]} if layer["bias"] else {"weight": shape}
    C = ins[0][-1:] if ins else ()
    affine = {"scale": C, "shift": C}
    if kind == "batch_norm":
        return {**(affine if layer["affine"] else {}), "mean": C, "var": C}
    if kind == "instance_norm" and layer["affine"] and layer["styles"] > 1:
        return dict.fromkeys(affine, (layer["styles"], *C))
    if (kind == "instance_norm" and layer["affine"]) or (kind == "scale" and layer["per_channel"]):
        return affine
    return {}


def multiply_adds(layer, ins, out):
    """Multiplications, each with its addition, that one picture takes in a layer with weights; 0 for other kinds."""
    if layer.kind == "linear":
        return ins[0][0] * out[0]
    if layer.kind not in ("conv", "conv_transpose"):
        return 0
    positions = out if layer.kind == "conv" else ins[0]
    return positions[0] * positions[1] * math.prod(layer_weights(layer, ins)["weight"])


def pads(layer, shape):
    """(top, bottom, left, right) of a conv, pool or pad layer whose input (for conv_transpose too) has `shape`."""
    if layer["pad"] == "same" and layer.kind == "conv_transpose":
        stride = pair(layer["stride"], "stride")
        shape = (shape[0] * stride[0], shape[1] * stride[1])
    kernel = pair(layer["kernel"], "kernel") if layer.kind != "pad" else (1, 1)
    stride, dilation = steps(layer)
    return padding(layer["pad"], (1, *shape[:2], 1), kernel, stride, dilation)


def steps(layer):
    """(stride, dilation) of a layer, as pairs."""
    stride = layer["kernel"] if layer["stride"] is None else layer["stride"]
    return pair(stride or 1, "stride"), pair(layer["dilation"] or 1, "dilation")


# -------------------------------------------------------------------------------------------------------- output shape

_PICTURES = ("conv", "conv_transpose", "max_pool", "avg_pool", "global_avg_pool", "lrn", "instance_norm", "pad",
             "upsample")


def _output_shape(layer, ins):
    kind, first = layer.kind, ins[0]
    if kind in _PICTURES and len(first) != 3:
        raise MinivisError(f"layer {layer.name}: {kind} reads pictures (H, W, C), but its input has shape {first}")
    if kind in ("conv", "conv_transpose"):
        layer_weights(layer, ins)       # the groups must divide
        return _bounded(layer, (*_sides(layer, first), layer["filters"]), first)
    if kind in ("max_pool", "avg_pool", "pad", "upsample"):
        return _bounded(layer, (*_sides(layer, first), first[2]), first)
    if kind == "global_avg_pool":
        return first[2:]
    if kind == "flatten":
        return (None if None in first else math.prod(first),)
    if kind == "linear":
        if len(first) != 1:
            raise MinivisError(f"layer {layer.name}: linear reads vectors, but its input is {first}; flatten it first")
        return (layer["outputs"],)
    if kind == "concat":
        _alike(layer, [s[:-1] for s in ins])
        return _bounded(layer, (*first[:-1], sum(s[-1] for s in ins)), first)
    if kind in ("add", "multiply"):
        _alike(layer, ins)
    return first


def _sides(layer, shape):
    """(height, width) of the output; a side that is None stays None."""
    out = []
    known = tuple(1 if s is None else s for s in shape[:2])
    for a in (0, 1):
        out.append(None if shape[a] is None else _side(layer, known, a))
    return out


def _side(layer, shape, a):
    n = shape[a]
    if layer.kind == "upsample":
        return n * layer["factor"]
    before, after = pads(layer, shape)[2 * a:2 * a + 2]
    if layer.kind == "pad":
        if layer["mode"] == "reflect" and max(before, after) >= n:
            raise MinivisError(f"layer {layer.name}: reflecting {max(before, after)} cells takes a side above {n}")
        return n + before + after
    kernel = pair(layer["kernel"], "kernel")[a]
    stride, dilation = (s[a] for s in steps(layer))
    if layer.kind == "conv_transpose":
        extra = layer["output_pad"]
        return (n - 1) * stride + kernel - before - after + (extra if isinstance(extra, int) else extra[a])
    if layer.kind == "conv":
        return (n + before + after - dilation * (kernel - 1) - 1) // stride + 1
    if max(before, after) >= kernel:
        raise MinivisError(f"layer {layer.name}: pad {max(before, after)} reaches past the window {kernel}, "
                           "which would see no picture")
    return pool_output_size(n, kernel, stride, before, after, layer["ceil"])


def _bounded(layer, out, shape):
    if any(s is not None and s < 1 for s in out[:2]):
        raise MinivisError(f"layer {layer.name}: nothing is left of its {_size(shape)} input: the picture is too small")
    if math.prod(s or 1 for s in out) > MOST_CELLS:
        raise MinivisError(f"layer {layer.name}: an output of shape {out} is beyond all measure")
    return out


def _alike(layer, shapes):
    for other in shapes[1:]:
        if len(other) != len(shapes[0]) or any(a != b and None not in (a, b) for a, b in zip(other, shapes[0])):
            raise MinivisError(f"layer {layer.name}: {layer.kind} of different sizes, {shapes[0]} and {other}")


def _size(shape):
    return " x ".join("?" if s is None else str(s) for s in shape[:2])
