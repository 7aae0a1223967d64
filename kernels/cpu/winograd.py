"""3x3 convolution, stride 1, by Winograd's algorithm: how the work is cut. winograd_math.py says what is computed.

    input tiles --input transform--> V (component, tile, C)      n*n components; tiles overlap by 2
    weights     --filter transform-> U (component, C, K)         made anew from the plain weights, block by block
    M = V @ U per component                                      gemm.py
    M           --output transform-> y                           bias, ReLU, pooling, masks on the way

The filters are not kept transformed: that would take four times the memory of the weights, and reading it back from
main memory takes longer than making it from nine numbers in the cache. So one set of plain weights serves both passes;
the gradient reads it with C and K exchanged and the 3x3 turned round, which is all that a transposed convolution is.

One item of work is either a block of `tiles` tiles with all K outputs (many tiles: V stays in this thread's cache), or,
where that leaves threads idle, V is made by all threads first and an item is a panel of outputs. Where U is small it is
made once, and kept. Sums over C run in order in every case and every number has one such sum, so the result does not
depend on the cut.

Pictures and maps are plain (N, H, W, C). A tile that crosses the border, or channels that do not fill vectors, go
through a small patch. Decisions (masks, switches) are padded so that they never need one.
"""
from typing import NamedTuple

import numpy as np

from . import buffers, debug, threads
from . import vector as v
from . import winograd_jobs as jobs
from . import winograd_transforms as t
from .addresses import address
from .gemm import PANEL
from .winograd_jobs import BLOCK, COLUMNS, MASK, PAD, PLAIN, POOL, POOL_MASK, RELU  # noqa: F401  (finishes: for callers)

_KERNELS = {(2, False): jobs.forward_2, (4, False): jobs.forward_4,
            (2, True): jobs.gradient_2, (4, True): jobs.gradient_4}
PANEL_WIDTH = max(32, PANEL)            # outputs of a narrow block of U
FEWEST_TILES, MOST_TILES = 48, 112      # tiles of an item: see `cut`
KEPT_TILES, KEPT_FILTERS = 28, 2 * BLOCK * BLOCK           # where U is made once
SHARED_TILES, FILTERS_PER_TILE = 112, 4096      # where all threads work on the same tiles: not each on all filters


class Weights(NamedTuple):
    """(3, 3, C, K) weights ready for use: C and K filled up to whole vectors; blocked: see `blocked`."""
    values: np.ndarray
    channels: tuple
    is_blocked: bool = False


def padded(w):
    """Weights with zeros up to whole vectors; w itself where it has them."""
    C, K = (_whole(n) for n in w.shape[2:])
    if w.shape[2:] == (C, K) and w.flags.c_contiguous and w.dtype == np.float32:
        return Weights(w, (C, K))
    values = np.zeros((3, 3, C, K), np.float32)
    values[:, :, :w.shape[2], :w.shape[3]] = w
    return Weights(values, (C, K))


def blocked(w):
    """The same in the order in which they are used: (C, 9, COLUMNS) for the first COLUMNS outputs, then for the next.
    So they stream from memory, and the nine of a filter are not a power of two apart, which would share cache lines.
    Worth a copy for weights that are used often."""
    plain = padded(w)
    C, K = plain.channels
    values = buffers.fresh(plain.values.nbytes).view(np.float32)
    for k in range(0, K, COLUMNS):
        part = plain.values.reshape(9, C, K)[:, :, k:k + COLUMNS].transpose(1, 0, 2)
        values[9 * C * k:][:part.size].reshape(part.shape)[...] = part
    return Weights(values, (C, K), True)


def _whole(channels):
    return -(-channels // v.LANES) * v.LANES


def pad_bias(b):
    """(K,) filled up with zeros to whole vectors."""
    padded = np.zeros(_whole(b.size), np.float32)
    padded[:b.size] = b
    return padded


def convolve(x, w, y, m, pad, bias=None, turned=False, finish=PLAIN, decisions=None, rule=0, unpool=None):
    """y = finish(x convolved with w). x, y float32 (N, H, W, C) and (N, H, W, K), contiguous but that y may be some of
    the channels of a larger array; w: Weights.

    m: the tile. pad: (top, left); y's size says the rest. turned: w is that of the layer whose gradient this is.
    bias: pad_bias(b). decisions: Decisions, written by RELU and POOL, read by MASK and POOL_MASK, with a rule's number.
    unpool: Decisions ("bytes"); then x is the gradient of a 2x2 pooling and what is convolved is its gradient.
    """
    scale = 2 if finish == POOL else 1
    d = [0] * jobs.FIELDS
    d[jobs.X], d[jobs.WEIGHTS], d[jobs.Y] = address(x), address(w.values), address(y)
    d[jobs.IMAGES:jobs.W_K + 1] = (*x.shape, *y.shape[1:], *pad, *w.channels)
    d[jobs.PITCH] = y.strides[2] // t.SIZE
    d[jobs.BLOCKED], d[jobs.TURNED], d[jobs.FINISH], d[jobs.RULE] = w.is_blocked, turned, finish, rule
    if bias is None:
        bias = np.zeros(_whole(y.shape[3]), np.float32)
    d[jobs.BIAS] = address(bias)
    if decisions is not None:
        d[jobs.DECISIONS] = decisions.address
        d[jobs.DECISION_ROWS], d[jobs.DECISION_COLUMNS] = decisions.rows, decisions.columns
    if unpool is not None:
        d[jobs.UNPOOL], d[jobs.UNPOOL_ROWS], d[jobs.UNPOOL_COLUMNS] = unpool.address, unpool.rows, unpool.columns
    d[jobs.TILE_ROWS], d[jobs.TILE_COLUMNS] = (-(-size * scale // m) for size in y.shape[1:3])
    debug.check_winograd(d, x, w, y, m, bias, decisions, unpool)
    _run(d, _KERNELS[m, turned], m)


class Cut(NamedTuple):
    """How the work is cut. Blocks of U have depth x width filters; an item has `tiles` tiles; keep_filters: U is one
    block, made once and kept; share_inputs: all threads work on the same tiles, and an item is a panel of outputs."""
    depth: int
    width: int
    tiles: int
    keep_filters: bool = False
    share_inputs: bool = False


def cut(channels, outputs, total, workers):
    """The Cut for `total` tiles, as measured with a cache of 1 MiB a core: a block of U, what belongs to it of V,
    and M of an item should nearly fit. More tiles make U less of the work, deep blocks save reading and writing M."""
    depth, width = (BLOCK if count <= BLOCK else 2 * BLOCK for count in (channels, outputs))
    if depth * width <= KEPT_FILTERS and max(channels, outputs) <= 2 * BLOCK and total >= 2 * workers * MOST_TILES:
        return Cut(depth, width, KEPT_TILES, keep_filters=True)
    if channels * outputs * workers > FILTERS_PER_TILE * total and workers > 1:
        return Cut(PANEL_WIDTH, PANEL_WIDTH, SHARED_TILES, share_inputs=True)
    if channels <= BLOCK:
        depth, width, most = BLOCK, BLOCK, MOST_TILES // 2
    else:
        depth, width, most = depth if channels <= 2 * BLOCK else BLOCK, PANEL_WIDTH, MOST_TILES
    rounds = max(1, -(-total // (workers * most)), min(2, total // (workers * FEWEST_TILES)))     # items of a thread
    return Cut(depth, width, -(-total // (workers * rounds)))


def _run(d, function, m):
    """Cut the work that d describes, lend it memory, and have the threads do it."""
    total = d[jobs.IMAGES] * d[jobs.TILE_ROWS] * d[jobs.TILE_COLUMNS]
    channels, outputs = _whole(d[jobs.C]), _whole(d[jobs.K])
    workers, components = threads.get_threads(), (m + 2) ** 2
    depth, width, most, keep_filters, share_inputs = cut(channels, outputs, total, workers)
    tiles = -(-total // -(-total // most))          # of nearly equal items
    blocks, panels = -(-channels // depth), -(-outputs // width)
    filters = components * (depth * width * t.SIZE + PAD)
    inputs = components * blocks * (tiles * depth * t.SIZE + PAD)
    products = components * (tiles * width * t.SIZE + PAD)
    small = jobs.PATCH_BYTES + jobs.SPARE_BYTES + PANEL * t.SIZE
    d[jobs.DEPTH], d[jobs.WIDTH], d[jobs.TILES] = depth, width, tiles
    d = np.array(d, np.int64)
    if keep_filters:
        with buffers.Lease(filters) as kept:
            d[jobs.PHASE], d[jobs.U] = jobs.FILTERS, address(kept)      # COUNT, the tiles, is 0
            threads.run(function, d, 1, 1, small)
            _run_items(function, d, total, tiles, workers, small + products + inputs)
    elif share_inputs:
        with buffers.Lease(inputs) as shared:
            d[jobs.V] = address(shared)
            for first in range(0, total, tiles):
                count = min(tiles, total - first)
                d[[jobs.FIRST_TILE, jobs.COUNT, jobs.PHASE]] = first, count, jobs.INPUTS
                threads.run(function, d, count, max(1, count // (4 * workers)), small)
                d[jobs.PHASE] = jobs.PRODUCTS
                threads.run(function, d, panels, 1, small + filters + products)
    else:
        _run_items(function, d, total, tiles, workers, small + filters + products + inputs)


def _run_items(function, d, total, tiles, workers, scratch):
    """Blocks of tiles, each from x to y, with scratch bytes of work memory for each thread."""
    items = -(-total // tiles)
    d[[jobs.PHASE, jobs.COUNT]] = jobs.ALL, total
    threads.run(function, d, items, max(1, items // (8 * workers)), scratch)
