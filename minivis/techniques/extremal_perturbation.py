"""Meaningful and extremal perturbation: the mask that best keeps a score while showing little, found by ascent."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..objectives import Score
from ..ops import gaussian_blur
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from ..tensor import Tensor, gradient
from .common import Positions, attribution, recipe, stopped_after
from .hiding import hiding
from .occlusion import FILLS, Fill
from .sampling import host, repeated, score_of
from .soft_masks import Adam, Enlarged, Momentum, Spots, area_gradient, variation_gradient

JITTER = 10             # this technique's own stream of random numbers, beside seed and step
PAPERS_SIDE = 224       # of the pictures that the papers' numbers of pixels are for
GROWTH = 1.0035         # of the price of a wrong area, a step
STEPS = {"extremal": (800, 0.01), "meaningful": (300, 0.1)}     # how many, and their size

Variant = Literal["preserve", "delete", "dual", "meaningful"]


def extremal_perturbation(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                          positions: Positions = "strongest", score: Score = "logit", variant: Variant = "preserve",
                          area: float = 0.1, steps: int | None = None, rate: float | None = None,
                          area_weight: float = 300.0, smooth: float | None = None, cell: int | None = None,
                          levels: int = 8, blur: float | None = None, flip: bool = True, keep_weight: float = 1e-4,
                          variation: float = 0.01, jitter: int = 4, fill: Fill = "blur", seed=0,
                          monitor=None) -> Attribution:
    """Which small part of the picture, shown alone, keeps the score - or, hidden, takes it away?

    preserve: max over m of score(x through m) - area_weight mean((sort(m) - r)^2), r being 1 on a share `area` of the
    pixels and 0 elsewhere; area_weight grows by 0.35 % a step. m is a grid of values that show round spots. Hidden
    places are blurred the more the smaller m is. delete: -score(x through 1 - m) instead; dual: the sum of both. Fong,
    Patrick, Vedaldi 2019, arXiv:1910.08485, with the constants and the descent of its authors' code.
    meaningful: min over m of score(m x + (1 - m) fill) + keep_weight sum |1 - m| + variation sum |grad m|^3, m a coarse
    grid enlarged bilinearly, by Adam; the map is 1 - m, what has to be hidden. Fong, Vedaldi 2017, arXiv:1704.03296
    (score there: prob).

    values (H, W) from 0 to 1: how much the pixel belongs to the part.
    Caution: an optimum of one of many starts; a mask can also fool the network, which smoothness makes less likely.

    target        the class: an index, a WordNet id or a label; none means the network's first choice
    unit          start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions     which position of a channel: its strongest, the centre, all of them summed, or their mean
    score         logit, or prob / logprob after the softmax
    variant       preserve: keep the score with a part of fixed area; delete: lose it without that part; dual: both;
                  meaningful: lose it by hiding little
    area          the share of the pixels in the part (not meaningful)
    steps         steps of the ascent; none means the papers': 800, meaningful 300
    rate          their size; none means the papers': 0.01, meaningful 0.1
    area_weight   how much a wrong area costs (not meaningful)
    smooth        the spots' width in pixels (not meaningful); none means the paper's 21 for a side of 224, in
                  proportion
    cell          pixels from one grid value to the next; none means the papers' 7 (meaningful 8), in proportion
    levels        with fill blur: how many steps there are from the blurred picture to the sharp one
    blur          with fill blur: the standard deviation of the strongest blur, in pixels (not meaningful); none means
                  the paper's 20, in proportion
    flip          look at the picture mirrored every second step (not meaningful)
    keep_weight   meaningful: what hiding costs, per grid value
    variation     meaningful: what changes of the mask cost
    jitter        meaningful: each step looks at the picture shifted by up to so many pixels
    fill          what hidden places show: the blurred picture, mean, zero, black, grey, white or noise
    """
    meaningful = variant == "meaningful"
    usual = STEPS["meaningful" if meaningful else "extremal"]
    steps, rate = usual[0] if steps is None else steps, usual[1] if rate is None else rate
    h = hiding(net, picture, fill, target=target, unit=unit, positions=positions, score=score, seed=seed)
    size = h.x.shape[1:3]
    part = min(size) / PAPERS_SIDE
    smooth, blur = 21 * part if smooth is None else smooth, 20 * part if blur is None else blur
    cell = max(1, round((8 if meaningful else 7) * part)) if cell is None else cell
    if not 0 < area < 1 or steps < 1 or cell < 1 or not smooth > 0 or levels < 2 or not blur > 0 or jitter < 0:
        raise MinivisError(f"extremal_perturbation: area {area} must lie in (0, 1), steps {steps} and cell {cell} be "
                           f"at least 1, smooth {smooth} and blur {blur} be above 0, levels {levels} at least 2, "
                           f"jitter {jitter} at least 0")
    if meaningful:
        run = Meaningful(h, Enlarged(size, cell), rate, keep_weight, variation, jitter, seed)
    else:
        ladder = blurred(host(h.x), levels, blur) if fill == "blur" else ladder_of(h)
        run = Extremal(h, ladder, Spots(size, cell, smooth, net.dtype.type), rate, variant, area, area_weight, flip)
    monitor, done = monitor or SilentMonitor(), 0
    try:
        for step in range(steps):
            terms = run.step(step)
            done += 1
            monitor.step(done, steps, terms)
    except Stop:
        pass
    values, shares = run.map()
    how = recipe(extremal_perturbation, net, seed, target=target, unit=unit, positions=positions, score=score,
                 variant=variant, area=area, steps=steps, rate=rate, area_weight=area_weight, smooth=smooth, cell=cell,
                 levels=levels, blur=blur, flip=flip, keep_weight=keep_weight, variation=variation, jitter=jitter,
                 fill=fill)
    kind, before = h.start.kind, h.start.value
    scores = "; ".join(f"{what}, {kind} {before:.4g} -> {after:.4g}" for what, after in shares)
    notes = [f"{variant}, {done} steps: {100 * values.mean():.3g} % of the picture. With {scores}. Hidden places show "
             f"{FILLS[fill]}."]
    return attribution(net, h.seen, h.start, values.astype(net.dtype), None, how, notes, signed=False,
                       quantity="hidden by the mask" if variant in ("delete", "meaningful") else "shown by the mask",
                       stopped=stopped_after(done, steps, "steps"))


class Extremal:
    """Ascent of the score seen through a mask of fixed area."""

    def __init__(self, h, ladder, mask, rate, variant, area, area_weight, flip):
        self.h, self.ladder, self.mask, self.area, self.flip = h, ladder, mask, area, flip
        self.signs = {"preserve": (1, 0), "delete": (0, -1), "dual": (1, -1)}[variant]     # of m, of 1 - m
        self.weight, self.p = area_weight, Momentum(np.ones(mask.shape), rate)

    def step(self, number):
        whole = self.mask(self.p.values)
        m, mirrored = self.mask.inside(whole), self.flip and number % 2 == 0
        dm, terms = np.zeros(m.shape), {}
        for sign, part, name in zip(self.signs, (m, 1 - m), ("shown", "hidden")):
            if sign:
                shown, d = masked_gradient(self.h, self.ladder, part, mirrored)
                dm += d if name == "shown" else -sign * d
                terms[f"{self.h.start.kind} {name}"] = shown
        dwhole = self.mask.framed(dm) + self.weight * GROWTH ** number * area_gradient(whole, self.area)
        self.p.step(self.mask.back(dwhole))
        return terms

    def map(self):
        """(the mask (H, W), [(what is done with it, the score then)])"""
        m = self.mask.inside(self.mask(self.p.values)).astype(np.float64)
        return m, [(words, masked_gradient(self.h, self.ladder, part)[0]) for sign, part, words in
                   zip(self.signs, (m, 1 - m), ("it alone shown", "it hidden")) if sign]


class Meaningful:
    """Descent of the score by hiding little."""

    def __init__(self, h, mask, rate, keep_weight, variation, jitter, seed):
        self.h, self.mask, self.keep_weight, self.variation = h, mask, keep_weight, variation
        self.jitter, self.seed, self.p = jitter, seed, Adam(np.ones(mask.shape), rate)

    def step(self, number):
        draw = np.random.default_rng([self.seed, JITTER, number])
        by = tuple(int(v) for v in draw.integers(-self.jitter, self.jitter + 1, 2))
        ladder = [np.roll(v, by, axis=(1, 2)) for v in ladder_of(self.h)]
        shown, dm = masked_gradient(self.h, ladder, self.mask(self.p.values))
        self.p.step(self.keep_weight + self.variation * variation_gradient(self.p.values) - self.mask.back(dm))
        return {self.h.start.kind: shown}

    def map(self):
        m = self.mask(self.p.values)
        return 1 - m, [("it hidden", masked_gradient(self.h, ladder_of(self.h), m)[0])]


def ladder_of(h):
    """[all hidden, all shown]"""
    return [host(h.background), host(h.x)]


def blurred(x, levels, sigma):
    """[x blurred by sigma pixels, ..., x]: from the strongest blur to none, in even steps of its width."""
    return [gaussian_blur(x, sigma * (1 - i / (levels - 1))).data for i in range(levels)]


def masked_gradient(h, ladder, m, mirrored=False):
    """(score of the picture shown through m, d score / d m), m (H, W).

    ladder     pictures from hidden to shown: m between two of them mixes these two
    mirrored   the network sees left and right exchanged
    """
    at = np.clip(m, 0, 1) * (len(ladder) - 1)
    below = np.minimum(at.astype(np.intp), len(ladder) - 2)
    low, step = np.zeros_like(ladder[0]), np.zeros_like(ladder[0])
    for i in np.unique(below):
        here = below == i
        low[0][here], step[0][here] = ladder[i][0][here], (ladder[i + 1] - ladder[i])[0][here]
    part = (at - below)[None, :, :, None].astype(low.dtype)
    shown = low + part * step
    x = Tensor(np.ascontiguousarray(shown[:, :, ::-1]) if mirrored else shown, needs_grad=True)
    tensor = score_of(h.net, x, h.start)
    seed = repeated(h.start.seed, 1)
    dx = gradient(tensor, x, seed=seed)
    dx = dx[:, :, ::-1] if mirrored else dx
    dm = (dx * step).sum(axis=3, dtype=np.float64)[0] * (len(ladder) - 1)
    return float((tensor.data * seed).sum()), dm
