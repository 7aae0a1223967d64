"""The training loop: one generator that takes steps, can be stopped at any of them, and goes on with the same bits.

    net.weights.unfreeze()
    trainer = Trainer(net, data, [Phase(4, 48), Phase(4, 64)], SGD(weight_decay=5e-4), rate=0.1)
    for step in trainer:
        print(step.done, step.loss, step.accuracy)
    ready = folded(trainer.trained())

What is drawn at random depends on the seed and the step's number alone: order, augmentation, dropout.
"""
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..ops.loss import cross_entropy
from ..optimize import host
from ..tensor import gradient
from .augment import Augment
from .schedules import one_cycle

AHEAD = 2               # batches that are made while others are being computed


class Phase(NamedTuple):
    """`epochs` times through the data (parts of one allowed) with pictures of `size` pixels, or of one of several
    sizes, drawn for each batch. augment: the settings of Augment that differ."""
    epochs: float
    size: int | tuple
    augment: dict = {}


class Step(NamedTuple):
    """A finished step: loss (mean over the batch) and the share the network got right, read before it was taken."""
    done: int
    total: int
    loss: float
    accuracy: float
    rate: float
    size: int


class Trainer:
    """Trains the entries of net.weights that need a gradient, with cross-entropy on net.logits_layer.

    data        Pictures
    phases      [Phase]: training on small pictures first is quicker; a network without dense layers does not mind
    optimiser   SGD or AdamW; rate: its largest step, `schedule(step, steps)` scales it
    smoothing   label smoothing. Szegedy et al. 2016, arXiv:1512.00567
    augment     settings of Augment beside the size
    momentum    of the running mean and variance that batch normalisation uses after training
    average_at  steps after which the weights count: `trained` then gives their mean (stochastic weight averaging,
                Izmailov et al. 2018, arXiv:1803.05407; here of the ends of a few cycles)
    start       the state() of an interrupted run with the same settings
    """

    def __init__(self, net, data, phases, optimiser, rate, *, batch=128, schedule=one_cycle, smoothing=0.1,
                 augment=None, momentum=0.98, average_at=(), seed=0, start=None):
        if net.logits_layer is None:
            raise MinivisError("training: the network has no logits layer")
        if not net.weights.trainable():
            raise MinivisError("training: no weight needs a gradient; call net.weights.unfreeze() first")
        if not 1 <= batch <= len(data):
            raise MinivisError(f"training: batch {batch} must be from 1 to the number of pictures, {len(data)}")
        self.net, self.data, self.optimiser = net, data, optimiser
        self.rate, self.batch, self.schedule, self.smoothing, self.seed = rate, batch, schedule, smoothing, seed
        self.momentum, self.average_at, self.kept = momentum, tuple(average_at), {}
        self.per_epoch = len(data) // batch
        self.plan = [(i, round(phase.epochs * self.per_epoch), [
            Augment(size, **(augment or {}) | phase.augment) for size in np.atleast_1d(phase.size)])
            for i, phase in enumerate(phases)]
        self.steps = sum(steps for _, steps, _ in self.plan)
        self.weights = {name: net.weights[name] for name in net.weights.trainable()}
        self.statistics = {name: host(t.data).copy() for name, t in net.weights.items()
                           if name.endswith(("/mean", "/var"))}
        self.done, self.history = 0, {"loss": [], "accuracy": [], "rate": []}
        if start is not None:
            self._resume(start)

    def __iter__(self):
        with ThreadPoolExecutor(1) as maker:
            waiting = {}
            try:
                while self.done < self.steps:
                    for i in range(self.done, min(self.done + AHEAD + 1, self.steps)):
                        if i not in waiting:
                            waiting[i] = maker.submit(self.make_batch, i)
                    yield self.advance(*waiting.pop(self.done).result())
            finally:
                for batch in waiting.values():
                    batch.cancel()

    def make_batch(self, i):
        """(x, classes) of step i: network units (batch, size, size, 3), and class numbers."""
        phase, within, augments = self._place(i)
        epoch, place = divmod(within, self.per_epoch)
        augment = augments[np.random.default_rng([self.seed, 3, i]).integers(len(augments))]
        order = np.random.default_rng([self.seed, 0, phase, epoch]).permutation(len(self.data))
        chosen = order[place * self.batch:(place + 1) * self.batch]
        x = augment(self.data.pictures[chosen], np.random.default_rng([self.seed, 1, i]))
        black, white = (self.net.preprocessing.from_picture01(np.full(3, value), np.float64) for value in (0, 1))
        if self.net.preprocessing.channels == "BGR":
            x = x[..., ::-1]
        x = x * np.float32((white - black) / 255) + np.float32(black)
        return x.astype(self.net.dtype, copy=False), self.data.classes[chosen]

    def advance(self, x, classes):
        """Take one step on a batch."""
        i = self.done
        rate = self.rate * self.schedule(i, self.steps)
        loss, accuracy, gradients, statistics = self.evaluate(x, classes, i)
        if not np.isfinite(loss):
            raise MinivisError(f"training: the loss is {loss} at step {i + 1}; try a smaller rate than {self.rate}")
        self.optimiser.step(self.weights, gradients, rate)
        keep = min(self.momentum, (1 + i) / (10 + i))       # the first batches weigh more: there is nothing before them
        for name, values in statistics.items():
            self.statistics[name] += (values - self.statistics[name]) * self.statistics[name].dtype.type(1 - keep)
        for name, value in (("loss", loss), ("accuracy", accuracy), ("rate", rate)):
            self.history[name].append(value)
        self.done += 1
        if self.done in self.average_at:
            self.kept[str(self.done)] = self._arrays()
        return Step(self.done, self.steps, loss, accuracy, rate, x.shape[1])

    def evaluate(self, x, classes, i):
        """(mean loss, share right, {weight: gradient}, {statistic: array}) of a batch, at the weights as they are."""
        dropout = np.random.default_rng([self.seed, 2, i])
        values = self.net(kernels.xp(next(iter(self.weights.values())).data).asarray(x), train=dropout)
        logits = values.pop(self.net.logits_layer)
        losses = cross_entropy(logits, classes, self.smoothing)
        seed = np.full(len(classes), 1 / len(classes), self.net.dtype)
        found = gradient(losses, list(self.weights.values()), seed=seed)
        right = float((logits.numpy().argmax(axis=1) == classes).mean())
        measured = {name: host(t.data) for name, t in values.items()}
        return float(losses.numpy().mean()), right, dict(zip(self.weights, found)), measured

    def trained(self, average=False):
        """The network as it is now, frozen, with the running statistics; or the mean over `average_at`, as far as it
        has come."""
        arrays = self._arrays()
        if average and self.kept:
            every = list(self.kept.values())
            arrays = {name: np.mean([kept[name] for kept in every], axis=0, dtype=np.float64).astype(array.dtype)
                      for name, array in arrays.items()}
        xp = kernels.xp(next(iter(self.weights.values())).data)
        return self.net.with_weights({name: xp.array(array) for name, array in arrays.items()})

    def _arrays(self):
        """{name: array on the host} of weights and running statistics, copied."""
        return {name: np.array(host(t.data)) for name, t in self.weights.items()} | {
            name: array.copy() for name, array in self.statistics.items()}

    def state(self):
        """All that a later run needs to go on from here."""
        return {"done": self.done, "weights": {name: host(t.data) for name, t in self.weights.items()},
                "statistics": dict(self.statistics), "optimiser": self.optimiser.state(), "kept": dict(self.kept),
                "history": {name: np.array(values) for name, values in self.history.items()}}

    def _resume(self, state):
        xp = kernels.xp(next(iter(self.weights.values())).data)
        self.done = int(state["done"])
        for name, tensor in self.weights.items():
            tensor.data[...] = xp.asarray(state["weights"][name])
        self.statistics = {name: np.array(a) for name, a in state["statistics"].items()}
        self.kept = {step: {name: np.array(a) for name, a in kept.items()} for step, kept in state["kept"].items()}
        self.optimiser.restore(state["optimiser"], xp)
        self.history = {name: [float(v) for v in values] for name, values in state["history"].items()}

    def _place(self, i):
        """(phase, step within it, the Augment of each of its sizes) of step i."""
        for phase, steps, augments in self.plan:
            if i < steps:
                return phase, i, augments
            i -= steps
        raise MinivisError(f"training: there is no step {i + self.steps} of {self.steps}")
