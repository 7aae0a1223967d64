"""Deconvnet: go back through a deconvolutional network."""
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, begin, input_gradient, look, recipe

CAUTION = ("A deconvnet looks at the picture only through the max-pooling switches "
           "(Mahendran and Vedaldi 2016): without them it would draw the same for every picture.")


def deconvnet(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
              positions: Positions = "strongest", score: Score = "logit") -> Attribution:
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
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, positions=positions, score=score)
    g = input_gradient(net, x, start, rules="deconv")
    return attribution(net, seen, start, g, g, signed=True, quantity="deconvnet projection", notes=[CAUTION],
                       recipe=recipe(deconvnet, net, target=target, unit=unit, positions=positions, score=score))
