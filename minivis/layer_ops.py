"""From a row of a layer table to the op that computes it."""
from . import kernels
from .chains import pooling
from .errors import MinivisError
from .layers import did_you_mean
from .ops.activation import Clip, Dropout, Sigmoid, Tanh
from .ops.conv import Conv2d, ConvTranspose2d
from .ops.elementwise import Add, Multiply
from .ops.linear import Linear
from .ops.loss import Softmax
from .ops.norm import BatchNorm, BatchNormTrain, InstanceNorm, Lrn, Scale
from .ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from .ops.relu import LeakyRelu, Relu
from .ops.resample import UpsampleNearest
from .ops.shape import Concatenate, Flatten, Pad
from .tensor import Tensor

PRECISIONS = {"float32": "float32", "float32-direct": "float32", "float64": "float64", "tf32": "float32",
              "float16": "float16"}     # name -> the dtype of activations and weights
GPU_ONLY = ("tf32", "float16")


def run_layer(layer, inputs, weights, *, pool=None, train=None, keep=False, precision="float32", statistics=None,
              rectify=False, out=None):
    """The output Tensor of one layer. Its op bears the layer's name and, with keep, holds its input in op.x (a tuple of
    arrays if there are several). See Network.__call__ for pool and train; `statistics` collects those of a batch.
    rectify: the ReLU behind a batch normalisation in training is part of it. out: the array of a concatenation, in
    which some of the inputs lie in their place.
    """
    op = BatchNormTrain(layer["eps"], rectify=True) if rectify else _make(layer, pool, train, precision)
    if out is not None:
        op.out = out
    op.layer = layer.name
    if layer.kind in ("add", "multiply") and len(inputs) > 2:
        return _pairwise(op, inputs, keep)
    op.keep_inputs = keep
    y = op(*inputs, *_weights(layer, inputs[0], weights, train))
    if isinstance(op, BatchNormTrain):
        statistics[f"{layer.name}/mean"], statistics[f"{layer.name}/var"] = Tensor(op.mean), Tensor(op.var)
    if keep:
        op.x = inputs[0].data if len(inputs) == 1 else tuple(i.data for i in inputs)
    return y


def _pairwise(op, inputs, keep):
    """((a + b) + c) + ...: every one of these ops bears the layer's name."""
    y = inputs[0]
    for other in inputs[1:]:
        one = type(op)()
        one.layer = op.layer
        if keep:
            one.x = (y.data, other.data)
        y = one(y, other)
    return y


def _make(layer, pool, train, precision):
    kind = layer.kind
    if kind in ("conv", "conv_transpose"):
        how = {"stride": layer["stride"], "pad": layer["pad"], "groups": layer["groups"], "precision": precision}
        if kind == "conv":
            return Conv2d(**how, dilation=layer["dilation"])
        return ConvTranspose2d(**how, output_pad=layer["output_pad"])
    if kind in ("max_pool", "avg_pool"):
        kind, count_pad = pooling(layer, pool)
        how = {"size": layer["kernel"], "stride": layer["stride"], "pad": layer["pad"], "ceil": layer["ceil"]}
        return MaxPool2d(**how) if kind == "max_pool" else AvgPool2d(**how, count_pad=count_pad)
    if kind == "dropout":
        return Dropout(layer["rate"], train)
    if kind == "batch_norm":
        return BatchNorm(layer["eps"]) if train is None else BatchNormTrain(layer["eps"])
    op, settings = _SIMPLE[kind]
    return op(*(layer[name] for name in settings))


_SIMPLE = {     # kind: (op, the settings it is made with, in order)
    "linear": (Linear, ()), "relu": (Relu, ()), "leaky_relu": (LeakyRelu, ("slope",)), "clip": (Clip, ("low", "high")),
    "tanh": (Tanh, ()), "sigmoid": (Sigmoid, ()), "global_avg_pool": (GlobalAvgPool, ()),
    "lrn": (Lrn, ("size", "alpha", "beta", "k", "per_size")), "instance_norm": (InstanceNorm, ("eps",)),
    "pad": (Pad, ("pad", "mode")), "upsample": (UpsampleNearest, ("factor",)), "flatten": (Flatten, ("order",)),
    "concat": (Concatenate, ()), "add": (Add, ()), "multiply": (Multiply, ()), "scale": (Scale, ()),
    "softmax": (Softmax, ()),
}


def _weights(layer, x, weights, train):
    """The Tensors that the op takes after its inputs."""
    names = {"conv": ("weight", "bias"), "conv_transpose": ("weight", "bias"), "linear": ("weight", "bias"),
             "instance_norm": ("scale", "shift"), "scale": ("scale", "shift"),
             "batch_norm": ("scale", "shift", "mean", "var")}.get(layer.kind, ())
    found = [weights[f"{layer.name}/{part}"] for part in names if f"{layer.name}/{part}" in weights]
    C = x.shape[-1]
    if layer.kind == "scale" and not layer["per_channel"]:
        return [_constant(x, C, layer["factor"]), _constant(x, C, layer["offset"])]
    if layer.kind == "instance_norm" and layer["styles"] > 1:
        return [t[0] for t in found]        # of several styles the first, unless style_networks.blended mixed them
    if layer.kind == "batch_norm" and not layer["affine"]:
        found = [_constant(x, C, 1), _constant(x, C, 0), *found]
    return found[:2] if layer.kind == "batch_norm" and train is not None else found


def _constant(x, C, value):
    return Tensor(kernels.xp(x.data).full(C, value, x.dtype))


def check_precision(precision, device=None):
    """The precision, if there is one of that name and the device ("cpu", "gpu") can do it; else one clear error."""
    if precision not in PRECISIONS:
        raise MinivisError(f"no precision {precision!r}{did_you_mean(precision, PRECISIONS)}; known are "
                           f"{', '.join(PRECISIONS)}")
    if precision in GPU_ONLY and device == "cpu":
        raise MinivisError(f"precision {precision!r} needs a GPU; the CPU has float32, float32-direct and float64")
    return precision
