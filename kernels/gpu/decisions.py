"""What a chain keeps for its gradient, and the kernels that make and use it where no convolution does (see .cu).

bits    uint32 (N, H, W, ceil(C/32)): which numbers are above 0
cells   uint8 (N, H/2, W/2, C): which cell of its 2x2 window each pooled number was, row * 2 + column
"""
import numpy as np

from . import launch
from .conv_launch import empty_bits, words

_SOURCE = "conv_decisions.cu"
_WARPS = 8


def relu(x, keep):
    """-> max(x, 0), and the bits if they are to be kept."""
    y, bits = launch.empty(x, x.shape), empty_bits(x, x.shape) if keep else None
    places, C = _places(x), x.shape[3]
    if x.size:
        launch.run(_SOURCE, "relu_bits" + launch.suffix(x), (-(-places // _WARPS), words(C)), (32, _WARPS),
                   (x, y, bits, *launch.i64(places, C)))
    return y, bits


def relu_pool(x, keep):
    """ReLU and 2x2 max pooling in one pass. -> y (N, H/2, W/2, C), bits, cells (None unless kept)."""
    N, H, W, C = x.shape
    shape = (N, H // 2, W // 2, C)
    y = launch.empty(x, shape)
    bits, cells = (empty_bits(x, shape), launch.empty(x, shape, np.uint8)) if keep else (None, None)
    if y.size:
        launch.run(_SOURCE, "relu_pool" + launch.suffix(x), (-(-_places(y) // _WARPS), words(C)), (32, _WARPS),
                   (x, y, bits, cells, *launch.i64(N, H, W, C)))
    return y, bits, cells


def spread(dy, cells, shape):
    """The way back through that pooling: dy in the chosen cells of an array of `shape`, zero elsewhere."""
    dx = launch.empty(dy, shape)
    if dx.size:
        launch.run(_SOURCE, "spread" + launch.suffix(dy), -(-dx.size // 256), 256, (dy, cells, dx, *launch.i64(*shape)))
    return dx


def pull(dy, bits, rule):
    """A ReLU's rule (PLAIN, GUIDED or DECONV of conv_launch.py) applied to dy."""
    dx = launch.empty(dy, dy.shape)
    if dx.size:
        launch.run(_SOURCE, "pull" + launch.suffix(dy), -(-dx.size // 256), 256,
                   (dy, bits, dx, *launch.i64(_places(dy), dy.shape[3]), np.int32(rule)))
    return dx


def positive(bits, shape):
    """The bits as booleans of the given shape."""
    flags = launch.empty(bits, shape, np.uint8)
    if flags.size:
        launch.run(_SOURCE, "unpack_bits", -(-flags.size // 256), 256,
                   (bits, flags, *launch.i64(_places(flags), shape[3])))
    return flags.astype(bool)


def _places(x):
    return x.shape[0] * x.shape[1] * x.shape[2]
