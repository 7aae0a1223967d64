"""Grad-CAM++: weights that count every place at which a channel speaks for the class."""
import numpy as np

from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import Upsample, finish, view, weighted
from .common import Positions, recipe


def gradcam_plus_plus(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                      positions: Positions = "strongest", score: Score = "logit", layer: Layer | None = None,
                      upsample: Upsample = "centres", relu: bool = True) -> Attribution:
    """As Grad-CAM, with weights in which several small objects of a class count as much as one large one.

    w_k = sum over places of alpha * relu(g), alpha = g^2 / (2 g^2 + (sum over places of a_k) g^3), g = dS/da_k.
    Chattopadhay et al. 2018, arXiv:1710.11063, equation 19, for a score S whose exponential is the class score.

    values (H, W), at least 0.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    layer     whose channels make the map; none means the last one with places below the class scores
    upsample  how places become pixels: by receptive-field centres, or as a resized picture (corners: aligned by the
              corner pixels' centres, half_pixel: by the edges, nearest)
    relu      cut off what is below 0: what speaks against the target
    """
    v = view(net, picture, layer, target=target, unit=unit, positions=positions, score=score)
    how = recipe(gradcam_plus_plus, net, target=target, unit=unit, positions=positions, score=score, layer=v.layer,
                 upsample=upsample, relu=relu)
    weights = plus_plus_weights(v.a, v.g)
    return finish(net, v, weighted(v.a, weights), upsample, relu, how, "Grad-CAM++: channels weighted by place")


def plus_plus_weights(a, g, stabilizer=0.0):
    """(K,) from a, g (h, w, K). The common code adds 1e-6 to alpha's denominator, which depends on the gradient's
    unit: with small gradients it decides the map. Here a denominator of zero gives zero."""
    square = g * g              # powers are ten times as slow
    below = 2 * square + a.sum(axis=(0, 1)) * square * g + stabilizer
    alpha = np.where((g != 0) & (below != 0), square / np.where(below == 0, 1, below), 0)
    return (alpha * np.maximum(g, 0)).sum(axis=(0, 1))
