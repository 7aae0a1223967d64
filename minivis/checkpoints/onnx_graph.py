"""A CNN exported to ONNX -> a layer table with weights.

ONNX is channels first. Rows are named after the weights they read ("features.0.weight" gives "features.0"), else after
the node. Vectors: a global average, and what a Flatten or Reshape makes, are (N, C) here; a flatten keeps ONNX's order
"chw" until draft.flatten_in_our_order permutes the dense layer behind it.
"""

from ..errors import MinivisError, WeightFileError
from .draft import Draft
from .onnx_constants import NotConstant, evaluate
from .onnx_operators import OPERATORS, Converter
from .onnx_wire import read_graph


def read_onnx(path):
    """The Draft of an ONNX file; one clear line for anything that is no CNN of the operators in OPERATORS."""
    graph, mapped = read_graph(path)
    pictures = {name: shape for name, shape in graph.inputs.items() if name not in graph.tensors}
    if len(pictures) != 1 or len(next(iter(pictures.values()))) != 4:
        raise WeightFileError(f"{path}: has the inputs {', '.join(f'{k} {v}' for k, v in pictures.items()) or 'none'}; "
                              "networks of one picture (N, C, H, W) are read")
    name, (_, C, H, W) = next(iter(pictures.items()))
    if C is None:
        raise WeightFileError(f"{path}: its input {name} does not say how many channels it has")
    draft = Draft("ONNX", source=f"ONNX, written by {graph.producer or 'an unknown program'}", mapped=mapped)
    converter = Converter(draft, dict(graph.tensors), {name: draft.add("input", "input", shape=[H, W, C])}, graph.opset)
    for node in graph.nodes:
        try:
            _convert(converter, node)
        except WeightFileError:
            raise
        except MinivisError as error:
            raise WeightFileError(f"{path}: node {node.name or node.kind}: {error}") from None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError,
                ZeroDivisionError) as error:
            raise WeightFileError(f"{path}: node {node.name or node.kind} ({node.kind}) is damaged "
                                  f"({type(error).__name__}: {error})") from None
    if not graph.outputs or graph.outputs[0] not in converter.rows:
        raise WeightFileError(f"{path}: its output is computed by none of the layers that are read")
    draft.output = converter.rows[graph.outputs[0]]
    _drop_unread(draft)
    return draft


def _convert(converter, node):
    try:
        converter.values[node.outputs[0]] = evaluate(node, converter.values, converter.onnx_shape)
        return
    except NotConstant:
        pass
    if node.kind not in OPERATORS:
        raise WeightFileError(f"{converter.draft.mapped.path}: node {node.name or node.kind}: the operator {node.kind} "
                              f"is not among those that are read: {', '.join(sorted(OPERATORS))}")
    converter.rows[node.outputs[0]] = OPERATORS[node.kind](converter, node)


def _drop_unread(draft):
    """Exporters leave rows behind that nothing reads, such as a Pad that went into a convolution."""
    while True:
        read = {name for row in draft.rows for name in row.inputs or ()} | {draft.output, draft.rows[0].name}
        unread = [row.name for row in draft.rows if row.name not in read]
        if not unread:
            return
        draft.rows = [row for row in draft.rows if row.name in read]
        draft.weights = {key: array for key, array in draft.weights.items() if key.rsplit("/", 1)[0] not in unread}
