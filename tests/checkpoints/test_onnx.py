"""ONNX: the protobuf reader, operators one by one, and what is refused. Files are made by the small writer below."""
import struct

import numpy as np
import pytest

from minivis.checkpoints.onnx_wire import read_graph, short_float
from minivis.checkpoints.recognise import read_draft
from minivis.errors import WeightFileError
from minivis.network import Network


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while True:
        out += bytes([value & 127 | (128 if value > 127 else 0)])
        value >>= 7
        if not value:
            return out


def number(field, value):
    return varint(field << 3) + varint(value)


def piece(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(array, name="", raw=True):
    array = np.asarray(array)
    kind = {"float32": 1, "int64": 7, "float16": 10, "float64": 11}[array.dtype.name]
    out = b"".join(number(1, size) for size in array.shape) + number(2, kind) + piece(8, name)
    if raw:
        return out + piece(9, array.tobytes())
    if kind == 7:
        return out + piece(7, b"".join(varint(int(v)) for v in array.ravel()))
    return out + piece({1: 4, 11: 10}[kind], array.tobytes())


def attribute(name, value):
    out = piece(1, name)
    if isinstance(value, float):
        return out + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, int):
        return out + number(3, value) + number(20, 2)
    if isinstance(value, str):
        return out + piece(4, value) + number(20, 3)
    if isinstance(value, np.ndarray):
        return out + piece(5, tensor(value)) + number(20, 4)
    return out + b"".join(number(8, v) for v in value) + number(20, 7)


def node(kind, inputs, outputs, name="", **attributes):
    parts = [piece(1, i) for i in inputs] + [piece(2, o) for o in outputs] + [piece(3, name), piece(4, kind)]
    return b"".join(parts + [piece(5, attribute(k, v)) for k, v in attributes.items()])


def value_info(name, shape):
    dims = b"".join(piece(1, number(1, size) if size else piece(2, "N")) for size in shape)
    return piece(1, name) + piece(2, piece(1, number(1, 1) + piece(2, dims)))


def write(path, nodes, tensors=(), shape=(None, 3, 6, 5), output="y", opset=17):
    graph = b"".join(piece(1, n) for n in nodes) + piece(2, "g")
    graph += b"".join(piece(5, t if isinstance(t, bytes) else tensor(*t)) for t in tensors)
    graph += piece(11, value_info("x", shape)) + piece(12, value_info(output, (None, 4)))
    path.write_bytes(number(1, 8) + piece(2, "test") + piece(7, graph) + piece(8, piece(1, "") + number(2, opset)))
    return path


def run(path, x):
    """The output for x (N, C, H, W), channels first again."""
    draft = read_draft(path)
    net = Network(draft.rows, {k: np.asarray(v, np.float64) for k, v in draft.weights.items()}, precision="float64",
                  output_layer=draft.output)
    y = net(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))[draft.output].data
    return y.transpose(0, 3, 1, 2) if y.ndim == 4 else y


X = np.random.default_rng(0).standard_normal((2, 3, 6, 5))
CASES = {
    "Relu": ([node("Relu", ["x"], ["y"])], (), lambda x: np.maximum(x, 0)),
    "LeakyRelu": ([node("LeakyRelu", ["x"], ["y"], alpha=0.25)], (), lambda x: np.where(x > 0, x, 0.25 * x)),
    "LeakyRelu's default": ([node("LeakyRelu", ["x"], ["y"])], (), lambda x: np.where(x > 0, x, 0.01 * x)),
    "Tanh": ([node("Tanh", ["x"], ["y"])], (), np.tanh),
    "Sigmoid": ([node("Sigmoid", ["x"], ["y"])], (), lambda x: 1 / (1 + np.exp(-x))),
    "Clip by inputs": ([node("Clip", ["x", "a", "b"], ["y"])], [(np.float32(-0.5), "a"), (np.float32(1), "b")],
                       lambda x: np.clip(x, -0.5, 1)),
    "Clip by attributes": ([node("Clip", ["x"], ["y"], min=-0.5, max=0.5)], (), lambda x: np.clip(x, -0.5, 0.5)),
    "Clip with one side": ([node("Clip", ["x", "", "b"], ["y"])], [(np.float32(0.5), "b")],
                           lambda x: np.minimum(x, 0.5)),
    "Clip from 0 is ReLU": ([node("Clip", ["x", "a"], ["y"])], [(np.float32(0), "a")], lambda x: np.maximum(x, 0)),
    "Identity and Dropout": ([node("Identity", ["x"], ["i"]), node("Dropout", ["i"], ["y"])], (), lambda x: x),
    "Add of layers": ([node("Relu", ["x"], ["r"]), node("Add", ["r", "x"], ["y"])], (), lambda x: np.maximum(x, 0) + x),
    "Mul of layers": ([node("Relu", ["x"], ["r"]), node("Mul", ["r", "x"], ["y"])], (), lambda x: np.maximum(x, 0) * x),
    "Concat": ([node("Relu", ["x"], ["r"]), node("Concat", ["r", "x"], ["y"], axis=1)], (),
               lambda x: np.concatenate([np.maximum(x, 0), x], 1)),
    "scale and shift": ([node("Mul", ["x", "a"], ["m"]), node("Sub", ["m", "b"], ["y"])],
                        [(np.float32(0.5), "a"), (np.float32(2), "b")], lambda x: x * 0.5 - 2),
    "mean and deviation": ([node("Sub", ["x", "a"], ["m"]), node("Div", ["m", "b"], ["y"])],
                           [(np.float32([[[1]], [[2]], [[3]]])[None], "a"), (np.float32([[[2]], [[4]], [[8]]]), "b")],
                           lambda x: (x - np.reshape([1, 2, 3], (3, 1, 1))) / np.reshape([2, 4, 8], (3, 1, 1))),
    "Pad": ([node("Pad", ["x", "p"], ["y"])], [(np.array([0, 0, 1, 2, 0, 0, 3, 0]), "p")],
            lambda x: np.pad(x, ((0, 0), (0, 0), (1, 3), (2, 0)))),
    "Pad before opset 11": ([node("Pad", ["x"], ["y"], pads=[0, 0, 1, 0, 0, 0, 0, 1], mode="reflect")], (),
                            lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 1)), "reflect")),
    "GlobalAveragePool": ([node("GlobalAveragePool", ["x"], ["g"]), node("Flatten", ["g"], ["y"])], (),
                          lambda x: x.mean((2, 3))),
    "ReduceMean": ([node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)], (), lambda x: x.mean((2, 3))),
    "Flatten keeps C, H, W": ([node("Flatten", ["x"], ["y"])], (), lambda x: x.reshape(2, -1)),
    "Reshape": ([node("Reshape", ["x", "s"], ["y"])], [(np.array([0, -1]), "s")], lambda x: x.reshape(2, -1)),
    "Softmax": ([node("Softmax", ["x"], ["y"], axis=1)], (), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "Flatten + Gemm": ([node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"], transB=1)],
                       [(np.arange(360, dtype=np.float32).reshape(4, 90), "w"), (np.float32([1, 2, 3, 4]), "b")],
                       lambda x: x.reshape(2, -1) @ np.arange(360.0).reshape(4, 90).T + [1, 2, 3, 4]),
    "Flatten + MatMul + Add": ([node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["m"]),
                                node("Add", ["b", "m"], ["y"])],
                               [(np.arange(360, dtype=np.float32).reshape(90, 4), "w"),
                                (np.float32([1, 2, 3, 4]), "b")],
                               lambda x: x.reshape(2, -1) @ np.arange(360.0).reshape(90, 4) + [1, 2, 3, 4]),
    "BatchNormalization": ([node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=0.001)],
                           [(np.float32([1, 2, 3]), n) for n in "sbmv"],
                           lambda x: (x - np.reshape([1, 2, 3], (3, 1, 1)))
                           / np.sqrt(np.reshape([1, 2, 3], (3, 1, 1)) + 0.001) * np.reshape([1, 2, 3], (3, 1, 1))
                           + np.reshape([1, 2, 3], (3, 1, 1))),
    "a 1 x 1 Conv behind a global average": (
        [node("GlobalAveragePool", ["x"], ["g"]), node("Conv", ["g", "w"], ["c"]), node("Flatten", ["c"], ["y"])],
        [(np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1), "w")],
        lambda x: x.mean((2, 3)) @ np.arange(12.0).reshape(4, 3).T),
    "Constant node": ([node("Constant", [], ["a"], value=np.array(3, np.float32)), node("Add", ["x", "a"], ["y"])], (),
                      lambda x: x + 3),
}


@pytest.mark.parametrize("nodes, tensors, expected", CASES.values(), ids=list(CASES))
def test_operator_computes_what_onnx_says(tmp_path, nodes, tensors, expected):
    found = run(write(tmp_path / "x.onnx", nodes, tensors), X)
    np.testing.assert_allclose(found, expected(X), rtol=0, atol=1e-12 * np.abs(expected(X)).max())


@pytest.mark.parametrize("nodes, tensors, says", [
    ([node("Einsum", ["x"], ["y"])], (), "operator Einsum is not among"),
    ([node("Reshape", ["x", "s"], ["y"])], [(np.array([2, 3, 5, 6]), "s")], "a Reshape of"),
    ([node("Concat", ["x", "x"], ["y"], axis=2)], (), "only a Concat of channels"),
    ([node("Softmax", ["x"], ["y"], axis=3)], (), "Softmax over axis 3"),
    ([node("Relu", ["nowhere"], ["y"])], (), "'nowhere', which is not computed"),
    ([node("Relu", ["x"], ["z"])], (), "its output is computed by none"),
    ([node("Gemm", ["x", "w"], ["y"])], [(np.zeros((3, 4), np.float32), "w")], "reads vectors"),
    ([node("Conv", ["x", "w"], ["y"])], [(np.zeros((4, 2, 1, 1), np.float32), "w")], "conv|groups|weight"),
    ([node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER")], [(np.zeros((4, 3, 1, 1), np.float32), "w")],
     "SAME_LOWER"),
    ([node("Pad", ["x", "p"], ["y"])], [(np.array([0, 1, 0, 0, 0, 0, 0, 0]), "p")], "only height and width"),
    ([node("Pad", ["x", "p"], ["y"])], [(np.array([0, 0, -1, 0, 0, 0, 0, 0]), "p")], "pad"),
    ([node("ConstantOfShape", ["s"], ["c"]), node("Relu", ["x"], ["y"])], [(np.array([1 << 40]), "s")],
     "ConstantOfShape"),
    ([node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])], (), "dilated"),
    ([node("Relu", ["x"], ["y"])], [tensor(np.zeros(3, np.float32), "w") + number(14, 1)], "another file"),
    ([node("Relu", ["x"], ["y"])], [tensor(np.zeros(3, np.float32), "w") + piece(13, b"")], "another file"),
    ([node("Relu", ["x"], ["y"])], [number(1, 5) + number(2, 1) + piece(8, "w") + piece(9, b"abc")],
     "3 bytes for the shape"),
    ([node("Relu", ["x"], ["y"])], [number(1, 1 << 45) + number(2, 1) + piece(8, "w")], "damaged"),
    ([node("Relu", ["x"], ["y"]) + piece(7, "evil.domain")], (), "evil.domain"),
])
def test_what_is_not_read_is_refused_in_one_line(tmp_path, nodes, tensors, says):
    with pytest.raises(WeightFileError, match=says) as error:
        read_draft(write(tmp_path / "x.onnx", nodes, tensors))
    assert "x.onnx" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("array", [np.float32([[1.5, 2], [3, 4]]), np.array([1, -2, 3]), np.float64([1e-300]),
                                   np.float16([1, 2])])
@pytest.mark.parametrize("raw", [True, False])
def test_tensors_raw_and_as_lists(tmp_path, array, raw):
    if array.dtype == np.float16 and not raw:
        content = number(1, 2) + number(2, 10) + piece(8, "w") + piece(5, b"".join(varint(int(v))
                                                                                  for v in array.view(np.uint16)))
    else:
        content = tensor(array, "w", raw)
    graph, _ = read_graph(write(tmp_path / "x.onnx", [node("Relu", ["x"], ["y"])], [content]))
    np.testing.assert_array_equal(graph.tensors["w"], array)
    assert graph.tensors["w"].dtype == array.dtype


def test_floats_are_read_as_their_author_wrote_them():
    assert short_float(np.float32(1e-5)) == 1e-5
    assert short_float(np.float32(0.1)) == 0.1


def test_networks_with_two_pictures_or_no_picture_are_refused(tmp_path):
    with pytest.raises(WeightFileError, match="networks of one picture"):
        read_draft(write(tmp_path / "x.onnx", [node("Relu", ["x"], ["y"])], shape=(1, 3, 6)))
