"""The layers of Keras that are read: each function appends the rows that compute what one class of layer computes.

It gets a Context (draft, config, inputs, weights) and returns the name of the row with the result. A convolution with
activation="relu" becomes two rows, NAME and NAME_relu.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import WeightFileError
from .draft import Draft


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
