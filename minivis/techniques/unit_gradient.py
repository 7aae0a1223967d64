"""The gradient of a unit or a channel anywhere in the network."""
from typing import Literal

import numpy as np

from ..options import Network, Picture, Unit
from ..results import Attribution
from ..tensor import Tensor, gradient
from .common import attribution, look, recipe, unit_layer, unit_start


def unit_gradient(net: Network, picture: Picture, unit: Unit, *,
                  positions: Literal["strongest", "centre", "all"] = "strongest",
                  rule: Literal["plain", "guided", "deconv"] = "plain", check: float = 1.0) -> Attribution:
    """Which colours, made a little stronger where, would raise this unit?

    The upstream gradient is 1 at the unit and 0 elsewhere (1 at every position of the channel with positions "all"),
    walked back to the pixels. Simonyan et al. 2014, arXiv:1312.6034; Yosinski et al. 2015, arXiv:1506.06579.

    values (H, W, 3): signed, activation per unit of network input; grey is 0, a bluish pixel says "bluer raises it".
    The result's notes tell whether picture + e * gradient does raise the unit, measured against e * |gradient|^2.

    unit         LAYER (its strongest unit), LAYER:CHANNEL, or LAYER:CHANNEL@ROW,COLUMN; a conv layer is before its ReLU
    positions    which position of a channel: its strongest, the centre, or all of them summed
    rule         how gradients pass ReLUs
    check        largest change of any pixel, in grey levels, for the test along the gradient; 0 leaves the test out
    """
    seen, x = look(net, picture, needs_grad=True)
    layer, _ = unit_layer(net, unit)
    start = unit_start(net, net(x, layers=[layer]), unit, positions)
    raw = gradient(start.tensor, x, rules=rule, seed=start.seed)
    notes = []
    if check and rule == "plain":
        notes.append(_along_gradient(net, x, raw, start, layer, check))
    raw = raw[0].get() if hasattr(raw, "get") else raw[0]
    g = net.to_rgb(raw)
    return attribution(net, seen, start, g, g, signed=True, notes=notes,
                       quantity="activation per unit of network input",
                       recipe=recipe(unit_gradient, net, unit=unit, positions=positions, rule=rule, check=check))


def _along_gradient(net, x, g, start, layer, grey_levels):
    """One sentence: the change of the unit along its gradient, predicted to first order and measured."""
    black, white = net.preprocessing.limits()
    per_level = (white - black) / 255                       # network units per grey level, each colour
    largest = float(np.abs(_host(g) / per_level).max())
    if not largest:
        return "The gradient is zero: the unit's ReLU is off here, or nothing in the picture reaches it."
    step = grey_levels / largest
    moved = Tensor((x.data + step * g).astype(x.dtype))
    after = net(moved, layers=[layer])[layer]
    measured = float((after.data * start.seed).sum(dtype="float64")) - start.value
    predicted = step * float((g.astype("float64") ** 2).sum())
    return (f"Adding the gradient, scaled so that no pixel moves by more than {grey_levels:g} grey levels, changes the "
            f"unit by {measured:+.4g}; the gradient predicts {predicted:+.4g}.")


def _host(array):
    return array.get() if hasattr(array, "get") else array
