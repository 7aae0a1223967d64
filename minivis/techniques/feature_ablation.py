"""Feature ablation: hide one superpixel after another."""
import numpy as np

from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, recipe, stopped_after
from .hiding import hiding, segments_of
from .occlusion import FILLS, Fill
from .sampling import all_along


def feature_ablation(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                     positions: Positions = "strongest", score: Score = "logit", segments: int = 60,
                     compactness: float = 10.0, fill: Fill = "mean", memory=None, seed=0, monitor=None) -> Attribution:
    """Hide one superpixel after another: what does the score lose without each?

    value of a pixel = score(x) - score(x with its superpixel filled). Occlusion (Zeiler, Fergus 2014, arXiv:1311.2901)
    whose windows follow the picture's edges; superpixels: SLIC, see minivis.superpixels.

    values (H, W), signed, one value per superpixel.
    Caution: what two superpixels show alike is not missed when one of them is hidden.

    target        the class: an index, a WordNet id or a label; none means the network's first choice
    unit          start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions     which position of a channel: its strongest, the centre, all of them summed, or their mean
    score         logit, or prob / logprob after the softmax
    segments      about how many superpixels
    compactness   high values make them squares, low ones let them follow colours
    fill          what is put in their place: the picture's mean colour, the network's zero, black, grey, white, the
                  blurred picture or noise
    """
    h = hiding(net, picture, fill, target=target, unit=unit, positions=positions, score=score, seed=seed)
    labels, K = segments_of(h.seen, segments, compactness)
    order = all_along(K)
    without = h.scores_without(lambda i: labels == order[i], K, memory, monitor)
    change = np.zeros(K)
    change[order[:len(without)]] = h.start.value - without
    return attribution(net, h.seen, h.start, change[labels].astype(net.dtype), None, recipe(
        feature_ablation, net, seed, target=target, unit=unit, positions=positions, score=score, segments=segments,
        compactness=compactness, fill=fill), [f"{K} superpixels, each filled with {FILLS[fill]} in turn."],
        stopped_after(len(without), K, "superpixels; the others are 0"), signed=True,
        quantity=f"{h.start.kind} before minus after hiding the superpixel")
