"""Networks in canonical form: a normalisation right behind a convolution or dense layer becomes part of it.

Where relevance is shared out, a layer and the batch normalisation behind it are one linear map: the rules look at the
signs of weights, and a negative scale turns them round. With factor s and shift t the layer is w' = w s, b' = b s + t.
Guillemot et al. 2020, arXiv:2002.11018; zennit calls it canonisation, Anders et al. 2021, arXiv:2106.13200.
"""
import numpy as np

from ..layers import Layer
from ..network import Network

NORMS = ("batch_norm", "scale")
INTO = ("conv", "linear")


def canonised(net, top):
    """(network, {norm: layer it became part of}): the same function up to `top`, under the same layer names.

    A folded normalisation's row stays as one that does nothing. One that follows anything else, or a layer that others
    read too, stays what it was. Without any to fold the network itself is returned.
    """
    needed = net.table.needed([top])
    readers = [source for name in needed for source in net.table.reads[name]]
    arrays, folded = {}, {}
    for name in needed:
        if net.table[name].kind not in NORMS:
            continue
        source = below = net.table.reads[name][0]
        while below in folded and readers.count(below) == 1:
            below = net.table.reads[below][0]
        if net.table[below].kind not in INTO or readers.count(source) != 1 or readers.count(below) != 1:
            continue
        for part, array in fold(net, below, name, arrays).items():
            arrays[f"{below}/{part}"] = array
        folded[name] = below
    return (rewritten(net, arrays, folded), folded) if folded else (net, {})


def fold(net, layer, norm, arrays):
    """{"weight", "bias"} float64 of a layer with the normalisation behind it; `arrays`: what was folded before."""
    def weight(part):
        key = f"{layer}/{part}"
        return arrays.get(key, as_float64(net.weights[key].data) if key in net.weights else 0.0)
    s, t = factor_and_shift(net, norm)
    return {"weight": weight("weight") * s, "bias": weight("bias") * s + t}


def factor_and_shift(net, norm):
    """(s, t), each (C,) float64 or a number: the normalisation is y = s x + t."""
    row = net.table[norm]

    def part(name, default):
        key = f"{norm}/{name}"
        return as_float64(net.weights[key].data) if key in net.weights else default
    if row.kind == "scale":
        return part("scale", row["factor"]), part("shift", row["offset"])
    s = part("scale", 1.0) / np.sqrt(part("var", 1.0) + row["eps"])
    return s, part("shift", 0.0) - part("mean", 0.0) * s


def rewritten(net, arrays, folded):
    """The network with these weights, every folded layer with a bias and every folded norm without effect."""
    into, rows = set(folded.values()), []
    for row in net.table:
        inputs = net.table.reads[row.name] or None
        if row.name in folded:
            row = Layer(row.name, "dropout", inputs, rate=0.0)
        elif row.name in into:
            row = Layer(row.name, row.kind, inputs, **{**row.settings, "bias": True})
        rows.append(row)
    kept = {key: array for key, array in net.weights.arrays().items() if key.rsplit("/", 1)[0] not in folded}
    return Network(rows, {**kept, **arrays}, net.logits_layer, net.features_layer, labels=net.labels, meta=net.meta,
                   preprocessing=net.preprocessing if net.has_preprocessing else None,
                   output_layer=net.output_layer, precision=net.precision, name=net.name)


def as_float64(array):
    return array.astype(np.float64)
