"""Generators: networks that make pictures from the codes of another network, for the prior of Nguyen et al. 2016."""
import math

import numpy as np

from .errors import MinivisError
from .layers import Layer, Table
from .network import Network
from .shapes import infer_shapes, weight_shapes

START = 33              # the stream of random numbers that untrained generators are drawn from


def generator_layers(channels, doublings, width=192, least=24):
    """The table of a generator: code in standard deviations -> code -> 3x3 convolutions, the picture twice as large
    before each but the first, half as many filters each time -> RGB grey levels ("picture").

    channels   of the code; doublings   log2 of the pixels per position of the code
    width      filters of the first convolution; least   of the last at least
    """
    if channels < 1 or not 1 <= doublings <= 8 or width < 1:
        raise MinivisError(f"generator: channels {channels} and width {width} must be at least 1, doublings "
                           f"{doublings} from 1 to 8")
    layers = [Layer("input", "input", shape=[None, None, channels]), Layer("code", "scale", per_channel=True),
              Layer("code_relu", "relu"), *_convolution("conv0", width)]
    for n in range(1, doublings + 1):
        layers += [Layer(f"larger{n}", "upsample", factor=2),
                   *_convolution(f"conv{n}", max(least, width >> max(0, n - 1)))]
    return [*layers, Layer("out", "conv", filters=3, kernel=[3, 3], pad=1), Layer("out_tanh", "tanh"),
            Layer("picture", "scale", factor=127.5, offset=127.5)]


def untrained_generator(layers, mean, deviation, seed=0, source=""):
    """A Network of such layers with He's random weights; mean, deviation (C,): of the codes it will be given.

    The code's part that could not come out of a ReLU, below zero, is cut off.
    """
    weights = {}
    for i, (name, shape) in enumerate(weight_shapes(Table(layers)).items()):
        if name.endswith("/weight"):
            drawn = np.random.default_rng([seed, START, i]).standard_normal(shape, np.float32)
            weights[name] = drawn * np.float32(math.sqrt(2 / math.prod(shape[:3])) * (0.3 if name[:4] == "out/" else 1))
        else:
            weights[name] = np.zeros(shape, np.float32)
    weights["code/scale"], weights["code/shift"] = (np.asarray(a, np.float32) for a in (deviation, mean))
    # a code is sparse and of any size: the first convolution expects values of about 1
    size = float(np.sqrt((np.asarray(mean, np.float64) ** 2 + np.asarray(deviation, np.float64) ** 2).mean()))
    weights["conv0/weight"] = weights["conv0/weight"] / np.float32(max(size, 1e-12))
    return Network(layers, weights, output_layer="picture", name="generator",
                   meta={"architecture": "generator", "source": source, "licence": ""})


def doublings_of(net, layer):
    """log2 of the pixels per position of a layer."""
    if net.rank(layer) != 3:
        raise MinivisError(f"layer {layer} has no positions; a generator starts from one that has")
    side = 256
    there = infer_shapes(net.table, (side, side, 3), names=net.table.needed({layer}))[layer][0]
    return max(1, round(math.log2(side / there)))


def _convolution(name, filters):
    return [Layer(name, "conv", filters=filters, kernel=[3, 3], pad=1), Layer(f"{name}_relu", "leaky_relu", slope=0.2)]
