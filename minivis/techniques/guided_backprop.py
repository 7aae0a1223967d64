"""Guided backprop: the gradient with negative signal cut at every ReLU."""
from typing import Literal

from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, at_relus, attribution, begin, input_gradient, look, recipe, starting_with


def guided_backprop(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                    positions: Positions = "strongest", score: Score = "logit", relus: list[Layer] | None = None,
                    start_with: Literal["one", "score"] = "one") -> Attribution:
    """Gradient of a score with negative signal cut at every ReLU on the way down.

    dx = dy where x > 0 and dy > 0, at each ReLU. Springenberg, Dosovitskiy, Brox, Riedmiller 2015, arXiv:1412.6806.

    values (H, W, 3): signed, score per unit of network input.
    Caution: it sharpens edges of the picture and hardly depends on the upper weights (Adebayo et al. 2018,
    arXiv:1810.03292): it shows what could have mattered, not why this class won.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL (its strongest) or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    relus     only these ReLUs cut, by name or glob (fire*_relu); at the others the derivative passes; none means all
    start_with  the signal that is sent down: one, or the score itself, as some tools do
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, positions=positions, score=score)
    g = input_gradient(net, x, starting_with(start, start_with), rules=at_relus("guided", relus))
    return attribution(net, seen, start, g, g, signed=True, quantity="guided gradient",
                       recipe=recipe(guided_backprop, net, target=target, unit=unit, positions=positions,
                                     score=score, relus=relus, start_with=start_with))
