"""Ablation-CAM: a channel weighs what the score loses without it."""
from ..objectives import Score
from ..options import Layer, Network, Picture, Target, Unit
from ..results import Attribution
from .cams import Upsample, finish, strongest_channels, view, weighed, weighted
from .common import Positions, recipe, stopped_after
from .sampling import scores


def ablation_cam(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                 positions: Positions = "strongest", score: Score = "logit", layer: Layer | None = None,
                 channels: int = 0, upsample: Upsample = "centres", relu: bool = True, memory=None,
                 monitor=None) -> Attribution:
    """Channels weighted by how far the score falls when each alone is set to zero: no gradient is used.

    w_k = (S - S without channel k) / S. Desai, Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360.

    values (H, W), at least 0 unless relu is off.

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
    v = view(net, picture, layer, target=target, unit=unit, positions=positions, score=score, needs_grad=False)
    how = recipe(ablation_cam, net, target=target, unit=unit, positions=positions, score=score, layer=v.layer,
                 channels=channels, upsample=upsample, relu=relu)
    chosen = strongest_channels(v.a, channels)

    def without(i):
        changed = v.a.copy()
        changed[:, :, chosen[i]] = 0
        return changed

    after = scores(net, v.start, without, len(chosen), v.a.shape, memory, monitor, begin=v.layer, may_stop=True)
    which, after = weighed(chosen, after)
    weights = (v.start.value - after) / (v.start.value or 1)
    return finish(net, v, weighted(v.a[:, :, which], weights), upsample, relu, how,
                  "Ablation-CAM: channels weighted by the loss",
                  [f"{len(which)} channels set to zero, one at a time."],
                  stopped_after(len(which), len(chosen), "channels"))
