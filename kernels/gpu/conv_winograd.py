"""Winograd's convolution: transforms of our own around 36 strided matrix products by cuBLAS (cublas.py).

Tiles go in batches whose transformed inputs and products fit into the workspace. A chain hands over what its pooling
needs: `cells` of a 2x2 max pooling that follows (written) or whose gradient is convolved (read).
"""
import numpy as np

from . import launch
from .conv_launch import NONE, WORKSPACE, words

TILE, ELEMENTS = 4, 36
_SOURCE = "conv_winograd.cu"
_WARPS = 8


def tiles(part):
    """How many tiles of 4x4 outputs there are."""
    return part.N * -(-part.OH // TILE) * -(-part.OW // TILE)


def batch(part, workspace=None):
    """How many of them go at a time."""
    each = 4 * ELEMENTS * (part.C + part.K)
    return max(1, min(tiles(part), min(workspace or WORKSPACE, WORKSPACE) // each))


def convolve(part, x, u, bias, y, finish=NONE, mask=None, bits=None, cells=None, spread=None, pool=False,
             workspace=None):
    """Fill y. u: the transformed filters (36, C, K).

    pool    ReLU and 2x2 max pooling as well: y is pooled, `bits` and `cells` are written (or None)
    spread  the cells of the pooling whose gradient x is: x (N, H/2, W/2, C) is spread to H x W while it is read
    """
    every, many = tiles(part), batch(part, workspace)
    v = launch.empty(x, ELEMENTS * many * part.C, np.float32)
    m = launch.empty(x, ELEMENTS * many * part.K, np.float32)
    shape = part.struct()
    for first in range(0, every, many):
        count = min(many, every - first)
        which = (np.int64(first), np.int64(count))
        vs = v[:ELEMENTS * count * part.C].reshape(ELEMENTS, count, part.C)
        ms = m[:ELEMENTS * count * part.K].reshape(ELEMENTS, count, part.K)
        launch.run(_SOURCE, "winograd_input_f32", -(-count * part.C // 256), 256, (shape, x, spread, vs, *which))
        launch.product(vs, u, ms)
        grid, block = (-(-count // _WARPS), words(part.K)), (32, _WARPS)
        if pool:
            launch.run(_SOURCE, "winograd_output_pool_f32", grid, block, (shape, ms, bias, y, bits, cells, *which))
        else:
            launch.run(_SOURCE, "winograd_output_f32", grid, block,
                       (shape, ms, bias, y, mask, bits, np.int32(finish), *which))
