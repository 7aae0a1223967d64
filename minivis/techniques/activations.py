"""What a layer computes on a picture; one channel laid over it; or every layer at once, forward and backward."""
from typing import Literal

import numpy as np

from ..centres import Interpolation, centres, over_picture
from ..errors import MinivisError
from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Activations, EveryLayer, UnitMap
from ..tensor import gradient
from .common import class_start, look, recipe, unit_layer, unit_start

PASSED_THROUGH = ("input", "dropout", "flatten", "softmax")     # nothing new is computed there


def activations(net: Network, picture: Picture, *, layers: list[Layer] | None = None, unit: Unit = None,
                everything: bool = False, target: Target = None, score: Score = "logit",
                scaling: Literal["channel", "layer"] = "channel", sort: Literal["index", "mean", "max"] = "index",
                limit: int = 144, gamma: float = 1.0, alpha: float = 0.75,
                interpolation: Interpolation = "bilinear",
                dtype: Literal["float64", "float32", "float16"] | None = None) -> Activations | UnitMap | EveryLayer:
    """What layers compute on a picture: every channel a map, one channel over the picture, or the whole network.

    By default a grid of all channels of a layer, at its own resolution (Yosinski et al. 2015, arXiv:1506.06579, show
    conv5 so). With `unit` one channel's map, laid over the picture by the centres of its units' receptive fields, not
    stretched from corner to corner. With `everything` one pass forward and one backward from a class score: for each
    layer least, mean and largest value, standard deviation and share of zeros of the activation a and of dS/da, with
    pictures.

    Values are those after the named layer: a conv layer is before its ReLU, relu layers are after.

    layers          which layers; none means the network's features layer if it has positions, else the last one that
                    does; with everything: all that compute something, a convolution and its ReLU taken as one
    unit            LAYER:CHANNEL: this channel laid over the picture; LAYER alone means its strongest channel
    everything      forward and backward once, all layers in one table
    target          with everything, the class S; none means the network's first choice
    score           with everything, logit, or prob / logprob after the softmax
    scaling         shades: each channel by its own largest value, or one scale for a layer
    sort            order of the channels: by index, or by their mean or largest value, falling
    limit           how many channels of a layer to draw at most
    gamma           shades are (value / scale) ^ gamma: below 1 weak values are lifted
    alpha           with unit, how much a full value hides of the picture, 0 to 1
    interpolation   with unit, between unit centres: bilinear or nearest
    dtype           of the numbers that are kept and stored; none means as computed. float16 is half of float32's file,
                    and enough to find the picture again (invert-codes)
    """
    if unit is not None and (layers or everything):
        raise MinivisError("activations: give one of unit, layers and everything" if not everything
                           else "activations: unit shows one channel and everything all; give one of them")
    if target is not None and not everything:
        raise MinivisError("activations: a target is the start of the way back; it goes with everything")
    if not gamma > 0 or not 0 <= alpha <= 1 or limit < 1:
        raise MinivisError(f"activations: gamma {gamma:g} must be above 0, alpha {alpha:g} from 0 to 1, limit {limit} "
                           "at least 1")
    if everything:
        return _everything(net, picture, layers, target, score)
    if unit is not None:
        return _over_picture(net, picture, unit, alpha, interpolation)
    seen, x = look(net, picture)
    names = [net.layer_name(name) for name in layers] if layers else [_default_layer(net, x.shape)]
    values = net(x, layers=names)
    how = recipe(activations, net, layers=names, scaling=scaling, sort=sort, limit=limit, gamma=gamma,
                 dtype=dtype)
    kept = {name: _host(values[name].data).astype(dtype or net.dtype, copy=False) for name in names}
    return Activations(kept, scaling=scaling, limit=limit, sort=sort,
                       gamma=gamma, seen=seen, recipe=how)


def _default_layer(net, shape):
    """The features layer, or if that has no positions the last layer that has."""
    shapes = net.shapes(shape[1:3])
    if len(shapes[net.features_layer]) == 3:
        return net.features_layer
    return [name for name, s in shapes.items() if len(s) == 3][-1]


def _over_picture(net, picture, unit, alpha, interpolation):
    """A6: one channel's map on the network's input grid."""
    layer, spot = unit_layer(net, unit)
    if spot is not None and spot.row is not None:
        raise MinivisError(f"activations: {unit} names one position; leave it out to see the channel over the picture")
    seen, x = look(net, picture)
    values = net(x, layers=[layer])
    if values[layer].ndim != 4:
        raise MinivisError(f"activations: {layer} has no positions, so its units cannot be laid over the picture")
    start = unit_start(net, values, unit)
    channel = start.target["channel"]
    raw = np.ascontiguousarray(_host(values[layer].data)[0, :, :, channel])
    places = centres(net, layer, raw.shape, x.shape[1:3])
    return UnitMap(over_picture(raw, places, x.shape[1:3], interpolation), None, start.target, start.value, start.kind,
                   seen, layer=layer, raw=raw, centres=places, alpha=alpha, interpolation=interpolation,
                   signed=bool(raw.min() < 0), quantity="activation",
                   recipe=recipe(activations, net, unit=unit, alpha=alpha, interpolation=interpolation))


def _everything(net, picture, layers, target, score):
    """A7: one pass forward, one backward, statistics and pictures of every layer."""
    seen, x = look(net, picture, needs_grad=True)
    names = [net.layer_name(name) for name in layers] if layers else _telling(net)
    values = net(x, layers=list(dict.fromkeys([*names, net.logits_layer])))
    start = class_start(net, values, target, score)
    reached = set(net.table.needed([net.logits_layer]))
    below = [name for name in names if name in reached]
    slopes = dict(zip(below, gradient(start.tensor, [values[name] for name in below], seed=start.seed)))
    rows = []
    for name in names:
        source = _weights_of(net, name)
        rows.append({"name": name, "kind": net.table[name].kind, "weights_of": source,
                     "activation": _host(values[name].data)[0],
                     "gradient": _host(slopes[name])[0] if name in slopes else None,
                     "weights": _host(net.weights[f"{source}/weight"].data) if source else None})
    cut_off = [row["name"] for row in rows if row["gradient"] is None or not row["gradient"].any()]
    notes = []
    if cut_off:
        notes.append(f"No gradient reaches {', '.join(cut_off)}: a ReLU above is off everywhere, or the score does not "
                     "depend on them.")
    return EveryLayer(rows, start.target, start.value, start.kind, start.layer, seen=seen, notes=notes,
                      recipe=recipe(activations, net, everything=True, layers=names, target=target, score=score))


def _telling(net):
    """Layers up to the logits, without those that hand on what they read and those that only a ReLU reads."""
    names = net.table.needed([net.logits_layer])
    readers = {}
    for name in names:
        for source in net.table.reads[name]:
            readers.setdefault(source, []).append(net.table[name].kind)
    return [name for name in names
            if net.table[name].kind not in PASSED_THROUGH and readers.get(name) not in (["relu"], ["batch_norm"])]


def _weights_of(net, name):
    """The layer with weights that this one shows: itself, or the one whose ReLU or normalisation it is."""
    while f"{name}/weight" not in net.weights:
        if net.table[name].kind not in ("relu", "leaky_relu", "batch_norm", "instance_norm", "tanh", "sigmoid"):
            return None
        name = net.table.reads[name][0]
    return name


def _host(array):
    return array.get() if hasattr(array, "get") else array
