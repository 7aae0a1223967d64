"""Full gradient: what the input and every bias contribute, in one map."""
from typing import Literal

import numpy as np

from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from ..tensor import gradient
from .cams import UPSAMPLED, Upsample, enlarge
from .common import Positions, attribution, begin, look, recipe, top_layer
from .sampling import host


def full_gradient(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                  positions: Positions = "strongest", scaling: Literal["layer", "channel", "none"] = "layer",
                  upsample: Upsample = "half_pixel") -> Attribution:
    """The score taken apart: what the input contributes, and what every bias at every place does.

    S = sum of x dS/dx + sum over biases of b dS/db, exact for networks of ReLUs and poolings; the map is
    psi(x dS/dx) + sum over convolutions of psi(b dS/dz), z the convolution's output, psi(v) = |v| scaled to 0..1,
    enlarged and summed over channels. Srinivas, Fleuret 2019, arXiv:1905.00780. The gap: all parts' sum minus S.

    values (H, W), at least 0.
    Caution: with scaling "layer" (the authors') a layer that contributes little counts as much as one that matters.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    scaling   what is scaled to 0..1 before it is added: each layer's part (the authors' code), each channel's, or none
    upsample  how places become pixels: as a resized picture (half_pixel: aligned by the edges, corners: by the corner
              pixels' centres, nearest) or by receptive-field centres
    """
    seen, x = look(net, picture, needs_grad=True)
    top = top_layer(net, unit)
    with_bias = bias_layers(net, top)
    values = net(x, layers=[*with_bias, top])
    start = begin(net, x, target=target, unit=unit, positions=positions, values=values)
    grads = [host(g) for g in gradient(start.tensor, [x, *(values[n] for n in with_bias)], seed=start.seed)]
    from_input = net.to_rgb(host(x.data)[0] * grads[0][0])
    total = float(from_input.sum(dtype="f8"))
    size, parts = x.shape[1:3], [part(from_input, scaling)]
    for name, g in zip(with_bias, grads[1:]):
        by_bias = g[0] * with_bias[name]
        total += float(g[0].reshape(-1, g.shape[-1]).sum(axis=0, dtype="f8") @ with_bias[name])
        if by_bias.ndim == 3:
            parts.append(spread(net, by_bias, name, size, scaling, upsample))
    return attribution(net, seen, start, np.sum(parts, axis=0).astype(net.dtype), net.to_rgb(grads[0][0]), signed=False,
                       quantity="sum of |contributions|"
                       + ("" if scaling == "none" else f", each {scaling} scaled to 0..1"),
                       gap=total - start.value,
                       notes=[f"The input contributes {float(from_input.sum()):.4g}, the biases of {len(with_bias)} "
                              f"layers {total - float(from_input.sum()):.4g}; enlarged by {UPSAMPLED[upsample]}.",
                              "The gap is that of all contributions, before the map takes their size and scales them."],
                       recipe=recipe(full_gradient, net, target=target, unit=unit, positions=positions,
                                     scaling=scaling, upsample=upsample))


def bias_layers(net, top):
    """{layer: its additive constant (C,)} of all layers up to `top` that add one."""
    found = {}
    for name in net.table.needed([top]):
        kind, w = net.table[name].kind, net.weights
        if kind in ("conv", "conv_transpose", "linear") and f"{name}/bias" in w:
            found[name] = host(w[f"{name}/bias"].data)
        elif kind == "batch_norm":
            mean, var = (host(w[f"{name}/{part}"].data) for part in ("mean", "var"))
            scale, shift = (host(w[f"{name}/{part}"].data) if f"{name}/{part}" in w else other
                            for part, other in (("scale", 1), ("shift", 0)))
            found[name] = shift - mean * scale / np.sqrt(var + net.table[name]["eps"])
        elif kind == "scale" and f"{name}/shift" in w:
            found[name] = host(w[f"{name}/shift"].data)
    return found


def part(values, scaling):
    """|values| (h, w, K), scaled to 0..1 as a whole with scaling "layer", each channel by itself with "channel"; summed
    over channels: (h, w)."""
    size, K = np.abs(values), values.shape[2]
    if scaling == "none":
        low, span = np.zeros(K), np.ones(K)
    else:
        over = (0, 1) if scaling == "channel" else None
        low, high = (np.broadcast_to(end.astype(np.float64), K) for end in (size.min(axis=over), size.max(axis=over)))
        span = np.where(high > low, high - low, 1)
    return size @ (1 / span).astype(size.dtype) - (low / span).sum()


def spread(net, by_bias, layer, size, scaling, upsample):
    """What a layer's biases contribute, (h, w, K), scaled, summed over channels and enlarged: (H, W). Enlarging is
    linear, so that the channels may be summed before it."""
    return enlarge(net, part(by_bias, scaling), layer, size, upsample)
