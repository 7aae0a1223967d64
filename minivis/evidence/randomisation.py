"""Cascading randomisation: does the map change when the network forgets what it learnt?

Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018, "Sanity checks for saliency maps", arXiv:1810.03292. Weights are
drawn anew from the output layer downwards, layer after layer; a map that stays the same shows the picture and not the
network. (Their erratum: guided backprop is insensitive to the *higher* layers, not to all.)
"""
import numpy as np

from .similarity import rank_correlation, ssim


def randomised(net, count, seed=0):
    """(network, name): its last `count` layers with weights drawn anew, normal, of the same spread; the lowest one."""
    layers = [layer.name for layer in net.table if f"{layer.name}/weight" in net.weights]
    used = set(net.table.needed([net.output_layer]))
    chosen = [name for name in layers if name in used][::-1][:count]
    weights = {}
    for i, name in enumerate(chosen):
        old = net.weights[f"{name}/weight"].numpy()
        rng = np.random.default_rng([seed, 6, i])
        weights[f"{name}/weight"] = (rng.standard_normal(old.shape) * old.std()).astype(old.dtype)
    return net.with_weights(weights), chosen[-1]


def cascade(explain, net, values, counts=None, seed=0):
    """[(layer, SSIM, rank correlation)] of the map with the last counts[0], counts[1], ... layers randomised.

    explain   net -> map (H, W) or (H, W, 3), for the same picture and class
    values    the map of the trained network; counts None: one, half and all of the layers with weights
    """
    if counts is None:
        total = len([name for name in net.weights if name.endswith("/weight")])
        counts = sorted({1, max(1, total // 2), total})
    trained, rows = flat(values), []
    for count in counts:
        other, lowest = randomised(net, count, seed)
        new = flat(explain(other))
        rows.append((lowest, ssim(trained, new), rank_correlation(trained, new)))
    return rows


def flat(values):
    """(H, W): how much each pixel matters, without the sign."""
    values = np.abs(np.asarray(values, np.float64))
    return values.sum(axis=2) if values.ndim == 3 else values


