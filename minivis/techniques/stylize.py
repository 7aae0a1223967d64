"""A picture through a network that was trained to redraw pictures in one style."""
from typing import Literal

import numpy as np

from .. import ops
from ..batching import default_budget, parse_bytes
from ..colours import with_colours_of
from ..errors import MinivisError
from ..options import Network, Picture
from ..parameterize import to_device
from ..results import Synthesis
from ..tensor import Tensor
from .common import recipe
from .synthesis import to_uint8


def stylize(net: Network, picture: Picture, *, size: int | None = None, strength: float = 1.0,
            colours: Literal["style", "luminance"] = "style", units: Literal["levels", "network"] = "levels",
            memory=None) -> Synthesis:
    """Fast style transfer: the picture redrawn by a feed-forward network, in one pass.

    Johnson, Alahi, Fei-Fei 2016, arXiv:1603.08155; with instance normalisation Ulyanov, Vedaldi, Lempitsky 2017,
    arXiv:1701.02096. The network has learnt one style; it takes pictures of any size. Where its strides do not divide
    the picture's sides, the picture is continued by its mirror image and the result cut to size. A network that
    normalises over the whole picture draws differently at another size: strokes keep their width in pixels.

    pictures (1, H, W, 3)

    size      longest side in pixels; none means the picture's own
    strength  1 is the network's picture, 0 the given one, between them a mixture
    colours   the style's, or the picture's own with the new luminance
    units     of what the network gives: grey levels from 0 to 255 in RGB, or its own input's units and channel order
    """
    _check_makes_pictures(net)
    if not 0 <= strength <= 1:
        raise MinivisError(f"strength {strength} must be from 0 to 1")
    shown = net.see(picture, size, "none" if size is None else "longest").picture
    H, W = shown.shape[:2]
    budget = default_budget() if memory is None else parse_bytes(memory)
    needed = net.bytes_needed((1, H, W, 3))
    if needed > budget:
        side = int(max(H, W) * (budget / needed) ** 0.5)
        raise MinivisError(f"{W} x {H} pixels need {needed / 1e6:.0f} MB, more than the memory limit of "
                           f"{budget / 1e6:.0f} MB; --size {side} fits, or give more --memory")
    step = _step(net, (H, W))
    x = Tensor(to_device(net, net.preprocessing.normalize(shown, net.dtype)[None]))
    x = _continued(x, -H % step, -W % step)
    made = net(x, layers=[net.output_layer])[net.output_layer].numpy()[0, :H, :W].astype(np.float64)
    if units == "network":
        made = net.preprocessing.to_picture01(made) * 255
    if made.shape != shown.shape:
        raise MinivisError(f"network {net.name} makes {made.shape} of a picture {shown.shape}: it changes the size, so "
                           "it is no style network")
    if not np.isfinite(made).all():
        raise MinivisError(f"network {net.name} gives values that are not finite")
    levels = strength * np.clip(made, 0, 255) + (1 - strength) * shown
    if colours == "luminance":
        levels = with_colours_of(levels, shown)
    return Synthesis(to_uint8(levels)[None], levels[None], original=shown, target=f"the style of {net.name}",
                     numbers={"size": [H, W]},
                     recipe=recipe(stylize, net, size=size, strength=strength, colours=colours, units=units))


def _check_makes_pictures(net):
    rank, channels = net.rank(net.output_layer), net.channels(net.output_layer)
    if rank != 3 or channels != 3 or net.logits_layer is not None:
        what = f"gives {channels} numbers" if rank == 1 else f"ends in a layer of {channels} channels"
        raise MinivisError(f"network {net.name} makes no pictures (it {what}); name a style network with --network")


def _step(net, size):
    """What the sides of a picture must be multiples of, so that the network's picture has the same size: found by
    asking for the output's size."""
    from ..shapes import infer_shapes
    for step in (1, 2, 4, 8, 16, 32, 64):
        padded = tuple(-(-n // step) * step for n in size)
        if infer_shapes(net.table, (*padded, 3))[net.output_layer][:2] == padded:
            return step
    raise MinivisError(f"network {net.name} changes the size of pictures, so it is no style network")


def _continued(x, below, right):
    """x with so many mirrored rows and columns more; a picture too small to be mirrored repeats its border."""
    mode = "reflect" if below < x.shape[1] and right < x.shape[2] else "edge"
    return ops.pad(x, (0, below, 0, right), mode) if below or right else x
