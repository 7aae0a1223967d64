"""The gradient of a unit or a channel anywhere in the network."""
from typing import Literal

import numpy as np

from ..options import Network, Picture, Unit
from ..results import Attribution
from ..sparse import field_if_smaller, pixels_of
from ..tensor import Tensor, gradient
from .common import Positions, attribution, look, recipe, unit_layer, unit_start


def unit_gradient(net: Network, picture: Picture, unit: Unit, *,
                  positions: Positions = "strongest",
                  rule: Literal["plain", "guided", "deconv"] = "plain", check: float = 1.0) -> Attribution:
    """Which colours, made a little stronger where, would raise this unit?

    The upstream gradient is 1 at the unit and 0 elsewhere (1 at every position of the channel with positions "all", one
    divided by their number with "mean"), walked back to the pixels. A single unit costs only its receptive field.
    Simonyan et al. 2014, arXiv:1312.6034; Yosinski et al. 2015, arXiv:1506.06579.

    values (H, W, 3): signed, activation per unit of network input; grey is 0, a bluish pixel says "bluer raises it".
    The result's notes tell whether picture + e * gradient does raise the unit, measured against e * |gradient|^2.

    unit         LAYER (its strongest unit), LAYER:CHANNEL, or LAYER:CHANNEL@ROW,COLUMN; a conv layer is before its ReLU
    positions    which position of a channel: its strongest, the centre, all of them summed, or their mean
    rule         how gradients pass ReLUs
    check        largest change of any pixel, in grey levels, for the test along the gradient; 0 leaves the test out
    """
    seen, x = look(net, picture)
    start, pixels, field, forward = _start(net, x, unit, positions)
    raw = gradient(start.tensor, pixels, rules=rule, seed=start.seed)
    notes = []
    if check and rule == "plain":
        notes.append(_along_gradient(net, pixels, raw, start, forward, check))
    if field is not None:
        raw = field.framed(raw, x.data)
    g = net.to_rgb(_host(raw[0]))
    return attribution(net, seen, start, g, g, signed=True, notes=notes,
                       quantity="activation per unit of network input",
                       recipe=recipe(unit_gradient, net, unit=unit, positions=positions, rule=rule, check=check))


def _start(net, x, unit, positions):
    """(Start, the pixels as a Tensor, their UnitField or None if they are all of x, forward: pixels -> the layer)"""
    layer, spot = unit_layer(net, unit)
    place, channel, field = None, None, None
    if spot is not None and spot.row is not None:
        place, channel = (spot.row, spot.column), spot.channel
    else:
        target = unit_start(net, net(Tensor(x.data), layers=[layer]), unit, positions).target
        place, channel = target.get("position"), target["channel"]
    if place is not None:
        field = field_if_smaller(net, layer, *place, x.shape[1:3])
    if field is None:
        pixels = Tensor(x.data, needs_grad=True)

        def forward(t):
            return net(t, layers=[layer])[layer]

        return unit_start(net, {layer: forward(pixels)}, unit, positions), pixels, None, forward
    pixels = pixels_of(field, x.data)
    start = unit_start(net, {layer: field.of(pixels)}, f"{layer}:{channel}@0,0")
    return start._replace(target={**start.target, "position": list(place)}), pixels, field, field.of


def _along_gradient(net, x, g, start, forward, grey_levels):
    """One sentence: the change of the unit along its gradient, predicted to first order and measured."""
    black, white = net.preprocessing.limits()
    per_level = (white - black) / 255                       # network units per grey level, each colour
    largest = float(np.abs(_host(g) / per_level).max())
    if not largest:
        return "The gradient is zero: the unit's ReLU is off here, or nothing in the picture reaches it."
    step = grey_levels / largest
    moved = Tensor((x.data + step * g).astype(x.dtype))
    after = forward(moved)
    measured = float((after.data * start.seed).sum(dtype="float64")) - start.value
    predicted = step * float((g.astype("float64") ** 2).sum())
    levels = f"{grey_levels:g} grey level" + ("" if grey_levels == 1 else "s")
    return (f"Adding the gradient, scaled so that no pixel moves by more than {levels}, changes the "
            f"unit by {measured:+.4g}; the gradient predicts {predicted:+.4g}.")


def _host(array):
    return array.get() if hasattr(array, "get") else array
