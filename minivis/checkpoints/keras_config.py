"""The model_config of Keras (Sequential or functional, versions 2 and 3) -> a layer table with weights.

Here the models are walked, one inside another too; what a layer computes stands in keras_layers.py.
"""

from ..errors import MinivisError, WeightFileError
from .draft import Draft
from .keras_layers import READERS, Context
from .keras_names import numbered_names

LAYERS_LIMIT = 2000
MODELS = ("Sequential", "Functional", "Model")


def network_from_config(config, weights_of, path):
    """A Draft of the model. weights_of(layer name, place) -> f(role, number) -> array; `place` is where Keras 3 keeps
    the layer's arrays: "conv2d_1", or "functional/conv2d_1" in a model inside the model."""
    inner = config.get("config") if isinstance(config, dict) else None
    name = inner.get("name", "") if isinstance(inner, dict) else ""
    draft = Draft("Keras model", source=f"Keras model {name}".strip())
    try:
        draft.output = _model(draft, config, weights_of)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        if isinstance(error, MinivisError):
            raise WeightFileError(f"{path}: {error}") from None
        raise WeightFileError(f"{path}: its model_config is damaged ({type(error).__name__}: {error})") from None
    return draft


def _model(draft, config, weights_of, above=None, place=""):
    """Append the rows of a model, or of one inside another, that reads the row `above`; the row of its output."""
    if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
        raise WeightFileError("its model_config describes no model")
    kind, inner = config.get("class_name"), config["config"]
    layers = inner if isinstance(inner, list) else inner.get("layers")
    if kind not in MODELS or not isinstance(layers, list):
        raise WeightFileError(f"is a Keras model of class {kind!r}; only Sequential and functional models are read, "
                              "because the file of any other does not say what it computes")
    if len(layers) > LAYERS_LIMIT or place.count("/") > 8:
        raise WeightFileError(f"has {len(layers)} layers, more than {LAYERS_LIMIT}, or is nested too deeply")
    places = [place + name for name in numbered_names([str(layer["class_name"]) for layer in layers])]
    read = _sequential if kind == "Sequential" else _functional
    return read(draft, inner, list(zip(layers, places)), weights_of, above)


def _sequential(draft, inner, layers, weights_of, tail):
    shape = inner.get("build_input_shape") if isinstance(inner, dict) else None
    for layer, place in layers:
        config = layer["config"]
        if tail is None:
            first = config["layers"][0]["config"] if layer["class_name"] in MODELS else config
            tail = _input(draft, first.get("batch_shape") or first.get("batch_input_shape") or shape,
                          config["name"] if layer["class_name"] == "InputLayer" else "input")
        if layer["class_name"] != "InputLayer":
            tail = _add(draft, layer, [tail], weights_of, place)
    return tail


def _functional(draft, inner, layers, weights_of, above):
    """Layers in the order in which their inputs are ready; the first output of the model."""
    rows, waiting = {}, layers
    while waiting:
        ready = [(layer, place) for layer, place in waiting if all(name in rows for name in _sources(layer))]
        if not ready:
            raise WeightFileError(f"layer {waiting[0][0]['config']['name']}: its inputs are not in the file")
        for layer, place in ready:
            config = layer["config"]
            if layer["class_name"] == "InputLayer":
                if rows:
                    raise WeightFileError(f"layer {config['name']}: a second input; networks of one picture are read")
                rows[config["name"]] = above or _input(
                    draft, config.get("batch_shape") or config.get("batch_input_shape"), config["name"])
            else:
                rows[config["name"]] = _add(draft, layer, [rows[name] for name in _sources(layer)], weights_of, place)
        waiting = [item for item in waiting if item[0]["config"]["name"] not in rows]
    outputs = inner["output_layers"]
    while isinstance(outputs, (list, dict)):
        outputs = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs[0]
    return rows[outputs]


def _sources(layer):
    """Names of the layers that a layer reads, in order, from either form of inbound_nodes."""
    nodes = layer.get("inbound_nodes") or []
    if len(nodes) > 1:
        raise WeightFileError(f"layer {layer['config']['name']}: is used {len(nodes)} times, which is not read")
    names = []

    def collect(item, depth=0):
        if depth > 8:
            raise ValueError("nested too deeply")
        if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            names.append(item["config"]["keras_history"][0])
        elif isinstance(item, dict) and "args" in item:
            collect(item["args"], depth + 1)
        elif isinstance(item, list) and len(item) >= 3 and isinstance(item[0], str):
            names.append(item[0])                                       # version 2: [name, node, tensor, {}]
        elif isinstance(item, list):
            for inner in item:
                collect(inner, depth + 1)

    collect(nodes)
    return names


def _input(draft, shape, name):
    if not isinstance(shape, list) or len(shape) != 4 or not isinstance(shape[3], int):
        raise WeightFileError(f"layer {name}: its input shape is {shape}, but must be [None, height, width, channels]")
    return draft.add(name, "input", shape=list(shape[1:]))


def _add(draft, layer, inputs, weights_of, place):
    config, kind = layer["config"], layer["class_name"]
    if kind in MODELS:
        if len(inputs) != 1:
            raise WeightFileError(f"layer {config['name']}: is a model inside the model with {len(inputs)} inputs")
        return _model(draft, layer, weights_of, inputs[0], f"{place}/")
    context = Context(draft, config["name"], config, inputs, weights_of(config["name"], place))
    if config.get("data_format") == "channels_first":
        raise context.refuse("is channels_first; only channels_last models are read")
    if kind not in READERS:
        raise context.refuse(f"its class {kind} is not among those that are read: {', '.join(sorted(READERS))}")
    return READERS[kind](context)
