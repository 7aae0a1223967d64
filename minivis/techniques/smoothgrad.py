"""SmoothGrad, SmoothGrad-squared and VarGrad: gradients of a picture with noise, many times."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..monitor import Stop
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, begin, look, recipe, stopped_after
from .saliency import QUANTITIES, REDUCERS
from .sampling import gradients, host

NOISE = 11          # this technique's own stream of random numbers, beside seed and sample


def smoothgrad(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
               positions: Positions = "strongest", score: Score = "logit", samples: int = 50, noise: float = 0.15,
               relative: Literal["picture", "network", "none"] = "picture",
               variant: Literal["mean", "squared", "variance"] = "mean",
               reduce: Literal["max", "l2", "mean", "sum", "none"] = "max", memory=None, seed=0,
               monitor=None) -> Attribution:
    """The gradient, averaged over many noisy copies of the picture: what stays is what does not flicker.

    mean over i of g(x + n_i), n_i normal. Smilkov et al. 2017, arXiv:1706.03825. Variants: "squared", the mean of g^2
    (SmoothGrad-squared, Hooker et al. 2019, arXiv:1806.10758); "variance", the mean of g^2 minus the square of the mean
    of g (VarGrad, Adebayo et al. 2018, arXiv:1810.03292).

    values (H, W), or (H, W, 3) with reduce "none"; score per unit of network input, or its square.
    Caution: a large noise answers for noisy pictures, which the network may not know.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    samples   how many noisy copies; more never take more memory
    noise     standard deviation of the noise, as a fraction of a range of values
    relative  that range: from the picture's least to its largest input value (the paper's), from black to white of the
              network in each colour, or none: the noise is in units of the network's input
    variant   mean of the gradients, mean of their squares, or their variance
    reduce    how three colours become one number: see saliency
    """
    if samples < 1 or noise < 0:
        raise MinivisError(f"smoothgrad: samples {samples} must be at least 1 and noise {noise} at least 0")
    seen, x = look(net, picture)
    start = begin(net, x, target=target, unit=unit, score=score, positions=positions)
    clean = host(x.data)[0]
    size = (noise * value_range(net, clean, relative)).astype(np.float32)

    def noisy(i):
        return clean + np.random.default_rng([seed, NOISE, i]).standard_normal(clean.shape, np.float32) * size

    total, squares, done = np.zeros(clean.shape), np.zeros(clean.shape), 0
    try:
        for sample in gradients(net, start, noisy, samples, clean.shape, memory, monitor):
            g = sample.gradient.astype(np.float64)
            total += g
            squares += g * g
            done += 1
    except Stop:
        pass
    amount = "in units of the network's input" if relative == "none" else f"of the {relative}'s range"
    notes = [f"{done} noisy copies, noise {noise:g} {amount}."]
    g = net.to_rgb(smoothed(total, squares, done, variant)).astype(net.dtype)
    raw = net.to_rgb(total / done).astype(net.dtype)
    what = {"mean": "mean gradient", "squared": "mean squared gradient", "variance": "variance of the gradient"}
    return attribution(net, seen, start, REDUCERS[reduce](g), raw, notes=notes,
                       stopped=stopped_after(done, samples, "noisy copies"),
                       signed=variant == "mean" and reduce in ("sum", "none"),
                       quantity=f"{what[variant]}: {QUANTITIES[reduce]}",
                       recipe=recipe(smoothgrad, net, seed, target=target, unit=unit, positions=positions, score=score,
                                     samples=samples, noise=noise, relative=relative, variant=variant, reduce=reduce))


def smoothed(total, squares, count, variant):
    """The variant's map from the sums of gradients and of their squares."""
    if variant == "mean":
        return total / count
    if variant == "squared":
        return squares / count
    return np.maximum(squares / count - (total / count) ** 2, 0)        # rounding may leave -1e-17


def value_range(net, x, relative):
    """The range that noise is a fraction of: one number for the picture, one per colour for the network."""
    if relative == "none":
        return np.float64(1)
    if relative == "picture":
        return np.float64(x.max()) - np.float64(x.min())
    black, white = net.preprocessing.limits()
    return white - black
