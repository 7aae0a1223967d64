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
from . import winograd_transforms as t
from .addresses import address
from .compile_cache import helper, inlined, kernel
from .gemm import PANEL, multiply_ahead

BLOCK = 64              # channels per block of U, in either direction; whole panels
PAD = 64                # bytes between components: streams at a distance of a power of two would share cache lines
PATCH_BYTES = 2 * 36 * BLOCK * t.SIZE
SPARE_BYTES = 9 * v.LANES * v.LANES * t.SIZE

# ------------------------------------------------------------------------------------------------ descriptor

FIELDS = """x w bias y decisions unpool v
            images H W C YH YW K pad_top pad_left w_c w_k blocked turned
            tile_rows tile_columns tiles phase first_tile count finish rule
            decision_rows decision_columns unpool_rows unpool_columns""".split()
(X, WEIGHTS, BIAS, Y, DECISIONS, UNPOOL, V,
 IMAGES, H, W, C, YH, YW, K, PAD_TOP, PAD_LEFT, W_C, W_K, BLOCKED, TURNED,
 TILE_ROWS, TILE_COLUMNS, TILES, PHASE, FIRST_TILE, COUNT, FINISH, RULE,
 DECISION_ROWS, DECISION_COLUMNS, UNPOOL_ROWS, UNPOOL_COLUMNS) = range(len(FIELDS))
ALL, INPUTS, PRODUCTS = range(3)                                   # phase
PLAIN, RELU, POOL, MASK, POOL_MASK = range(5)                      # finish

_input_2, _input_4 = t.input_transform(2), t.input_transform(4)
_unpool_2, _unpool_4 = t.unpooling_input_transform(2), t.unpooling_input_transform(4)
_filter_2, _filter_4 = t.filter_transform(2), t.filter_transform(4)
_plain_2, _plain_4 = t.output_transform(2, "bias"), t.output_transform(4, "bias")
_relu_2, _relu_4 = t.output_transform(2, "relu"), t.output_transform(4, "relu")
_pool_2, _pool_4 = t.output_transform(2, "pool"), t.output_transform(4, "pool")
_mask_2, _mask_4 = t.output_transform(2, "mask"), t.output_transform(4, "mask")
_pool_mask_2, _pool_mask_4 = t.output_transform(2, "pool mask"), t.output_transform(4, "pool mask")


@helper
def _up(value, multiple):
    return (value + multiple - 1) // multiple * multiple


# ---------------------------------------------------------------------------------------------------- inputs


@helper
def _window(n, top, left, first, count, address, row, column, size, rows, columns, channels, patch):
    """Copy what lies inside the map of a window n x n at (top, left) into a patch of zeros. `size`: bytes per channel.
    address is that of the map's picture; row and column its distances in bytes."""
    v.clear(patch, n * n * count * size)
    width = min(count, channels - first) * size
    for i in range(max(0, -top), min(n, rows - top)):
        for j in range(max(0, -left), min(n, columns - left)):
            v.copy(patch + (i * n + j) * count * size, address + (top + i) * row + (left + j) * column + first * size,
                   width)


@helper
def _input_tile(d, image, top, left, first, count, out, component, patch, m, plain, unpool):
    """Transform channels first .. first+count-1 of one tile. count is a multiple of LANES. unpool: None in forward passes.

    Where x is a pooled gradient, the tile begins in the lower right cell of a window, and n counts windows.
    """
    n = m + 2
    spread = False
    if unpool is not None:
        spread = d[UNPOOL] != 0
    if spread:
        top, left, n = (top - 1) // 2, (left - 1) // 2, n // 2 + 1
    inside = top >= 0 and left >= 0 and top + n <= d[H] and left + n <= d[W] and first + count <= d[C]
    column = d[C] * t.SIZE
    row = d[W] * column
    x = d[X] + image * d[H] * row
    if inside:
        source = x + top * row + left * column + first * t.SIZE
    else:
        _window(n, top, left, first, count, x, row, column, t.SIZE, d[H], d[W], d[C], patch)
        source, row, column = patch, n * count * t.SIZE, count * t.SIZE
    if not spread:
        plain(source, row, column, out, component, count)
    if unpool is not None and spread:
        cell_column = _up(d[C], v.LANES)
        cell_row = d[UNPOOL_COLUMNS] * cell_column
        cells = d[UNPOOL] + image * d[UNPOOL_ROWS] * cell_row
        if inside:
            cells += top * cell_row + left * cell_column + first
        else:
            aside = patch + n * n * count * t.SIZE
            _window(n, top, left, first, count, cells, cell_row, cell_column, 1, d[H], d[W], cell_column, aside)
            cells, cell_row, cell_column = aside, n * count, count
        unpool(source, row, column, cells, cell_row, cell_column, out, component, count)


@inlined
def _inputs(d, space, patch, start, first, last, tiles, m, plain, unpool):
    """Transform tiles start+first .. start+last-1, all channels, to places first .. last-1 of V."""
    depth = _up(d[C], v.LANES)
    block = (m + 2) * (m + 2) * (tiles * BLOCK * t.SIZE + PAD)
    for c in range(0, depth, BLOCK):
        count = min(BLOCK, depth - c)
        component = tiles * count * t.SIZE + PAD
        for i in range(first, last):
            tile = start + i
            image = tile // (d[TILE_ROWS] * d[TILE_COLUMNS])
            rest = tile - image * d[TILE_ROWS] * d[TILE_COLUMNS]
            row = rest // d[TILE_COLUMNS]
            column = rest - row * d[TILE_COLUMNS]
            _input_tile(d, image, row * m - d[PAD_TOP], column * m - d[PAD_LEFT], c, count,
                        space + c // BLOCK * block + i * count * t.SIZE, component, patch, m, plain, unpool)


# -------------------------------------------------------------------------------------------------- products


@helper
def _weight_block(d, rows, columns):
    """Where the 3x3 block of weights w[:, :, rows.., columns..] begins: address, and distances of taps and rows."""
    if d[BLOCKED]:
        height, width = min(BLOCK, d[W_C] - rows), min(BLOCK, d[W_K] - columns)
        return (d[WEIGHTS] + 9 * (rows * d[W_K] + height * columns) * t.SIZE, height * width * t.SIZE, width * t.SIZE)
    return d[WEIGHTS] + (rows * d[W_K] + columns) * t.SIZE, d[W_C] * d[W_K] * t.SIZE, d[W_K] * t.SIZE


@helper
def _filters(d, out, component, c, depth, k, width, spare, transform, turned):
    """U for `depth` input channels from c and `width` outputs from k: (component, panel, depth, PANEL)."""
    if turned is None:
        weights, tap, row = _weight_block(d, c, k)
        for j in range(0, width, v.LANES):
            panel = out + (j // PANEL * PANEL * depth + j % PANEL) * t.SIZE
            transform(weights + j * t.SIZE, 3 * tap, tap, row, panel, component, PANEL * t.SIZE, depth)
    else:                       # inputs and outputs exchanged, and the 3x3 turned round
        weights, tap, row = _weight_block(d, k, c)
        block = v.LANES * v.REGISTER
        for j in range(0, width, v.LANES):
            panel = out + (j // PANEL * PANEL * depth + j % PANEL) * t.SIZE
            for i in range(0, depth, v.LANES):
                for s in range(9):
                    t.transpose_block(weights + s * tap + j * row + i * t.SIZE, row, spare + (8 - s) * block, v.REGISTER)
                transform(spare, 3 * block, block, v.REGISTER, panel + i * PANEL * t.SIZE, component, PANEL * t.SIZE,
                          v.LANES)


@helper
def _prefetch_weights(d, c, k, part, parts):
    """Ask for a part of the weights of the block that begins at input channel c, output k."""
    rows, columns = (k, c) if d[TURNED] else (c, k)
    height, width = min(BLOCK, d[W_C] - rows), min(BLOCK, d[W_K] - columns) * t.SIZE
    if height <= 0 or width <= 0:
        return
    weights, tap, row = _weight_block(d, rows, columns)
    begin, end = 9 * height * part // parts, 9 * height * (part + 1) // parts
    if d[BLOCKED]:
        v.prefetch_rows(weights + begin * width, width, end - begin, width)
    else:
        for r in range(begin, end):
            v.prefetch_rows(weights + r // height * tap + r % height * row, row, 1, width)


@inlined
def _products(d, space, tiles, count, k, width, u, products, spare, zeros, m, transform, turned, remake):
    """M (component, tile, width) of the first `count` tiles of V with outputs k .. k+width-1.

    remake: False if U still holds the only block there is.
    """
    components = (m + 2) * (m + 2)
    total = _up(d[C], v.LANES)
    whole = _up(width, PANEL)
    m_component = tiles * whole * t.SIZE + PAD
    for c in range(0, total, BLOCK):
        depth = min(BLOCK, total - c)
        u_component = depth * whole * t.SIZE + PAD
        v_component = tiles * depth * t.SIZE + PAD
        if remake:
            _filters(d, u, u_component, c, depth, k, width, spare, transform, turned)
        block = space + c // BLOCK * components * (tiles * BLOCK * t.SIZE + PAD)
        next_c = c + BLOCK if c + BLOCK < total else 0
        next_k = k if next_c else k + width
        for i in range(components):
            _prefetch_weights(d, next_c, next_k, i, components)
            for p in range(0, whole, PANEL):
                target = products + i * m_component + p * t.SIZE
                multiply_ahead(block + i * v_component, depth, u + i * u_component + p * depth * t.SIZE,
                               zeros if c == 0 else target, 0 if c == 0 else whole, target, whole, count, depth,
                               block + (i + 1) * v_component)


# --------------------------------------------------------------------------------------------------- outputs


@helper
def _finish(d, products, component, y, row, column, extra, decisions, decision_row, decision_column, count, plain, relu,
            pool):
    if d[FINISH] == RELU:
        relu(products, component, y, row, column, extra, decisions, decision_row, decision_column, count)
    elif d[FINISH] == POOL:
        pool(products, component, y, row, column, extra, decisions, decision_row, decision_column, count)
    else:
        plain(products, component, y, row, column, extra, decisions, decision_row, decision_column, count)


@helper
def _finish_gradient(d, products, component, y, row, column, extra, decisions, decision_row, decision_column, count,
                     plain, mask, pool_mask):
    if d[FINISH] == MASK:
        mask(products, component, y, row, column, d[RULE], decisions, decision_row, decision_column, count)
    elif d[FINISH] == POOL_MASK:
        pool_mask(products, component, y, row, column, d[RULE], decisions, decision_row, decision_column, count)
    else:
        plain(products, component, y, row, column, extra, decisions, decision_row, decision_column, count)


@helper
def _outputs(d, products, tiles, start, count, k, width, patch, m, finish, one, two, three):
    """Finish `count` tiles, outputs k .. k+width-1 (width a multiple of LANES; those beyond K are dropped)."""
    whole = _up(width, PANEL)
    component = tiles * whole * t.SIZE + PAD
    side = m // 2 if d[FINISH] == POOL else m                   # numbers of y per tile and direction
    y_column = d[K] * t.SIZE
    y_row = d[YW] * y_column
    channels = _up(d[K], v.LANES)
    if d[FINISH] == POOL or d[FINISH] == POOL_MASK:
        decision_column, offset = channels, k
    else:
        decision_column, offset = channels // v.LANES * v.BITS_BYTES, k // v.LANES * v.BITS_BYTES
    decision_row = d[DECISION_COLUMNS] * decision_column
    for i in range(count):
        tile = start + i
        image = tile // (d[TILE_ROWS] * d[TILE_COLUMNS])
        rest = tile - image * d[TILE_ROWS] * d[TILE_COLUMNS]
        tile_row = rest // d[TILE_COLUMNS]
        top, left = tile_row * side, (rest - tile_row * d[TILE_COLUMNS]) * side
        y = d[Y] + (image * d[YH] + top) * y_row + left * y_column + k * t.SIZE
        decisions = d[DECISIONS] + (image * d[DECISION_ROWS] + top) * decision_row + left * decision_column + offset
        inside = top + side <= d[YH] and left + side <= d[YW] and k + width <= d[K]
        target, row, column = patch, side * width * t.SIZE, width * t.SIZE
        if inside:
            target, row, column = y, y_row, y_column
        finish(d, products + i * whole * t.SIZE, component, target, row, column, d[BIAS] + k * t.SIZE,
               decisions, decision_row, decision_column, width, one, two, three)
        if not inside:
            kept = min(width, d[K] - k) * t.SIZE
            for a in range(min(side, d[YH] - top)):
                for c in range(min(side, d[YW] - left)):
                    v.copy(y + a * y_row + c * y_column, patch + (a * side + c) * width * t.SIZE, kept)


# ----------------------------------------------------------------------------------------------------- items


@inlined
def _work(d, scratch, first, last, m, plain_input, unpool, filters, turned, finish, one, two, three):
    """Items first .. last-1 of the phase that the descriptor names: blocks of tiles with all that is done to them (ALL),
    single tiles (INPUTS), or blocks of outputs (PRODUCTS)."""
    components = (m + 2) * (m + 2)
    tiles, phase = d[TILES], d[PHASE]
    outputs = _up(d[K], v.LANES)
    patch = scratch
    spare = patch + PATCH_BYTES
    zeros = spare + SPARE_BYTES
    u = zeros + PANEL * t.SIZE
    products = u + components * (BLOCK * BLOCK * t.SIZE + PAD)
    space = products + components * (tiles * BLOCK * t.SIZE + PAD) if phase == ALL else d[V]
    v.clear(zeros, PANEL * t.SIZE)
    for item in range(first, last):
        start, begin, end, count, k_begin, k_end = d[FIRST_TILE], 0, 0, d[COUNT], item * BLOCK, item * BLOCK + 1
        if phase == ALL:
            start = item * tiles
            count = min(tiles, d[COUNT] - start)
            end, k_begin, k_end = count, 0, outputs
        if phase == INPUTS:
            begin, end, k_begin, k_end = item, item + 1, 0, 0
        _inputs(d, space, patch, start, begin, end, tiles, m, plain_input, unpool)
        for k in range(k_begin, k_end, BLOCK):
            width = min(BLOCK, outputs - k)
            _products(d, space, tiles, count, k, width, u, products, spare, zeros, m, filters, turned,
                      item == first or outputs > BLOCK or d[C] > BLOCK)
            _outputs(d, products, tiles, start, count, k, width, patch, m, finish, one, two, three)


@kernel
def forward_2(d, scratch, first, last):
    _work(d, scratch, first, last, 2, _input_2, None, _filter_2, None, _finish, _plain_2, _relu_2, _pool_2)


@kernel
def forward_4(d, scratch, first, last):
    _work(d, scratch, first, last, 4, _input_4, None, _filter_4, None, _finish, _plain_4, _relu_4, _pool_4)


@kernel
def gradient_2(d, scratch, first, last):
    _work(d, scratch, first, last, 2, _input_2, _unpool_2, _filter_2, 1, _finish_gradient, _plain_2, _mask_2, _pool_mask_2)


@kernel
def gradient_4(d, scratch, first, last):
    _work(d, scratch, first, last, 4, _input_4, _unpool_4, _filter_4, 1, _finish_gradient, _plain_4, _mask_4, _pool_mask_4)


# -------------------------------------------------------------------------------------------- seen from Python

_KERNELS = {(2, False): forward_2, (4, False): forward_4, (2, True): gradient_2, (4, True): gradient_4}


ITEM_TILES = 56             # V and M of so many tiles share a 2 MiB cache with U; fewer make U too large a part of the work
SHARED_TILES = 112          # tiles in V where all threads work on the same ones


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
    """The same in the order in which they are used: block after block (9, BLOCK, BLOCK), so that they stream from memory.
    Worth a copy for weights that are used often; small ones stay in the cache anyway."""
    plain = padded(w)
    C, K = plain.channels
    if plain.values.size < 1 << 17:
        return plain
    values = buffers.fresh(plain.values.nbytes).view(np.float32)
    begin = 0
    for c in range(0, C, BLOCK):
        for k in range(0, K, BLOCK):
            block = plain.values[:, :, c:c + BLOCK, k:k + BLOCK]
            values[begin:begin + block.size].reshape(block.shape)[...] = block
            begin += block.size
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
    d = np.zeros(len(FIELDS), np.int64)
    d[[X, WEIGHTS, Y]] = address(x), address(w.values), address(y)
    d[IMAGES:W_K + 1] = (*x.shape, *y.shape[1:], *pad, *w.channels)
    d[[BLOCKED, TURNED, FINISH, RULE]] = w.is_blocked, turned, finish, rule
    if bias is None:
        bias = np.zeros(_whole(y.shape[3]), np.float32)
    d[BIAS] = address(bias)
    if decisions is not None:
        d[[DECISIONS, DECISION_ROWS, DECISION_COLUMNS]] = decisions.address, decisions.rows, decisions.columns
    if unpool is not None:
        d[[UNPOOL, UNPOOL_ROWS, UNPOOL_COLUMNS]] = unpool.address, unpool.rows, unpool.columns
    d[TILE_ROWS], d[TILE_COLUMNS] = (-(-size * scale // m) for size in y.shape[1:3])
    debug.check_winograd(d, x, w, y, m, bias, decisions, unpool)
    _run(d, _KERNELS[m, turned], m)


def _run(d, function, m):
    """Cut the work: blocks of tiles for each thread, or, with too few of them, panels of outputs."""
    total = int(d[IMAGES] * d[TILE_ROWS] * d[TILE_COLUMNS])
    components = (m + 2) ** 2
    channels, outputs = _whole(int(d[C])), _whole(int(d[K]))
    workers = threads.get_threads()
    fixed = PATCH_BYTES + SPARE_BYTES + PANEL * t.SIZE + components * (BLOCK * BLOCK * t.SIZE + PAD)

    def inputs(tiles):
        return components * (tiles * channels * t.SIZE + PAD * -(-channels // BLOCK))

    def products(tiles):
        return fixed + components * (tiles * BLOCK * t.SIZE + PAD)

    blocks = -(-total // ITEM_TILES)
    if workers == 1 or blocks >= 2 * workers:
        if blocks < 4 * workers:
            blocks = -(-blocks // workers) * workers
        tiles = -(-total // blocks)
        d[[TILES, PHASE, COUNT]] = tiles, ALL, total
        items = -(-total // tiles)
        chunk = max(1, items // (8 * workers))
        threads.run(function, d, items, chunk, products(tiles) + inputs(tiles))
        return
    tiles = -(-total // -(-total // SHARED_TILES))
    with buffers.Lease(inputs(tiles)) as shared:
        d[[TILES, V]] = tiles, address(shared)
        for first in range(0, total, tiles):
            count = min(tiles, total - first)
            d[[FIRST_TILE, COUNT, PHASE]] = first, count, INPUTS
            threads.run(function, d, count, max(1, count // (4 * workers)), fixed)
            d[PHASE] = PRODUCTS
            threads.run(function, d, -(-outputs // BLOCK), 1, products(tiles))
