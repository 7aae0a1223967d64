"""Meaningful and extremal perturbation: the mask that best keeps a score while showing little, found by ascent."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from ..tensor import Tensor, gradient
from .common import Positions, attribution, recipe, stopped_after
from .hiding import hiding
from .occlusion import FILLS, Fill
from .rise import bilinear
from .sampling import host, repeated, score_of

BETA = 3.0              # exponent of the meaningful mask's total variation
SHARPNESS = 20.0        # of the soft maximum that makes the extremal mask smooth
ADAM = 0.9, 0.999, 1e-8


def extremal_perturbation(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                          positions: Positions = "strongest", score: Score = "logit",
                          variant: Literal["extremal", "meaningful"] = "extremal", area: float = 0.1,
                          steps: int = 200, rate: float = 0.05, area_weight: float = 300.0, smooth: float = 21.0,
                          cell: int = 7, keep_weight: float = 1e-4, variation: float = 0.01, fill: Fill = "blur",
                          monitor=None) -> Attribution:
    """Which small part of the picture, shown alone, keeps the score - or, hidden, takes it away?

    extremal: max over m of score(m x + (1 - m) fill) - area_weight mean((sort(m) - r)^2), r being 1 on a share `area`
    of the pixels and 0 elsewhere; area_weight grows by 0.35 % a step. m is a grid of values, spread by a bell of width
    `smooth` through a soft maximum. Fong, Patrick, Vedaldi 2019, arXiv:1910.08485.
    meaningful: min over m of score(m x + (1 - m) fill) + keep_weight sum |1 - m| + variation sum |grad m|^3, m a coarse
    grid enlarged; the map is 1 - m, what has to be hidden. Fong, Vedaldi 2017, arXiv:1704.03296 (score there: prob).
    Adam on the grid in both; grids are enlarged bilinearly.

    values (H, W) from 0 to 1: how much the pixel belongs to the part.
    Caution: an optimum of one of many starts; a mask can also fool the network, which smoothness makes less likely.

    target        the class: an index, a WordNet id or a label; none means the network's first choice
    unit          start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions     which position of a channel: its strongest, the centre, all of them summed, or their mean
    score         logit, or prob / logprob after the softmax
    variant       extremal: keep the score with a part of fixed area; meaningful: destroy it by hiding little
    area          extremal: the share of the pixels to show
    steps         steps of the ascent
    rate          their size
    area_weight   extremal: how much a wrong area costs
    smooth        extremal: the bell's width in pixels
    cell          pixels from one grid value to the next (the meaningful paper's: 8)
    keep_weight   meaningful: what hiding costs, per grid value
    variation     meaningful: what changes of the mask cost
    fill          what hidden places show: the blurred picture, mean, zero, black, grey, white or noise
    """
    if not 0 < area < 1 or steps < 1 or cell < 1 or not smooth > 0:
        raise MinivisError(f"extremal_perturbation: area {area} must lie in (0, 1), steps {steps} and cell {cell} be "
                           f"at least 1, smooth {smooth} be above 0")
    h = hiding(net, picture, fill, target=target, unit=unit, positions=positions, score=score)
    size = h.x.shape[1:3]
    mask = Bells(size, cell, smooth) if variant == "extremal" else Enlarged(size, cell)
    kept = _Adam(np.full(mask.shape, 0.5 if variant == "extremal" else 1.0), rate)
    monitor, done = monitor or SilentMonitor(), 0
    try:
        for step in range(steps):
            m = mask(kept.values)
            shown, dm = masked_gradient(h, m)
            if variant == "extremal":
                dm += area_weight * 1.0035 ** step * area_gradient(m, area)
                kept.step(mask.back(dm))
            else:       # down with the score, up with what is kept
                kept.step(keep_weight + variation * variation_gradient(kept.values) - mask.back(dm))
            done += 1
            monitor.step(done, steps, {h.start.kind: shown})
    except Stop:
        pass
    m = mask(kept.values)
    shown = masked_gradient(h, m)[0]
    values = m if variant == "extremal" else 1 - m
    how = recipe(extremal_perturbation, net, target=target, unit=unit, positions=positions, score=score,
                 variant=variant, area=area, steps=steps, rate=rate, area_weight=area_weight, smooth=smooth, cell=cell,
                 keep_weight=keep_weight, variation=variation, fill=fill)
    notes = [f"{variant}: {100 * values.mean():.3g} % of the picture "
             f"{'shown' if variant == 'extremal' else 'hidden'}, the rest "
             f"{FILLS[fill] if variant == 'extremal' else 'as it is'}: {h.start.kind} {h.start.value:.4g} -> "
             f"{shown:.4g}."]
    return attribution(net, h.seen, h.start, values.astype(net.dtype), None, how, notes, signed=False,
                       quantity="shown by the mask" if variant == "extremal" else "hidden by the mask",
                       stopped=stopped_after(done, steps, "steps"))


def masked_gradient(h, m):
    """(score of the picture shown through m, d score / d m), m (H, W)."""
    xp_m = m[None, :, :, None].astype(h.x.dtype)
    x = Tensor(h.x * xp_m + h.background * (1 - xp_m), needs_grad=True)
    tensor = score_of(h.net, x, h.start)
    seed = repeated(h.start, 1)
    dx = gradient(tensor, x, seed=seed)
    return float((tensor.data * seed).sum()), host((dx * (h.x - h.background)).sum(axis=3)[0]).astype(np.float64)


def area_gradient(m, area):
    """d/dm of -mean((sort(m) - r)^2). Equal values share what their ranks get, so no place is preferred at first."""
    flat = m.reshape(-1)
    _, which, count = np.unique(np.round(flat, 9), return_inverse=True, return_counts=True)
    end = np.cumsum(count)
    off = round((1 - area) * flat.size)
    wanted = np.clip(end - off, 0, count) / count
    return (-2 * (flat - wanted[which.reshape(-1)]) / flat.size).reshape(m.shape)


def variation_gradient(p):
    """d/dp of -sum (|dp/dy|^BETA + |dp/dx|^BETA)."""
    down = np.zeros_like(p)
    for a in (0, 1):
        d = np.diff(p, axis=a)
        pull = BETA * np.sign(d) * np.abs(d) ** (BETA - 1)
        before, after = (np.s_[:-1], np.s_[1:]) if a == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        down[before] += pull
        down[after] -= pull
    return down


class Enlarged:
    """A grid of values every `cell` pixels, enlarged bilinearly."""

    def __init__(self, size, cell):
        self.shape = tuple(max(2, -(-side // cell)) for side in size)
        self.y, self.x = (bilinear(n, side) for n, side in zip(self.shape, size))

    def __call__(self, p):
        return self.y @ p @ self.x.T

    def back(self, dm):
        return self.y.T @ dm @ self.x


class Bells(Enlarged):
    """m = the soft maximum over grid values v of k(distance / smooth) p_v, k(z) = exp(-2 max(0, z - 1/2)^2): every
    value shows a round spot. Taken on the grid, whose edge values go on outside, then enlarged bilinearly; cells beyond
    k < 0.001 are left out."""

    def __init__(self, size, cell, smooth):
        super().__init__(size, cell)
        reach = int((0.5 + np.sqrt(-np.log(1e-3) / 2)) * smooth / cell) + 1
        offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
        distance = np.array([np.hypot(dy, dx) * cell / smooth for dy, dx in offsets])
        weight = np.exp(-2 * np.maximum(0, distance - 0.5) ** 2)
        self.offsets = [(o, w) for o, w in zip(offsets, weight) if w >= 1e-3]
        self.reach = reach
        self.spread = [np.eye(n)[np.clip(np.arange(-reach, n + reach), 0, n - 1)] for n in self.shape]

    def __call__(self, p):
        padded = self.spread[0] @ p @ self.spread[1].T
        spots = np.stack([w * padded[self._at(dy, dx)] for (dy, dx), w in self.offsets])
        share = np.exp(SHARPNESS * (spots - spots.max(axis=0)))
        share /= share.sum(axis=0)
        soft = (share * spots).sum(axis=0)
        self.pull = share * (1 + SHARPNESS * (spots - soft))        # d soft / d spots
        return super().__call__(soft)

    def back(self, dm):
        dsoft = super().back(dm)
        dpadded = np.zeros(tuple(n + 2 * self.reach for n in self.shape))
        for ((dy, dx), w), pull in zip(self.offsets, self.pull):
            dpadded[self._at(dy, dx)] += w * pull * dsoft
        return self.spread[0].T @ dpadded @ self.spread[1]

    def _at(self, dy, dx):
        top, left = self.reach + dy, self.reach + dx
        return np.s_[top:top + self.shape[0], left:left + self.shape[1]]


class _Adam:
    """Ascent within [0, 1]. Kingma, Ba 2015, arXiv:1412.6980."""

    def __init__(self, values, rate):
        self.values, self.rate, self.count = values, rate, 0
        self.mean, self.square = np.zeros_like(values), np.zeros_like(values)

    def step(self, g):
        one, two, eps = ADAM
        self.count += 1
        self.mean = one * self.mean + (1 - one) * g
        self.square = two * self.square + (1 - two) * g * g
        unbiased = self.mean / (1 - one ** self.count), self.square / (1 - two ** self.count)
        self.values = np.clip(self.values + self.rate * unbiased[0] / (np.sqrt(unbiased[1]) + eps), 0, 1)
