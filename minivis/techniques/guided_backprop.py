"""Guided backprop: the gradient with negative signal cut at every ReLU."""
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, begin, input_gradient, look, recipe

CAUTION = ("Guided backprop sharpens edges of the picture and hardly depends on the upper weights "
           "(Adebayo et al. 2018, arXiv:1810.03292): it shows what could have mattered, not why this class won.")


def guided_backprop(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                    positions: Positions = "strongest", score: Score = "logit") -> Attribution:
    """Gradient of a score with negative signal cut at every ReLU on the way down.

    dx = dy where x > 0 and dy > 0, at each ReLU. Springenberg, Dosovitskiy, Brox, Riedmiller 2015, arXiv:1412.6806.

    values (H, W, 3): signed, score per unit of network input.
    Caution: the picture hardly depends on the upper weights (Adebayo et al. 2018, arXiv:1810.03292).

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL (its strongest) or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, positions=positions, score=score)
    g = input_gradient(net, x, start, rules="guided")
    return attribution(net, seen, start, g, g, signed=True, quantity="guided gradient", notes=[CAUTION],
                       recipe=recipe(guided_backprop, net, target=target, unit=unit, positions=positions,
                                     score=score))
