"""The stages that a chain is made of on the GPU, and how a list of steps becomes a list of stages.

A stage is a convolution with the ReLU and the 2x2 pooling that follow it, or a single ReLU or pooling. It knows its
geometry and weights and holds no state; what a forward pass decided is handed back to it for the gradient. Activations
between stages are plain (N, H, W, K) arrays of the chain's inner type (half for precision "float16").
"""
import math
from typing import NamedTuple

import numpy as np

from .. import reference
from . import conv_launch, conv_plan, conv_winograd, decisions, launch, pooling
from .choice import algorithm
from .conv import bias_of


class Kept(NamedTuple):
    """What one stage keeps for the gradient; None where there is nothing."""
    bits: object = None         # of the ReLU, after the pooling where the stage has one
    cells: object = None        # of a fused 2x2 pooling
    switches: object = None     # of any other pooling


class ConvStage:
    """A convolution, + bias, and perhaps ReLU, and perhaps 2x2 max pooling after that."""

    def __init__(self, x_shape, step, weight, relu, pool, precision, dtype, shared):
        self.relu, self.pool, self.x_shape, self.settings = relu, pool, tuple(x_shape), step.settings
        self.w, self.b = weight
        self.precision, self.dtype, self.shared = precision, dtype, shared
        self.part = conv_plan.forward(x_shape, self.w.shape, **step.settings)
        self.how = algorithm(self.part, precision, dtype)
        self.full = (self.part.N, *self.part.result, self.part.K)
        N, H, W, K = self.full
        self.y_shape = (N, H // 2, W // 2, K) if pool else self.full

    def forward(self, x, keep, dtype, workspace):
        """-> y of `dtype`, Kept. Only tensor cores write another type than they read."""
        w, bias = self._filters(self.part, self.how, "forward", False), self._bias()
        if self.pool and self.how.name == "winograd":
            y = launch.empty(x, self.y_shape)
            kept = Kept()
            if keep:
                kept = Kept(conv_launch.empty_bits(x, self.y_shape), launch.empty(x, self.y_shape, np.uint8))
            conv_winograd.convolve(self.part, x, w, bias, y, bits=kept.bits, cells=kept.cells, pool=True,
                                   workspace=workspace)
            return y, kept
        y = launch.empty(x, self.full, dtype if self.how.name == "mma" and not self.pool else x.dtype)
        bits = conv_launch.empty_bits(x, self.full) if self.relu and keep and not self.pool else None
        finish = conv_launch.NONE if self.pool or not self.relu else conv_launch.RELU if bits is None else \
            conv_launch.RELU_BITS
        conv_launch.contract(self.part, self.how, x, w, bias, y, finish, bits=bits, workspace=workspace)
        if self.pool:
            y, bits, cells = decisions.relu_pool(y, keep)
            return y, Kept(bits, cells)
        return y, Kept(bits)

    def backward(self, dy, kept, finish, mask, dtype, workspace, spread=False):
        """The input gradient, finished by the rule of the ReLU below. spread: dy has the size before the pooling."""
        parts, complete = conv_plan.backward_input(self.full, self.w.shape, self.x_shape, **self.settings)
        hows = [algorithm(part, self.precision, self.dtype) for part in parts]
        cells = kept.cells if self.pool and not spread else None
        if cells is not None and any(how.name != "winograd" for how in hows):
            dy, cells = decisions.spread(dy, cells, self.full), None
        mixed = all(how.name == "mma" for how in hows)
        dx = (launch.empty if complete else launch.zeros)(dy, self.x_shape, dtype if mixed else dy.dtype)
        for number, (part, how) in enumerate(zip(parts, hows)):
            w = self._filters(part, how, f"gradient {number}", True)
            if how.name == "winograd":
                conv_winograd.convolve(part, dy, w, None, dx, finish, mask, spread=cells, workspace=workspace)
            else:
                conv_launch.contract(part, how, dy, w, None, dx, finish, mask)
        return dx

    def spread(self, dy, kept):
        """The pooled gradient and the flags brought to the cells: what a rule of the user's own is applied to."""
        flags = decisions.positive(kept.bits, dy.shape).astype(dy.dtype)
        return decisions.spread(dy, kept.cells, self.full), decisions.spread(flags, kept.cells, self.full) > 0

    def kept_bytes(self):
        if not self.relu:
            return 0
        bits = 4 * math.prod(self.y_shape[:3]) * conv_launch.words(self.y_shape[3])
        return bits + (math.prod(self.y_shape) if self.pool else 0)

    def _filters(self, part, how, purpose, gradient):
        """Prepared once per weight array and kept."""
        key = (id(self.w), purpose, how.name, np.dtype(self.dtype).name, str(self.settings))
        if key not in self.shared:
            prepared = conv_launch.prepare(conv_plan.filters(self.w, part, gradient), how, self.dtype)
            self.shared[key] = (prepared, self.w)       # w is held so that no other array can take its id
        return self.shared[key][0]

    def _bias(self):
        if self.b is None:
            return None
        return launch.aligned(bias_of(self.b))

    def __str__(self):
        return (str(self.how) + f" {self.part.kh}x{self.part.kw}" * (self.how.name != "winograd")
                + " + ReLU" * self.relu + " + 2x2 max pooling" * self.pool)


class ReluStage:
    """A ReLU that follows no convolution."""
    relu, pool = True, False

    def __init__(self, x_shape):
        self.x_shape = self.y_shape = tuple(x_shape)

    def forward(self, x, keep, dtype, workspace):
        y, bits = decisions.relu(x, keep)
        return y, Kept(bits)

    def backward(self, dy, kept, finish, mask, dtype, workspace, spread=False):
        """The rule has been applied already, as for every stage that ends in a ReLU."""
        return dy if finish == conv_launch.NONE else decisions.pull(dy, mask, finish)

    def kept_bytes(self):
        return 4 * math.prod(self.y_shape[:3]) * conv_launch.words(self.y_shape[3])

    def __str__(self):
        return "ReLU"


class PoolStage:
    """A pooling that no convolution's stage does."""
    relu = pool = False

    def __init__(self, x_shape, step):
        self.kind, self.settings, self.x_shape = step.kind, step.settings, tuple(x_shape)
        out, _ = reference._pool_geometry(x_shape, *(step.settings[k] for k in ("size", "stride", "pad", "ceil")))
        self.y_shape = (x_shape[0], *out, x_shape[3])

    def forward(self, x, keep, dtype, workspace):
        if self.kind == "max_pool":
            y, switches = pooling.max_pool_forward(x, **self.settings)
            return y, Kept(switches=switches if keep else None)
        return pooling.avg_pool_forward(x, **self.settings), Kept()

    def backward(self, dy, kept, finish, mask, dtype, workspace, spread=False):
        if self.kind == "max_pool":
            dx = pooling.max_pool_backward(dy, kept.switches, self.x_shape, **self.settings)
        else:
            dx = pooling.avg_pool_backward(dy, self.x_shape, **self.settings)
        return dx if finish == conv_launch.NONE else decisions.pull(dx, mask, finish)

    def kept_bytes(self):
        return math.prod(self.y_shape) if self.kind == "max_pool" else 0

    def __str__(self):
        return f"{self.kind.replace('_', ' ')} {self.settings['size'][0]}x{self.settings['size'][1]}"


def plan(x_shape, steps, weights, precision, dtype, shared):
    """-> [(stage, indices of the steps it does)]. shared: a dict for what is derived from weights alone."""
    found, i, shape = [], 0, tuple(x_shape)
    while i < len(steps):
        step, count = steps[i], 1
        if step.kind == "conv":
            relu = i + 1 < len(steps) and steps[i + 1].kind == "relu"
            out = conv_plan.forward(shape, weights[i][0].shape, **step.settings).result
            pool = relu and i + 2 < len(steps) and _fits(steps[i + 2], out)
            stage = ConvStage(shape, step, weights[i], relu, pool, precision, dtype, shared)
            count = 1 + relu + pool
        elif step.kind == "relu":
            stage = ReluStage(shape)
        elif step.kind in ("max_pool", "avg_pool"):
            stage = PoolStage(shape, step)
        else:
            raise ValueError(f"chain_forward: no kind {step.kind!r}; a chain has conv, relu, max_pool, avg_pool")
        found.append((stage, range(i, i + count)))
        i, shape = i + count, stage.y_shape
    return found


def _fits(step, out):
    """Whether a step is the 2x2 max pooling that a convolution's stage does: no padding, no partial windows."""
    if step.kind != "max_pool":
        return False
    s = step.settings
    return (tuple(s["size"]) == tuple(s["stride"]) == (2, 2) and not any(s["pad"]) and min(out) >= 2
            and (not s["ceil"] or out[0] % 2 == out[1] % 2 == 0))
