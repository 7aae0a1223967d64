"""DeepDream: a picture changed so that what a layer sees in it, it sees more."""
import math

import numpy as np

from .. import batching, kernels, ops
from ..errors import MinivisError
from ..graphs import Replays
from ..monitor import SilentMonitor
from ..optimize import Descent, Point, Run, host
from ..options import Layer, Network, Picture
from ..parameterize import Units, to_device
from ..preprocessing import resize
from ..priors.regularizers import in_turn
from ..results import Synthesis
from ..shapes import infer_shapes
from ..tensor import Tensor, gradient
from .common import recipe
from .synthesis import follow, to_uint8

SHIFT = 23          # this technique's stream of random numbers
HALO = 32           # pixels around a tile that are looked at and not changed
LEAST = 32          # the smallest side of an octave, in pixels


def dream(net: Network, picture: Picture, *, layers: dict[Layer, float] | None = None,
          channels: list[int] | None = None, guide: Picture = None, size: int | None = None, octaves: int | None = None,
          octave_scale: float = 1.4, steps: int = 10, rate: float = 1.5, jitter: int = 32, frames: int = 0,
          zoom: float = 0.05, blend: float = 1.0, fps: float = 12.5, memory=None, seed=0, monitor=None) -> Synthesis:
    """What a layer sees in the picture, it sees more: DeepDream.

    Ascends 1/2 |a|^2, so that the gradient at the layer is its own activation a; with a guide, at each position the
    guide's feature with the largest product with a. Steps of `rate` g / mean |g|; small octaves first, and what they
    changed is enlarged and added to the next. Mordvintsev, Olah, Tyka 2015, "Inceptionism" and its notebook.

    pictures (1, H, W, 3): the picture at its own size, of any size the memory holds activations of one tile for.

    layers        LAYER=WEIGHT,...; none means a layer three quarters up the network
    channels      only these channels of the layers
    guide         a picture whose features are to be seen instead of the layer's own
    size          longest side of the result in pixels; none means the picture's own
    octaves       from how many sizes, the smallest first; none means at least 4, and so many that the network sees most
                  of the smallest at once: the larger the picture, the larger what is dreamt
    octave_scale  from one size to the next
    steps         steps at each size
    rate          mean change of a step, in grey levels
    jitter        random shift before each step, in pixels, undone after it
    frames        this many more pictures, each made of the one before, enlarged: a film (-o NAME.webp or .gif)
    zoom          enlargement from one frame to the next: 0.05 is 5 percent
    blend         share of the new dream in each frame; the rest is the frame before, enlarged: a calmer film
    fps           frames per second
    """
    if (octaves is not None and octaves < 1) or steps < 1 or not octave_scale > 1 or frames < 0 or not 0 <= zoom < 1:
        raise MinivisError(f"dream: octaves {octaves} and steps {steps} must be at least 1, octave_scale "
                           f"{octave_scale} above 1, frames {frames} at least 0 and zoom {zoom} from 0 to below 1")
    if not 0 < blend <= 1 or not fps > 0:
        raise MinivisError(f"dream: blend {blend} must be above 0 and at most 1, and fps {fps} above 0")
    start = np.asarray(picture)
    if size:
        start = resize(start, [max(1, round(n * size / max(start.shape[:2]))) for n in start.shape[:2]])
    octaves = usual_octaves(net, start.shape[:2], octave_scale) if octaves is None else octaves
    weights = {net.layer_name(name): w for name, w in (layers or {default_layer(net): 1.0}).items()}
    dreamer = Dreamer(net, weights, channels, guide, octaves, octave_scale, steps, rate, jitter, memory, seed)
    film, history, finished = dreamer.film(start, frames, zoom, monitor, blend)
    last = to_uint8(film[-1])
    notes = [] if finished else ["The dream was stopped early."]
    return Synthesis(last[None], film[-1][None], {"score": np.asarray(history)[:, None]}, last[None], last[None],
                     target=" + ".join(f"{w:g} {name}" for name, w in weights.items())
                            + (" as in the guide" if guide is not None else ""),
                     original=start, frames=[to_uint8(f) for f in film] if frames else None, fps=fps,
                     notes=notes + dreamer.notes, numbers={"steps": len(history)},
                     recipe=recipe(dream, net, seed, layers=weights, channels=channels, guide=guide, size=size,
                                   octaves=octaves, octave_scale=octave_scale, steps=steps, rate=rate, jitter=jitter,
                                   frames=frames, zoom=zoom, blend=blend, fps=fps))


def default_layer(net):
    """The layer with positions that lies three quarters up the way to the scores: a concat if there are any, else a
    ReLU, else a convolution."""
    layers = list(net.table)
    for kind in ("concat", "relu", "conv"):
        names = [layer.name for layer in layers if layer.kind == kind and net.rank(layer.name) == 3]
        if names:
            return names[round((len(names) - 1) * 3 / 4)]
    raise MinivisError(f"network {net.name} has no layer to dream of; name one with --layers")


def usual_octaves(net, size, octave_scale):
    """So many octaves that the smallest's shorter side is at most three quarters of what the network was trained on, if
    that leaves something to see; 4 at least."""
    wanted = 0.75 * min(net.input_size or (224, 224))
    count = 1 + math.ceil(math.log(max(1.0, min(size) / wanted)) / math.log(octave_scale))
    while count > 4 and min(size) / octave_scale ** (count - 1) < LEAST:
        count -= 1
    return max(4, count)


class Dreamer:
    """The settings of a dream, and how they change a picture."""

    def __init__(self, net, weights, channels, guide, octaves, octave_scale, steps, rate, jitter, memory, seed):
        self.net, self.units, self.weights, self.channels = net, Units(net), weights, channels
        self.octaves, self.octave_scale, self.steps, self.rate = octaves, octave_scale, steps, rate
        self.jitter, self.seed, self.notes, self.sides, self.replays = jitter, seed, [], {}, Replays()
        self.budget = batching.default_budget() if memory is None else batching.parse_bytes(memory)
        self.guide = None if guide is None else self._features(guide)
        self._check_channels()

    def film(self, picture, frames, zoom, monitor, blend=1.0):
        """([levels of each frame], [score of every step], whether it went to the end)"""
        monitor = monitor or SilentMonitor()
        sizes = self._sizes(picture.shape[:2])
        total = (1 + frames) * len(sizes) * self.steps
        saved = monitor.load() or {"done": 0, "film": [], "history": [], "detail": None, "run": None}
        film, history = [np.asarray(f) for f in saved["film"]], [float(v) for v in saved["history"]]
        done, detail, inner = int(saved["done"]), saved["detail"], saved["run"]
        while len(film) <= frames:
            base = picture.astype(np.float64) if not film else zoomed(film[-1], zoom)
            for size in sizes[done // self.steps % len(sizes):]:
                at = resized(base, size)
                z = at if detail is None else at + resized(np.asarray(detail), size)
                run = self._run(z, done, inner)
                inner = None

                def state(run_state, done=done, detail=detail, history=history):
                    return {"done": done, "film": film, "history": history, "detail": detail, "run": run_state}
                finished = follow(run, _Offset(monitor, done, total), lambda z: to_uint8(self._levels(z)),
                                  wrap=state)
                levels = self._levels(run.z)
                history = history + [float(v[0]) for v in run.history.get("score", [])]
                if not finished:
                    return [*film, resized(levels, sizes[-1])], history, False
                done, detail = done + self.steps, levels - at
            film.append(np.clip(levels if not film else blend * levels + (1 - blend) * base, 0, 255))
            detail = None
        return film, history, True

    def _run(self, levels, first, start):
        """The steps at one size. first: the number of steps before, from which random shifts are drawn."""
        z = to_device(self.net, self.units.levels_from_mean(levels)[None])
        xp = kernels.xp(z)

        def evaluate(z, i):
            draw = np.random.default_rng([self.seed, SHIFT, first + i])
            down, right = (int(n) for n in draw.integers(-self.jitter, self.jitter + 1, 2))
            score, g = self._gradient(xp.roll(z, (down, right), (1, 2)))
            g = xp.roll(g, (-down, -right), (1, 2))
            return Point(np.array([-score]), -g, {"score": np.array([score])})

        def clip(z, point, i):
            return xp.clip(z, xp.asarray(self.units.black), xp.asarray(self.units.white))
        return Run(evaluate, z, Descent(self.rate, normalize="l1"), self.steps, after=in_turn([clip]), start=start)

    def _gradient(self, z):
        """(score, its gradient like z), tile by tile where the whole picture does not fit into the memory."""
        xp, (H, W) = kernels.xp(z), z.shape[1:3]
        side = self._tile_side(H, W)
        g, total = xp.zeros_like(z), 0.0
        for top in range(0, H, side):
            for left in range(0, W, side):
                a, b = max(0, top - HALO), max(0, left - HALO)
                bottom, right = min(H, top + side), min(W, left + side)
                part = xp.ascontiguousarray(z[:, a:bottom + HALO, b:right + HALO])
                # a guide's best matches come from BLAS, which cannot be recorded
                score, gp = self.replays(self._ascent, part) if self.guide is None else self._ascent(part)
                g[:, top:bottom, left:right] = gp[:, top - a:bottom - a, left - b:right - b]
                total += float(host(score))
        return total, g

    def _ascent(self, part):
        """[score, its gradient], of a tile's pixels."""
        part = Tensor(part, needs_grad=True)
        values = self.net(self.units.of(part), layers=list(self.weights))
        total = None
        for name, weight in self.weights.items():
            a = self._chosen(values[name])
            if self.guide is None:
                term = ops.sum(ops.square(a)) * (0.5 * weight)
            else:
                term = ops.sum(a * self._matches(a.data, self.guide[name])) * weight
            total = term if total is None else total + term
        return [total.data, gradient(total, part)]

    def _chosen(self, a):
        return a if self.channels is None else a[..., list(self.channels)]

    def _matches(self, a, features):
        """For each position of a the guide's feature with the largest product: an array like a."""
        xp = kernels.xp(a)
        rows = a.reshape(-1, a.shape[-1])
        best = xp.concatenate([(rows[i:i + 4096] @ features.T).argmax(1) for i in range(0, len(rows), 4096)])
        return features[best].reshape(a.shape)

    def _features(self, guide):
        """{layer: (positions, channels)} of the guide picture."""
        x = self.net.preprocessing.normalize(np.asarray(guide), self.net.dtype)[None]
        values = self.net(Tensor(to_device(self.net, x)), layers=list(self.weights))
        return {name: self._chosen(values[name]).data.reshape(-1, self._chosen(values[name]).shape[-1])
                for name in self.weights}

    def _tile_side(self, H, W):
        """The largest side of tiles, at most the whole picture, whose pass fits into the memory; worked out once for
        each size."""
        if (H, W) not in self.sides:
            self.sides[H, W] = self._fitting_side(H, W)
        return self.sides[H, W]

    def _fitting_side(self, H, W):
        side = max(H, W)
        while side > 2 * HALO:
            shape = (1, min(H, side + 2 * HALO), min(W, side + 2 * HALO), 3)
            if self.net.bytes_needed(shape, list(self.weights), backward=True) <= self.budget:
                return side
            side = -(-side // 2)
        return side

    def _sizes(self, size):
        """(h, w) of every octave, the smallest first, down to where a layer still has something to see."""
        sizes = [tuple(max(1, round(n / self.octave_scale ** k)) for n in size) for k in range(self.octaves)]
        good = [s for s in sizes if min(s) >= LEAST] or sizes[:1]
        if len(good) < len(sizes):
            self.notes.append(f"{len(good)} of {self.octaves} octaves: smaller ones have a side below {LEAST} pixels.")
        try:
            infer_shapes(self.net.table, (*good[-1], 3), names=self.net.table.needed(frozenset(self.weights),
                                                                                       self.net.table.names[0]))
        except ValueError as error:
            raise MinivisError(f"dream: a picture of {good[-1][0]} x {good[-1][1]} is too small: {error}") from None
        return good[::-1]

    def _levels(self, z):
        return self.units.to_levels(z)[0]

    def _check_channels(self):
        for name in self.weights:
            if self.net.rank(name) != 3:
                raise MinivisError(f"dream: layer {name} has no positions; take one below the dense layers")
            for c in self.channels or ():
                if not 0 <= c < self.net.channels(name):
                    raise MinivisError(f"dream: layer {name} has channels 0 to {self.net.channels(name) - 1}, not {c}")


class _Offset:
    """A monitor for one of many runs: it counts the steps of all of them."""

    def __init__(self, monitor, before, total):
        self.monitor, self.before, self.total = monitor, before, total

    def step(self, done, total, terms=None, picture=None):
        self.monitor.step(self.before + done, self.total, terms, picture)

    def save(self, state):
        self.monitor.save(state)


def resized(levels, size):
    """Float levels (H, W, 3) at another size, bilinear."""
    return levels if levels.shape[:2] == tuple(size) else ops.resize(Tensor(levels[None]), size).data[0]


def zoomed(levels, zoom):
    """The middle of the picture, enlarged by a factor 1 + zoom to its old size."""
    from ..transforms import Resample
    return Resample(levels.shape[:2], factor=1 + zoom)(Tensor(levels[None])).data[0]
