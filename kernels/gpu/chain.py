"""Chains on the GPU: a run of convolutions, ReLUs and poolings as a whole (see kernels/chain.py for what one is).

stages.py says which kernels do which steps. Of each stage only its decisions are kept; the rule of a ReLU is applied by
the stage above it, while the gradient it computes is still in registers. In precision "float16" everything between the
stages is half, and gradients are multiplied by a power of two so that they neither vanish nor overflow there; the
rules plain, guided and deconv do not mind, and rules written by users see the gradient as it is.
"""
import math

import numpy as np

from . import decisions, launch, stages
from .choice import PRECISIONS
from .conv_launch import NONE, RULES

_HALF_TARGET = 16.0         # the largest gradient at the top of a half-precision chain; 65504 would overflow


class Saved:
    """What the gradient of a chain needs; opaque to callers."""

    def __init__(self, parts, dtype, workspace):
        self.parts, self.dtype, self.workspace = parts, dtype, workspace    # parts: [(first picture, plan, kept)]


def chain_forward(x, steps, weights, keep, precision="float32", memory=None, cache=None, out=None):
    """Run a chain (see chain.py). -> y, saved; see `reference`."""
    if out is not None:
        y, saved = chain_forward(x, steps, weights, keep, precision, memory, cache)
        out[...] = y
        return out, saved
    x = launch.ready("chain_forward", x)
    if precision not in PRECISIONS:
        raise ValueError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if not steps:
        return x, Saved([], x.dtype, None) if keep else None
    cache = {} if cache is None else cache
    inner = inner_dtype(x.dtype, precision)
    one = _plan((1, *x.shape[1:]), steps, weights, precision, inner, cache)
    each = max(math.prod(s.x_shape) + math.prod(s.y_shape) for s, _ in one) * np.dtype(inner).itemsize
    batch = max(1, min(x.shape[0], memory // each if memory else x.shape[0]))
    y = launch.empty(x, (x.shape[0], *one[-1][0].y_shape[1:])) if batch < x.shape[0] or not x.shape[0] else None
    parts = []
    for first in range(0, x.shape[0], batch):
        part = x[first:first + batch]
        plan = _plan(part.shape, steps, weights, precision, inner, cache)
        found, kept = _forward(launch.aligned(part), plan, keep, inner, memory)
        parts.append((first, plan, kept))
        if y is None:
            y = found
        else:
            y[first:first + batch] = found
    return y, Saved(parts, x.dtype, memory) if keep else None


def chain_backward_input(dy, saved, rules, more=None, own=False):
    """dx of a chain; see `reference`."""
    dy = launch.ready("chain_backward_input", dy if more is None else dy + more)
    if not saved.parts:
        return dy
    last_first, last_plan, _ = saved.parts[-1]
    top, bottom = last_plan[-1][0], last_plan[0][0]
    N = last_first + top.y_shape[0]
    if dy.shape != (N, *top.y_shape[1:]):
        raise ValueError(f"chain_backward_input: dy {dy.shape} must have the shape of the chain's output, "
                         f"{(N, *top.y_shape[1:])}")
    rules = [_checked(rule) for rule in rules]
    pieces = []
    for first, plan, kept in saved.parts:
        pieces.append(_backward(launch.aligned(dy[first:first + plan[0][0].x_shape[0]]), plan, kept, rules, saved))
    if len(pieces) == 1:
        return pieces[0]
    dx = launch.empty(dy, (N, *bottom.x_shape[1:]))
    for (first, _, _), piece in zip(saved.parts, pieces):
        dx[first:first + len(piece)] = piece
    return dx


def describe_chain(x_shape, steps, weights, precision="float32", cache=None):
    """How chain_forward runs: [(indices of the steps done in one go, the algorithm, bytes kept for the gradient)]."""
    dtype = next((w[0].dtype for w in weights if w is not None), np.dtype(np.float32))
    inner = inner_dtype(dtype, precision)
    plan = _plan(tuple(x_shape), steps, weights, precision, inner, {} if cache is None else cache)
    return [(indices, str(stage), stage.kept_bytes()) for stage, indices in plan]


def inner_dtype(dtype, precision):
    """The type of what lies between the stages: half for precision "float16", else that of the input."""
    return np.dtype(np.float16) if precision == "float16" and dtype == np.float32 else np.dtype(dtype)


# ------------------------------------------------------------------------------------------------------ one batch


def _plan(shape, steps, weights, precision, inner, cache):
    """The stages for inputs of one shape, kept in the cache."""
    key = ("gpu plan", tuple(shape), precision, inner.name)
    if key not in cache:
        cache[key] = stages.plan(shape, steps, weights, precision, inner, cache.setdefault("gpu weights", {}))
    return cache[key]


def _forward(x, plan, keep, inner, workspace):
    """-> y of the type of x, and what each stage keeps."""
    outer, kept = x.dtype, []
    x = x.astype(inner, copy=False)
    for number, (stage, _) in enumerate(plan):
        x, decided = stage.forward(x, keep, outer if number == len(plan) - 1 else inner, workspace)
        kept.append(decided)
    return x.astype(outer, copy=False), kept


def _backward(dy, plan, kept, rules, saved):
    """dx of the type that x had. The gradient a stage is handed has been through the rule of its own ReLU."""
    outer, inner = saved.dtype, inner_of(plan, saved.dtype)
    scale = _power(dy) if inner == np.float16 else None
    dy = dy.astype(inner, copy=False) if scale is None else (dy.astype(np.float32) * scale).astype(inner)
    spread = False                          # dy has the size before the stage's pooling
    for number in range(len(plan), -1, -1):
        if number < len(plan):
            stage, decided = plan[number][0], kept[number]
            below = kept[number - 1] if number and plan[number - 1][0].relu else None
            rule = _rule(plan[number - 1], rules) if below is not None else None
            fused = below is not None and rule in RULES
            dy = stage.backward(dy, decided, RULES[rule] if fused else NONE, below.bits if fused else None,
                                inner if number else outer, saved.workspace, spread)
            spread = False
        else:                               # above the topmost stage
            below = kept[-1] if plan[-1][0].relu else None
            rule = _rule(plan[-1], rules) if below is not None else None
            fused = below is not None and rule in RULES
            if fused:
                dy = decisions.pull(dy, below.bits, RULES[rule])
        if below is not None and not fused:
            dy, spread = _own_rule(rule, dy, plan[number - 1][0], below, scale)
    if scale is not None:
        dy = dy.astype(np.float32) / scale
    return dy.astype(outer, copy=False)


def inner_of(plan, outer):
    """The type that the stages of a plan exchange."""
    return next((np.dtype(stage.dtype) for stage, _ in plan if isinstance(stage, stages.ConvStage)), np.dtype(outer))


def _rule(entry, rules):
    """The rule for the ReLU of a stage."""
    stage, steps = entry
    return rules[steps[0] if isinstance(stage, stages.ReluStage) else steps[1]]


def _checked(rule):
    if isinstance(rule, str) and rule not in RULES:
        raise ValueError(f"chain_backward_input: no rule {rule!r}; there are plain, guided, deconv and functions")
    return rule


def _own_rule(rule, dy, stage, kept, scale):
    """A rule written by the user: f(dy, positive) on the map before the pooling. -> dy, whether it has that size."""
    if stage.pool:
        dy, flags = stage.spread(dy, kept)
    else:
        flags = decisions.positive(kept.bits, dy.shape)
    inner = dy.dtype
    if scale is None:
        return launch.aligned(rule(dy, flags).astype(inner, copy=False)), stage.pool
    return launch.aligned((rule(dy.astype(np.float32) / scale, flags) * scale).astype(inner)), stage.pool


def _power(dy):
    """The power of two that brings the largest gradient near _HALF_TARGET: an array of one number, on the device."""
    xp = launch.xp(dy)
    largest = xp.abs(dy).max().astype(np.float32) if dy.size else xp.ones((), np.float32)
    largest = xp.where(xp.isfinite(largest) & (largest > 1e-30), largest, np.float32(_HALF_TARGET))
    return xp.exp2(xp.floor(xp.log2(np.float32(_HALF_TARGET) / largest))).astype(np.float32)
