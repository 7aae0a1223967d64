"""Training networks that redraw pictures in a style: what they are shown, what they are told, and the steps.

    perceptual = Perceptual(loss_net, {"relu3_1": 1.0}, {"relu1_1": 1.0, "relu3_1": 1.0}, weights)
    task = LearntStyles(style_network(transformer()), styles, Crops(["photos/"], 128), perceptual)
    for step in StyleTrainer(task, steps=2000):
        print(step.done, step.terms)
    net = task.trained()

No label is needed: a second network, whose weights stay, says how far the picture's content and the style are. Its
losses are relative, each divided by its value on noise, as in minivis.losses' users: so weights mean the same for every
network. What is drawn at random depends on the seed and the step's number alone.
"""
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from .. import kernels, losses, ops
from ..dataset import open_pictures
from ..errors import MinivisError
from ..optimize import host
from ..parameterize import Units, to_device
from ..preprocessing import resize
from ..style_losses import moments
from ..style_networks import blended, encoded_layer, in_style_of, styles_of
from ..tensor import Tensor, gradient
from .optimisers import AdamW
from .schedules import cosine

NOISE_LEVELS, DRAWS = 50.0, 31      # deviation of the noise that losses are measured by; a stream of random numbers
AHEAD = 2                           # batches that are made while others are being computed


class Crops:
    """Square pieces of pictures from sets (folders, archives ...), each set as often as any other.

    A piece's side is at random between `side` and the picture's shorter side (the latter if that is smaller); it is
    brought to `side` and half of the time mirrored. A picture that cannot be read is skipped for the next.
    """

    def __init__(self, sets, side, seed=0):
        if side < 16:
            raise MinivisError(f"training: pictures of {side} pixels are too small; take at least 16")
        self.sets = [open_pictures(where) for where in sets]
        self.side, self.seed = int(side), seed
        for pictures, where in zip(self.sets, sets):
            if not pictures.names:
                raise MinivisError(f"there is no picture in {where}")

    def batch(self, step, count, stream=0):
        """uint8 (count, side, side, 3) for a step."""
        return np.stack([self._piece(np.random.default_rng([self.seed, DRAWS, stream, step, n])) for n in range(count)])

    def _piece(self, rng):
        pictures = self.sets[rng.integers(len(self.sets))]
        first = int(rng.integers(len(pictures.names)))
        for k in range(min(100, len(pictures.names))):
            try:
                picture = pictures.load(pictures.names[(first + k) % len(pictures.names)])
            except MinivisError:
                continue
            H, W = picture.shape[:2]
            short = min(H, W)
            side = int(rng.integers(min(self.side, short), short + 1))
            top, left = int(rng.integers(H - side + 1)), int(rng.integers(W - side + 1))
            piece = resize(picture[top:top + side, left:left + side], (self.side, self.side), "bicubic")
            return piece[:, ::-1] if rng.random() < 0.5 else piece
        raise MinivisError(f"none of 100 pictures in a row of {pictures.describe()} could be read")


class Perceptual:
    """How far painted pictures are from their contents and from a style, by a network's eyes. Johnson et al. 2016.

    content_layers, style_layers   {layer: weight}; weights: {"content", "style", "tv"}
    """

    def __init__(self, net, content_layers, style_layers, weights):
        self.net, self.units, self.weights = net, Units(net), weights
        self.content_layers, self.style_layers = content_layers, style_layers
        self.layers = list(dict.fromkeys([*content_layers, *style_layers]))
        self.sizes = None       # the value of each term on noise

    def values(self, levels, layers=None):
        """{layer: Tensor} of RGB grey levels, Tensor (N, H, W, 3)."""
        mean = kernels.xp(levels.data).asarray(self.units.mean.astype(self.net.dtype))
        return self.net(self.units.of(levels - mean), layers=self.layers if layers is None else layers)

    def content_terms(self, contents):
        """[("content", weight, Term)] for uint8 pictures (N, H, W, 3)."""
        values = self.values(Tensor(self._levels(contents)), list(self.content_layers))
        return [("content", w, losses.content(self.net, name, values[name].data))
                for name, w in self.content_layers.items()]

    def style_terms(self, picture):
        """[("style", weight, Term)]: the Gram matrices of one style picture, uint8."""
        values = self.values(Tensor(self._levels(picture[None])), list(self.style_layers))
        found = []
        for name, w in self.style_layers.items():
            target = losses.of_whole(losses.gram_statistic("chw"), values[name]).data
            found.append(("style", w, losses.style(self.net, name, target, "chw")))
        return found

    def moment_terms(self, picture):
        """[("style", weight, Term)]: the means and deviations of one style picture."""
        values = self.values(Tensor(self._levels(picture[None])), list(self.style_layers))
        return [("style", w, moments(self.net, name, values[name].data)) for name, w in self.style_layers.items()]

    def __call__(self, levels, terms):
        """{"content", "style", "tv": Tensor (N,)}, weighed, for painted grey levels Tensor (N, H, W, 3)."""
        if self.sizes is None:
            noise = np.random.default_rng([DRAWS, 1]).standard_normal(levels.shape, np.float32) * NOISE_LEVELS + 127.5
            noise = Tensor(to_device(self.net, noise.astype(self.net.dtype)))
            self.sizes = [float(v.data.mean()) for _, _, v in self._raw(noise, terms)]
        totals, found = {}, {}
        for group, weight, _ in terms:
            totals[group] = totals.get(group, 0.0) + weight
        for (group, weight, value), size in zip(self._raw(levels, terms), self.sizes):
            share = self.weights[group] * weight / totals.get(group, 1.0) / max(size, 1e-30)
            found[group] = found[group] + value * share if group in found else value * share
        return found

    def _raw(self, levels, terms):
        """[(group, weight, Tensor (N,))] of all terms, smoothness last, none divided by anything."""
        values = self.values(levels)
        return [*((group, weight, term(values)) for group, weight, term in terms), ("tv", 1.0, losses.tv(levels))]

    def _levels(self, pictures):
        return to_device(self.net, pictures.astype(self.net.dtype))


class LearntStyles:
    """A transformer that learns one or several styles; each step shows a batch of contents and asks for one style."""

    def __init__(self, net, styles, crops, perceptual, batch=4):
        if styles_of(net) != len(styles):
            raise MinivisError(f"training: the network has places for {styles_of(net)} styles, not for {len(styles)}")
        self.family, self.crops, self.perceptual, self.batch = net, crops, perceptual, int(batch)
        self.net = blended(net, np.eye(len(styles))[0])
        self.net.weights.unfreeze()
        self.shared = {name: t for name, t in self.net.weights.items() if not (len(styles) > 1 and "_norm/" in name)}
        self.own = [{name: Tensor(net.weights[name].data[s].copy(), needs_grad=True) for name in self.net.weights
                     if name not in self.shared} for s in range(len(styles))]
        self.styles = [perceptual.style_terms(picture) for picture in styles]
        self.sizes = [None] * len(styles)

    def prepare(self, step):
        return self.crops.batch(step, self.batch)

    def losses(self, step, contents):
        """-> ({group: Tensor (N,)}, {name: Tensor to be moved})"""
        s, p = step % len(self.styles), self.perceptual
        for name, tensor in self.own[s].items():
            self.net.weights[name] = tensor
        x = self.net.preprocessing.normalize(contents, self.net.dtype)
        levels = self.net(to_device(self.net, x), layers=["levels"])["levels"]
        p.sizes = self.sizes[s]
        found = p(levels, [*p.content_terms(contents), *self.styles[s]])
        self.sizes[s] = p.sizes
        return found, {**self.shared, **{f"{name}#{s}": t for name, t in self.own[s].items()}}

    def tensors(self):
        return {**self.shared, **{f"{name}#{s}": t for s, own in enumerate(self.own) for name, t in own.items()}}

    def trained(self):
        """The network as it is now, frozen."""
        arrays = {name: t.data.copy() for name, t in self.shared.items()}
        for name in self.own[0]:
            arrays[name] = np.stack([host(own[name].data) for own in self.own])
        return self.family.with_weights(arrays)


class AnyStyle:
    """The decoder of an arbitrary-style network learns; each step shows a batch of contents and one style picture.

    Huang, Belongie 2017: the painted picture's features shall be those that went into the decoder, its means and
    deviations at the style layers those of the style.
    """

    def __init__(self, net, crops, style_crops, perceptual, batch=4):
        self.net, self.crops, self.style_crops, self.batch = net, crops, style_crops, int(batch)
        self.perceptual, self.layer = perceptual, encoded_layer(net)
        self.learnt = [name for name in net.weights if name.startswith(("dec", "out"))]
        self.net.weights.unfreeze(self.learnt)

    def prepare(self, step):
        return self.crops.batch(step, self.batch), self.style_crops.batch(step, 1, stream=1)[0]

    def losses(self, step, shown):
        contents, picture = shown
        p, net = self.perceptual, self.net
        painter = in_style_of(net, [picture], [1.0])
        for name in self.learnt:
            painter.weights[name] = net.weights[name]           # the very Tensors that are to be moved
        x = to_device(net, net.preprocessing.normalize(contents, net.dtype))
        values = painter(x, layers=["adain", "levels"])
        terms = [("content", 1.0, losses.content(p.net, self.layer, values["adain"].data)), *p.moment_terms(picture)]
        return p(values["levels"], terms), self.tensors()

    def tensors(self):
        return {name: self.net.weights[name] for name in self.learnt}

    def trained(self):
        return self.net.with_weights({name: t.data.copy() for name, t in self.tensors().items()})


class Step(NamedTuple):
    """A finished step; terms: the weighed losses, means over the batch, read before it was taken."""
    done: int
    total: int
    terms: dict


class StyleTrainer:
    """`steps` steps of Adam with a rate that rises and falls again. start: the state() of an interrupted run."""

    def __init__(self, task, steps, rate=2e-3, *, start=None):
        if steps < 1 or not rate > 0:
            raise MinivisError(f"training: steps {steps} must be at least 1 and rate {rate} above 0")
        self.task, self.steps, self.rate = task, int(steps), float(rate)
        self.optimiser, self.done, self.history = AdamW(beta2=0.99, weight_decay=0.0), 0, {}
        if start is not None:
            self._resume(start)

    def __iter__(self):
        with ThreadPoolExecutor(1) as maker:
            waiting = {}
            while self.done < self.steps:
                for i in range(self.done, min(self.done + AHEAD + 1, self.steps)):
                    if i not in waiting:
                        waiting[i] = maker.submit(self.task.prepare, i)
                yield self.advance(waiting.pop(self.done).result())

    def advance(self, shown):
        """Take one step on what `task.prepare` gave for it."""
        terms, tensors = self.task.losses(self.done, shown)
        total = None
        for value in terms.values():
            total = ops.mean(value) if total is None else total + ops.mean(value)
        if not np.isfinite(float(total.data)):
            raise MinivisError(f"training: the loss is {float(total.data)} at step {self.done + 1}; try a smaller rate "
                               f"than {self.rate}")
        found = gradient(total, list(tensors.values()))
        self.optimiser.step(tensors, dict(zip(tensors, found)), self.rate * cosine(self.done, self.steps, 0.03, 0.02))
        means = {name: float(host(value.data).mean()) for name, value in terms.items()}
        for name, value in means.items():
            self.history.setdefault(name, []).append(value)
        self.done += 1
        return Step(self.done, self.steps, means)

    def state(self):
        """All that a later run needs to go on from here."""
        task = self.task
        sizes = task.sizes if isinstance(task, LearntStyles) else [task.perceptual.sizes]
        return {"done": self.done, "weights": {name: host(t.data) for name, t in task.tensors().items()},
                "optimiser": self.optimiser.state(), "sizes": sizes,
                "history": {name: np.array(values) for name, values in self.history.items()}}

    def _resume(self, state):
        self.done, task = int(state["done"]), self.task
        tensors = task.tensors()
        xp = kernels.xp(next(iter(tensors.values())).data)
        for name, tensor in tensors.items():
            tensor.data[...] = xp.asarray(state["weights"][name])
        self.optimiser.restore(state["optimiser"], xp)
        self.history = {name: [float(v) for v in values] for name, values in state["history"].items()}
        sizes = [None if s is None else [float(v) for v in s] for s in state["sizes"]]
        if isinstance(task, LearntStyles):
            task.sizes = sizes
        else:
            task.perceptual.sizes = sizes[0]
