"""Laying a layer's map over the picture: each unit stands at the centre of what it sees.

Stretching the map's corners to the picture's corners is what resizing does, and it is wrong by up to half a stride plus
whatever the paddings shift: unit i of a layer sees the pixels start + stride*i ... start + stride*i + size - 1, so its
place is start + stride*i + (size-1)/2, which for convolutions without padding lies well inside the border.
"""
from typing import Literal

import numpy as np

from .errors import MinivisError
from .receptive_field import field

Interpolation = Literal["bilinear", "nearest"]


def centres(net, layer, count, size):
    """(y, x): for `count` = (rows, columns) units, the pixel coordinates of their centres, pixel 0's centre being 0.

    size    (H, W) of the network's input
    """
    seen = field(net, layer, size)
    if seen.size is None:
        raise MinivisError(f"{layer}: every unit sees the whole picture, so it has no place on it; name a layer below")
    return tuple(seen.start[a] + float(seen.stride[a]) * np.arange(count[a]) + (seen.size[a] - 1) / 2 for a in (0, 1))


def over_picture(values, places, size, interpolation: Interpolation = "bilinear"):
    """A map (h, w) at `places` (y, x) -> (H, W): linear between neighbouring centres, or each pixel's nearest centre.

    Outside the outermost centres the map goes on with its border value: nothing is known there.
    """
    rows, columns = (_weights(places[a], size[a], interpolation) for a in (0, 1))
    return (rows @ np.asarray(values, np.float64) @ columns.T).astype(np.asarray(values).dtype)


def _weights(at, length, interpolation):
    """(length, len(at)): how much each unit counts at each pixel; every row sums to 1."""
    pixels, unit = np.arange(length), np.arange(len(at))
    where = np.interp(pixels, at, unit)                         # fractional unit number of each pixel
    if interpolation == "nearest":
        where = np.ceil(where - 0.5)                            # halfway the upper left unit has it
    elif interpolation != "bilinear":
        raise MinivisError(f"interpolation {interpolation!r} is neither bilinear nor nearest")
    return np.maximum(0, 1 - np.abs(where[:, None] - unit[None, :]))
