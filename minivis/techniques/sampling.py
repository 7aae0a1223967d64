"""What techniques share that look at many variants of one picture: as many at once as memory allows, in order."""
from typing import NamedTuple

import numpy as np

from .. import kernels
from ..batching import default_budget, parse_bytes, split
from ..monitor import SilentMonitor, Stop
from ..objectives import class_scores
from ..sparse import pixels_of
from ..tensor import Tensor, gradient
from .common import field_of, seed_at

AT_ONCE = {"cpu": 5, "gpu": 256}    # more pictures in a batch only leave a CPU's caches


def batches(net, count, each, memory):
    """Slices of 0..count: as many variants at once, of `each` bytes, as memory allows and as is of use."""
    budget = default_budget() if memory is None else parse_bytes(memory)
    return split(count, max(each, budget / AT_ONCE[net.device]), budget)


class Sample(NamedTuple):
    """One variant: its number, input and gradient (H, W, C) in network order, and its score."""
    number: int
    x: object
    gradient: object
    score: float


def score_of(net, x, start):
    """Tensor (N, ...) like start.tensor, for other inputs: forward to the layer where `start` began."""
    tensor = net(x, layers=[start.layer])[start.layer]
    return tensor if start.kind == "activation" else class_scores(tensor, start.kind)


def repeated(seed, N):
    """A seed (1, ...) for N pictures."""
    return kernels.xp(seed).repeat(seed, N, axis=0)


def gradients(net, start, make, count, shape, memory=None, monitor=None, rules="plain"):
    """Samples 0 .. count-1 in order, each with the gradient of the score of `start` at the input make(i), (H, W, C).

    make   host or device array in, or a function of i; drawn on the host, so every device gets the same numbers
    shape  (H, W, C) of one input. The peak memory is that of one batch, whatever `count` is.
    """
    monitor = monitor or SilentMonitor()
    each = net.bytes_needed((1, *shape), [start.layer], backward=True) + 2 * int(np.prod(shape)) * net.dtype.itemsize
    xp, field = kernels.xp(start.seed), field_of(net, start, shape[:2])
    for part in batches(net, count, each, memory):
        batch = xp.stack([xp.asarray(make(i), dtype=net.dtype) for i in range(part.start, part.stop)])
        if field is None:
            x, seed = Tensor(batch, needs_grad=True), repeated(start.seed, len(batch))
            tensor = score_of(net, x, start)
        else:                               # a unit that sees a part of the picture: no more than that is computed
            x, seed = pixels_of(field, batch), repeated(seed_at(start), len(batch))
            tensor = field.of(x)
        grads = gradient(tensor, x, rules=rules, seed=seed)
        if field is not None:
            grads = field.framed(grads, batch)
        scores = host((tensor.data * seed).reshape(len(batch), -1).sum(axis=1))
        del tensor, x
        for i in range(part.start, part.stop):
            at = i - part.start
            yield Sample(i, host(batch[at]), host(grads[at]), float(scores[at]))
        monitor.step(part.stop, count)


def scores(net, start, make, count, shape, memory=None, monitor=None, begin=None, may_stop=False):
    """(count,) float64 scores of `start` for the inputs make(i); `begin`: they are outputs of that layer instead.

    may_stop   when the monitor says Stop, give those so far, at least one, instead of passing it on
    """
    monitor = monitor or SilentMonitor()
    layers = [start.layer]
    each = net.bytes_needed((1, *shape), layers) if begin is None else 4 * int(np.prod(shape)) * net.dtype.itemsize
    xp, found = kernels.xp(start.seed), []
    for part in batches(net, count, each, memory):
        batch = xp.stack([xp.asarray(make(i), dtype=net.dtype) for i in range(part.start, part.stop)])
        tensor = net(batch, layers=layers, start=begin)[start.layer]
        if start.kind != "activation":
            tensor = class_scores(tensor, start.kind)
        found.append(host((tensor.data * repeated(start.seed, len(batch))).reshape(len(batch), -1).sum(axis=1)))
        try:
            monitor.step(part.stop, count)
        except Stop:
            if not may_stop:
                raise
            break
    return np.concatenate(found).astype(np.float64)


def all_along(count):
    """The numbers below count in an order whose every beginning is spread out: by the fractions of multiples of the
    golden ratio."""
    return np.argsort((0.5 + np.arange(count) * (5 ** 0.5 - 1) / 2) % 1, kind="stable").argsort()


def host(array):
    """The array in main memory."""
    return array.get() if hasattr(array, "get") else array
