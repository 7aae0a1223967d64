"""The weight gradient of a 3x3 convolution, stride 1, by Winograd's algorithm: a quarter of direct's products.

The algorithm y = A^T [ (G g) * (B^T d) ] (winograd_math.py) is linear in the filter g, so its gradient is the transpose
of that: for each tile the gradient dy goes up through A, meets the same transformed input as in the forward pass, and
only the sum over all tiles comes back down through G^T.

    V  = B^T x B                (component, tile, C)        x: overlapping (m+2) x (m+2) tiles
    Z  = A dy A^T               (component, tile, K)        dy: m x m tiles
    S  = sum over tiles of V^T Z, per component (C, K)      the products: (m+2)^2 per tile instead of 9 m^2
    dw = G^T S G                (3, 3, C, K)

One item of work is a block of BLOCK input and BLOCK output channels and a chunk of the tiles. V and Z of UNIT tiles are
made in this thread's cache, next to the block of S they are added to. Tiles are summed in order within a chunk and
chunks in order at the end; the chunks depend on the shapes alone, so the bits do not depend on threads.
"""
import numpy as np

from . import buffers, debug, threads
from . import vector as v
from . import winograd_transforms as t
from .addresses import address, float32_at, int64_at
from .compile_cache import helper, kernel
from .contract import NARROW, WIDE, single_block
from .gemm import ROWS
from .winograd_jobs import BLOCK, PAD, window

UNIT = 48                   # tiles: S, V and Z of so many share a 2 MiB cache
_CHUNKS = 16                # of the tiles at most, and
_ITEMS = 32                 # enough of them together with the blocks of channels for many threads

(X, DY, PARTIAL, IMAGES, H, W, C, OH, OW, K, PAD_TOP, PAD_LEFT, TILE_ROWS, TILE_COLUMNS, CHUNKS, K_BLOCKS,
 FIELDS) = range(17)

_input_2, _input_4 = t.input_transform(2), t.input_transform(4)
_gradient_2, _gradient_4 = t.gradient_transform(2), t.gradient_transform(4)
_weight_2, _weight_4 = t.weight_transform(2), t.weight_transform(4)


@helper
def _up(value, multiple):
    return (value + multiple - 1) // multiple * multiple


@helper
def _tile(picture, rows, columns, channels, top, left, side, first, count, out, component, patch, transform):
    """Transform channels first .. first+count-1 of a side x side tile of a picture, with zeros beyond its border."""
    column = channels * t.SIZE
    row = columns * column
    if top >= 0 and left >= 0 and top + side <= rows and left + side <= columns and first + count <= channels:
        source = picture + top * row + left * column + first * t.SIZE
    else:
        window(side, top, left, first, count, picture, row, column, t.SIZE, rows, columns, channels, patch)
        source, row, column = patch, side * count * t.SIZE, count * t.SIZE
    transform(source, row, column, out, component, count)


@helper
def _transform(d, begin, end, c, depth, k, width, inputs, gradients, patch, m, input_transform, gradient_transform):
    """V (component, tile, depth) and Z (component, tile, width) of the tiles begin .. end-1."""
    for tile in range(begin, end):
        image = tile // (d[TILE_ROWS] * d[TILE_COLUMNS])
        rest = tile - image * d[TILE_ROWS] * d[TILE_COLUMNS]
        row = rest // d[TILE_COLUMNS]
        top, left = row * m, (rest - row * d[TILE_COLUMNS]) * m
        _tile(d[X] + image * d[H] * d[W] * d[C] * t.SIZE, d[H], d[W], d[C], top - d[PAD_TOP], left - d[PAD_LEFT], m + 2,
              c, depth, inputs + (tile - begin) * depth * t.SIZE, UNIT * depth * t.SIZE + PAD, patch, input_transform)
        _tile(d[DY] + image * d[OH] * d[OW] * d[K] * t.SIZE, d[OH], d[OW], d[K], top, left, m,
              k, width, gradients + (tile - begin) * width * t.SIZE, UNIT * width * t.SIZE + PAD, patch,
              gradient_transform)


@helper
def _add_products(sums, inputs, gradients, tiles, depth, width, table, zeros, is_first, m):
    """S (component, depth, width) += V^T Z; is_first: S = V^T Z."""
    row = width * t.SIZE
    for i in range((m + 2) * (m + 2)):
        a, b = inputs + i * (UNIT * depth * t.SIZE + PAD), gradients + i * (UNIT * row + PAD)
        c = sums + i * (depth * row + PAD)
        for j in range(0, width, WIDE):
            narrow = width - j <= NARROW
            blocks = (depth + ROWS - 1) // ROWS
            for r in range(blocks):
                begin = depth * r // blocks             # blocks of nearly equal height: no thin one at the end
                place = c + begin * row + j * t.SIZE
                start, start_row = (zeros, 0) if is_first else (place, row)
                single_block(narrow, depth * (r + 1) // blocks - begin, a + begin * t.SIZE, t.SIZE, depth * t.SIZE,
                             table, 1, b + j * t.SIZE, row, tiles, start, start_row, place, row)


@helper
def _bring_down(d, out, sums, c, depth, k, width, patch, transform):
    """out[:, :, c.., k..] (3, 3, C, K) = G^T S G; channels that only fill up vectors are dropped."""
    component, tap = depth * width * t.SIZE + PAD, d[C] * d[K] * t.SIZE
    kept = min(width, d[K] - k) * t.SIZE
    for i in range(min(depth, d[C] - c)):
        place = out + ((c + i) * d[K] + k) * t.SIZE
        if kept == width * t.SIZE:
            transform(sums + i * width * t.SIZE, component, place, tap, width)
        else:
            transform(sums + i * width * t.SIZE, component, patch, width * t.SIZE, width)
            for s in range(9):
                v.copy(place + s * tap, patch + s * width * t.SIZE, kept)


@helper
def _work(d, scratch, first, last, m, input_transform, gradient_transform, weight_transform):
    """Items: (block of C, block of K, chunk of the tiles)."""
    components = (m + 2) * (m + 2)
    total = d[IMAGES] * d[TILE_ROWS] * d[TILE_COLUMNS]
    table, zeros = scratch, scratch + 64
    patch = zeros + WIDE * t.SIZE
    sums = patch + components * BLOCK * t.SIZE
    inputs = sums + components * (BLOCK * BLOCK * t.SIZE + PAD)
    gradients = inputs + components * (UNIT * BLOCK * t.SIZE + PAD)
    int64_at(table)[0] = int64_at(table)[1] = 0         # one segment, which begins where a and b do
    v.clear(zeros, WIDE * t.SIZE)
    for item in range(first, last):
        block, chunk = item // d[CHUNKS], item % d[CHUNKS]
        c, k = block // d[K_BLOCKS] * BLOCK, block % d[K_BLOCKS] * BLOCK
        depth, width = min(BLOCK, _up(d[C] - c, v.LANES)), min(BLOCK, _up(d[K] - k, v.LANES))
        begin, end = total * chunk // d[CHUNKS], total * (chunk + 1) // d[CHUNKS]
        for tile in range(begin, end, UNIT):
            tiles = min(UNIT, end - tile)
            _transform(d, tile, tile + tiles, c, depth, k, width, inputs, gradients, patch, m, input_transform,
                       gradient_transform)
            _add_products(sums, inputs, gradients, tiles, depth, width, table, zeros, tile == begin, m)
        _bring_down(d, d[PARTIAL] + chunk * 9 * d[C] * d[K] * t.SIZE, sums, c, depth, k, width, patch, weight_transform)


@kernel
def weight_gradient_2(d, scratch, first, last):
    _work(d, scratch, first, last, 2, _input_2, _gradient_2, _weight_2)


@kernel
def weight_gradient_4(d, scratch, first, last):
    _work(d, scratch, first, last, 4, _input_4, _gradient_4, _weight_4)


@kernel
def _add_chunks(d, scratch, first, last):
    """Items: pieces of `3:piece` numbers of dw. d: 0:partial 1:dw 2:chunks 3:piece 4:numbers."""
    for item in range(first, last):
        begin, end = item * d[3], min((item + 1) * d[3], d[4])
        dw = float32_at(d[1])
        for chunk in range(d[2]):
            partial = float32_at(d[0] + chunk * d[4] * t.SIZE)
            if chunk == 0:
                for i in range(begin, end):
                    dw[i] = partial[i]
            else:
                for i in range(begin, end):
                    dw[i] += partial[i]


def weight_gradient(x, dy, dw, m, pad):
    """Fill dw (3, 3, C, K). x (N, H, W, C), dy (N, OH, OW, K), dw contiguous float32; m: the tile; pad: (top, left)."""
    (N, H, W, C), (_, OH, OW, K) = x.shape, dy.shape
    blocks = [-(-channels // BLOCK) for channels in (C, K)]
    rows, columns = -(-OH // m), -(-OW // m)
    units = -(-N * rows * columns // UNIT)
    chunks = max(1, min(_CHUNKS, units, _ITEMS // (blocks[0] * blocks[1])))
    components = (m + 2)**2
    debug.check_weight_gradient(x, dy, dw, pad)
    scratch = 64 + WIDE * t.SIZE + components * (BLOCK * (1 + BLOCK + 2 * UNIT) * t.SIZE + 3 * PAD)
    with buffers.Lease(dw.nbytes * chunks if chunks > 1 else 0) as partial:
        d = np.array([address(x), address(dy), address(partial if chunks > 1 else dw), N, H, W, C, OH, OW, K, *pad,
                      rows, columns, chunks, blocks[1]], np.int64)
        threads.run(_KERNELS[m], d, blocks[0] * blocks[1] * chunks, 1, scratch)
        if chunks > 1:
            piece = 1 << 13
            d = np.array([address(partial), address(dw), chunks, piece, dw.size], np.int64)
            threads.run(_add_chunks, d, -(-dw.size // piece), 4)


_KERNELS = {2: weight_gradient_2, 4: weight_gradient_4}
