"""Excitation backprop: which pixels win, when every winner draws its successor among those who excite it."""

from ..errors import MinivisError
from ..options import Layer, Network, Picture, Target, Unit
from ..relevance import excitation
from ..relevance.canonise import canonised
from ..results import Attribution
from ..tensor import Tensor, gradient
from .cams import Upsample, enlarge
from .common import Positions, attribution, begin, look, recipe
from .sampling import host


def excitation_backprop(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                        positions: Positions = "strongest", layer: Layer | None = None, contrastive: bool = False,
                        upsample: Upsample = "centres") -> Attribution:
    """The probability that a winner drawn at the class, and then downwards among what excites it, ends at each place.

    P_i = sum over j of x_i w+_ij / (sum of x_i' w+_i'j) P_j from one at the class down to a layer, summed over its
    channels. Zhang et al. 2016, arXiv:1608.00507. Contrastive: minus the same for the unit with negated top weights,
    what is below 0 cut off.

    values (H, W), at least 0.
    Caution: without contrast two classes that are both in the picture get similar maps.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    layer     where to stop; none means the first pooling's output: nearly the pixels, but no longer their signs
    contrastive  subtract what speaks for all the rest
    upsample  how the layer's map becomes one of pixels: by receptive-field centres, or as a resized picture (corners:
              aligned by the corner pixels' centres, half_pixel: by the edges, nearest)
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, Tensor(x.data), target=target, unit=unit, positions=positions)
    layer = first_pooling(net, start.layer) if layer is None else net.layer_name(layer)
    P, Q = probabilities(net, x, start, layer, contrastive)
    a = P.sum(axis=2)
    notes = [f"At layer {layer}, {a.shape[0]} x {a.shape[1]} places; they hold {100 * a.sum():.3g} % of the winners."]
    if contrastive:
        a = (P - Q).sum(axis=2).clip(min=0)
        notes = [f"Contrastive, at layer {layer}, {a.shape[0]} x {a.shape[1]} places."]
    values = enlarge(net, a, layer, x.shape[1:3], upsample)
    return attribution(net, seen, start, values, None, signed=False, notes=notes,
                       quantity="probability to be drawn" + (", minus that of all the rest" if contrastive else ""),
                       recipe=recipe(excitation_backprop, net, target=target, unit=unit, positions=positions,
                                     layer=layer, contrastive=contrastive, upsample=upsample))


def probabilities(net, x, start, layer, contrastive=False):
    """(P, Q) at a layer, (h, w, C): the draws of the target, and with contrastive those of its dual unit, each as a
    share of what its top layer handed on; Q is 0 otherwise."""
    if net.rank(layer) != 3:
        raise MinivisError(f"layer {layer} is a vector without places; stop at a layer with a map")
    given = [layer] if layer == start.layer else [layer, start.layer]
    net, _ = canonised(net, start.layer)
    values = net(x, layers=given, keep="inputs")
    if layer == start.layer or layer not in net.table.needed([start.layer]):
        raise MinivisError(f"layer {layer} does not lie between the picture and {start.layer}; stop at one that does")
    rules = excitation.rules(net, start.layer)
    seed = start.seed / start.seed.sum()
    P = host(gradient(values[start.layer], values[layer], rules=rules, seed=seed)[0])
    if not contrastive:
        return P, 0 * P
    rules[excitation.top_weights(net, start.layer)] = excitation.inhibit
    Q = host(gradient(values[start.layer], values[layer], rules=rules, seed=seed)[0])
    return P / (P.sum() or 1), Q / (Q.sum() or 1)


def first_pooling(net, top):
    """The first pooling below `top`, or the first layer that has a map."""
    names = [n for n in net.table.needed([top]) if net.rank(n) == 3 and n != top]
    pools = [n for n in names if net.table[n].kind in ("max_pool", "avg_pool")]
    return pools[0] if pools else names[min(1, len(names) - 1)]
