"""Input x gradient: how much each pixel contributes to a score, to first order."""
from typing import Literal

from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, begin, input_gradient, look, over_colours, recipe
from .sampling import host


def input_x_gradient(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                     positions: Positions = "strongest", score: Score = "logit",
                     reduce: Literal["sum", "none"] = "sum") -> Attribution:
    """How much each pixel contributes to the score: its value times the gradient.

    values[i,j] = sum over colours of x[i,j,c] * dS/dx[i,j,c], x in the network's own units. Shrikumar et al. 2016,
    arXiv:1605.01713. For a network of ReLUs without biases the values sum to the score; the gap says by how much they
    miss it.

    values (H, W) signed, or (H, W, 3) with reduce "none".
    Caution: what is the network's zero, usually the mean colour, counts as nothing, whatever it shows.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    reduce    sum over the three colours, or none: keep them
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, score=score, positions=positions)
    g = input_gradient(net, x, start)
    values = g * net.to_rgb(host(x.data)[0])
    return attribution(net, seen, start, over_colours(values) if reduce == "sum" else values, g, signed=True,
                       quantity=f"input \N{MULTIPLICATION SIGN} gradient ({start.kind})",
                       gap=float(values.sum(dtype="f8")) - start.value,
                       recipe=recipe(input_x_gradient, net, target=target, unit=unit, positions=positions,
                                     score=score, reduce=reduce))
