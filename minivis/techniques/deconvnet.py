"""Deconvnet: go back through a deconvolutional network."""
from typing import Literal

from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, at_relus, attribution, begin, input_gradient, look, recipe, starting_with


def deconvnet(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
              positions: Positions = "strongest", score: Score = "logit", relus: list[Layer] | None = None,
              start_with: Literal["one", "score"] = "one") -> Attribution:
    """Project a score back to the pixels: un-pool by stored switches, rectify, filter with the transposed weights.

    dx = dy where dy > 0, at each ReLU, whatever was there on the way up; max pooling hands back to the cell that won.
    Zeiler, Fergus 2014, arXiv:1311.2901.

    values (H, W, 3): signed, score per unit of network input.
    Caution: it depends on the picture through the pooling switches only. From a class score the map is often all zero:
    if most weights into the score are negative, no positive signal leaves the last ReLU. Start at a unit then.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL (its strongest) or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    relus     only these ReLUs rectify the signal, by name or glob (fire*_relu); at the others the derivative passes;
              none means all
    start_with  the signal that is sent down: one, or the score itself, as some tools do
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, positions=positions, score=score)
    g = input_gradient(net, x, starting_with(start, start_with), rules=at_relus("deconv", relus))
    return attribution(net, seen, start, g, g, signed=True, quantity="deconvnet projection",
                       recipe=recipe(deconvnet, net, target=target, unit=unit, positions=positions, score=score,
                                     relus=relus, start_with=start_with))
