"""Kernel SHAP: the Shapley values of superpixels by weighted least squares."""
from math import comb

import numpy as np

from ..errors import MinivisError
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, recipe, stopped_after
from .hiding import hiding, segments_of
from .occlusion import Fill
from .sampling import all_along


def kernel_shap(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                positions: Positions = "strongest", score: Score = "logit", segments: int = 60,
                compactness: float = 10.0, samples: int = 1000, fill: Fill = "mean", memory=None, seed=0,
                monitor=None) -> Attribution:
    """What each superpixel adds to the score on average over all orders in which superpixels could be uncovered.

    phi = argmin of sum over coalitions z of pi(z) (score(x_z) - score(x_0) - phi . z)^2 with sum phi = score(x) -
    score(x_0), pi(z) = (K-1) / (C(K, |z|) |z| (K - |z|)). Lundberg, Lee 2017, arXiv:1705.07874.
    With samples >= 2^K - 2 every coalition is taken and phi is exact; else sizes are drawn by pi, and each coalition
    with its complement.

    values (H, W), signed: the value of each superpixel. gap: sum of all values minus score(x) + score(x_0).

    target        the class: an index, a WordNet id or a label; none means the network's first choice
    unit          start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions     which position of a channel: its strongest, the centre, all of them summed, or their mean
    score         logit, or prob / logprob after the softmax
    segments      about how many superpixels
    compactness   high values make them squares, low ones let them follow colours
    samples       how many coalitions to look at; at least two
    fill          what hidden superpixels show: mean, zero, black, grey, white, blur or noise
    """
    if samples < 2:
        raise MinivisError(f"kernel_shap: {samples} samples are too few; at least 2")
    h = hiding(net, picture, fill, target=target, unit=unit, positions=positions, score=score, seed=seed)
    labels, K = segments_of(h.seen, segments, compactness)
    z, weight = coalitions(K, samples, seed)
    ends = h.scores(lambda i: np.full(labels.shape, 1 - i, net.dtype), 2, memory)       # all shown, nothing shown
    y = h.scores(lambda i: z[i].astype(net.dtype)[labels], len(z), memory, monitor) if len(z) else np.zeros(0)
    n = len(y)
    phi = shapley_fit(z[:n], y, weight[:n], *ends)
    return attribution(net, h.seen, h.start, phi[labels].astype(net.dtype), None, recipe(
        kernel_shap, net, seed, target=target, unit=unit, positions=positions, score=score, segments=segments,
        compactness=compactness, samples=samples, fill=fill),
        [f"{K} superpixels, {n} coalitions" + (", all there are." if n == 2 ** K - 2 else ".")],
        stopped_after(n, len(z), "coalitions"), signed=True, gap=float(phi.sum() - (ends[0] - ends[1])),
        quantity=f"Shapley value of the superpixel ({h.start.kind})")


def coalitions(K, samples, seed):
    """(n, K) of 0 and 1, and their weights: all 2^K - 2 if there are no more than `samples`, else drawn."""
    if K <= 20 and samples >= 2 ** K - 2:
        z = (1 + all_along(2 ** K - 2)[:, None] >> np.arange(K)) & 1        # any beginning of them is a fair sample
        size = z.sum(axis=1)
        return z, np.array([(K - 1) / (comb(K, int(s)) * s * (K - s)) for s in size])
    sizes = np.arange(1, K)
    chance = 1 / (sizes * (K - sizes))
    chance /= chance.sum()
    rows = []
    for i in range(-(-samples // 2)):
        rng = np.random.default_rng([seed, 2, i])
        row = np.zeros(K, np.int64)
        row[rng.permutation(K)[:rng.choice(sizes, p=chance)]] = 1
        rows += [row, 1 - row]
    return np.stack(rows[:samples]), np.ones(samples)      # drawn by pi: each counts once


def shapley_fit(z, y, weight, full, empty):
    """phi (K,) whose sum is full - empty: the constraint takes the place of the last unknown."""
    K = z.shape[1]
    if K == 1:
        return np.array([full - empty])
    reduced = z[:, :-1] - z[:, -1:]
    target = y - empty - z[:, -1] * (full - empty)
    root = np.sqrt(weight)[:, None]
    phi = np.linalg.lstsq(reduced * root, target * root[:, 0], rcond=None)[0]
    return np.append(phi, full - empty - phi.sum())
