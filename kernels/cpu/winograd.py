"""3x3 convolution, stride 1, by Winograd's algorithm: how the work is cut. winograd_math.py says what is computed.

    input tiles --input transform--> V (component, tile, C)      n*n components; tiles overlap by 2
    weights     --filter transform-> U (component, C, K)         made anew from the plain weights, block by block
    M = V @ U per component                                      gemm.py
    M           --output transform-> y                           bias, ReLU, pooling, masks on the way

The filters are not kept transformed: that would take four times the memory of the weights, and reading it back from
main memory takes longer than making it from nine numbers in the cache. So one set of plain weights serves both passes;
the gradient reads it with C and K exchanged and the 3x3 turned round, which is all that a transposed convolution is.

One item of work is either a block of `tiles` tiles with all K outputs (many tiles: V stays in this thread's cache), or,
where that leaves threads idle, V is made by all threads first and an item is a panel of outputs. Sums over C run in
order in either case and every number has one such sum, so the result does not depend on the cut.

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
ITEM_TILES = 56         # V and M of so many tiles share a cache of 1 MiB with U; fewer make U too much of the work
KEPT_TILES = 28         # the same where U is made once: it is larger, and costs nothing
SHARED_TILES = 112      # tiles in V where all threads work on the same ones


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
    """y = finish(x convolved with w). x, y contiguous float32 (N, H, W, C) and (N, H, W, K); w: Weights.

    m: the tile. pad: (top, left); y's size says the rest. turned: w is that of the layer whose gradient this is.
    bias: pad_bias(b). decisions: Decisions, written by RELU and POOL, read by MASK and POOL_MASK, with a rule's number.
    unpool: Decisions ("bytes"); then x is the gradient of a 2x2 pooling and what is convolved is its gradient.
    """
    scale = 2 if finish == POOL else 1
    d = [0] * jobs.FIELDS
    d[jobs.X], d[jobs.WEIGHTS], d[jobs.Y] = address(x), address(w.values), address(y)
    d[jobs.IMAGES:jobs.W_K + 1] = (*x.shape, *y.shape[1:], *pad, *w.channels)
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


def _run(d, function, m):
    """Cut the work: blocks of tiles for each thread, or, with too few of them, panels of outputs."""
    total = d[jobs.IMAGES] * d[jobs.TILE_ROWS] * d[jobs.TILE_COLUMNS]
    components = (m + 2) ** 2
    channels, outputs = _whole(d[jobs.C]), _whole(d[jobs.K])
    kept = max(channels, outputs) <= BLOCK              # U is a single block
    depth = d[jobs.DEPTH] = BLOCK if kept else BLOCK // 2
    d = np.array(d, np.int64)
    item_tiles = KEPT_TILES if kept else ITEM_TILES
    workers = threads.get_threads()
    fixed = jobs.PATCH_BYTES + jobs.SPARE_BYTES + PANEL * t.SIZE + components * (BLOCK * BLOCK * t.SIZE + PAD)

    def inputs(tiles):
        return components * (tiles * channels * t.SIZE + PAD * -(-channels // depth))

    def products(tiles):
        return fixed + components * (tiles * BLOCK * t.SIZE + PAD)

    blocks = -(-total // item_tiles)
    if workers == 1 or blocks >= 2 * workers:
        if blocks < 4 * workers:
            blocks = -(-blocks // workers) * workers
        tiles = -(-total // blocks)
        d[[jobs.TILES, jobs.PHASE, jobs.COUNT]] = tiles, jobs.ALL, total
        items = -(-total // tiles)
        chunk = max(1, items // (8 * workers))
        threads.run(function, d, items, chunk, products(tiles) + inputs(tiles))
        return
    tiles = -(-total // -(-total // SHARED_TILES))
    with buffers.Lease(inputs(tiles)) as shared:
        d[[jobs.TILES, jobs.V]] = tiles, address(shared)
        for first in range(0, total, tiles):
            count = min(tiles, total - first)
            d[[jobs.FIRST_TILE, jobs.COUNT, jobs.PHASE]] = first, count, jobs.INPUTS
            threads.run(function, d, count, max(1, count // (4 * workers)), fixed)
            d[jobs.PHASE] = jobs.PRODUCTS
            threads.run(function, d, -(-outputs // BLOCK), 1, products(tiles))
