"""Guided Grad-CAM: the fine lines of guided backprop, at the places that Grad-CAM names."""
from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import UPSAMPLED, Upsample, enlarge, view, weighted
from .common import Positions, attribution, input_gradient, recipe


def guided_gradcam(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                   positions: Positions = "strongest", score: Score = "logit", layer: Layer | None = None,
                   upsample: Upsample = "centres") -> Attribution:
    """Guided backprop multiplied by Grad-CAM: fine lines, only where the class is.

    values = guided gradient * enlarge(relu(sum over k of w_k a_k)), w_k = mean of dS/da_k. Selvaraju et al. 2017,
    arXiv:1610.02391, section 3.2.

    values (H, W, 3): signed.
    Caution: the lines hardly depend on the upper weights (Adebayo et al. 2018, arXiv:1810.03292).

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    layer     of the Grad-CAM; none means the last one with places below the class scores
    upsample  how places become pixels: by receptive-field centres, or as a resized picture (corners: aligned by the
              corner pixels' centres, half_pixel: by the edges, nearest)
    """
    v = view(net, picture, layer, target=target, unit=unit, positions=positions, score=score, to_input=True)
    where = weighted(v.a, v.g.mean(axis=(0, 1))).clip(min=0)
    big = enlarge(net, where, v.layer, v.x.shape[1:3], upsample)
    g = input_gradient(net, v.x, v.start, rules="guided")
    values = g * big[:, :, None]
    notes = [f"Grad-CAM of layer {v.layer}, enlarged by {UPSAMPLED[upsample]}."]
    if not where.any():
        notes.append("The map is all zero: everything at this layer speaks against the target.")
    return attribution(net, v.seen, v.start, values, g, signed=True, notes=notes,
                       quantity="guided gradient \N{MULTIPLICATION SIGN} Grad-CAM",
                       recipe=recipe(guided_gradcam, net, target=target, unit=unit, positions=positions, score=score,
                                     layer=v.layer, upsample=upsample))
