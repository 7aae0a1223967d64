"""A layer table as an ONNX model, written without the onnx package (it is not needed to run one).

ONNX files are protocol buffers: a message is a row of (field number, value); numbers are varints, everything else is a
length and that many bytes. The field numbers below are those of onnx.proto3.
"""
import struct

import numpy as np

FLOAT, INT64 = 1, 7                                     # TensorProto.DataType
IR_VERSION, OPSET = 8, 17


def _varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def _field(number, value):
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _message(*fields):
    return b"".join(_field(number, value) for number, value in fields)


def _attribute(name, value):
    if isinstance(value, list):
        return _message((1, name), *[(8, v) for v in value], (20, 7))
    if isinstance(value, float):
        return _message((1, name), (2, value), (20, 1))
    return _message((1, name), (3, int(value)), (20, 2))


def _node(kind, inputs, output, **attributes):
    return _message(*[(1, i) for i in inputs], (2, output), (3, output), (4, kind),
                    *[(5, _attribute(*item)) for item in attributes.items()])


def _tensor(name, array):
    kind = FLOAT if array.dtype == np.float32 else INT64
    return _message(*[(1, d) for d in array.shape], (2, kind), (8, name), (9, array.tobytes()))


def _value(name, shape=None):
    dims = b"" if shape is None else _field(2, b"".join(_field(1, _message((1, d))) for d in shape))
    return _message((1, name), (2, _message((1, _message((1, FLOAT)) + dims))))


def model(layers, weight, x_shape):
    """Bytes of a model from "input" (NCHW, x_shape) to the last layer. weight(layer, "weight"|"bias") -> array."""
    nodes, tensors = [], []
    for layer in layers:
        names = [f"{layer['name']}/{which}" for which in ("weight", "bias")]
        arrays = [weight(layer["name"], which) for which in ("weight", "bias")]
        held = [(name, array) for name, array in zip(names, arrays) if array is not None]
        tensors += [_tensor(name, array) for name, array in held]
        nodes += _nodes(layer, [name for name, _ in held])
    graph = _message(*[(1, n) for n in nodes], (2, "net"), *[(5, t) for t in tensors],
                     (11, _value("input", x_shape)), (12, _value(layers[-1]["name"])))
    return _message((1, IR_VERSION), (7, graph), (8, _message((1, ""), (2, OPSET))))


def _nodes(layer, weights):
    kind, name, inputs = layer["kind"], layer["name"], layer["inputs"]
    geometry = {}
    if "pad" in layer:
        top, bottom, left, right = layer["pad"]
        geometry = {"pads": [top, left, bottom, right], "strides": layer["stride"]}
    if kind == "conv":
        return [_node("Conv", inputs + weights, name, **geometry, dilations=layer["dilation"], group=layer["groups"])]
    if kind == "max_pool":
        return [_node("MaxPool", inputs, name, **geometry, kernel_shape=layer["size"], ceil_mode=layer["ceil"])]
    if kind == "avg_pool":
        return [_node("AveragePool", inputs, name, **geometry, kernel_shape=layer["size"], ceil_mode=layer["ceil"],
                      count_include_pad=layer["count_pad"])]
    if kind == "linear":
        return [_node("Gemm", inputs + weights, name, transB=1)]
    if kind == "flatten":                               # our dense weights are for (H, W, C) order
        return [_node("Transpose", inputs, name + "/nhwc", perm=[0, 2, 3, 1]),
                _node("Flatten", [name + "/nhwc"], name, axis=1)]
    if kind == "global_avg_pool":
        return [_node("ReduceMean", inputs, name, axes=[2, 3], keepdims=0)]
    if kind == "concat":
        return [_node("Concat", inputs, name, axis=1)]
    if kind == "softmax":
        return [_node("Softmax", inputs, name, axis=1)]
    if kind == "lrn":
        alpha = layer["alpha"] if layer["per_size"] else layer["alpha"] * layer["size"]
        return [_node("LRN", inputs, name, size=layer["size"], alpha=float(alpha), beta=float(layer["beta"]),
                      bias=float(layer["k"]))]
    simple = {"relu": "Relu", "dropout": "Identity"}
    if kind not in simple:
        raise ValueError(f"onnx_file: no layer kind {kind!r}")
    return [_node(simple[kind], inputs, name)]
