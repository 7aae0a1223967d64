"""Integrated gradients: the gradient collected on the way from a baseline to the picture."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..monitor import Stop
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, begin, look, over_colours, recipe, stopped_after
from .occlusion import filled
from .sampling import all_along, gradients, host, scores

Baseline = Literal["zero", "black", "grey", "white", "mean", "blur", "noise"]
Rule = Literal["gausslegendre", "trapezoid", "midpoint", "left", "right"]


def integrated_gradients(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                         positions: Positions = "strongest", score: Score = "logit", baseline: Baseline = "black",
                         steps: int = 50, method: Rule = "gausslegendre", reduce: Literal["sum", "none"] = "sum",
                         memory=None, seed=0, monitor=None) -> Attribution:
    """What each pixel adds on the way from a baseline picture to this one.

    values = (x - x0) * integral over a from 0 to 1 of dS/dx at x0 + a (x - x0). Sundararajan, Taly, Yan 2017,
    arXiv:1703.01365. The values sum to S(x) - S(x0); the gap says by how much the sum of finitely many steps misses it.

    values (H, W) signed, or (H, W, 3) with reduce "none".
    Caution: the map is relative to the baseline: where the picture has the baseline's colour it is zero.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    baseline  the picture without information: black, grey, white, the network's zero, the picture's mean colour, the
              picture blurred, or noise
    steps     gradients along the way; stopped early, the map is made of those so far, which lie all along it
    method    how they are summed: gausslegendre, the trapezoid rule, or a Riemann sum (midpoint, left, right)
    reduce    sum over the three colours, or none: keep them
    """
    seen, x = look(net, picture)
    start = begin(net, x, target=target, unit=unit, score=score, positions=positions)
    there = host(x.data)[0]
    base = host(filled(net, x.data, seen, baseline, seed))[0]
    where, weights = (values[all_along(steps)] for values in quadrature(method, steps))
    total, done = np.zeros(there.shape), 0
    try:
        for sample in gradients(net, start, lambda i: base + (there - base) * there.dtype.type(where[i]), steps,
                                there.shape, memory, monitor):
            total += weights[sample.number] * sample.gradient
            done += 1
    except Stop:
        total /= weights[:done].sum() if done < steps else 1
    values = net.to_rgb((there - base) * total)
    before = scores(net, start, lambda i: base, 1, there.shape, memory)[0]
    gap = float(values.sum()) - (start.value - before)
    values = values.astype(net.dtype)
    return attribution(net, seen, start, over_colours(values) if reduce == "sum" else values,
                       net.to_rgb(total).astype(net.dtype), signed=True, gap=gap,
                       quantity=f"change of the {start.kind} on the way from the baseline",
                       notes=[f"Baseline: {baseline}, with a {start.kind} of {before:.4g}; {steps} steps, {method}."],
                       stopped=stopped_after(done, steps, "steps"),
                       recipe=recipe(integrated_gradients, net, seed, target=target, unit=unit, positions=positions,
                                     score=score, baseline=baseline, steps=steps, method=method, reduce=reduce))


def quadrature(method, steps):
    """(places in 0..1, weights that sum to 1), each (steps,) float64, for the integral of a function over 0..1."""
    least = 2 if method == "trapezoid" else 1
    if steps < least:
        raise MinivisError(f"steps {steps}: {method} needs at least {least}")
    i = np.arange(steps)
    if method == "gausslegendre":
        places, weights = np.polynomial.legendre.leggauss(steps)
        return (places + 1) / 2, weights / 2
    if method == "trapezoid":
        weights = np.full(steps, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return i / (steps - 1), weights
    shift = {"left": 0, "midpoint": 0.5, "right": 1}[method]
    return (i + shift) / steps, np.full(steps, 1 / steps)
