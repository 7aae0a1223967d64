"""Chains: a run of convolutions, ReLUs and poolings as a whole (see kernels/chain.py for what one is).

stages.py says which kernels do which steps. Here is what lies between them: activations live in leased work memory,
one stage's output is given back as soon as the next has read it, and of each stage only its decisions are kept.
Gradients run down the same way; a ReLU's rule is applied by the stage above it, while the gradient it computes is still
in registers. Nothing is shared between two calls, so any number of threads may run the same chain at once.
"""
import math

import numpy as np

from . import buffers, elementwise, stages
from .addresses import are_channels
from .decisions import RULES, Decisions

MEMORY = 256 << 20          # bytes of activations at a time, unless the caller says less: larger batches go in parts
_NO_RULE = "chain_backward_input: no rule {!r}; there are plain, guided, deconv and functions"


class Saved:
    """What the gradient of a chain needs; opaque to callers."""

    def __init__(self, parts, steps):
        self.parts, self.steps = parts, steps       # parts: [(first picture, stages, decisions of each)]


def chain_forward(x, steps, weights, keep, precision="float32", memory=None, cache=None, out=None):
    """Run a chain (see chain.py). -> y, saved; see `reference`."""
    if x.dtype != np.float32 or precision == "float64" or not any(step.kind == "conv" for step in steps):
        return forward_singly(x, steps, weights, keep, precision, out=out)
    x = np.ascontiguousarray(x)
    cache = {} if cache is None else cache
    one = _plan(x.shape[1:], 1, steps, weights, precision, cache, keep)
    most = min(memory or MEMORY, MEMORY)
    batch = max(1, min(x.shape[0], most // one.bytes))
    shape = (x.shape[0], *one[-1][0].y_shape[1:])
    if out is not None and (out.shape != shape or out.dtype != np.float32):
        raise ValueError(f"chain_forward: out {out.shape}, {out.dtype}, must be {shape}, float32")
    in_place = out is not None and (out.flags.c_contiguous or (one[-1][0].writes_parts and are_channels(out)))
    y = out if in_place else buffers.empty(shape, np.float32)
    parts = []
    for first in range(0, x.shape[0], batch):
        part = x[first:first + batch]
        plan = _plan(x.shape[1:], len(part), steps, weights, precision, cache, keep)
        kept = _forward(part, y[first:first + batch], plan, keep)
        parts.append((first, plan, kept))
    if out is not None and not in_place:
        out[...] = y
        y = out
    return y, Saved(parts, steps) if keep else None


def chain_backward_input(dy, saved, rules, more=None, own=False):
    """dx of a chain; see `reference`."""
    if isinstance(saved, list):
        return _backward_singly(dy if more is None else dy + more, saved, rules)
    dy, more = np.asarray(dy, np.float32), None if more is None else np.asarray(more, np.float32)
    first_stage, last_stage = saved.parts[0][1][0][0], saved.parts[0][1][-1][0]
    shape = (saved.parts[-1][0] + saved.parts[-1][1][0][0].x_shape[0], *last_stage.y_shape[1:])
    for given in (dy, more):
        if given is not None and given.shape != shape:
            raise ValueError(f"chain_backward_input: dy {given.shape} must have the shape of the chain's output, "
                             f"{shape}")
    dx = buffers.empty((dy.shape[0], *first_stage.x_shape[1:]), np.float32)
    for first, plan, kept in saved.parts:
        last = first + plan[0][0].x_shape[0]
        _backward(dy[first:last], dx[first:last], plan, kept, rules, None if more is None else more[first:last], own)
    return dx


def describe(x_shape, steps, weights, precision="float32", cache=None):
    """How a chain runs on an input of this shape: [(indices of the steps, algorithm, bytes kept for the gradient)]."""
    if precision == "float64" or not any(step.kind == "conv" for step in steps):
        return [(range(i, i + 1), step.kind.replace("_", " "), None) for i, step in enumerate(steps)]
    plan = _plan(tuple(x_shape[1:]), x_shape[0], steps, weights, precision, {} if cache is None else cache)
    return [(indices, str(stage), _kept_bytes(stage)) for stage, indices in plan]


def _kept_bytes(stage):
    if stage.relu:
        return Decisions.size(stage.y_shape, "bytes" if stage.pool else "bits")
    return math.prod(stage.y_shape) if isinstance(stage, stages.PoolStage) and stage.kind == "max_pool" else 0


def _plan(picture, N, steps, weights, precision, cache, keep=True):
    """The stages for a batch of N, kept in the cache."""
    key = ("plan", N, picture, precision, bool(keep))
    if key not in cache:
        cache[key] = _Plan(stages.plan((N, *picture), steps, weights, precision, cache.setdefault("weights", {}), keep))
    return cache[key]


class _Plan(list):
    """[(stage, indices of its steps)], and the memory for what lies between them."""

    def __init__(self, stages):
        super().__init__(stages)
        numbers = [math.prod(stage.y_shape) for stage, _ in self]
        # activations that exist at the same time, per picture
        self.bytes = max(4 * (math.prod(stage.x_shape[1:]) + math.prod(stage.y_shape[1:])) for stage, _ in self)
        self.blocks = [4 * max(numbers[i::2], default=0) for i in (0, 1)]


class _Arenas:
    """Two leased blocks of memory: the output of stage i, or its gradient, lies in block i % 2."""

    def __init__(self, plan):
        self.blocks = [buffers.take(size) for size in plan.blocks]

    def array(self, i, shape):
        return self.blocks[i % 2][:4 * math.prod(shape)].view(np.float32).reshape(shape)

    def close(self):
        for block in self.blocks:
            buffers.give(block)


def _forward(x, y, plan, keep):
    """Fill y; -> the decisions of each stage."""
    arenas, kept = _Arenas(plan), []
    try:
        for i, (stage, _) in enumerate(plan):
            out = y if i == len(plan) - 1 else arenas.array(i, stage.y_shape)
            decisions = stage.forward(x, out, keep)
            kept.append(decisions if keep else None)
            x = out
    finally:
        arenas.close()
    return kept


def _backward(dy, dx, plan, kept, rules, more=None, own=False):
    """Fill dx. The `dy` that a stage is handed has been through the rule of the ReLU at the end of that stage."""
    arenas = _Arenas(plan)
    spread = False                          # dy has the size before the stage's pooling
    into = dy if own and dy.flags.c_contiguous else None
    if not (plan[-1][0].relu and _rule(plan[-1], rules) in RULES):
        # `pull` adds what has arrived, and reads a part of a larger array's channels as it stands; nobody else does
        dy = np.ascontiguousarray(dy) if more is None else elementwise.apply("add", dy, more, into)
    try:
        for i in range(len(plan) - 1, -1, -1):
            stage, decisions, rule = plan[i][0], kept[i], _rule(plan[i], rules)
            if i == len(plan) - 1 and stage.relu:
                if rule in RULES:
                    through = arenas.array(i, dy.shape) if into is None else into
                    decisions.pull(dy, rule, through, more)
                    dy = through
                else:
                    dy, spread = _own_rule(rule, dy, stage, decisions)
            below = kept[i - 1] if i > 0 and plan[i - 1][0].relu else None
            below_rule = _rule(plan[i - 1], rules) if below is not None else None
            fused = below if below is not None and below_rule in RULES else None
            out = dx if i == 0 else arenas.array(i - 1, stage.x_shape)
            if spread:
                stage.backward_spread(dy, out)
                if fused is not None:
                    fused.pull(out, below_rule, out)
            else:
                stage.backward(dy, decisions, out, fused, below_rule if fused is not None else None)
            dy, spread = out, False
            if below is not None and fused is None:
                dy, spread = _own_rule(below_rule, dy, plan[i - 1][0], below)
    finally:
        arenas.close()


def _rule(entry, rules):
    """The rule for the ReLU of a stage."""
    stage, steps = entry
    if not stage.relu:
        return None
    rule = rules[steps[0] if isinstance(stage, stages.ReluStage) else steps[1]]
    if isinstance(rule, str) and rule not in RULES:
        raise ValueError(_NO_RULE.format(rule))
    return rule


def _own_rule(rule, dy, stage, decisions):
    """A rule written by the user: f(dy, positive) on the map before the pooling. -> dy, whether it has that size."""
    if stage.pool:
        return np.ascontiguousarray(rule(*stage.spread(dy, decisions)), np.float32), True
    return np.ascontiguousarray(rule(dy.copy(), decisions.positive()), np.float32), False


# ----------------------------------------------------------------------------------------------- one op at a time


def forward_singly(x, steps, weights, keep, precision="float32", memory=None, cache=None, out=None):
    """float64, chains without a convolution, and where nothing can be compiled: the set's single kernels in turn."""
    from .. import cpu  # here, since that module imports this one
    saved = []
    for step, weight in zip(steps, weights):
        shape, note = x.shape, None
        if step.kind == "conv":
            x = cpu.conv2d_forward(x, *weight, **step.settings, precision=precision)
        elif step.kind == "relu":
            x, note = cpu.relu_forward(x)
        elif step.kind == "max_pool":
            x, note = cpu.max_pool_forward(x, **step.settings)
        elif step.kind == "avg_pool":
            x = cpu.avg_pool_forward(x, **step.settings)
        else:
            raise ValueError(f"chain_forward: no kind {step.kind!r}; a chain has conv, relu, max_pool, avg_pool")
        saved.append((step, weight, shape, note))
    if out is not None:
        out[...] = x
    return x if out is None else out, saved if keep else None


def _backward_singly(dy, saved, rules):
    from .. import cpu
    pulls = {None: cpu.relu_backward, "plain": cpu.relu_backward, "guided": cpu.guided_relu_backward}
    for (step, weight, shape, note), rule in zip(reversed(saved), reversed(rules)):
        if step.kind == "conv":
            dy = cpu.conv2d_backward_input(dy, weight[0], shape, **step.settings)
        elif step.kind == "max_pool":
            dy = cpu.max_pool_backward(dy, note, shape, **step.settings)
        elif step.kind == "avg_pool":
            dy = cpu.avg_pool_backward(dy, shape, **step.settings)
        elif rule in pulls:
            dy = pulls[rule](dy, note)
        elif rule == "deconv":
            dy = cpu.deconv_relu_backward(dy)
        elif isinstance(rule, str):
            raise ValueError(_NO_RULE.format(rule))
        else:
            dy = np.array(rule(dy, cpu.unpack_mask(note, shape)))       # what is handed back is nobody else's
    return dy
