"""LayerCAM: every place of every channel has its own weight."""
import numpy as np

from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import Upsample, finish, view, weighted
from .common import Positions, recipe


def layercam(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
             positions: Positions = "strongest", score: Score = "logit", layer: Layer | None = None,
             upsample: Upsample = "centres", relu: bool = True) -> Attribution:
    """Each activation weighted by its own gradient, where that is above 0: sharp maps of lower layers, too.

    M = relu(sum over k of relu(dS/da_k) a_k). Jiang et al. 2021, doi:10.1109/TIP.2021.3089943.

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
    how = recipe(layercam, net, target=target, unit=unit, positions=positions, score=score, layer=v.layer,
                 upsample=upsample, relu=relu)
    return finish(net, v, weighted(v.a, np.maximum(v.g, 0)), upsample, relu, how,
                  "LayerCAM: activations weighted by positive gradient")
