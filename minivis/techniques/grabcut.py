"""Object segmentation from a saliency map, with no annotation but the class."""
import numpy as np

from ..errors import MinivisError
from ..graph_cut import BACKGROUND, OBJECT, PROBABLY_BACKGROUND
from ..graph_cut import grabcut as cut_out
from ..options import Network, Picture, Target, Unit
from ..results import Segmentation
from .common import Positions, begin, cautions, input_gradient, look, recipe, why_zero
from .saliency import REDUCERS


def grabcut(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
            positions: Positions = "strongest", object_quantile: float = 0.95, background_quantile: float = 0.3,
            gamma: float = 50.0, iterations: int = 5, components: int = 5, seed=0) -> Segmentation:
    """Cut the object of a class out of the picture: saliency says roughly where it is, colours say where it ends.

    The most salient pixels are the seed of the object's colour model, the least salient ones of the background's;
    GrabCut (Rother, Kolmogorov, Blake 2004) draws the border. Simonyan, Vedaldi, Zisserman 2014, arXiv:1312.6034,
    section 3.2. Saliency is the largest |gradient| of the three colours.

    values (H, W): 1 object, 0 background. saliency, seeds (H, W): what it started from.
    Caution: fragile. Colours that object and background share, or a saliency that marks a part only, spoil it.

    target                the class: an index, a WordNet id or a label; none means the network's first choice
    unit                  start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions             which position of a channel: its strongest, the centre, all of them summed, or their mean
    object_quantile       pixels of larger saliency than this share of all are object
    background_quantile   pixels of smaller saliency than this share of all are background
    gamma                 the price of a border between two pixels of the same colour
    iterations            how often colour models and border are made anew
    components            Gaussians in each colour model
    """
    if not 0 <= background_quantile < object_quantile <= 1:
        raise MinivisError(f"grabcut: background quantile {background_quantile} must lie below object quantile "
                           f"{object_quantile}, both from 0 to 1")
    seen, x = look(net, picture, needs_grad=True)
    start = begin(net, x, target=target, unit=unit, positions=positions)
    saliency = REDUCERS["max"](input_gradient(net, x, start))
    how = recipe(grabcut, net, seed, target=target, unit=unit, positions=positions, object_quantile=object_quantile,
                 background_quantile=background_quantile, gamma=gamma, iterations=iterations, components=components)
    seeds = seeds_of(saliency, object_quantile, background_quantile)
    inside = cut_out(seen.picture, seeds, components=components, gamma=gamma, iterations=iterations, seed=seed)
    notes = [f"Seeds: the most salient {100 * (1 - object_quantile):.3g} % are object, the least salient "
             f"{100 * background_quantile:.3g} % background.", f"{100 * inside.mean():.1f} % of the picture is object."]
    notes += [] if inside.any() else [why_zero(start)] if not saliency.any() else ["The colours give no object away."]
    notes += cautions("grabcut")
    return Segmentation(inside.astype(net.dtype), None, start.target, start.value, start.kind, seen, layer=start.layer,
                        signed=False, saliency=saliency, seeds=seeds, quantity="1: object, 0: background", recipe=how,
                        notes=notes)


def seeds_of(saliency, object_quantile, background_quantile):
    """(H, W) seeds: certain object, certain background, and what is left, which starts as background."""
    low, high = np.quantile(saliency, [background_quantile, object_quantile])
    seeds = np.full(saliency.shape, PROBABLY_BACKGROUND, np.uint8)
    seeds[saliency <= low] = BACKGROUND
    seeds[(saliency >= high) & (saliency > 0)] = OBJECT
    return seeds
