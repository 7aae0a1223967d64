"""DeepLIFT: what each pixel adds against a baseline, in one walk back."""
from typing import Literal

import numpy as np

from .. import kernels
from ..options import Network, Picture, Target, Unit
from ..relevance import deeplift as rescale
from ..results import Attribution
from ..tensor import Tensor, gradient
from .common import Positions, attribution, begin, look, over_colours, recipe, top_layer
from .integrated_gradients import Baseline
from .occlusion import filled
from .sampling import host, repeated


def deeplift(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
             positions: Positions = "strongest", baseline: Baseline = "black",
             reduce: Literal["sum", "none"] = "sum", seed=0) -> Attribution:
    """What each pixel adds to the logit against a baseline: differences in the place of derivatives, rescale rule.

    A nonlinearity passes (y - y0) / (x - x0) where the gradient would pass its derivative; values = (x - x0) * what
    arrives. Shrikumar, Greenside, Kundaje 2017, arXiv:1704.02685. The values sum to S(x) - S(x0); the gap is what
    rounding and layers without such a rule (response normalisation, products) leave.

    values (H, W) signed, or (H, W, 3) with reduce "none".
    Batch normalisation is linear and its derivative exact, so that it need not be folded into the layer before. Local
    response normalisation passes its derivative at the picture, not a quotient; the gap shows what that misses.
    Caution: the map is relative to the baseline: where the picture has the baseline's colour it is zero.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    baseline  the picture without information: black, grey, white, the network's zero, the picture's mean colour, the
              picture blurred, or noise
    reduce    sum over the three colours, or none: keep them
    """
    seen, x = look(net, picture)
    base = kernels.xp(x.data).asarray(filled(net, x.data, seen, baseline, seed), x.dtype)
    top, both = top_layer(net, unit), Tensor(kernels.xp(base).concatenate([x.data, base]), needs_grad=True)
    tensor = net(both, layers=[top], keep="inputs")[top]
    start = begin(net, x, target=target, unit=unit, positions=positions, values={top: Tensor(tensor.data[:1])})
    m = host(gradient(tensor, both, rules=rescale.rules(net, top), seed=repeated(start.seed, 2))[0])
    before = float((tensor.data[1:] * start.seed).sum())
    values = net.to_rgb(host(x.data - base)[0].astype(np.float64) * m)
    gap = float(values.sum()) - (start.value - before)
    values = values.astype(net.dtype)
    return attribution(net, seen, start, over_colours(values) if reduce == "sum" else values, net.to_rgb(m),
                       signed=True, gap=gap, quantity=f"change of the {start.kind} against the baseline",
                       notes=[f"Baseline: {baseline}, with a {start.kind} of {before:.4g}."],
                       recipe=recipe(deeplift, net, seed, target=target, unit=unit, positions=positions,
                                     baseline=baseline, reduce=reduce))
