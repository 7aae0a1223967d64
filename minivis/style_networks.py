"""Networks that redraw pictures: one style, many styles to be mixed, or the style of any picture.

A network of one style is an ordinary table. Many styles share all convolutions and differ in the scale and shift of
every instance normalisation (Dumoulin, Shlens, Kudlur 2017, arXiv:1610.07629): such layers have `styles` rows of each,
and `blended` mixes the rows, which makes an ordinary network of one style. For arbitrary styles (Huang, Belongie 2017,
arXiv:1703.06868) an encoder's features are normalised (layer `adain_norm`) and given the style picture's deviation and
mean (layer `adain`) before a decoder paints them: `in_style_of` puts these two numbers per channel in.
"""
import math

import numpy as np

from . import kernels
from .errors import MinivisError
from .layers import Layer, Table
from .network import Network
from .shapes import infer_shapes, weight_shapes

ADAIN = "adain"
LEVELS = {"size": None, "resize": None, "crop": "none", "channels": "RGB", "range": 255, "mean": [127.5] * 3,
          "std": [64.0] * 3}
START, SMALL = 24, 0.3          # a stream of random numbers; what the last convolution starts with, times He's
EPS = 1e-5


def transformer(width=16, blocks=5, styles=1):
    """The layers of a feed-forward style network: down by 4, residual blocks, up by 4. Grey levels come out.

    Johnson, Alahi, Fei-Fei 2016, arXiv:1603.08155, with instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022),
    enlargement by repetition and then convolution in place of transposed convolutions, which leave chequers (Odena et
    al. 2016, doi:10.23915/distill.00003), and mirrored borders. width: filters of the first layer; theirs had 32.
    """
    if width < 1 or blocks < 0 or styles < 1:
        raise MinivisError(f"style network: width {width} and styles {styles} must be at least 1, blocks {blocks} 0")
    layers = [Layer("input", "input", shape=[None, None, 3])]
    layers += _convolution("conv1", width, 9, styles=styles)
    layers += _convolution("conv2", 2 * width, 3, stride=2, styles=styles)
    layers += _convolution("conv3", 4 * width, 3, stride=2, styles=styles)
    for b in range(1, blocks + 1):
        above = layers[-1].name
        layers += _convolution(f"res{b}_conv1", 4 * width, 3, styles=styles)
        layers += _convolution(f"res{b}_conv2", 4 * width, 3, styles=styles)[:-1]       # without its ReLU
        layers.append(Layer(f"res{b}", "add", [layers[-1].name, above]))
    for n, filters in ((1, 2 * width), (2, width)):
        layers += [Layer(f"larger{n}", "upsample", factor=2), *_convolution(f"up{n}", filters, 3, styles=styles)]
    return [*layers, Layer("out_pad", "pad", pad=4, mode="reflect"),
            Layer("out", "conv", filters=3, kernel=[9, 9]), *_levels()]


def style_network(layers, seed=0, labels=None, source=""):
    """A Network of such layers with random weights: He's, but for a last convolution that begins grey."""
    table = Table(layers)
    last = next(layer.name for layer in reversed(table.layers) if layer.kind == "conv")
    weights = {}
    for i, (name, shape) in enumerate(weight_shapes(table).items()):
        part = name.split("/")[1]
        if part == "weight":
            drawn = np.random.default_rng([seed, START, i]).standard_normal(shape, np.float32)
            scale = math.sqrt(2 / math.prod(shape[:3])) * (SMALL if name == f"{last}/weight" else 1)
            weights[name] = drawn * np.float32(scale)
        else:
            weights[name] = np.full(shape, part == "scale", np.float32)
    return Network(table, weights, output_layer="picture", preprocessing=LEVELS, name="style", labels=labels,
                   meta={"architecture": "style", "source": source, "licence": ""})


# ------------------------------------------------------------------------------------------------------- many styles

def styles_of(net):
    """How many styles a network has learnt, to be chosen from by `blended`."""
    return max([layer["styles"] for layer in net.table if layer.kind == "instance_norm"], default=1)


def style_names(net):
    """Names of the styles that a network has learnt; their numbers from 1 where the file has no names."""
    count = styles_of(net)
    if net.labels is not None and len(net.labels) == count:
        return [name for _, name in net.labels]
    return [str(n + 1) for n in range(count)]


def blended(net, shares):
    """The ordinary network of one mixed style: every scale and shift is the styles' mean, weighed by `shares`."""
    count = styles_of(net)
    shares = np.asarray(shares, np.float64)
    if shares.shape != (count,) or not np.isfinite(shares).all() or shares.min() < 0 or shares.sum() <= 0:
        raise MinivisError(f"network {net.name} has {count} styles: give {count} shares of at least 0, not all 0, and "
                           f"not {shares.tolist()}")
    shares = shares / shares.sum()
    rows, weights = [], {}
    for layer in net.table:
        row = layer.to_json()
        many = row.pop("styles", 1) > 1
        rows.append(row)
        for name in (n for n in net.weights if n.split("/")[0] == layer.name):
            array = net.weights[name].data
            weights[name] = kernels.xp(array).tensordot(kernels.xp(array).asarray(shares.astype(array.dtype)), array,
                                                        1) if many else array
    return Network([Layer.from_json(row) for row in rows], weights, output_layer=net.output_layer,
                   preprocessing=net.preprocessing, meta=net.meta, precision=net.precision, name=net.name)


def grown_from(old, net):
    """`net` with the weights of a network that has learnt other styles: each of its styles begins as old's first."""
    weights = {}
    for name, shape in net.weights.shapes.items():
        if name not in old.weights:
            raise MinivisError(f"network {old.name} has no weights {name}: it is of another form; begin with one "
                               "of the same blocks")
        array = old.weights[name].data
        if array.ndim == 2:
            array = array[0]
        if array.shape != shape[-array.ndim:]:
            raise MinivisError(f"network {old.name}: {name} is {array.shape}, and {shape} is wanted; begin with a "
                               "network of the same width")
        weights[name] = np.array(kernels.xp(array).broadcast_to(array, shape))
    return net.with_weights(weights)


# ---------------------------------------------------------------------------------------------------- arbitrary style

def adain_layers(encoder, layer):
    """The table of an arbitrary-style network: `encoder` up to `layer`, the two normalisations, and a decoder that
    goes back up through half as many channels at each doubling of the size."""
    name = encoder.layer_name(layer)
    if encoder.rank(name) != 3:
        raise MinivisError(f"layer {name} has no positions, so a decoder cannot go back from it to a picture")
    needed = encoder.table.needed({name})
    rows = [encoder.table[n] for n in needed]
    side = 256
    stride = side / infer_shapes(encoder.table, (side, side, 3), names=needed)[name][0]
    doublings = round(math.log2(stride))
    width = encoder.channels(name)
    layers = [Layer("input", "input", shape=[None, None, 3]), *[_spelt(encoder, row) for row in rows[1:]],
              Layer("adain_norm", "instance_norm", [name], eps=EPS, affine=False),
              Layer(ADAIN, "scale", per_channel=True)]
    for n in range(1, doublings + 1):
        width = max(16, width // 2)
        layers += [*_decoding(f"dec{n}", width), Layer(f"larger{n}", "upsample", factor=2)]
    return [*layers, *_decoding("dec_last", width), Layer("out_pad", "pad", pad=1, mode="reflect"),
            Layer("out", "conv", filters=3, kernel=[3, 3]), *_levels()]


def adain_network(encoder, layer, seed=0):
    """An arbitrary-style Network with an untrained decoder; it takes pictures as its encoder does."""
    net = style_network(adain_layers(encoder, layer), seed, source=f"encoder: {encoder.name} to {layer}")
    weights = {name: t.data for name, t in encoder.weights.items() if name in net.weights}
    C = encoder.channels(layer)
    weights |= {f"{ADAIN}/scale": np.ones(C, np.float32), f"{ADAIN}/shift": np.zeros(C, np.float32)}
    p = encoder.preprocessing
    seen = {"size": None, "resize": None, "crop": "none", "channels": p.channels, "range": p.range, "mean": p.mean,
            "std": p.std}
    return Network(net.table, {**net.weights.arrays(), **weights}, output_layer="picture", preprocessing=seen,
                   name="adain", meta={**net.meta, "architecture": "adain"})


def takes_any_style(net):
    return ADAIN in net.table and "adain_norm" in net.table


def encoded_layer(net):
    """The encoder's last layer in an arbitrary-style network."""
    return net.table.reads["adain_norm"][0]


def in_style_of(net, pictures, shares, content=None, strength=1.0):
    """The network that paints in the style of `pictures` (uint8), mixed by `shares`, which sum to 1.

    strength    below 1 the content's own statistics, of the picture `content`, are mixed in (Huang, Belongie, eq. 14)
    """
    layer = encoded_layer(net)
    mean, deviation = 0.0, 0.0
    parts = [(p, strength * s) for p, s in zip(pictures, shares)]
    parts += [(content, 1 - strength)] if strength < 1 else []
    for picture, share in parts:
        m, d = statistics(net(net.preprocessing.normalize(picture, net.dtype)[None], layers=[layer])[layer].data)
        mean, deviation = mean + share * m, deviation + share * d
    return net.with_weights({f"{ADAIN}/scale": deviation.astype(net.dtype), f"{ADAIN}/shift": mean.astype(net.dtype)})


def statistics(a):
    """Mean and deviation of each channel, float64 (C,), of one picture's values (1, h, w, C)."""
    xp = kernels.xp(a)
    return a.mean(axis=(0, 1, 2), dtype="float64"), xp.sqrt(a.var(axis=(0, 1, 2), dtype="float64") + EPS)


# --------------------------------------------------------------------------------------------------------------- rows

def _convolution(name, filters, kernel, stride=1, styles=1):
    """Mirrored border, convolution, normalisation over the picture, ReLU."""
    more = {"styles": styles} if styles > 1 else {}
    return [Layer(f"{name}_pad", "pad", pad=kernel // 2, mode="reflect"),
            Layer(name, "conv", filters=filters, kernel=[kernel, kernel], stride=stride, bias=False),
            Layer(f"{name}_norm", "instance_norm", eps=EPS, **more), Layer(f"{name}_relu", "relu")]


def _decoding(name, filters):
    """Mirrored border, convolution, ReLU: a decoder must not normalise, or it would undo the style."""
    return [Layer(f"{name}_pad", "pad", pad=1, mode="reflect"), Layer(name, "conv", filters=filters, kernel=[3, 3]),
            Layer(f"{name}_relu", "relu")]


def _levels():
    """Any number to a grey level; `levels` reaches a little beyond black and white, so that gradients do not die."""
    return [Layer("tanh", "tanh"), Layer("levels", "scale", factor=150.0, offset=127.5),
            Layer("picture", "clip", low=0.0, high=255.0)]


def _spelt(encoder, row):
    """A row of the encoder with its inputs by name, and without what depends on a fixed size."""
    return Layer.from_json({**row.to_json(), "inputs": ["input" if n == encoder.table.names[0] else n
                                                        for n in encoder.table.reads[row.name]]})
