"""The stages that a chain is made of, and how a list of steps becomes a list of stages.

A stage is a convolution with the ReLU and the 2x2 pooling that follow it, as far as one kernel does them together, or a
single ReLU or pooling. A stage knows its geometry and its weights and holds no state; what a forward pass decided is
handed back to it for the gradient. `plan` is where to read which layer runs how.

Gradients travel between stages as plain (N, H, W, K) arrays. Where a stage ends in a pooling it is the pooled gradient.
A stage that `writes_parts` can fill some of the channels of a larger array: so what will be joined is never copied.
"""
import numpy as np

from .. import reference
from . import choice, direct, general, max_pooling, pooling, threads, winograd
from .decisions import RULES, Decisions

_PACKED_BYTES = 16 << 20    # weights up to here are kept packed for direct convolution, larger ones packed at each call


class WinogradStage:
    """3x3 convolution by Winograd, + bias, and perhaps ReLU, and perhaps 2x2 pooling after that."""
    writes_parts = True

    def __init__(self, x_shape, step, weight, relu, pool, tile, back_tile, shared):
        self.relu, self.pool, self.tile, self.back_tile = relu, pool, tile, back_tile
        w, b = weight
        pad = step.settings["pad"]
        self.pad, self.back_pad = (pad[0], pad[2]), (2 - pad[0], 2 - pad[2])
        H, W = reference._output_shape(x_shape, (3, 3), (1, 1), pad)
        self.x_shape = x_shape
        self.y_shape = (x_shape[0], H // 2, W // 2, w.shape[3]) if pool else (x_shape[0], H, W, w.shape[3])
        self.full = (x_shape[0], H, W, w.shape[3])
        self.w = _kept(shared, w, "winograd", winograd.blocked)
        self.bias = winograd.pad_bias(np.zeros(w.shape[3], np.float32) if b is None else b)

    def forward(self, x, y, keep):
        """-> what the gradient needs. y: an array of y_shape to fill."""
        kept = Decisions(self.y_shape, "bytes" if self.pool else "bits") if self.relu else None
        finish = winograd.POOL if self.pool else winograd.RELU if self.relu else winograd.PLAIN
        winograd.convolve(x, self.w, y, self.tile, self.pad, self.bias, finish=finish, decisions=kept)
        return kept

    def backward(self, dy, kept, dx, below, rule):
        """dx = the input gradient; if `below` (Decisions) is given it goes through that ReLU's rule as well."""
        finish = winograd.PLAIN if below is None else winograd.MASK if below.kind == "bits" else winograd.POOL_MASK
        winograd.convolve(dy, self.w, dx, self.back_tile, self.back_pad, turned=True, finish=finish, decisions=below,
                          rule=RULES[rule], unpool=kept if self.pool else None)

    def spread(self, dy, kept):
        """The pooled gradient and the flags brought to the cells: what a rule of the user's own is applied to."""
        where = {"size": (2, 2), "stride": (2, 2), "pad": (0, 0, 0, 0), "ceil": False}
        cells = kept.cells().astype(np.int64)
        flags = reference.max_pool_backward(kept.positive().astype(np.float32), cells, self.full, **where)
        return reference.max_pool_backward(dy, cells, self.full, **where), flags > 0

    def backward_spread(self, dy, dx):
        """The input gradient of the convolution alone, from a gradient of full size."""
        winograd.convolve(dy, self.w, dx, self.back_tile, self.back_pad, turned=True)

    def __str__(self):
        return (f"Winograd F({self.tile}x{self.tile},3x3)" + (" + ReLU" if self.relu else "")
                + (" + 2x2 max pooling" if self.pool else ""))


class PictureStage:
    """A convolution from few channels, + bias, and perhaps ReLU."""
    pool = writes_parts = False

    def __init__(self, x_shape, step, weight, relu, shared):
        w, b = weight
        self.relu, self.x_shape, self.w_shape = relu, x_shape, w.shape
        self.stride, self.pad = step.settings["stride"], step.settings["pad"]
        self.y_shape = (x_shape[0], *reference._output_shape(x_shape, w.shape[:2], self.stride, self.pad), w.shape[3])
        self.panels = _kept(shared, w, "panels", direct.pack_forward)
        self.back_panels = _kept(shared, w, "gradient panels", direct.pack_gradient)
        self.bias = direct.pack_bias(b, w.shape[3])

    def forward(self, x, y, keep):
        kept = Decisions(self.y_shape, "bits") if self.relu else None
        direct.forward(x, self.w_shape, self.panels, self.bias, y, self.stride, self.pad, kept)
        return kept

    def backward(self, dy, kept, dx, below, rule):
        direct.backward_input(dy, self.w_shape, self.back_panels, dx, self.stride, self.pad)
        if below is not None:
            below.pull(dx, rule, dx)

    def __str__(self):
        return f"direct {self.w_shape[0]}x{self.w_shape[1]} from few channels" + (" + ReLU" if self.relu else "")


class DirectStage:
    """Any convolution, + bias, and perhaps ReLU."""
    pool = False

    def __init__(self, x_shape, step, weight, relu, shared):
        self.settings, self.relu, self.x_shape = step.settings, relu, x_shape
        self.w, self.b = weight
        self.writes_parts = step.settings["groups"] == 1 and self.w.shape[3] > general.FLAT_ROWS
        self.y_shape = (x_shape[0], *reference._output_shape(x_shape, self.w.shape[:2], step.settings["stride"],
                                                              step.settings["pad"], step.settings["dilation"]),
                        self.w.shape[3])
        self.packed = shared if self.w.nbytes <= _PACKED_BYTES else None
        self.prepared = {}

    def forward(self, x, y, keep):
        kept = Decisions(self.y_shape, "bits") if self.relu and keep else None
        fused = kept if self.settings["groups"] == 1 else None
        relu = self.relu and (fused is not None or not keep)
        if self.packed is None:
            general.forward(x, self.w, self.b, **self.settings, relu=relu, decisions=fused, out=y)
        else:
            self._prepared(True, fused is None)(x, y, relu, fused)
        if kept is not None and fused is None:
            kept.record(y)
        return kept

    def backward(self, dy, kept, dx, below, rule):
        if self.packed is None:
            general.backward_input(dy, self.w, self.x_shape, **self.settings, out=dx)
        else:
            self._prepared(False, True)(dy, dx)
        if below is not None:
            below.pull(dx, rule, dx)

    def _prepared(self, forward, rowless):
        """rowless: rows of a map may be joined (decisions are kept by rows)."""
        key = forward, rowless, threads.get_threads()
        if key not in self.prepared:
            source, out = (self.x_shape, self.y_shape) if forward else (self.y_shape, self.x_shape)
            self.prepared[key] = general.Prepared(forward, source, out, self.w, self.b if forward else None,
                                                  self.settings, self.packed, rowless)
        return self.prepared[key]

    def __str__(self):
        kh, kw = self.w.shape[:2]
        return f"direct {kh}x{kw}" + (" + ReLU" if self.relu else "")


class ReluStage:
    """A ReLU that follows no convolution."""
    relu, pool, writes_parts = True, False, False

    def __init__(self, x_shape):
        self.x_shape = self.y_shape = x_shape

    def forward(self, x, y, keep):
        kept = Decisions(self.y_shape, "bits")
        np.copyto(y, x)
        kept.record(y)
        return kept

    def backward(self, dy, kept, dx, below, rule):
        """The rule has been applied already, as for every stage that ends in a ReLU."""
        np.copyto(dx, dy)
        if below is not None:
            below.pull(dx, rule, dx)

    def __str__(self):
        return "ReLU"


class PoolStage:
    """A pooling that no convolution's kernel does."""
    relu = pool = writes_parts = False

    def __init__(self, x_shape, step):
        self.kind, self.settings, self.x_shape = step.kind, step.settings, x_shape
        out, _ = reference._pool_geometry(x_shape, *(step.settings[k] for k in ("size", "stride", "pad", "ceil")))
        self.y_shape = (x_shape[0], *out, x_shape[3])

    def forward(self, x, y, keep):
        if self.kind == "max_pool":
            return max_pooling.max_forward(x, **self.settings, out=y)[1]
        pooling.average_forward(x, **self.settings, out=y)
        return None

    def backward(self, dy, kept, dx, below, rule):
        if self.kind == "max_pool":
            max_pooling.max_backward(dy, kept, self.x_shape, **self.settings, out=dx, below=below, rule=rule)
            return
        pooling.average_backward(dy, self.x_shape, **self.settings, out=dx)
        if below is not None:
            below.pull(dx, rule, dx)

    def __str__(self):
        return f"{self.kind.replace('_', ' ')} {self.settings['size'][0]}x{self.settings['size'][1]}"


# -------------------------------------------------------------------------------------------------------- planning


def plan(x_shape, steps, weights, precision, shared, keep=True):
    """-> [(stage, indices of the steps it does)]. shared: a dict for what is derived from weights alone. keep: a
    gradient will be asked for."""
    stages, i = [], 0
    shape = tuple(x_shape)
    while i < len(steps):
        step = steps[i]
        relu = i + 1 < len(steps) and steps[i + 1].kind == "relu"
        if step.kind == "conv":
            _check(shape, weights[i][0], step)
            stage = _convolution(shape, step, weights[i], relu, relu and _fits_pool(steps, i + 2), precision, shared,
                                 keep)
        elif step.kind == "relu":
            stage = ReluStage(shape)
        elif step.kind in ("max_pool", "avg_pool"):
            stage = PoolStage(shape, step)
        else:
            raise ValueError(f"chain_forward: no kind {step.kind!r}; a chain has conv, relu, max_pool, avg_pool")
        count = 1 + (step.kind == "conv") * (stage.relu + stage.pool)
        stages.append((stage, range(i, i + count)))
        i, shape = i + count, stage.y_shape
    return stages


def _convolution(shape, step, weight, relu, pool, precision, shared, keep):
    settings, w = step.settings, weight[0]
    out = reference._output_shape(shape, w.shape[:2], settings["stride"], settings["pad"], settings["dilation"])
    forward = choice.algorithm(out, w.shape, precision=precision, **settings)
    backward = choice.algorithm(shape[1:3], w.shape, precision=precision, **settings)
    if forward is choice.PICTURE:
        return PictureStage(shape, step, weight, relu, shared)
    if forward is choice.DIRECT or backward is choice.DIRECT:
        return DirectStage(shape, step, weight, relu, shared)
    # a gradient's tiles must begin in a window's lower right cell: winograd_jobs._input_tile
    pool = bool(pool) and (not keep or settings["pad"][0] == settings["pad"][2] == 1) and min(out) >= 2 and (
        not pool.settings["ceil"] or out[0] % 2 == out[1] % 2 == 0)
    return WinogradStage(shape, step, weight, relu, pool, forward.tile, backward.tile, shared)


def _fits_pool(steps, i):
    """The pooling at i if it is one that an output transform can do, else None."""
    if i < len(steps) and steps[i].kind == "max_pool":
        s = steps[i].settings
        if tuple(s["size"]) == tuple(s["stride"]) == (2, 2) and not any(s["pad"]):
            return steps[i]
    return None


def _check(shape, w, step):
    if shape[3] != w.shape[2] * step.settings["groups"]:
        raise ValueError(f"chain_forward: {shape[3]} channels meet a convolution with weights {tuple(w.shape)} that "
                         f"wants {w.shape[2] * step.settings['groups']}")


def _kept(shared, w, purpose, make):
    """make(w), once per weight array; w itself where there is nothing to make."""
    key = (id(w), purpose)
    if key not in shared:
        shared[key] = (make(w), w)         # w is held so that no other array can take its id
    return shared[key][0]
