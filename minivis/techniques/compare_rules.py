"""Plain gradient, deconvnet and guided backprop side by side: three walks over one tape."""
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Comparison
from .common import Positions, attribution, begin, cautions, input_gradient, look, recipe

CAPTIONS = {
    "plain": "Gradient: passes where the ReLU was on",
    "deconv": "Deconvnet: passes where the signal is positive",
    "guided": "Guided backprop: passes where both hold",
}


def compare_rules(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                  positions: Positions = "strongest", score: Score = "logit") -> Comparison:
    """Plain gradient, deconvnet and guided backprop of the same score, from one forward pass.

    The three differ only in what a ReLU lets through on the way back: dy where x > 0; dy where dy > 0; dy where both
    are. The figure is that of Springenberg et al. 2015, arXiv:1412.6806, figure 1.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL (its strongest) or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    """
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, positions=positions, score=score)
    how = recipe(compare_rules, net, target=target, unit=unit, positions=positions, score=score)
    results = []
    for rule in CAPTIONS:
        g = input_gradient(net, x, start, rules=rule)
        results.append(attribution(net, seen, start, g, g, signed=True, quantity=f"{rule} signal",
                                   recipe=how | {"technique": rule}))
    return Comparison(results, list(CAPTIONS.values()), title="What a ReLU lets through on the way back", recipe=how,
                      notes=["Each map has its own scale, printed below it.",
                             *(f"{captioned}: {line}" for captioned, name in
                               (("Deconvnet", "deconvnet"), ("Guided backprop", "guided_backprop"))
                               for line in cautions(name))])
