"""XGrad-CAM: weights chosen so that the map adds up to what the layer contributes."""
import numpy as np

from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import Upsample, finish, view, weighted
from .common import Positions, recipe


def xgradcam(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
             positions: Positions = "strongest", score: Score = "logit", layer: Layer | None = None,
             upsample: Upsample = "centres", relu: bool = True) -> Attribution:
    """As Grad-CAM, with the gradient averaged where the channel is active: the map sums to the layer's contribution.

    w_k = sum over places of a_k dS/da_k / (sum over places of a_k). Fu et al. 2020, arXiv:2008.02312. The layer's map,
    before the ReLU, sums to S as far as the layers above have no biases; the gap is what they miss or add.

    values (H, W), at least 0 unless relu is off.

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
    how = recipe(xgradcam, net, target=target, unit=unit, positions=positions, score=score, layer=v.layer,
                 upsample=upsample, relu=relu)
    values = weighted(v.a, x_weights(v.a, v.g))
    return finish(net, v, values, upsample, relu, how, "XGrad-CAM: channels weighted by activation",
                  ["The gap is that of the layer's map, before what is below 0 was cut off."],
                  gap=float(values.sum(dtype="f8")) - v.start.value)


def x_weights(a, g, stabilizer=0.0):
    """(K,) from a, g (h, w, K); a channel that sums to zero gets no weight."""
    total = a.sum(axis=(0, 1)) + stabilizer
    return np.where(total != 0, (a * g).sum(axis=(0, 1)) / np.where(total == 0, 1, total), 0)
