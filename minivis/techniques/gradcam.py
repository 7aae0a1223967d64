"""Grad-CAM: a layer's channels, each weighted by how much the score asks for it."""
from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import Upsample, finish, view, weighted
from .common import Positions, recipe


def gradcam(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
            positions: Positions = "strongest", score: Score = "logit", layer: Layer | None = None,
            upsample: Upsample = "centres", relu: bool = True) -> Attribution:
    """Where in a layer is what raises the score? Channels weighted by their mean gradient.

    M = relu(sum over k of w_k a_k), w_k = mean over places of dS/da_k. Selvaraju et al. 2017, arXiv:1610.02391.

    values (H, W), at least 0 unless relu is off.
    Caution: the mean over places may give weight to a channel for places where it is not active.

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
    how = recipe(gradcam, net, target=target, unit=unit, positions=positions, score=score, layer=v.layer,
                 upsample=upsample, relu=relu)
    weights = v.g.mean(axis=(0, 1))
    return finish(net, v, weighted(v.a, weights), upsample, relu, how, "Grad-CAM: channels weighted by mean gradient")
