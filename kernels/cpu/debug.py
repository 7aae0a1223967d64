"""Checks of what kernels cannot check: with MINIVIS_DEBUG=1 every call proves that its addresses stay in its arrays.

Kernels work on bare addresses. A wrong size would read or overwrite other memory and go unnoticed, or crash. With the
switch on, each description of work is compared with the arrays it was made from before a kernel runs.
"""
import os

import numpy as np

from .addresses import are_channels

ON = os.environ.get("MINIVIS_DEBUG", "0") not in ("", "0")


def demand(condition, what):
    if not condition:
        raise AssertionError(f"minivis kernels: {what}; this is an error in minivis, please report it")


def check_array(name, array, shape=None):
    """float32, contiguous, aligned, of this shape."""
    demand(array.dtype == np.float32, f"{name} has dtype {array.dtype}, not float32")
    demand(array.flags.c_contiguous, f"{name} {array.shape} is not contiguous")
    demand(array.__array_interface__["data"][0] % 4 == 0, f"{name} is not aligned")
    demand(shape is None or array.shape == tuple(shape), f"{name} has shape {array.shape}, not {tuple(shape or ())}")


def check_part(name, array):
    """As check_array, or some of the channels of such an array."""
    demand(array.dtype == np.float32, f"{name} has dtype {array.dtype}, not float32")
    demand(are_channels(array),
           f"{name} {array.shape} with strides {array.strides} is no part of the channels of a contiguous array")


def check_winograd(d, x, w, y, m, bias, decisions, unpool):
    """The description of a Winograd convolution against its arrays."""
    if not ON:
        return
    from .winograd_jobs import (
        FINISH,
        MASK,
        PAD_LEFT,
        PAD_TOP,
        POOL,
        POOL_MASK,
        RELU,
        TILE_COLUMNS,
        TILE_ROWS,
        TURNED,
    )
    check_array("x", x)
    check_part("y", y)
    check_array("bias", bias)
    check_array("weights", w.values)
    inner, outer = w.channels[::-1] if d[TURNED] else w.channels
    demand(x.shape[0] == y.shape[0], f"{x.shape[0]} pictures in, {y.shape[0]} out")
    demand(0 <= inner - x.shape[3] < 16, f"x has {x.shape[3]} channels, the weights {inner}")
    demand(0 <= outer - y.shape[3] < 16, f"y has {y.shape[3]} channels, the weights {outer}")
    demand(w.values.size == 9 * inner * outer, f"{w.values.size} weights for {inner} x {outer} channels")
    demand(bias.size >= y.shape[3], f"a bias of {bias.size} numbers for {y.shape[3]} channels")
    demand(0 <= d[PAD_TOP] <= 2 and 0 <= d[PAD_LEFT] <= 2, f"padding ({d[PAD_TOP]}, {d[PAD_LEFT]})")
    side = m // 2 if d[FINISH] == POOL else m
    if d[FINISH] in (RELU, POOL, MASK, POOL_MASK):
        kind = "bits" if d[FINISH] in (RELU, MASK) else "bytes"
        demand(decisions is not None and decisions.kind == kind, f"this finish needs decisions of kind {kind}")
        demand(decisions.shape == y.shape, f"decisions of shape {decisions.shape} for an output {y.shape}")
        demand(decisions.rows >= d[TILE_ROWS] * side and decisions.columns >= d[TILE_COLUMNS] * side,
               f"{d[TILE_ROWS]} x {d[TILE_COLUMNS]} tiles overhang decisions of {decisions.rows} x {decisions.columns}")
    if unpool is not None:
        demand(unpool.kind == "bytes" and unpool.shape == x.shape, f"unpooling {x.shape} by decisions {unpool.shape}")
        demand(d[PAD_TOP] == d[PAD_LEFT] == 1, "unpooling while reading needs a padding of 1")


def check_weight_gradient(x, dy, dw, pad):
    """The arrays of a 3x3 weight gradient."""
    if not ON:
        return
    (N, H, W, C), (_, OH, OW, K) = x.shape, dy.shape
    check_array("x", x)
    check_array("dy", dy, (N, OH, OW, K))
    check_array("dw", dw, (3, 3, C, K))
    demand(all(0 <= p <= 2 for p in pad), f"padding {tuple(pad)}")
    demand(H + pad[0] >= OH and W + pad[1] >= OW, f"dy {dy.shape} of x {x.shape} with padding {tuple(pad)}")
