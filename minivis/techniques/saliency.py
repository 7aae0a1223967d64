"""Saliency: the gradient of a class score with respect to the pixels."""
from typing import Literal

import numpy as np

from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, begin, input_gradient, look, over_colours, recipe

REDUCERS = {
    "max": lambda g: over_colours(np.abs(g), np.maximum),
    "l2": lambda g: np.sqrt(over_colours(g * g)),
    "mean": lambda g: over_colours(np.abs(g)) / 3,
    "sum": lambda g: over_colours(g),
    "none": lambda g: g,
}
QUANTITIES = {
    "max": "largest |gradient| of the three colours", "l2": "length of the gradient over the three colours",
    "mean": "mean |gradient| of the three colours", "sum": "sum of the gradient over the three colours, signed",
    "none": "gradient, signed",
}


def saliency(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
             positions: Positions = "strongest", score: Score = "logit",
             reduce: Literal["max", "l2", "mean", "sum", "none"] = "max") -> Attribution:
    """The gradient of a class score with respect to every pixel: where would a small change matter most?

    M[i,j] = max over colours of |d S_class / d x[i,j,colour]|, with S the logit, the score before the softmax.
    Simonyan, Vedaldi, Zisserman 2014, arXiv:1312.6034.

    values (H, W), or (H, W, 3) signed with reduce "none"; per unit of network input.
    Caution: a small gradient does not say that a pixel is unimportant; a saturated score hardly changes at all.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax, which also looks at what speaks for *other* classes
    reduce    how three colours become one number: max or mean of |g|, l2 norm, signed sum; none keeps signed colours
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, positions=positions, score=score)
    g = input_gradient(net, x, start)
    return attribution(net, seen, start, REDUCERS[reduce](g), g, signed=reduce in ("sum", "none"),
                       quantity=f"{QUANTITIES[reduce]} ({start.kind} per unit of network input)",
                       recipe=recipe(saliency, net, target=target, unit=unit, positions=positions, score=score,
                                     reduce=reduce))
