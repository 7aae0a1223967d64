"""Eigen-CAM: the strongest common pattern of a layer's channels, whatever the class."""
import numpy as np

from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import Upsample, finish, view
from .common import Positions, recipe


def eigencam(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
             positions: Positions = "strongest", layer: Layer | None = None, centre: bool = True,
             upsample: Upsample = "centres", relu: bool = True) -> Attribution:
    """What most channels of a layer agree on: their first principal component, without any class.

    M = (A - mean) v, A the (places, K) activations, v the first right singular vector. Muhammad, Yeasin 2020,
    arXiv:2008.00299. Singular vectors have no sign: the one is taken that agrees with the mean over channels.

    values (H, W), signed unless relu is on.
    Caution: the map does not depend on the target.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    layer     whose channels make the map; none means the last one with places below the class scores
    centre    take each channel's mean away first (the paper does not, the common code does)
    upsample  how places become pixels: by receptive-field centres, or as a resized picture (corners: aligned by the
              corner pixels' centres, half_pixel: by the edges, nearest)
    relu      cut off what is below 0: what speaks against the target
    """
    v = view(net, picture, layer, target=target, unit=unit, positions=positions, needs_grad=False)
    how = recipe(eigencam, net, target=target, unit=unit, positions=positions, layer=v.layer, centre=centre,
                 upsample=upsample, relu=relu)
    return finish(net, v, principal(v.a, centre), upsample, relu, how, "Eigen-CAM: first principal component")


def principal(a, centre=True):
    """(h, w) from a (h, w, K): the projection on the first principal direction, its sign that of the mean channel."""
    rows = a.reshape(-1, a.shape[2]).astype(np.float64)
    mean = rows.mean(axis=1)
    if centre:
        rows = rows - rows.mean(axis=0)
    values = rows @ np.linalg.svd(rows, full_matrices=False)[2][0]
    sign = -1 if values @ (mean - mean.mean() if centre else mean) < 0 else 1
    return sign * values.reshape(a.shape[:2])
