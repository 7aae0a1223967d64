"""The kernels of Winograd's convolution: what one thread does with its items. winograd.py explains and cuts the work.

Every function here gets the description of the work, `d`: the int64 numbers named below (addresses, sizes in elements).
"""
from . import vector as v
from . import winograd_transforms as t
from .compile_cache import helper, kernel
from .gemm import PANEL, multiply_ahead

BLOCK = 64              # channels per block of U, in either direction; whole panels
COLUMNS = 32            # of weights that lie side by side, see winograd.blocked
PAD = 64                # bytes between components: streams at a distance of a power of two would share cache lines
PATCH_BYTES = 2 * 36 * 2 * BLOCK * t.SIZE      # the deepest block is twice as deep
SPARE_BYTES = 9 * v.LANES * v.LANES * t.SIZE

# ------------------------------------------------------------------------------------------------ descriptor

(X, WEIGHTS, BIAS, Y, DECISIONS, UNPOOL, V, U,                      # addresses; V, U: 0 where each thread has its own
 IMAGES, H, W, C, YH, YW, K, PAD_TOP, PAD_LEFT,                     # x (IMAGES, H, W, C), y (IMAGES, YH, YW, K)
 W_C, W_K, BLOCKED, TURNED,                                         # weights (3, 3, W_C, W_K), see _weights
 TILE_ROWS, TILE_COLUMNS, TILES, FIRST_TILE, COUNT,                 # tiles of a picture, of an item, of this call
 DEPTH, WIDTH,                                                      # input channels and outputs of a block of U
 PHASE, FINISH, RULE, DECISION_ROWS, DECISION_COLUMNS, UNPOOL_ROWS, UNPOOL_COLUMNS,
 PITCH,                                                             # from a position of y to the next: K or more
 FIELDS) = range(37)
ALL, FILTERS, INPUTS, PRODUCTS = range(4)                          # phase, see _work
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
def window(n, top, left, first, count, address, row, column, size, rows, columns, channels, patch):
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
    """Transform channels first .. first+count-1 of one tile. count is a multiple of LANES. unpool: None when forward.

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
        window(n, top, left, first, count, x, row, column, t.SIZE, d[H], d[W], d[C], patch)
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
            window(n, top, left, first, count, cells, cell_row, cell_column, 1, d[H], d[W], cell_column, aside)
            cells, cell_row, cell_column = aside, n * count, count
        unpool(source, row, column, cells, cell_row, cell_column, out, component, count)


@helper
def _inputs(d, space, patch, start, first, last, tiles, m, plain, unpool):
    """Transform tiles start+first .. start+last-1, all channels, to places first .. last-1 of V."""
    channels = _up(d[C], v.LANES)
    block = (m + 2) * (m + 2) * (tiles * d[DEPTH] * t.SIZE + PAD)
    for c in range(0, channels, d[DEPTH]):
        count = min(d[DEPTH], channels - c)
        component = tiles * count * t.SIZE + PAD
        for i in range(first, last):
            tile = start + i
            image = tile // (d[TILE_ROWS] * d[TILE_COLUMNS])
            rest = tile - image * d[TILE_ROWS] * d[TILE_COLUMNS]
            row = rest // d[TILE_COLUMNS]
            column = rest - row * d[TILE_COLUMNS]
            _input_tile(d, image, row * m - d[PAD_TOP], column * m - d[PAD_LEFT], c, count,
                        space + c // d[DEPTH] * block + i * count * t.SIZE, component, patch, m, plain, unpool)


# -------------------------------------------------------------------------------------------------- products


@helper
def _weights(d, row, column):
    """Where w[:, :, row, column] lies: the address of the first of the nine, and the distances of taps and rows."""
    if d[BLOCKED]:
        left = column // COLUMNS * COLUMNS
        width = min(COLUMNS, d[W_K] - left)
        return (d[WEIGHTS] + (9 * (left * d[W_C] + row * width) + column - left) * t.SIZE,
                width * t.SIZE, 9 * width * t.SIZE)
    return d[WEIGHTS] + (row * d[W_K] + column) * t.SIZE, d[W_C] * d[W_K] * t.SIZE, d[W_K] * t.SIZE


@helper
def _filters(d, out, component, c, depth, k, width, spare, transform, turned):
    """U for `depth` input channels from c and `width` outputs from k: (component, panel, depth, PANEL)."""
    for j in range(0, width, v.LANES):
        panel = out + (j // PANEL * PANEL * depth + j % PANEL) * t.SIZE
        if turned is None:
            weights, tap, row = _weights(d, c, k + j)
            transform(weights, 3 * tap, tap, row, panel, component, PANEL * t.SIZE, depth)
        else:                   # inputs and outputs exchanged, and the 3x3 turned round
            block = v.LANES * v.REGISTER
            for i in range(0, depth, v.LANES):
                weights, tap, row = _weights(d, k + j, c + i)
                for s in range(9):
                    t.transpose_block(weights + s * tap, row, spare + (8 - s) * block, v.REGISTER)
                transform(spare, 3 * block, block, v.REGISTER, panel + i * PANEL * t.SIZE, component, PANEL * t.SIZE,
                          v.LANES)


@helper
def _prefetch_weights(d, c, k, part, parts):
    """Ask for a part of the weights of the block that begins at input channel c, output k."""
    rows, height, columns, width = (k, d[WIDTH], c, d[DEPTH]) if d[TURNED] else (c, d[DEPTH], k, d[WIDTH])
    height, width = min(height, d[W_C] - rows), min(width, d[W_K] - columns)
    if height <= 0 or width <= 0:
        return
    begin, end = 9 * height * part // parts, 9 * height * (part + 1) // parts       # lines of all nine taps
    for column in range(columns, columns + width, COLUMNS):
        weights, tap, row = _weights(d, rows, column)
        size = min(COLUMNS, columns + width - column) * t.SIZE
        if d[BLOCKED]:
            v.prefetch_rows(weights + begin * size, size, end - begin, size)
        else:
            for line in range(begin, end):
                v.prefetch_rows(weights + line // height * tap + line % height * row, row, 1, size)


@helper
def _products(d, space, tiles, count, k, width, u, products, spare, zeros, m, transform, turned):
    """M (component, tile, width) of the first `count` tiles of V with outputs k .. k+width-1."""
    components = (m + 2) * (m + 2)
    total = _up(d[C], v.LANES)
    whole = _up(width, PANEL)
    m_component = tiles * whole * t.SIZE + PAD
    for c in range(0, total, d[DEPTH]):
        depth = min(d[DEPTH], total - c)
        u_component = depth * whole * t.SIZE + PAD
        v_component = tiles * depth * t.SIZE + PAD
        if d[PHASE] == FILTERS or not d[U]:
            _filters(d, u, u_component, c, depth, k, width, spare, transform, turned)
        block = space + c // d[DEPTH] * components * (tiles * d[DEPTH] * t.SIZE + PAD)
        next_c = c + d[DEPTH] if c + d[DEPTH] < total else 0
        next_k = k if next_c else k + width
        for i in range(components):
            if not d[U]:
                _prefetch_weights(d, next_c, next_k, i, components)
            for p in range(0, whole, PANEL):
                target = products + i * m_component + p * t.SIZE
                multiply_ahead(block + i * v_component, depth, u + i * u_component + p * depth * t.SIZE,
                               zeros if c == 0 else target, 0 if c == 0 else whole, target, whole, count, depth,
                               block + (i + 1) * v_component)


# --------------------------------------------------------------------------------------------------- outputs


@helper
def _finish(d, products, component, y, row, column, extra, decisions, decision_row, decision_column, count,
            plain, relu, pool):
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
    y_column = d[PITCH] * t.SIZE
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


@helper
def _work(d, scratch, first, last, m, plain_input, unpool, filters, turned, finish, one, two, three):
    """Items first .. last-1 of the phase: blocks of tiles with all that is done to them (ALL), tiles (INPUTS), or
    blocks of outputs (PRODUCTS). FILTERS is the same without a tile: it leaves U, of a single block, to be kept."""
    components = (m + 2) * (m + 2)
    tiles, phase = d[TILES], d[PHASE]
    outputs = _up(d[K], v.LANES)
    patch = scratch
    spare = patch + PATCH_BYTES
    zeros = spare + SPARE_BYTES
    own = zeros + PANEL * t.SIZE
    u = d[U] if d[U] else own
    products = own + (0 if d[U] else components * (d[DEPTH] * d[WIDTH] * t.SIZE + PAD))
    space = d[V] if d[V] else products + components * (tiles * d[WIDTH] * t.SIZE + PAD)
    v.clear(zeros, PANEL * t.SIZE)
    for item in range(first, last):
        start, begin, end, count, k_begin, k_end = d[FIRST_TILE], 0, 0, d[COUNT], item * d[WIDTH], item * d[WIDTH] + 1
        if phase == ALL:
            start = item * tiles
            count = min(tiles, d[COUNT] - start)
            end, k_begin, k_end = count, 0, outputs
        if phase == INPUTS:
            begin, end, k_begin, k_end = item, item + 1, 0, 0
        _inputs(d, space, patch, start, begin, end, tiles, m, plain_input, unpool)
        for k in range(k_begin, k_end, d[WIDTH]):
            width = min(d[WIDTH], outputs - k)
            _products(d, space, tiles, count, k, width, u, products, spare, zeros, m, filters, turned)
            _outputs(d, products, tiles, start, count, k, width, patch, m, finish, one, two, three)


@kernel
def forward_2(d, scratch, first, last):
    _work(d, scratch, first, last, 2, _input_2, None, _filter_2, None, _finish, _plain_2, _relu_2, _pool_2)


@kernel
def forward_4(d, scratch, first, last):
    _work(d, scratch, first, last, 4, _input_4, None, _filter_4, None, _finish, _plain_4, _relu_4, _pool_4)


@kernel
def gradient_2(d, scratch, first, last):
    _work(d, scratch, first, last, 2, _input_2, _unpool_2, _filter_2, 1, _finish_gradient, _plain_2, _mask_2,
          _pool_mask_2)


@kernel
def gradient_4(d, scratch, first, last):
    _work(d, scratch, first, last, 4, _input_4, _unpool_4, _filter_4, 1, _finish_gradient, _plain_4, _mask_4,
          _pool_mask_4)
