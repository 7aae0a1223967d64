"""One function per ONNX operator: it appends rows to the draft and returns the name of the row with the result."""

import math

import numpy as np

from .draft import Draft


class Converter:
    """rows {ONNX value: row of the draft}, values {ONNX value: constant array}."""

    def __init__(self, draft: Draft, values, rows, opset):
        self.draft, self.values, self.rows, self.opset = draft, values, rows, opset

    def row_of(self, name):
        if name not in self.rows:
            raise ValueError(f"it reads {name!r}, which is not computed from the picture")
        return self.rows[name]

    def shape(self, name):
        return self.draft.shape(self.row_of(name))

    def onnx_shape(self, name):
        """(1, C, H, W) or (1, C) as the graph sees it."""
        if name in self.values:
            return np.shape(self.values[name])
        shape = self.shape(name)
        if None in shape:
            raise ValueError("it computes with the size of the picture; export with a fixed size")
        return (1, *shape) if len(shape) == 1 else (1, shape[2], *shape[:2])

    def constant(self, node, i, default=None):
        """The constant array that is input i of a node; `default` where it is absent."""
        if i >= len(node.inputs) or not node.inputs[i]:
            return default
        if node.inputs[i] not in self.values:
            raise ValueError(f"input {i} ({node.inputs[i]!r}) must be constant")
        return self.values[node.inputs[i]]

    def add(self, node, kind, inputs=None, weights=None, **settings):
        return self.draft.add(_name(node, weights is not None), kind,
                              inputs or [self.row_of(node.inputs[0])], weights, **settings)


def _name(node, weighted):
    """features.0 of the weight features.0.weight; else the node's own name; else its output's."""
    if weighted and len(node.inputs) > 1 and node.inputs[1].endswith((".weight", ".weight_quantized")):
        return node.inputs[1].rsplit(".", 1)[0]
    name = node.name or node.outputs[0]
    parts = name.strip("/").split("/")
    if len(parts) > 1 and parts[-1].split("_")[0] == node.kind:
        return ".".join(parts[:-1]) if weighted else ".".join(parts)
    return ".".join(parts)


# --------------------------------------------------------------------------------------------------------- with weights

def conv(converter, node):
    weight, bias = converter.constant(node, 1), converter.constant(node, 2)
    if weight.ndim != 4:
        raise ValueError(f"its weight has shape {weight.shape}; 2-D convolutions are read")
    if len(converter.shape(node.inputs[0])) == 1:               # 1x1 on a pooled vector: a dense layer
        return _dense(converter, node, weight.reshape(weight.shape[:2]).T, bias)
    a = node.attributes
    weights = {"weight": weight.transpose(2, 3, 1, 0)} | ({} if bias is None else {"bias": bias})
    kernel = list(weight.shape[2:])
    return converter.add(node, "conv", weights=weights, filters=weight.shape[0], kernel=kernel,
                         stride=a.get("strides", [1, 1]), pad=_padding(node), groups=a.get("group", 1),
                         dilation=a.get("dilations", [1, 1]), bias=bias is not None)


def gemm(converter, node):
    a = node.attributes
    weight, bias = converter.constant(node, 1), converter.constant(node, 2)
    if a.get("transA", 0) or a.get("alpha", 1.0) != 1.0 or (a.get("beta", 1.0) != 1.0 and bias is not None):
        raise ValueError("a Gemm with transA, alpha or beta is not read")
    return _dense(converter, node, weight.T if a.get("transB", 0) else weight, bias)


def matmul(converter, node):
    return _dense(converter, node, converter.constant(node, 1), None)


def _dense(converter, node, weight, bias):
    if weight.ndim != 2:
        raise ValueError(f"its weight has shape {weight.shape}, not (in, out)")
    if bias is not None:
        bias = np.broadcast_to(np.ravel(bias), (weight.shape[1],)).copy()
    weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return converter.add(node, "linear", weights=weights, outputs=weight.shape[1], bias=bias is not None)


def batch_normalization(converter, node):
    scale, shift, mean, var = (converter.constant(node, i) for i in (1, 2, 3, 4))
    if node.attributes.get("training_mode", 0):
        raise ValueError("is exported in training mode; call model.eval() first")
    return converter.add(node, "batch_norm", eps=float(node.attributes.get("epsilon", 1e-5)),
                         weights={"scale": scale, "shift": shift, "mean": mean, "var": var})


# ------------------------------------------------------------------------------------------------------------- geometry

def _padding(node):
    """[top, left, bottom, right] -> (top, bottom, left, right)."""
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "SAME_UPPER":
        return "same"
    if mode not in ("NOTSET", "VALID", ""):
        raise ValueError(f"auto_pad {mode} is not read")
    top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0]) if mode != "VALID" else [0] * 4
    return [top, bottom, left, right]


def pool(kind):
    def convert(converter, node):
        a = node.attributes
        if any(step != 1 for step in a.get("dilations", [1, 1])) or (len(node.outputs) > 1 and node.outputs[1]):
            raise ValueError("dilated pooling, or pooling that gives indices, is not read")
        count = {"count_pad": bool(a.get("count_include_pad", 0))} if kind == "avg_pool" else {}
        return converter.add(node, kind, kernel=a["kernel_shape"], stride=a.get("strides", [1, 1]), pad=_padding(node),
                             ceil=bool(a.get("ceil_mode", 0)), **count)
    return convert


def global_average(converter, node):
    return converter.add(node, "global_avg_pool")


def reduce_mean(converter, node):
    axes = node.attributes.get("axes")
    axes = list(converter.constant(node, 1)) if axes is None else axes
    if sorted(int(axis) % 4 for axis in axes) != [2, 3] or len(converter.shape(node.inputs[0])) != 3:
        raise ValueError(f"a mean over the axes {axes} is not read, only over height and width")
    return converter.add(node, "global_avg_pool")


def pad(converter, node):
    pads = node.attributes.get("pads")
    pads = [int(v) for v in converter.constant(node, 1)] if pads is None else pads
    if len(node.inputs) > 3 and node.inputs[3]:
        raise ValueError("a Pad of chosen axes is not read")
    value = converter.constant(node, 2, node.attributes.get("value", 0.0))
    mode = {"constant": "zero", "reflect": "reflect", "edge": "edge"}[node.attributes.get("mode", "constant")]
    if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)) or (mode == "zero" and np.any(np.asarray(value) != 0)):
        raise ValueError(f"padding {pads} with {value} is not read: only height and width, with zeros")
    if not any(pads):
        return converter.row_of(node.inputs[0])
    return converter.add(node, "pad", pad=[pads[2], pads[6], pads[3], pads[7]], mode=mode)


def flatten(converter, node):
    if node.attributes.get("axis", 1) != 1:
        raise ValueError("only a Flatten from axis 1 on is read")
    return _flat(converter, node)


def _flat(converter, node):
    if len(converter.shape(node.inputs[0])) == 1:
        return converter.row_of(node.inputs[0])
    return converter.add(node, "flatten", order="chw")


def reshape(converter, node):
    """A Reshape that flattens, or that changes nothing."""
    target, shape = [int(v) for v in converter.constant(node, 1)], converter.shape(node.inputs[0])
    count = None if None in shape else math.prod(shape)
    keeps_batch = target[:1] in ([0], [1], [-1]) and target.count(-1) <= 1
    if len(target) == 2 and keeps_batch and target[1] in (-1, count):
        return _flat(converter, node)
    if len(shape) == 3 and len(target) == 4 and keeps_batch and None not in shape:
        wanted = [shape[2], *shape[:2]]
        if all(t in (w, -1) or (t == 0 and not node.attributes.get("allowzero")) for t, w in zip(target[1:], wanted)):
            return converter.row_of(node.inputs[0])
    if len(shape) == 1 and target[1:] == [shape[0], 1, 1]:
        return converter.row_of(node.inputs[0])
    raise ValueError(f"a Reshape of {shape} (H, W, C) to {target} is not read, only one that flattens")


def squeeze(converter, node):
    axes = node.attributes.get("axes")
    axes = converter.constant(node, 1) if axes is None else axes
    shape = converter.shape(node.inputs[0])
    if len(shape) == 1 and sorted(int(axis) % 4 for axis in axes) in ([2, 3], [2], [3]):
        return converter.row_of(node.inputs[0])
    if shape[:2] == (1, 1) and sorted(int(axis) % 4 for axis in axes) == [2, 3]:
        return _flat(converter, node)
    raise ValueError(f"a Squeeze of the axes {list(axes)} of {shape} (H, W, C) is not read")


# ----------------------------------------------------------------------------------------------------------- arithmetic

def concat(converter, node):
    rows = [converter.row_of(name) for name in node.inputs]
    rank = len(converter.shape(node.inputs[0])) + 1
    if node.attributes.get("axis", 1) % rank != 1:
        raise ValueError("only a Concat of channels is read")
    return converter.add(node, "concat", rows) if len(rows) > 1 else rows[0]


def arithmetic(sign):
    """Add, Sub, Mul, Div: of two layers, of a layer with a number, or with one number per channel."""
    def convert(converter, node):
        constants = [i for i, name in enumerate(node.inputs) if name in converter.values]
        if not constants:
            if node.kind not in ("Add", "Mul"):
                raise ValueError(f"{node.kind} of two layers is not read")
            return converter.add(node, "add" if node.kind == "Add" else "multiply",
                                 [converter.row_of(name) for name in node.inputs])
        i, = constants
        if i == 0 and node.kind in ("Sub", "Div"):
            raise ValueError(f"a constant {node.kind} a layer is not read")
        below = converter.row_of(node.inputs[1 - i])
        factor, offset = sign(np.asarray(converter.values[node.inputs[i]], np.float64))
        return _affine(converter, node, below, factor, offset)
    return convert


def _affine(converter, node, below, factor, offset):
    """y = factor x + offset, each a number or one per channel."""
    shape = converter.draft.shape(below)
    factor, offset = np.asarray(factor, np.float64), np.asarray(offset, np.float64)
    if factor.size == 1 and offset.size == 1:
        return converter.add(node, "scale", [below], factor=float(factor.reshape(-1)[0]),
                             offset=float(offset.reshape(-1)[0]))
    for array in (factor, offset):
        place = -3 if len(shape) == 3 else -1                   # where an ONNX constant has its channels
        if array.size != 1 and (array.size != shape[-1] or array.ndim < -place or array.shape[place] != shape[-1]):
            raise ValueError(f"a constant of shape {array.shape} with a layer of {shape} (H, W, C) is not read")
    channels = shape[-1:]
    bias_of = converter.draft.row(below)
    if factor.size == 1 and factor == 1 and bias_of.kind == "linear" and not bias_of["bias"]:
        return _give_bias(converter, bias_of, np.broadcast_to(offset.reshape(-1), channels).copy())
    weights = {"scale": np.broadcast_to(factor.reshape(-1), channels).copy(),
               "shift": np.broadcast_to(offset.reshape(-1), channels).copy()}
    return converter.draft.add(_name(node, False), "scale", [below], weights, per_channel=True)


def _give_bias(converter, row, bias):
    """MatMul + Add is a dense layer with a bias, where nothing else reads the MatMul."""
    draft = converter.draft
    if draft.consumers(row.name):
        weights = {"scale": np.ones_like(bias), "shift": bias}
        return draft.add(f"{row.name}_bias", "scale", [row.name], weights, per_channel=True)
    draft.rows[draft.rows.index(row)] = type(row)(row.name, row.kind, row.inputs, **{**row.settings, "bias": True})
    draft.weights[f"{row.name}/bias"] = bias
    return row.name


# ---------------------------------------------------------------------------------------------------------- elementwise

def clip(converter, node):
    a = node.attributes
    low = converter.constant(node, 1, a.get("min"))
    high = converter.constant(node, 2, a.get("max"))
    low = -math.inf if low is None else float(np.asarray(low).reshape(-1)[0])
    high = math.inf if high is None else float(np.asarray(high).reshape(-1)[0])
    if low == 0 and high > 1e30:
        return converter.add(node, "relu")
    return converter.add(node, "clip", low=max(low, -1e30), high=min(high, 1e30))


def softmax(converter, node):
    rank = len(converter.shape(node.inputs[0])) + 1
    axis = node.attributes.get("axis", -1 if converter.opset >= 13 else 1)
    if axis % rank != 1:
        raise ValueError(f"a Softmax over axis {axis} is not read, only over the channels")
    return converter.add(node, "softmax")


def same(converter, node):
    return converter.row_of(node.inputs[0])


def dropout(converter, node):
    rate = converter.constant(node, 1, node.attributes.get("ratio", 0.5))
    return converter.add(node, "dropout", rate=min(max(float(np.asarray(rate).reshape(-1)[0]), 0.0), 0.999))


def simple(kind):
    return lambda converter, node: converter.add(node, kind)


OPERATORS = {
    "Conv": conv, "Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_normalization,
    "MaxPool": pool("max_pool"), "AveragePool": pool("avg_pool"), "GlobalAveragePool": global_average,
    "ReduceMean": reduce_mean, "Pad": pad, "Flatten": flatten, "Reshape": reshape, "Squeeze": squeeze,
    "Concat": concat, "Add": arithmetic(lambda c: (1.0, c)), "Sub": arithmetic(lambda c: (1.0, -c)),
    "Mul": arithmetic(lambda c: (c, 0.0)), "Div": arithmetic(lambda c: (1 / c, 0.0)),
    "Relu": simple("relu"), "Tanh": simple("tanh"), "Sigmoid": simple("sigmoid"), "Clip": clip,
    "LeakyRelu": lambda c, n: c.add(n, "leaky_relu", slope=float(n.attributes.get("alpha", 0.01))),
    "Softmax": softmax, "Dropout": dropout, "Identity": same, "Cast": same,
}
