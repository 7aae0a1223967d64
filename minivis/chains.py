"""Cutting a layer table into chains, and the op that runs one.

A chain is a maximal run of convolutions, ReLUs and poolings, each read by the next alone, with nothing asked for
inside. The kernel set gets it as a whole and may fuse it (see kernels/chain.py); the reference runs the single layers.
"""
from typing import NamedTuple

import numpy as np

from . import kernels
from .kernels.chain import Step
from .shapes import pads, steps
from .tensor import Op

FUSED = ("conv", "relu", "max_pool", "avg_pool", "dropout")     # dropout is the identity unless one trains


class Run(NamedTuple):
    """What a network does in one go: a chain if there are steps, else the one layer that `names` holds."""
    names: list
    layers: list            # [(name, kind)], a pooling's kind as it is run
    steps: list | None
    reads: tuple            # the values it needs
    done_with: list         # values that nobody needs afterwards
    into: tuple | None = None       # (concat layer, its shape, first channel, last): the result's place in that layer


def plan(table, names, shapes, asked, start, fusible, pool=None, learning=()):
    """The Runs that compute `asked` from `start`. names: the layers needed, in order; shapes: {name: shape} of them.

    learning: batch normalisations that are being trained: each runs together with a ReLU that alone reads it.
    """
    runs = with_relus(table, cut(table, names, asked, start, fusible), asked, learning)
    last = {start: 0}                                   # {value: the last run that reads or makes it}
    for i, run in enumerate(runs):
        last[run[-1]] = i
        last.update(dict.fromkeys(table.reads[run[0]], i))
    result = []
    for i, run in enumerate(runs):
        layers = [(name, _kind(table[name], pool)) for name in run]
        chained = fusible(table[run[0]]) and any(kind == "conv" for _, kind in layers)
        steps = [step_of(table[name], shapes[table.reads[name][0]], pool)
                 for name in run if table[name].kind != "dropout"] if chained else None
        done = [name for name, at in last.items() if at == i and name not in asked]
        into = _part_of_joint(table, names, shapes, asked, start, run[-1]) if chained else None
        result.append(Run(run, layers, steps, table.reads[run[0]], done, into))
    return result


def _part_of_joint(table, names, shapes, asked, start, name):
    """Run.into, if the values of layer `name` are needed for nothing but to be joined to others."""
    readers = [n for n in names if n != start and name in table.reads[n]]
    if len(readers) != 1 or name in asked or table[readers[0]].kind != "concat":
        return None
    sources = list(table.reads[readers[0]])
    if sources.count(name) > 1:
        return None
    first = sum(shapes[n][2] for n in sources[:sources.index(name)])
    return readers[0], shapes[readers[0]], first, first + shapes[name][2]


class Joints:
    """The arrays of concatenations while a network runs: what is made only to be joined is made in its place."""

    def __init__(self):
        self.arrays = {}

    def part(self, run, x):
        """Where a run on x is to leave its result; None: anywhere. On a GPU a copy would be made all the same."""
        if run.into is None or not isinstance(x.data, np.ndarray):
            return None
        name, shape, first, last = run.into
        if name not in self.arrays:
            self.arrays[name] = kernels.empty((len(x.data), *shape), x.data)
        return self.arrays[name][..., first:last]

    def whole(self, run):
        """The array that a concatenation fills up, or None."""
        return self.arrays.pop(run.names[0], None)


def _kind(layer, pool):
    return pooling(layer, pool)[0] if layer.kind in ("max_pool", "avg_pool") else layer.kind


def cut(table, names, asked, start, fusible):
    """The layers `names` (in order, `start` left out) as a list of runs, each a list of names.

    asked    layers whose values are wanted: a run may end with one, never hold one inside
    fusible  f(layer) -> whether it may be in a run of several; every other layer is a run of its own
    """
    readers = {}
    for name in names:
        if name != start:
            for source in table.reads[name]:
                readers.setdefault(source, []).append(name)
    runs, run_of = [], {}
    for name in names:
        if name == start:
            continue
        source = table.reads[name][0]
        run = run_of.get(source)
        goes_on = (run is not None and run[-1] == source and source not in asked and len(readers[source]) == 1
                   and fusible(table[name]) and fusible(table[source]))
        if goes_on:
            run.append(name)
        else:
            run = [name]
            runs.append(run)
        run_of[name] = run
    return [part for run in runs for part in _worth_fusing(table, run)]


def with_relus(table, runs, asked, learning):
    """The runs, each [norm] of `learning` that is read by the [ReLU] next in line alone made one with it."""
    result = []
    for run in runs:
        last = result[-1] if result else []
        behind = len(last) == 1 and last[0] in learning and last[0] not in asked and list(table.reads[run[0]]) == last
        alone = behind and sum(list(table.reads[name]).count(last[0]) for other in runs for name in other) == 1
        if alone and len(run) == 1 and table[run[0]].kind == "relu":
            result[-1] = last + run
        else:
            result.append(run)
    return result


def _worth_fusing(table, run):
    """A run without a convolution has nothing to fuse with: its layers stay single."""
    return [run] if any(table[name].kind == "conv" for name in run) else [[name] for name in run]


def step_of(layer, shape, pool=None):
    """The Step of a layer whose input has `shape`; pool "avg" or "max" puts that pooling in the place of the other."""
    if layer.kind == "relu":
        return Step("relu", {})
    stride, dilation = steps(layer)
    settings = {"stride": stride, "pad": pads(layer, shape)}
    if layer.kind == "conv":
        return Step("conv", {**settings, "dilation": dilation, "groups": layer["groups"]})
    kind, count_pad = pooling(layer, pool)
    settings |= {"size": _pair(layer["kernel"]), "ceil": layer["ceil"]}
    return Step(kind, settings | ({"count_pad": count_pad} if kind == "avg_pool" else {}))


def pooling(layer, pool):
    """(kind, count_pad) of a pooling layer after net(x, pool=...) had its say.

    An average in the place of a maximum leaves padding out of the mean, as the maximum never sees it.
    """
    kind = f"{pool}_pool" if pool else layer.kind
    return kind, layer["count_pad"] if layer.kind == "avg_pool" else False


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


class Chain(Op):
    """A run of layers as one op: y = the last layer's output, x = the first one's input.

    layers   [(name, kind)] of every layer in it, for gradient rules
    steps    what the kernels run; weights: one entry per step, (w, b) or None, frozen
    cache    a dict for what the kernel set derives from the weights
    memory   bytes that work buffers may take, or None
    out      an array for y, perhaps some of the channels of a larger one
    """
    kind = "chain"
    new_gradients = adds = True

    def __init__(self, layers, steps, weights, precision, cache, memory=None, out=None):
        self.layers, self.steps, self.weights, self.precision, self.cache = layers, steps, weights, precision, cache
        self.memory, self.out = memory, out

    def forward(self, x):
        y, self.saved = kernels.of(x).chain_forward(x, self.steps, self.weights, keep=self.needs[0],
                                                    precision=self.precision, memory=self.memory, cache=self.cache,
                                                    out=self.out)
        self.weights = self.cache = self.out = None     # `saved` has what the way back needs
        return y

    def backward(self, dy):
        return self._back(dy, [None] * len(self.steps))

    def pull(self, dy, choose, more=None, own=False):
        rules = []
        for name, kind in self.layers:
            rule = choose(name, kind)
            if rule is not None and kind != "relu":
                raise ValueError(f"rules: a rule for {name!r}, a {kind} layer, reads what the layer kept: "
                                 "run the network with net(x, keep='inputs')")
            if kind != "dropout":
                rules.append(rule)
        return (self._back(dy, rules, more, own),)

    def _back(self, dy, rules, more=None, own=False):
        return kernels.of(dy).chain_backward_input(dy, self.saved, rules, more, own)
