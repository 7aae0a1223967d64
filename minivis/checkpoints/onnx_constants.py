"""Integer arithmetic inside ONNX graphs: exporters compute paddings and shapes with small graphs of constants.

Only arrays of at most 1024 numbers are computed here, so that no file can make it long or large.
"""

import numpy as np

LIMIT = 1024


class NotConstant(Exception):
    """The node depends on the picture: it is a layer and no arithmetic."""


def evaluate(node, values, shape_of):
    """The array a node gives if all it reads is constant. values: {name: array}; shape_of(name) of a layer's value."""
    if node.kind == "Shape":
        shape = np.array(shape_of(node.inputs[0]), np.int64)
        return shape[node.attributes.get("start", 0):node.attributes.get("end")]
    if node.kind == "Constant":
        for key in ("value", "value_float", "value_int", "value_floats", "value_ints"):
            if key in node.attributes:
                return np.asarray(node.attributes[key])
    if node.kind not in OPERATORS or not all(name in values for name in node.inputs if name):
        raise NotConstant
    arrays = [values[name] if name else None for name in node.inputs]
    if any(array is not None and array.size > LIMIT for array in arrays):
        raise NotConstant
    result = np.asarray(OPERATORS[node.kind](arrays, node.attributes))
    if result.size > LIMIT:
        raise ValueError(f"{node.kind} makes {result.size} numbers out of a few")
    return result


def _slice(arrays, attributes):
    data, starts, ends, *rest = arrays
    axes = rest[0] if rest and rest[0] is not None else np.arange(len(starts))
    steps = rest[1] if len(rest) > 1 and rest[1] is not None else np.ones(len(starts), int)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        # the most negative end of a backward slice means "beyond the first": None
        index[int(axis)] = slice(int(start), None if step < 0 and end < -data.shape[int(axis)] else int(end), int(step))
    return data[tuple(index)]


def _constant_of_shape(arrays, attributes):
    shape = [int(size) for size in arrays[0]]
    if np.prod(shape, dtype=object) > LIMIT:
        raise ValueError(f"ConstantOfShape makes an array of shape {shape}")
    return np.full(shape, np.asarray(attributes.get("value", [0.0])).reshape(-1)[0])


def _cast(arrays, attributes):
    return arrays[0].astype({1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}[attributes["to"]])


def _axes(arrays, attributes):
    axes = arrays[1] if len(arrays) > 1 and arrays[1] is not None else attributes.get("axes", 0)
    return tuple(int(axis) for axis in np.ravel(axes))


def _divide(arrays, attributes):
    a, b = arrays
    return a // b if a.dtype.kind in "iu" else a / b


OPERATORS = {
    "Identity": lambda a, k: a[0],
    "Cast": _cast,
    "Concat": lambda a, k: np.concatenate([np.atleast_1d(x) for x in a], k.get("axis", 0)),
    "ConstantOfShape": _constant_of_shape,
    "Gather": lambda a, k: np.take(a[0], a[1], k.get("axis", 0)),
    "Reshape": lambda a, k: np.reshape(a[0], [int(v) for v in a[1]]),
    "Slice": _slice,
    "Squeeze": lambda a, k: np.squeeze(a[0], _axes(a, k) if len(a) > 1 or "axes" in k else None),
    "Transpose": lambda a, k: np.transpose(a[0], k.get("perm")),
    "Unsqueeze": lambda a, k: np.expand_dims(a[0], _axes(a, k)),
    "Add": lambda a, k: a[0] + a[1],
    "Sub": lambda a, k: a[0] - a[1],
    "Mul": lambda a, k: a[0] * a[1],
    "Div": _divide,
}
