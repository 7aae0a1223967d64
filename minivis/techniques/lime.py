"""LIME: a linear model of the score around one picture, in terms of its superpixels."""
import numpy as np

from ..errors import MinivisError
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, recipe, stopped_after
from .hiding import hiding, segments_of
from .occlusion import Fill


def lime(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
         positions: Positions = "strongest", score: Score = "prob", segments: int = 60, compactness: float = 10.0,
         samples: int = 1000, kernel_width: float = 0.25, ridge: float = 1.0, fill: Fill = "mean", memory=None, seed=0,
         monitor=None) -> Attribution:
    """Hide superpixels at random and fit a linear model of the score to which ones were shown.

    min over b, w of sum_i pi_i (score(x_i) - b - w . z_i)^2 + ridge |w|^2, z_i in {0, 1}^K the superpixels shown,
    pi = exp(-d^2 / kernel_width^2)^(1/2), d the cosine distance between z and the full picture.
    Ribeiro, Singh, Guestrin 2016, arXiv:1602.04938; constants as in its authors' code.

    values (H, W), signed: the weight of each superpixel.
    Caution: weights differ from seed to seed; the figure says how much of the variance the linear model explains.

    target        the class: an index, a WordNet id or a label; none means the network's first choice
    unit          start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions     which position of a channel: its strongest, the centre, all of them summed, or their mean
    score         prob, or logprob / logit
    segments      about how many superpixels
    compactness   high values make them squares, low ones let them follow colours
    samples       how many partly hidden pictures; the first is the picture itself
    kernel_width  how fast a sample's weight falls with what is hidden of it
    ridge         the penalty on the weights
    fill          what hidden superpixels show: mean, zero, black, grey, white, blur or noise
    """
    if samples < 2 or not kernel_width > 0 or ridge < 0:
        raise MinivisError(f"lime: samples {samples} (at least 2), kernel width {kernel_width} (above 0) or "
                           f"ridge {ridge} (not below 0) cannot be")
    h = hiding(net, picture, fill, target=target, unit=unit, positions=positions, score=score, seed=seed)
    labels, K = segments_of(h.seen, segments, compactness)
    z = shown_at_random(samples, K, seed)
    y = h.scores(lambda i: z[i].astype(net.dtype)[labels], samples, memory, monitor)
    z = z[:len(y)]
    weights, _, explained = fit(z, y, similarity(z, kernel_width), ridge)
    return attribution(net, h.seen, h.start, weights[labels].astype(net.dtype), None, recipe(
        lime, net, seed, target=target, unit=unit, positions=positions, score=score, segments=segments,
        compactness=compactness, samples=samples, kernel_width=kernel_width, ridge=ridge, fill=fill),
        [f"{K} superpixels, {len(z)} samples; the linear model explains {100 * explained:.0f} % of the variance "
         "of the scores."], stopped_after(len(z), samples, "samples"), signed=True,
        quantity=f"weight of the superpixel in a linear model of the {h.start.kind}")


def shown_at_random(samples, K, seed):
    """(samples, K) of 0 and 1, evenly likely; the first row shows all."""
    z = np.stack([np.random.default_rng([seed, 1, i]).integers(0, 2, K) for i in range(samples)])
    z[0] = 1
    return z


def similarity(z, kernel_width):
    """(samples,): weights by cosine distance from the full picture; a picture with nothing shown is 1 away."""
    distance = 1 - np.sqrt(z.mean(axis=1))      # cosine of z and (1, ..., 1) is |z| / (sqrt(|z|) sqrt(K))
    return np.sqrt(np.exp(-(distance / kernel_width) ** 2))


def fit(z, y, weight, ridge):
    """Weighted ridge regression with a free intercept: (w, intercept, share of the weighted variance explained)."""
    share = weight / weight.sum()
    mean_z, mean_y = share @ z, share @ y
    centred, target = z - mean_z, y - mean_y
    normal = (centred * weight[:, None]).T @ centred + ridge * np.eye(z.shape[1])
    w = np.linalg.lstsq(normal, (centred * weight[:, None]).T @ target, rcond=None)[0]
    left, all_of_it = share @ (target - centred @ w) ** 2, share @ target ** 2
    return w, mean_y - mean_z @ w, 1 - left / all_of_it if all_of_it > 0 else 0.0
