"""The model_config of Keras (Sequential or functional, versions 2 and 3) -> a layer table with weights.

Each function below reads one class of layer: it gets the Context (draft, config, inputs, weights) and appends the rows
that compute the same. A convolution with activation="relu" becomes two rows, NAME and NAME_relu.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import MinivisError, WeightFileError
from .draft import Draft
from .keras_names import numbered_names

LAYERS_LIMIT = 2000
MODELS = ("Sequential", "Functional", "Model")


@dataclass
class Context:
    """One Keras layer: `inputs` are rows of the draft, `weights` its arrays by role, taken with `take`."""

    draft: Draft
    name: str
    config: dict
    inputs: list
    weights: object

    def take(self, roles):
        """{role: array} for roles in the order in which Keras creates them, by name or by number."""
        return {role: self.weights(role, i) for i, role in enumerate(roles)}

    def refuse(self, why):
        return WeightFileError(f"layer {self.name}: {why}")

    def row(self, kind, weights=None, name=None, inputs=None, **settings):
        return self.draft.add(name or self.name, kind, inputs or self.inputs, weights, **settings)


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


# ------------------------------------------------------------------------------------------------- settings they share

def _padding(c, size, stride, dilation=(1, 1)):
    """0, "same", or for stride 1 the numbers that "same" then is at any input size."""
    padding = c.config.get("padding", "valid")
    if padding not in ("valid", "same"):
        raise c.refuse(f"padding {padding!r} is not read")
    if padding == "valid" or stride != [1, 1]:
        return 0 if padding == "valid" else "same"
    return [side for k, d in zip(size, dilation) for side in (d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2)]


def _pair(value):
    return [value, value] if isinstance(value, int) else [int(v) for v in value]


def _bias(c):
    return bool(c.config.get("use_bias", True))


def _activate(c, row):
    """Append the row for the layer's own activation, if it has one."""
    return _activation(c, c.config.get("activation"), row, None)


def _activation(c, name, row, row_name):
    """row_name None: the row is NAME_relu and the like, behind a layer called NAME."""
    if isinstance(name, dict):
        name = name["config"] if isinstance(name.get("config"), str) else name.get("class_name")
    name = "linear" if name is None else str(name).lower()
    if name not in ACTIVATIONS:
        raise c.refuse(f"activation {name!r} is not among those that are read: {', '.join(ACTIVATIONS)}")
    kind, settings = ACTIVATIONS[name]
    if kind is None:
        return row
    return c.row(kind, name=row_name or f"{c.name}_{kind}", inputs=[row], **settings)


ACTIVATIONS = {"linear": (None, {}), "relu": ("relu", {}), "softmax": ("softmax", {}), "tanh": ("tanh", {}),
               "sigmoid": ("sigmoid", {}), "relu6": ("clip", {"low": 0.0, "high": 6.0}),
               "leaky_relu": ("leaky_relu", {"slope": 0.2})}


# ---------------------------------------------------------------------------------------------------------- the layers

def _conv(c):
    parts = c.take(["kernel", "bias"] if _bias(c) else ["kernel"])
    weights = {"weight": parts["kernel"]} | ({"bias": parts["bias"]} if _bias(c) else {})
    kernel = _pair(c.config["kernel_size"])
    row = c.row("conv", weights, filters=c.config["filters"], kernel=kernel, groups=c.config.get("groups", 1),
                bias=_bias(c), **_steps(c, kernel))
    return _activate(c, row)


def _steps(c, kernel):
    stride, dilation = _pair(c.config.get("strides", 1)), _pair(c.config.get("dilation_rate", 1))
    return {"stride": stride, "dilation": dilation, "pad": _padding(c, kernel, stride, dilation)}


def _per_channel_conv(c, kernel, bias, name):
    """(h, w, C, M) -> a convolution in C groups, (h, w, 1, C*M): output c*M + m reads channel c alone."""
    h, w, C, M = kernel.shape
    weights = {"weight": np.asarray(kernel).reshape(h, w, 1, C * M)} | ({} if bias is None else {"bias": bias})
    return c.row("conv", weights, name, filters=C * M, kernel=[h, w], groups=C, bias=bias is not None,
                 **_steps(c, [h, w]))


def _depthwise(c):
    parts = c.take(["depthwise_kernel", "bias"] if _bias(c) else ["depthwise_kernel"])
    return _activate(c, _per_channel_conv(c, parts["depthwise_kernel"], parts.get("bias"), c.name))


def _separable(c):
    roles = ["depthwise_kernel", "pointwise_kernel"] + (["bias"] if _bias(c) else [])
    parts = c.take(roles)
    spread = _per_channel_conv(c, parts["depthwise_kernel"], None, f"{c.name}_depthwise")
    weights = {"weight": parts["pointwise_kernel"]} | ({"bias": parts["bias"]} if _bias(c) else {})
    row = c.row("conv", weights, inputs=[spread], filters=c.config["filters"], kernel=[1, 1], bias=_bias(c))
    return _activate(c, row)


def _dense(c):
    parts = c.take(["kernel", "bias"] if _bias(c) else ["kernel"])
    weights = {"weight": parts["kernel"]} | ({"bias": parts["bias"]} if _bias(c) else {})
    return _activate(c, c.row("linear", weights, outputs=c.config["units"], bias=_bias(c)))


def _batch_norm(c):
    axis = c.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and axis else axis
    rank = len(c.draft.shape(c.inputs[0]))
    if axis not in (-1, rank):
        raise c.refuse(f"normalises axis {axis}, not the channels")
    has = {"gamma": c.config.get("scale", True), "beta": c.config.get("center", True)}
    parts = c.take([role for role in ("gamma", "beta") if has[role]] + ["moving_mean", "moving_variance"])
    channels = parts["moving_mean"].shape
    weights = {"scale": parts.get("gamma", np.ones(channels, np.float32)),
               "shift": parts.get("beta", np.zeros(channels, np.float32)),
               "mean": parts["moving_mean"], "var": parts["moving_variance"]}
    return c.row("batch_norm", weights, eps=float(c.config.get("epsilon", 1e-3)))


def _pool(kind):
    def read(c):
        settings = {"count_pad": False} if kind == "avg_pool" else {}
        size = _pair(c.config.get("pool_size", 2))
        stride = size if c.config.get("strides") is None else _pair(c.config["strides"])
        return c.row(kind, kernel=size, stride=stride, pad=_padding(c, size, stride), **settings)
    return read


def _global_average(c):
    if c.config.get("keepdims"):
        raise c.refuse("keepdims=True is not read")
    return c.row("global_avg_pool")


def _global_max(c):
    shape = c.draft.shape(c.inputs[0])
    if c.config.get("keepdims") or None in shape:
        raise c.refuse("a global maximum is read only of an input of fixed size, without keepdims")
    window = c.row("max_pool", name=f"{c.name}_window", kernel=list(shape[:2]))
    return c.row("flatten", inputs=[window])


def _relu(c):
    low, slope, high = (c.config.get(key) for key in ("threshold", "negative_slope", "max_value"))
    if low or (slope and high is not None):
        raise c.refuse("a ReLU with a threshold, or with both a slope and a maximum, is not read")
    if slope:
        return c.row("leaky_relu", slope=float(slope))
    return c.row("relu") if high is None else c.row("clip", low=0.0, high=float(high))


def _leaky(c):
    slope = c.config.get("negative_slope", c.config.get("alpha", 0.3))
    return c.row("leaky_relu", slope=float(slope))


def _softmax(c):
    if c.config.get("axis", -1) not in (-1, len(c.draft.shape(c.inputs[0]))):
        raise c.refuse("a softmax over anything but the channels is not read")
    return c.row("softmax")


def _zero_padding(c):
    padding = c.config.get("padding", 1)
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    (top, bottom), (left, right) = _pair(rows), _pair(columns)
    return c.row("pad", pad=[top, bottom, left, right])


def _concatenate(c):
    if c.config.get("axis", -1) not in (-1, len(c.draft.shape(c.inputs[0]))):
        raise c.refuse("only a concatenation of channels is read")
    return c.row("concat")


def _rescaling(c):
    scale, offset = np.asarray(c.config.get("scale", 1), np.float64), np.asarray(c.config.get("offset", 0), np.float64)
    if scale.ndim == offset.ndim == 0:
        return c.row("scale", factor=float(scale), offset=float(offset))
    channels = c.draft.shape(c.inputs[0])[-1:]
    weights = {"scale": np.broadcast_to(scale, channels).copy(), "shift": np.broadcast_to(offset, channels).copy()}
    return c.row("scale", weights, per_channel=True)


def _upsampling(c):
    rows, columns = _pair(c.config.get("size", 2))
    if rows != columns or c.config.get("interpolation", "nearest") != "nearest":
        raise c.refuse("only upsampling by one factor, nearest neighbour, is read")
    return c.row("upsample", factor=rows)


def _same_when_used(c):
    """Noise and augmentation act only in training."""
    return c.inputs[0]


READERS = {
    "Conv2D": _conv, "SeparableConv2D": _separable, "DepthwiseConv2D": _depthwise, "Dense": _dense,
    "Flatten": lambda c: c.row("flatten"), "MaxPooling2D": _pool("max_pool"), "AveragePooling2D": _pool("avg_pool"),
    "GlobalAveragePooling2D": _global_average, "GlobalMaxPooling2D": _global_max, "ReLU": _relu, "LeakyReLU": _leaky,
    "Activation": lambda c: _activation(c, c.config["activation"], c.inputs[0], c.name), "Softmax": _softmax,
    "Dropout": lambda c: c.row("dropout", rate=float(c.config.get("rate", 0.5))), "BatchNormalization": _batch_norm,
    "ZeroPadding2D": _zero_padding, "Add": lambda c: c.row("add"), "Multiply": lambda c: c.row("multiply"),
    "Concatenate": _concatenate, "Rescaling": _rescaling, "UpSampling2D": _upsampling,
    **dict.fromkeys(("SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Identity",
                     "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
                     "RandomBrightness"), _same_when_used),
}
