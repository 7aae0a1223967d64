"""Slide a unit's receptive field over a picture and print what it answers at each place."""
import numpy as np

from ..centres import centres
from ..errors import MinivisError
from ..options import Network, Picture, Unit
from ..receptive_field import field, nominal_box
from ..results import Slide
from .common import look, recipe, unit_layer
from .sampling import host


def slide(net: Network, picture: Picture, unit: Unit, *, stride: int = 1, top: int = 6, printed: int = 12) -> Slide:
    """One channel's activation with its receptive field at every place of the picture, as numbers at the places.

    values[i,j] = the channel at unit (i * stride, j * stride), whose field is the box of pixels the unit sees: sliding
    the window over the picture and asking the network at each place gives the same numbers, because a convolution is
    that sliding. Compare CS182 lecture 9: the eye of a dog answers 12.3, the grass 0.

    values (h, w), in the layer's own unit; a conv layer is before its ReLU.

    unit      LAYER (its channel with the largest activation) or LAYER:CHANNEL
    stride    from place to place, in units of the layer; 1 visits all
    top       how many of the strongest patches are shown
    printed   at most so many numbers side by side in the figure; the file of arrays has all
    """
    if stride < 1 or top < 0 or printed < 1:
        raise MinivisError(f"slide: stride {stride} and printed {printed} must be at least 1, top {top} at least 0")
    seen, x = look(net, picture)
    layer, spot = unit_layer(net, unit)
    if net.rank(layer) != 3 or field(net, layer, x.shape[1:3]).size is None:
        raise MinivisError(f"{layer}: every unit sees the whole picture, so there is nothing to slide; name a layer "
                           "below")
    if spot is not None and spot.row is not None:
        raise MinivisError(f"slide: {unit} is one place; give {layer}:{spot.channel} to slide it over all")
    a = host(net(x, layers=[layer])[layer].data)[0]
    channel = int(a.max(axis=(0, 1)).argmax()) if spot is None else spot.channel
    a = np.ascontiguousarray(a[:, :, channel])
    size = x.shape[1:3]
    rows, columns = (np.arange(0, side, stride) for side in a.shape)
    middle = tuple(at[::stride] for at in centres(net, layer, a.shape, size))
    values = a[::stride, ::stride]
    order = np.argsort(-values, axis=None, kind="stable")[:top]
    patches = [_patch(net, layer, int(rows[i]), int(columns[j]), values[i, j], seen.picture)
               for i, j in zip(*np.unravel_index(order, values.shape))]
    return Slide(values, rows, columns, middle, field(net, layer, size).size, patches, layer, channel, seen,
                 printed=printed, recipe=recipe(slide, net, unit=unit, stride=stride, top=top, printed=printed))


def _patch(net, layer, row, column, value, picture):
    """What lies in the field of a unit; white where the field reaches into the padding."""
    box = nominal_box(net, layer, row, column, picture.shape[:2])
    patch = np.full((box.bottom - box.top, box.right - box.left, 3), 255, np.uint8)
    inside = [max(0, box.top), max(0, box.left), min(picture.shape[0], box.bottom), min(picture.shape[1], box.right)]
    top, left, bottom, right = inside
    patch[top - box.top:bottom - box.top, left - box.left:right - box.left] = picture[top:bottom, left:right]
    return {"row": row, "column": column, "value": float(value), "box": [int(edge) for edge in box], "picture": patch}
