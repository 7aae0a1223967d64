"""Objectives: named scalars of a network's activations, one per picture, that add and scale.

    look = class_score(net, "tabby") + 0.1 * channel(net, "conv4_2:17")
    values = net(x, layers=look.layers)
    score = look(values)                    # Tensor (N,)

`layers` is what an objective reads, `name` labels its term in figures and histories. Class scores are logits, the
values before the softmax, unless "prob" or "logprob" is asked for: a probability also moves when *other* classes do,
and its gradient vanishes where the network is sure (Simonyan et al. 2014, arXiv:1312.6034, section 3).
"""
from typing import Literal

from . import ops
from .errors import MinivisError
from .targets import resolve_class, resolve_unit

Score = Literal["logit", "prob", "logprob"]
REDUCERS = ("sum", "mean", "max", "l2")


class Objective:
    """A function of {layer: Tensor} giving a Tensor (N,)."""

    def __init__(self, name, layers, function):
        self.name, self.layers, self.function = name, tuple(layers), function

    def __call__(self, values):
        return self.function(values)

    def __add__(self, other):
        layers = dict.fromkeys(self.layers + other.layers)      # each once, in order
        return Objective(f"{self.name} + {other.name}", layers, lambda values: self(values) + other(values))

    def __sub__(self, other):
        return self + -1 * other

    def __mul__(self, factor):
        return Objective(f"{factor:g} * {self.name}", self.layers, lambda values: self(values) * factor)

    __rmul__ = __mul__

    def __neg__(self):
        return self * -1

    def __repr__(self):
        return f"Objective({self.name!r}, layers={list(self.layers)})"


def class_score(net, target, score: Score = "logit"):
    """The score of one class: its logit, or its softmax probability ("prob") or the logarithm of that ("logprob").

    target    an index, a WordNet id or a label
    """
    index, label = resolve_class(net, target)

    def value(values):
        return class_scores(values[net.logits_layer], score)[:, index]

    return Objective(f"{score} of {label}", (net.logits_layer,), value)


def class_scores(logits, score: Score = "logit"):
    """Tensor (N, classes) of logits -> the scores of every class."""
    if score == "logit":
        return logits
    if score == "prob":
        return ops.softmax(logits)
    if score == "logprob":
        return ops.log_softmax(logits)
    raise MinivisError(f"no score {score!r}; there are logit, prob and logprob")


def unit(net, where):
    """One unit, `layer:channel@row,column`; without a position the layer's middle one. (N,)"""
    spot = resolve_unit(net, where)

    def value(values):
        a = values[spot.layer]
        if a.ndim == 2:
            return a[:, spot.channel]
        row = a.shape[1] // 2 if spot.row is None else spot.row
        column = a.shape[2] // 2 if spot.column is None else spot.column
        if row >= a.shape[1] or column >= a.shape[2]:
            raise MinivisError(f"{where}: layer {spot.layer} has {a.shape[1]} rows and {a.shape[2]} columns here")
        return a[:, row, column, spot.channel]

    return Objective(str(where), (spot.layer,), value)


def channel(net, where, reduce: Literal["sum", "mean", "max", "l2"] = "mean"):
    """A channel over all its positions: their sum, mean, maximum or Euclidean norm. (N,)"""
    spot = resolve_unit(net, where)

    def value(values):
        a = values[spot.layer]
        a = a[:, spot.channel:spot.channel + 1] if a.ndim == 2 else a[:, :, :, spot.channel]
        return reduced(a, reduce)

    return Objective(f"{reduce} of {spot.layer}:{spot.channel}", (spot.layer,), value)


def layer(net, name, reduce: Literal["sum", "mean", "max", "l2"] = "mean"):
    """A whole layer: the sum, mean, maximum or Euclidean norm of all its values. (N,)"""
    name = net.layer_name(name)
    return Objective(f"{reduce} of {name}", (name,), lambda values: reduced(values[name], reduce))


def reduced(a, reduce):
    """Tensor (N, ...) -> (N,)"""
    axes = tuple(range(1, a.ndim))
    if reduce == "sum":
        return ops.sum(a, axes)
    if reduce == "mean":
        return ops.mean(a, axes)
    if reduce == "max":
        return ops.max(a, axes)
    if reduce == "l2":
        return ops.sqrt(ops.sum(a * a, axes))
    raise MinivisError(f"no reduction {reduce!r}; there are {', '.join(REDUCERS)}")
