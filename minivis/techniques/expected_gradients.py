"""Expected gradients: integrated gradients whose baseline is drawn from a folder of pictures."""
import functools
import math
import os
from typing import Literal

import numpy as np

from .. import batching, image
from ..errors import MinivisError
from ..figures import number
from ..monitor import Stop
from ..objectives import Score
from ..options import Folder, Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, attribution, begin, look, over_colours, recipe, stopped_after
from .sampling import gradients, host, scores

DRAWS = 12          # this technique's own stream of random numbers, beside seed and sample
LARGEST = 100       # pictures of the folder that are used: each of them is scored, too
KEPT = 0.25         # share of the memory budget that baselines may take; the rest are read again when drawn again


def expected_gradients(net: Network, picture: Picture, baselines: Folder, *, target: Target = None, unit: Unit = None,
                       positions: Positions = "strongest", score: Score = "logit", samples: int = 100,
                       reduce: Literal["sum", "none"] = "sum", memory=None, seed=0, monitor=None) -> Attribution:
    """What each pixel adds, compared with other pictures: integrated gradients averaged over baselines.

    values = mean over draws of (x - x0) * dS/dx at x0 + a (x - x0), x0 from the folder, a uniform in 0..1. Erion et al.
    2021, arXiv:1906.10670. The values sum to S(x) - mean S(x0), up to chance; the gap says how far they miss it.

    values (H, W) signed, or (H, W, 3) with reduce "none".
    Caution: the map says what is special against these pictures; other baselines give another map.

    baselines   a folder of pictures to compare with; the first 100 by name are used, and read as they are drawn
    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score     logit, or prob / logprob after the softmax
    samples   how many draws; more never take more memory
    reduce    sum over the three colours, or none: keep them
    """
    if samples < 1:
        raise MinivisError(f"expected_gradients: samples {samples} must be at least 1")
    seen, x = look(net, picture)
    start = begin(net, x, target=target, unit=unit, score=score, positions=positions)
    there = host(x.data)[0]
    memory = batching.default_budget() if memory is None else batching.parse_bytes(memory)
    others = Baselines(net, baselines, there.shape, KEPT * memory)
    memory = max(1, memory - others.bytes)
    drawn = draws(seed, samples, len(others))
    total, mean_gradient, used = np.zeros(there.shape), np.zeros(there.shape), []

    def between(i):
        which, a = drawn[i]
        return others[which] + (there - others[which]) * there.dtype.type(a)

    try:
        for sample in gradients(net, start, between, samples, there.shape, memory, monitor):
            which = drawn[sample.number][0]
            total += (there - others[which]).astype(np.float64) * sample.gradient
            mean_gradient += sample.gradient
            used.append(which)
    except Stop:
        pass
    values = net.to_rgb(total / len(used))
    each = scores(net, start, lambda i: others[i], len(others), there.shape, memory)
    gap = float(values.sum()) - (start.value - float(each[used].mean()))
    values = values.astype(net.dtype)
    return attribution(net, seen, start, over_colours(values) if reduce == "sum" else values,
                       net.to_rgb(mean_gradient / len(used)).astype(net.dtype), signed=True, gap=gap,
                       quantity=f"change of the {start.kind} compared with the baselines",
                       notes=[f"{len(used)} draws from {len(others)} pictures, whose mean {start.kind} is "
                              f"{number(each.mean())}."], stopped=stopped_after(len(used), samples, "draws"),
                       recipe=recipe(expected_gradients, net, seed, baselines=baselines, target=target, unit=unit,
                                     positions=positions, score=score, samples=samples, reduce=reduce))


def draws(seed, samples, count):
    """[(number of a baseline, place a in 0..1)] of every sample."""
    found = (np.random.default_rng([seed, DRAWS, i]) for i in range(samples))
    return [(int(rng.integers(count)), float(rng.random(dtype=np.float32))) for rng in found]


class Baselines:
    """Network inputs (H, W, C) of the pictures in a folder, in the order of their names, all of the picture's size.

    As many as fit into `memory` bytes are kept, those used last; the others are read and prepared again when asked for.
    `bytes`: what those kept may take.
    """

    def __init__(self, net, folder, shape, memory):
        if not os.path.isdir(folder):
            raise MinivisError(f"{folder} is no folder; name one with pictures to compare with")
        names = sorted(n for n in os.listdir(folder) if os.path.splitext(n)[1].lower() in image.WRITABLE)
        if not names:
            raise MinivisError(f"{folder} holds no pictures ({' '.join(sorted(image.WRITABLE))})")
        self.net, self.size = net, shape[:2]
        self.files = [os.path.join(folder, name) for name in names[:LARGEST]]
        each = math.prod(shape) * net.dtype.itemsize
        count = min(len(self.files), max(1, int(memory // each)))
        self.bytes = count * each
        self.read = functools.lru_cache(count)(self._read)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.read(i)

    def _read(self, i):
        seen = self.net.see(image.read(self.files[i]), size=self.size)
        return self.net.preprocessing.normalize(seen.picture, self.net.dtype)
