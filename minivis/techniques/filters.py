"""The weights of a convolution, as pictures; and how they meet a picture."""
import re
from typing import Literal

import numpy as np

from ..centres import centres
from ..errors import MinivisError
from ..options import Layer, Network, Picture
from ..receptive_field import nominal_box
from ..results import FilterMatches, Filters
from ..shapes import pads, steps
from .common import look, recipe

NOT_COLOURS = ("The input channels of this layer are not colours: slices of its filters are numbers between features, "
               "and do not show what a filter detects (use activations or unit_gradient for that).")


def filters(net: Network, layer: Layer = None, *, picture: Picture = None, channel: int | None = None,
            at: str | None = None, scaling: Literal["filter", "layer", "minmax"] = "filter",
            sort: Literal["index", "noise", "norm"] = "index", noisy: float = 0.5, limit: int = 256,
            inputs: int = 32) -> Filters | FilterMatches:
    """The filters of a convolution; with a picture, where one of them matches it and how the number comes about.

    Without a picture: every filter W[:, :, :, k], in colour if its inputs are colours (Krizhevsky et al. 2012), else as
    grey slices, one row per filter. Each first-layer filter gets a measure of noise, the spread of its spectrum: which
    part of all spatial frequencies it takes to hold its energy, 0 to 1. Smooth and striped filters have 0.05 to 0.3,
    independent random numbers 0.75. A first layer full of noisy filters is that of a network trained too briefly, with
    too high a learning rate or too little weight decay.

    With a picture: r = <W[:, :, :, k], patch> + b[k], the value before the ReLU, for filter k = channel: its map over
    the picture, sign kept (a large negative r is a match too, of the negative), with the strongest and the most
    negative match and the place `at` taken apart into filter, patch and their product.

    layer      a convolution; none means the first
    picture    a picture to match a filter with
    channel    which filter to match; none means the one with the largest response, of either sign, on this picture
    at         ROW,COLUMN of a unit of the layer, to be taken apart as well
    scaling    shades: each filter by its own largest weight (grey is 0), one scale for the layer (grey is 0), or
               minmax, each from its least to its largest weight (zero is not grey)
    sort       order of the filters: by index, by spread of the spectrum (noise) or by length of the weights (norm)
    noisy      spread from which a filter is called noisy
    limit      how many filters to draw at most
    inputs     how many input channels to draw at most, where these are not colours
    """
    layer = _convolution(net, layer)
    if picture is None:
        if channel is not None or at is not None:
            raise MinivisError("filters: channel and at ask how a filter meets a picture; give a picture")
        return _weights(net, layer, {"layer": layer, "scaling": scaling, "sort": sort, "noisy": noisy, "limit": limit,
                                     "inputs": inputs})
    return _matches(net, layer, picture, channel, at)


def _convolution(net, layer):
    """The name of the convolution asked for."""
    if layer is None:
        layer = next((row.name for row in net.table if row.kind == "conv"), None)
        if layer is None:
            raise MinivisError(f"network {net.name} has no convolution, so no filters")
        return layer
    layer = net.layer_name(layer)
    kind = net.table[layer].kind
    if kind not in ("conv", "conv_transpose"):
        close = [row.name for row in net.table if row.kind == "conv"]
        raise MinivisError(f"filters: {layer} is a {kind} layer; convolutions are {', '.join(close[:8])}"
                           + (" ..." if len(close) > 8 else ""))
    return layer


# ----------------------------------------------------------------------------------------------- the weights themselves

def _weights(net, layer, options):
    w = _rgb(net, layer, _host(net.weights[f"{layer}/weight"].data), axis=2)
    noise, norm = spectral_spread(w), np.sqrt((w.astype(np.float64) ** 2).sum(axis=(0, 1, 2)))
    order = {"index": np.arange(w.shape[3]), "noise": np.argsort(-np.nan_to_num(noise), kind="stable"),
             "norm": np.argsort(-norm, kind="stable")}[options["sort"]]
    notes = [] if _sees_colours(net, layer) else [NOT_COLOURS]
    notes += _noise_notes(net, layer, noise, options["noisy"])
    dead = np.flatnonzero(norm <= 1e-6 * norm.max())
    if len(dead):
        notes.append(f"{len(dead)} filter(s) are all but zero ({_few(dead)}): they do nothing.")
    return Filters(w, layer, scaling=options["scaling"], limit=options["limit"], inputs=options["inputs"],
                   noise=None if np.isnan(noise).all() else noise, norm=norm, order=order, sort=options["sort"],
                   colours=_sees_colours(net, layer), recipe=recipe(filters, net, **options), notes=notes)


def spectral_spread(w):
    """Over how large a part of all spatial frequencies each filter (h, w, C, K) spreads: (K,), NaN for 1 x 1 filters.

    (sum P)^2 / (F * sum P^2), with P(f) the power of the filter's 2-D discrete Fourier transform, summed over channels,
    and F = h * w frequencies: the participation ratio. 1/F for a single frequency, 1 if all have the same power. What
    training makes is smooth or repeats itself, so few frequencies hold its energy: blobs, edges and fine stripes alike
    give 0.05 to 0.3. Independent random weights have energy everywhere and give about C / (C + 1). (The mere share of
    high frequencies would call every filter for fine stripes noisy.) For 3 x 3 filters, which have only 9 frequencies,
    it is coarse.
    """
    h, width, _, K = w.shape
    if h * width == 1:
        return np.full(K, np.nan)
    power = (np.abs(np.fft.fft2(np.asarray(w, np.float64), axes=(0, 1))) ** 2).sum(axis=2).reshape(h * width, K)
    below = h * width * (power ** 2).sum(axis=0)
    return np.divide(power.sum(axis=0) ** 2, below, out=np.zeros(K), where=below > 0)


def _noise_notes(net, layer, noise, threshold):
    if np.isnan(noise).all():
        return [f"{layer} has 1 x 1 filters: they mix channels and have no shape, so nothing in them can be noisy."]
    if not _sees_colours(net, layer):
        return []                   # between features there is no reason why a filter should be smooth
    bad = np.flatnonzero(noise >= threshold)
    text = f"{len(bad)} of {len(noise)} filters are noisy (spread {threshold:g} or more)"
    if not len(bad):
        return [text + ": training has shaped them all."]
    text += f": {_few(bad)}."
    if len(bad) > len(noise) / 3:
        text += (" So many in a first layer point to training that was too short, too high a learning rate or too "
                 "little weight decay.")
    return [text]


# --------------------------------------------------------------------------------------------- a filter meets a picture

def _matches(net, layer, picture, channel, at):
    row = net.table[layer]
    if row.kind != "conv":
        raise MinivisError(f"filters: {layer} is a {row.kind} layer; only a convolution is matched with a picture")
    seen, x = look(net, picture)
    source = net.table.reads[layer][0]
    values = net(x, layers=[source, layer])
    below, response = _host(values[source].data)[0], _host(values[layer].data)[0]
    K = response.shape[2]
    if channel is None:
        channel = int(np.abs(response).max(axis=(0, 1)).argmax())
    elif not 0 <= channel < K:
        raise MinivisError(f"filters: channel {channel} of {layer}; it has channels 0 to {K - 1}")
    response = response[:, :, channel]
    w, b = _filter(net, layer, channel)
    places = {} if at is None else {"chosen": _place(at, layer, response.shape)}
    places["strongest"] = _place_of(response.argmax(), response.shape)
    places["most negative" if response.min() < 0 else "weakest"] = _place_of(response.argmin(), response.shape)
    size, colours = x.shape[1:3], _sees_colours(net, layer)
    rows = []
    for name, (i, j) in places.items():
        patch = _patch(row, below, (i, j), _group(row, channel, below.shape[2]))
        rows.append({"name": name, "row": i, "column": j, "value": float(response[i, j]), "bias": b,
                     "dot": float((w.astype(np.float64) * patch).sum()), "box": nominal_box(net, layer, i, j, size),
                     "patch": _rgb(net, layer, patch, axis=2), "product": _rgb(net, layer, w * patch, axis=2)})
    return FilterMatches(_rgb(net, layer, w, axis=2), response, rows, layer, channel, seen=seen, colours=colours,
                         centres=centres(net, layer, response.shape, size), notes=[] if colours else [NOT_COLOURS],
                         recipe=recipe(filters, net, layer=layer, picture=seen.picture, channel=channel, at=at))


def _filter(net, layer, channel):
    """(w (kh, kw, C/groups), b) of one filter."""
    bias = net.weights.get(f"{layer}/bias")
    return (_host(net.weights[f"{layer}/weight"].data)[:, :, :, channel],
            0.0 if bias is None else float(_host(bias.data)[channel]))


def _group(row, channel, C):
    """The input channels that a filter reads."""
    each = C // row["groups"]
    first = channel // (row["filters"] // row["groups"]) * each
    return slice(first, first + each)


def _patch(row, below, place, channels):
    """(kh, kw, C/groups): what the filter lies on at a place of the output; zeros where that is padding."""
    top, bottom, left, right = pads(row, below.shape)
    stride, dilation = steps(row)
    kernel = (row["kernel"],) * 2 if isinstance(row["kernel"], int) else tuple(row["kernel"])
    padded = np.pad(below, ((top, bottom), (left, right), (0, 0)))
    y, x = (place[a] * stride[a] + np.arange(kernel[a]) * dilation[a] for a in (0, 1))
    return padded[y[:, None], x[None, :], channels]


def _place(text, layer, shape):
    found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", str(text))
    if not found:
        raise MinivisError(f"filters: at {text!r} is no place; write ROW,COLUMN, such as 10,25")
    place = int(found[1]), int(found[2])
    if place[0] >= shape[0] or place[1] >= shape[1]:
        raise MinivisError(f"filters: at {text}: layer {layer} has {shape[0]} rows and {shape[1]} columns here")
    return place


def _place_of(flat, shape):
    return tuple(int(v) for v in np.unravel_index(int(flat), shape))


# ------------------------------------------------------------------------------------------------------------- helpers

def _sees_colours(net, layer):
    """Whether the layer's input channels are the picture's three colours."""
    name = net.table.reads[layer][0]
    while net.table[name].kind in ("pad", "scale", "dropout"):
        name = net.table.reads[name][0]
    return net.table[name].kind == "input" and net.weights[f"{layer}/weight"].shape[2] == 3


def _rgb(net, layer, array, axis):
    """The array with its colour axis in RGB order, if the layer sees colours."""
    if not _sees_colours(net, layer):
        return array
    return np.ascontiguousarray(np.moveaxis(net.to_rgb(np.moveaxis(array, axis, -1)), -1, axis))


def _few(indices, most=12):
    return ", ".join(str(i) for i in indices[:most]) + (" ..." if len(indices) > most else "")


def _host(array):
    return array.get() if hasattr(array, "get") else array
