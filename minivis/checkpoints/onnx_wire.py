"""The parts of an ONNX file that describe a network, read from its protobuf bytes without a protobuf library.

A protobuf message is a run of fields: a number (field << 3 | wire type), then a varint (0), eight bytes (1), a length
and bytes (2), or four bytes (5).

Nothing is copied: tensors become views of the mapped file. Weights kept in a second file
("external data") are refused, because nothing outside the file is read.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import WeightFileError
from .mapped import MappedFile, bfloat16_to_float32

DTYPES = {1: "<f4", 2: "u1", 3: "i1", 5: "<i2", 6: "<i4", 7: "<i8", 9: "u1", 10: "<f2", 11: "<f8", 16: "<u2"}
BFLOAT16 = 16
NODES_LIMIT = 20_000


@dataclass
class Node:
    kind: str = ""
    name: str = ""
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    attributes: dict = field(default_factory=dict)


@dataclass
class Graph:
    nodes: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)         # initialisers: {name: array}
    inputs: dict = field(default_factory=dict)          # {name: [dimension or None, ...]}
    outputs: list = field(default_factory=list)
    producer: str = ""
    opset: int = 1


def read_graph(path):
    """(Graph, MappedFile) of an ONNX file."""
    mapped = MappedFile(path)
    try:
        model = Graph()
        for number, value in _fields(mapped, 0, mapped.size):
            if number == 2:
                model.producer = _text(mapped, value)
            elif number == 7:
                _graph(mapped, value, model)
            elif number == 8:
                domain, version = "", 1
                for inner, content in _fields(mapped, *value):
                    domain, version = (_text(mapped, content), version) if inner == 1 else (domain, content)
                if domain in ("", "ai.onnx"):
                    model.opset = version
        return model, mapped
    except WeightFileError:
        raise
    except (ValueError, IndexError, TypeError, OverflowError, UnicodeError, KeyError) as error:
        raise WeightFileError(f"{path}: is damaged or no ONNX file ({type(error).__name__}: {error})") from None


def _fields(mapped, start, end):
    """Yield (field number, value): an int for numbers, (start, end) for bytes; fixed-size ones as (start, end) too."""
    at = start
    while at < end:
        key, at = _varint(mapped, at, end)
        wire = key & 7
        if wire == 0:
            value, at = _varint(mapped, at, end)
        elif wire in (1, 2, 5):
            length, at = _varint(mapped, at, end) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = (at, at + length), at + length
            if at > end:
                raise ValueError("a field reaches beyond its message")
        else:
            raise ValueError(f"wire type {wire}")
        yield key >> 3, value


def _varint(mapped, at, end):
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("a number is cut off")
        byte = mapped.map[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _signed(value):
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _text(mapped, span):
    return mapped.bytes(span[0], span[1] - span[0]).decode("utf-8", "replace")


def _graph(mapped, span, graph):
    for number, value in _fields(mapped, *span):
        if number == 1:
            graph.nodes.append(_node(mapped, value))
            if len(graph.nodes) > NODES_LIMIT:
                raise WeightFileError(f"{mapped.path}: has more than {NODES_LIMIT} nodes")
        elif number == 5:
            name, array = _tensor(mapped, value)
            graph.tensors[name] = array
        elif number == 11:
            name, shape = _value_info(mapped, value)
            graph.inputs[name] = shape
        elif number == 12:
            graph.outputs.append(_value_info(mapped, value)[0])


def _node(mapped, span):
    node = Node()
    for number, value in _fields(mapped, *span):
        if number == 1:
            node.inputs.append(_text(mapped, value))
        elif number == 2:
            node.outputs.append(_text(mapped, value))
        elif number == 3:
            node.name = _text(mapped, value)
        elif number == 4:
            node.kind = _text(mapped, value)
        elif number == 5:
            name, content = _attribute(mapped, value)
            node.attributes[name] = content
        elif number == 7 and _text(mapped, value) not in ("", "ai.onnx"):
            raise WeightFileError(f"{mapped.path}: node {node.name or node.kind} is of the domain "
                                  f"{_text(mapped, value)}, which is not read")
    return node


def _attribute(mapped, span):
    name, content, numbers, floats = "", None, [], []
    for number, value in _fields(mapped, *span):
        if number == 1:
            name = _text(mapped, value)
        elif number == 2:
            content = short_float(mapped.array(value[0], "<f4", ())[()])
        elif number == 3:
            content = _signed(value)
        elif number == 4:
            content = _text(mapped, value)
        elif number == 5:
            content = _tensor(mapped, value)[1]
        elif number == 7:
            floats += [short_float(v) for v in mapped.array(value[0], "<f4", ((value[1] - value[0]) // 4,))]
        elif number == 8:
            numbers += _varints(mapped, value)
    return name, numbers or floats or content


def short_float(value):
    """float32 1e-05 -> 1e-05, not 9.999999747e-06: what the author wrote before ONNX stored it in four bytes."""
    return float(str(np.float32(value)))


def _varints(mapped, value):
    """Repeated integers: packed, or one by one."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers, at = [], value[0]
    while at < value[1]:
        number, at = _varint(mapped, at, value[1])
        numbers.append(_signed(number))
    return numbers


def _tensor(mapped, span):
    """(name, array). The numbers are raw bytes, or packed lists of one type, or missing (external)."""
    name, shape, kind, raw, lists = "", [], 0, None, []
    for number, value in _fields(mapped, *span):
        if number == 1:
            shape += _varints(mapped, value)
        elif number == 2:
            kind = value
        elif number == 8:
            name = _text(mapped, value)
        elif number == 9:
            raw = value
        elif number in (4, 10):
            dtype = "<f4" if number == 4 else "<f8"
            lists.append(mapped.array(value[0], dtype, ((value[1] - value[0]) // int(dtype[-1]),)))
        elif number in (5, 7):
            lists.append(np.array(_varints(mapped, value), np.int64))
        elif number == 13 or (number == 14 and value == 1):
            raise WeightFileError(f"{mapped.path}: its weights lie in another file, and nothing outside the file is "
                                  "read; export with torch.onnx.export(..., external_data=False)")
    if kind not in DTYPES or len(shape) > 8 or any(not 0 <= size < 1 << 48 for size in shape):
        raise ValueError(f"tensor {name} has type {kind} and shape {shape}")
    if raw is not None:
        dtype = np.dtype(DTYPES[kind])
        if raw[1] - raw[0] != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"tensor {name} has {raw[1] - raw[0]} bytes for the shape {shape}")
        array = mapped.array(raw[0], dtype, tuple(shape))
    else:
        array = np.concatenate(lists) if lists else np.zeros(0)
        if kind in (10, BFLOAT16):
            array = array.astype(np.uint16)             # the bits of half-precision numbers stand in int32_data
            array = array.view(np.float16) if kind == 10 else array
        else:
            array = array.astype(DTYPES[kind])
        array = array.reshape(shape)
    return name, bfloat16_to_float32(array) if kind == BFLOAT16 else array


def _value_info(mapped, span):
    """(name, shape) of an input or output; unknown dimensions are None."""
    name, shape = "", []
    for number, value in _fields(mapped, *span):
        if number == 1:
            name = _text(mapped, value)
        elif number == 2:
            for kind, tensor in _fields(mapped, *value):
                for part, dims in _fields(mapped, *tensor) if kind == 1 else ():
                    for one, dimension in _fields(mapped, *dims) if part == 2 else ():
                        found = [v for k, v in _fields(mapped, *dimension) if k == 1] if one == 1 else []
                        shape.append(found[0] if found and found[0] > 0 else None)
    return name, shape
