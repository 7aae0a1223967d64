"""The normalised VGG of Gatys et al.: every filter scaled so that its mean activation over pictures and positions is 1.

    y'_k = s_k y_k with s_k = 1 / mean(y_k)

Weights and bias of filter k are multiplied by s_k, and whatever reads channel k divides by s_k again. ReLU and pooling
commute with a positive factor, so the network computes the same function, exactly.

Gatys, Ecker, Bethge 2016 (CVPR, "Image style transfer using convolutional neural networks") and 2015 (arXiv:1505.07376)
use such a network; layers then contribute to style and content losses at comparable scale.
"""

import numpy as np

from ..errors import MinivisError
from ..network import Network

PASSES_A_FACTOR = ("relu", "leaky_relu", "max_pool", "avg_pool", "global_avg_pool", "dropout", "flatten")


def normalise(net, inputs):
    """A Network that computes what `net` does, each convolution's filters having mean activation 1 after their ReLU.

    inputs    arrays (N, H, W, C) as net.preprocess gives them, of any sizes: the pictures to measure on
    A filter that is never active keeps its scale. Raises MinivisError for networks that are no plain chain.
    """
    chain = _chain(net)
    means = mean_activations(net, inputs, [relu for _, relu, _ in chain])
    weights = {name: np.array(array, np.float64) for name, array in net.weights.arrays().items()}
    for conv, relu, readers in chain:
        mean = means[relu]
        factor = np.where(mean > 0, 1 / np.where(mean > 0, mean, 1), 1.0)
        weights[f"{conv}/weight"] *= factor
        if f"{conv}/bias" in weights:
            weights[f"{conv}/bias"] *= factor
        for reader in readers:
            _divide(weights, reader, net.table[reader], factor)
    weights = {name: array.astype(net.dtype) for name, array in weights.items()}
    meta = {**net.meta, "source": f"{net.meta.get('source', '')}, normalised to mean activation 1".lstrip(", ")}
    return Network(net.table, weights, net.logits_layer, net.features_layer,
                   net.preprocessing if net.has_preprocessing else None, net.labels, meta,
                   output_layer=net.output_layer, precision=net.precision, name=net.name)


def mean_activations(net, inputs, layers):
    """{layer: (C,) float64}: the mean over all pictures and positions of each channel."""
    sums, counts = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0)
    for x in inputs:
        for layer, value in net(np.asarray(x), layers=layers).items():
            values = value.numpy()
            sums[layer] = sums[layer] + values.sum(axis=(0, 1, 2), dtype=np.float64)
            counts[layer] += values.shape[0] * values.shape[1] * values.shape[2]
    if not all(counts.values()):
        raise MinivisError("to normalise a network, at least one picture is needed to measure it on")
    return {layer: sums[layer] / counts[layer] for layer in layers}


def _chain(net):
    """[(conv, its ReLU, layers with weights that read it)] for every convolution with a ReLU."""
    readers_of = {name: [] for name in net.table.names}
    for name, inputs in net.table.reads.items():
        for source in inputs:
            readers_of[source].append(name)
    chain = []
    for layer in net.table:
        if layer.kind != "conv":
            continue
        below = readers_of[layer.name]
        if len(below) != 1 or net.table[below[0]].kind not in ("relu", "leaky_relu"):
            raise MinivisError(f"layer {layer.name}: only networks where every convolution is read by one ReLU can be "
                               "normalised; VGG is one")
        chain.append((layer.name, below[0], _weighted_readers(net, below[0], readers_of)))
    return chain


def _weighted_readers(net, name, readers_of):
    found, todo = [], [name]
    while todo:
        for reader in readers_of[todo.pop()]:
            layer = net.table[reader]
            if layer.kind == "linear" or (layer.kind == "conv" and layer["groups"] == 1):
                found.append(reader)
            elif layer.kind in PASSES_A_FACTOR and not (layer.kind == "flatten" and layer["order"] != "hwc"):
                todo.append(reader)
            else:
                raise MinivisError(f"layer {reader}: {layer.kind} does not let a factor through, so this network "
                                   "cannot be normalised; VGG can")
    return found


def _divide(weights, name, layer, factor):
    """Input channel k of a layer by factor k; of a dense layer, with rows over (H, W, C), every row of channel k."""
    weight = weights[f"{name}/weight"]
    if layer.kind == "conv":
        weight /= factor[:, None]
    else:
        weight.reshape(-1, len(factor), weight.shape[-1])[...] /= factor[:, None]
