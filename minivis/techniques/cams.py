"""What the class activation maps share: the layer, its activations and gradient, and the way from places to pixels."""
from typing import Literal, NamedTuple

import numpy as np

from ..centres import centres, over_picture
from ..errors import MinivisError
from ..ops.resample import resize_matrix
from ..receptive_field import field
from ..tensor import Tensor, gradient
from .common import Start, attribution, begin, look, top_layer
from .sampling import host

Upsample = Literal["centres", "corners", "half_pixel", "nearest"]


class View(NamedTuple):
    """What a class activation map is made of: activations a and gradient g of a layer, each (h, w, K) on the host."""
    seen: object
    x: Tensor
    start: Start
    layer: str
    a: np.ndarray
    g: np.ndarray | None


def view(net, picture, layer=None, *, target=None, unit=None, positions="strongest", score="logit", needs_grad=True,
         to_input=False):
    """Forward to the target, once, and back to the layer (None: the last one with a map below the class scores).

    to_input   keep what a walk down to the picture needs: `start` then hangs on `x`
    """
    seen, x = look(net, picture, needs_grad=to_input)
    top = top_layer(net, unit)
    layer = last_map(net, top) if layer is None else net.layer_name(layer)
    if net.rank(layer) != 3:
        raise MinivisError(f"layer {layer} is a vector without places; a class activation map needs a layer with a map")
    if layer == top or layer not in net.table.needed([top]):
        raise MinivisError(f"layer {layer} does not lie below {top}, where the score is read")
    values = _forward(net, x, layer, top, needs_grad and not to_input)
    start = begin(net, x, target=target, unit=unit, positions=positions, score=score, values=values)
    a, g = values[layer], None
    if needs_grad:
        g = host(gradient(start.tensor, a, seed=start.seed)[0])
    return View(seen, x, start, layer, host(a.data)[0], g)


def _forward(net, x, layer, top, from_layer):
    """{layer, top: Tensor} by one forward pass. from_layer: the gradient goes down to `layer` alone, so that only what
    lies above it keeps anything, if all ways from the picture lead through it."""
    if not from_layer:
        return net(x, layers=[layer, top])
    try:
        net.table.needed([top], layer)
    except MinivisError:        # another way leads around the layer
        return net(Tensor(x.data, needs_grad=True), layers=[layer, top])
    a = Tensor(net(x, layers=[layer])[layer].data, needs_grad=True)
    return {layer: a, top: net(a, layers=[top], start=layer)[top]}


def last_map(net, top):
    """The last layer with a map below `top` that does not yet speak in classes: a VGG's relu5_3, SqueezeNet's fire9.

    A pooling's input is preferred to its output, being finer and holding the same."""
    names = net.table.needed([top])
    weighted = [n for n in names if net.table[n].kind in ("conv", "linear")]
    below = net.table.needed([net.table.reads[weighted[-1]][0]]) if weighted else names
    maps = [n for n in below if net.rank(n) == 3 and n != top and net.table[n].kind not in ("input", "dropout")]
    if not maps:
        raise MinivisError(f"no layer below {top} has a map; name one (layer)")
    name = maps[-1]
    while net.table[name].kind in ("max_pool", "lrn") and net.rank(net.table.reads[name][0]) == 3:
        name = net.table.reads[name][0]
    return name


def enlarge(net, a, layer, size, how="centres"):
    """A layer's map (h, w) as one of pixels (H, W), bilinear between places and constant outside the outermost.

    centres       place (i, j) stands at the centre of its receptive field
    corners       resized with the centres of the corner pixels aligned
    half_pixel    resized edge to edge
    nearest       edge to edge, every pixel has the value of its nearest place
    """
    if how == "centres" and field(net, layer, tuple(size)).size is not None:
        return over_picture(a, centres(net, layer, a.shape, tuple(size)), size)
    align = "corners" if how == "corners" else "half_pixel"      # centres: if every place sees everything
    method = "nearest" if how == "nearest" else "bilinear"
    rows, columns = (resize_matrix(a.shape[i], size[i], method, align, antialias=False) for i in (0, 1))
    return (rows @ a.astype(np.float64) @ columns.T).astype(a.dtype)


def strongest_channels(a, count):
    """Numbers of the `count` channels of a (h, w, K) with the largest activations, largest first; count 0: of all."""
    if count < 0:
        raise MinivisError(f"channels {count} must be at least 0, which means all")
    return np.argsort(-a.max(axis=(0, 1)), kind="stable")[:count or None]


def weighed(channels, values):
    """(channels, values) in the order of the channels' numbers, of those that have a value: the first ones, if the
    work was stopped."""
    channels = channels[:len(values)]
    order = np.argsort(channels)
    return channels[order], values[order]


def weighted(a, weights):
    """sum over channels of weights (K,) or (h, w, K) times a: (h, w)."""
    return (a * weights).sum(axis=2)


def finish(net, seen_view, values, upsample, relu, recipe, what, notes=(), stopped=(), gap=None):
    """The Attribution of a map (h, w) of a view's layer; with relu what is below 0 is cut off.

    gap   by how much the map at the layer's places, before that, misses what theory says it adds up to"""
    v = seen_view
    if relu:
        values = np.maximum(values, 0)
    notes = [f"Layer {v.layer}, {v.a.shape[0]} x {v.a.shape[1]} places, {v.a.shape[2]} channels; "
             f"enlarged by {UPSAMPLED[upsample]}.", *notes]
    if relu and not values.any():
        notes.append("The map is all zero: everything at this layer speaks against the target; relu off shows it.")
    big = enlarge(net, values.astype(v.a.dtype), v.layer, v.x.shape[1:3], upsample)
    return attribution(net, v.seen, v.start, big, None, signed=not relu, quantity=what, notes=notes, recipe=recipe,
                       stopped=stopped, gap=gap)


UPSAMPLED = {"centres": "receptive-field centres, the border's values going on outside the outermost",
             "corners": "aligned corners", "half_pixel": "aligned edges", "nearest": "nearest neighbour"}
