"""A sheet of a layer: the picture that each of its channels likes best."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..monitor import SilentMonitor
from ..objectives import Objective
from ..optimize import Run
from ..options import Layer, Network
from ..parameterize import parameterization
from ..priors.regularizers import in_turn
from ..receptive_field import field
from ..results import ChannelSheet
from ..transforms import Views
from .common import recipe
from .presets import PRESETS
from .synthesis import ascent, follow, optimizer_of, stacked, to_uint8

WAKE = 16


def layer_sheet(net: Network, layer: Layer, *, channels: list[int] | None = None, limit: int = 35,
                size: int | None = None, steps: int = 96, positions: Literal["all", "centre"] = "all",
                batch: int = 6, seed=0, monitor=None) -> ChannelSheet:
    """One picture for each channel of a layer: what the layer looks for, at a glance.

    Each picture climbs the mean of its own channel, x*_k = argmax mean a_k(x), in Fourier space under random views, as
    `visualize --preset lucid` does for one; `batch` of them at a time, which is faster. Olah, Mordvintsev, Schubert
    2017, doi:10.23915/distill.00007; sheets of whole layers: Yosinski et al. 2015, arXiv:1506.06579.

    pictures (channels, H, W, 3), in the order of the channels; a silent channel stays grey.

    layer      whose channels
    channels   which; none means `limit` of them, evenly spaced
    limit      how many channels at most, where none are named
    size       side of each picture in pixels; none means what a unit in the middle sees, between 48 and the network's
    steps      steps for each picture
    positions  all: the mean over all units of the channel; centre: the one in the middle
    batch      pictures at a time
    """
    name = net.layer_name(layer)
    count = net.channels(name)
    shown = list(channels) if channels else np.unique(np.linspace(0, count - 1, max(1, limit)).round()).astype(int)
    shown = [int(c) for c in shown]
    wrong = [c for c in shown if not 0 <= c < count]
    if wrong or limit < 1 or steps < 1 or batch < 1:
        raise MinivisError(f"layer_sheet: layer {name} has channels 0 to {count - 1}, not {wrong[0]}" if wrong else
                           f"layer_sheet: limit {limit}, steps {steps} and batch {batch} must be at least 1")
    side = size or _usual_side(net, name)
    sheet = _Sheet(net, name, shown, side, steps, positions, batch, seed)
    finished = sheet.run(monitor or SilentMonitor())
    levels = np.concatenate(sheet.levels)
    pictures = to_uint8(levels)
    history = {"score": np.concatenate(sheet.scores, axis=1)}
    return ChannelSheet(pictures, levels, history, pictures, pictures, target=f"each channel of {name}",
                        channels=shown[:len(pictures)], layer=name,
                        numbers={"layer": name, "channels": shown[:len(pictures)], "steps": steps},
                        notes=[] if finished else ["The run was stopped; the last channels are missing."],
                        recipe=recipe(layer_sheet, net, seed, layer=name, channels=shown, size=side, steps=steps,
                                      positions=positions, batch=batch))


class _Sheet:
    """Batch after batch of channels; `levels` [(n, H, W, 3)] and `scores` [(steps, n)] of those that are done."""

    def __init__(self, net, name, shown, side, steps, positions, batch, seed):
        self.net, self.name, self.steps, self.positions, self.seed = net, name, steps, positions, seed
        self.s, self.size = PRESETS["lucid"], (side, side)
        self.parts = [shown[i:i + batch] for i in range(0, len(shown), batch)]
        self.levels, self.scores = [], []

    def run(self, monitor):
        saved = monitor.load() or {"levels": [], "scores": [], "run": None}
        self.levels, self.scores = ([np.asarray(a) for a in saved[k]] for k in ("levels", "scores"))
        inner = saved["run"]
        for n in range(len(self.levels), len(self.parts)):
            run, view = self._climb(n, inner)
            inner = None
            whole = follow(run, monitor, lambda z, view=view: to_uint8(view(z)[0]), before=n * self.steps,
                           total=len(self.parts) * self.steps,
                           wrap=lambda state: {"levels": self.levels, "scores": self.scores, "run": state})
            if not whole and n:         # half-made pictures are worth showing only where there are no others
                return False
            self.levels.append(view(run.z))
            scores = stacked(run.history)["score"]
            self.scores.append(np.concatenate([scores, np.repeat(scores[-1:], self.steps - len(scores), axis=0)]))
            if not whole:
                return False
        return True

    def _climb(self, n, start):
        s, part = self.s, self.parts[n]
        p = parameterization("fourier", self.net, [m + 2 * s["margin"] for m in self.size], len(part))
        views = Views(s["margin"], s["jitter"], s["scale"], s["angle"])
        evaluate = ascent(self.net, each(self.net, self.name, part, self.positions), p, views, self.seed, wake=WAKE)
        run = Run(evaluate, p.start(self.seed, s["noise"]), optimizer_of("adam", s["rate"]), self.steps,
                  after=in_turn([lambda z, point, i: p.clip(z)]), start=start)
        return run, lambda z: views.window(p.levels(z))


def each(net, name, channels, positions="all"):
    """The objective of a batch: picture n's channel channels[n], its mean or its middle unit."""
    from .. import ops

    def value(values):
        a = values[name]
        rows = np.arange(len(channels))
        if a.ndim == 2:
            return a[rows, np.array(channels)]
        if positions == "centre":
            return a[:, a.shape[1] // 2, a.shape[2] // 2, :][rows, np.array(channels)]
        return ops.mean(a, (1, 2))[rows, np.array(channels)]
    return Objective(f"channels of {name}", (name,), value)


def _usual_side(net, name):
    """What the middle unit sees and a little more, between 48 and the network's side, in eights."""
    most = min(net.input_size or (224, 224))
    seen = field(net, name).size
    return most if seen is None else int(min(most, max(48, -(-(max(seen) + 8) // 8) * 8)))
