"""Score-CAM: a channel weighs what the score is when only its places are shown."""
import numpy as np

from ..figures import number
from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import Upsample, enlarge, finish, strongest_channels, view, weighed, weighted
from .common import Positions, recipe, stopped_after
from .sampling import host, scores


def scorecam(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
             positions: Positions = "strongest", score: Score = "logit", layer: Layer | None = None, channels: int = 0,
             upsample: Upsample = "centres", relu: bool = True, memory=None, monitor=None) -> Attribution:
    """Channels weighted by the score of the picture masked with each of them: no gradient is used.

    w = softmax over k of S(x * mask_k), mask_k the channel, enlarged and scaled to 0..1.
    Wang et al. 2020, arXiv:1910.01279. That the paper subtracts an empty picture's score leaves the softmax as it is.

    values (H, W), at least 0 unless relu is off.
    Caution: the softmax gives nearly all the weight to the few channels of highest score.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    layer     whose channels make the map; none means the last one with places below the class scores
    channels  weigh only so many of them, those with the largest activations, and drop the rest; 0 means all
    upsample  how places become pixels: by receptive-field centres, or as a resized picture (corners: aligned by the
              corner pixels' centres, half_pixel: by the edges, nearest)
    relu      cut off what is below 0: what speaks against the target
    """
    v = view(net, picture, layer, target=target, unit=unit, positions=positions, score=score,
             needs_grad=False)
    how = recipe(scorecam, net, target=target, unit=unit, positions=positions, score=score, layer=v.layer,
                 channels=channels, upsample=upsample, relu=relu)
    chosen, clean = strongest_channels(v.a, channels), host(v.x.data)[0]

    def masked(i):
        return clean * mask(enlarge(net, v.a[:, :, chosen[i]], v.layer, clean.shape[:2], upsample))[:, :, None]

    after = scores(net, v.start, masked, len(chosen), clean.shape, memory, monitor, may_stop=True)
    which, after = weighed(chosen, after)
    share = np.exp(after - after.max())
    share /= share.sum()
    return finish(net, v, weighted(v.a[:, :, which], share), upsample, relu, how,
                  "Score-CAM: channels weighted by masked score",
                  [f"{len(which)} masked pictures, scores from {number(after.min())} to {number(after.max())}."],
                  stopped_after(len(which), len(chosen), "channels"))


def mask(values):
    """A map scaled to 0..1; a constant one hides everything."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
