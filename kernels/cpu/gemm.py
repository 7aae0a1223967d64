"""Matrix product, the innermost part of every convolution here: C = start + A @ B in float32 (float64: double_*).

The micro-kernel keeps a small block of C in registers, ROWS x (2 vectors), and runs down the depth once: per step it
loads two vectors of B, and for each row multiplies them by one number of A held in all lanes. With AVX-512 that is
14 x 32 numbers in 28 of 32 registers, 28 multiply-adds for 16 loads; with AVX2 6 x 16 in 12 of 16.

B comes in panels of PANEL = 2 * LANES columns, each (depth, PANEL) and contiguous, so it is read in order. A is
(rows, depth) with a distance `lda` between rows. Every number of C is one sum over the depth in order, whatever block
it falls in, so cutting the rows in another way changes no bit.
"""
from . import vector as v
from .compile_cache import helper

VECTORS = 2                                         # of C per row
ROWS = 14 if v.REGISTERS == 32 else 6               # VECTORS * ROWS accumulators + VECTORS of B + 1 of A fit
PANEL = VECTORS * v.LANES                           # columns of a panel, float32
DOUBLE_PANEL = VECTORS * v.FLOAT64.lanes            # the same for float64


def _micro_kernel(b, rows, number, a, lda, panel, start, ldstart, c, ldc, depth, ahead):
    """Code for a block of `rows` rows. All addresses in bytes, lda ldc ldstart in numbers, depth >= 1.

    On its way it asks for `depth` cache lines from address `ahead`: what the caller reads next.
    """
    size = number.size
    row_bytes = v.scaled(b, lda, size)
    a_rows = [a]
    for _ in range(rows - 1):
        a_rows.append(b.add(a_rows[-1], row_bytes))
    accumulators = []
    for _ in range(rows):
        accumulators += [v.load(b, b.add(start, v.integer(number.size * number.lanes * j)), number)
                         for j in range(VECTORS)]
        start = b.add(start, v.scaled(b, ldstart, size))
    loop = v.Loop(b, depth, [*accumulators, panel])
    *sums, panel = loop.carried
    columns = [v.load(b, b.add(panel, v.integer(j * size * number.lanes)), number) for j in range(VECTORS)]
    offset = v.scaled(b, loop.index, size)
    v.prefetch(b, b.add(ahead, v.scaled(b, loop.index, 64)))
    for i in range(rows):
        factor = v.broadcast(b, b.add(a_rows[i], offset), number)
        for j in range(VECTORS):
            k = i * VECTORS + j
            sums[k] = v.multiply_add(b, factor, columns[j], sums[k], number)
    loop.end([*sums, b.add(panel, v.integer(VECTORS * size * number.lanes))])
    for i in range(rows):
        for j in range(VECTORS):
            v.store(b, sums[i * VECTORS + j], b.add(c, v.integer(j * size * number.lanes)), number)
        c = b.add(c, v.scaled(b, ldc, size))


@v.emit(10)
def _block(b, rows, *arguments):
    v.choose(b, rows, ROWS, lambda i: _micro_kernel(b, i, v.FLOAT32, *arguments))


@v.emit(10)
def _double_block(b, rows, *arguments):
    v.choose(b, rows, ROWS, lambda i: _micro_kernel(b, i, v.FLOAT64, *arguments))

@helper
def multiply(a, lda, panel, start, ldstart, c, ldc, rows, depth):
    """c[rows, PANEL] = start[rows, PANEL] + a[rows, depth] @ panel[depth, PANEL]; float32; addresses, then numbers.

    start may be c itself (to add to it) or one row with ldstart = 0 (a bias, or zeros). rows, depth >= 1.
    """
    multiply_ahead(a, lda, panel, start, ldstart, c, ldc, rows, depth, panel)


@helper
def multiply_ahead(a, lda, panel, start, ldstart, c, ldc, rows, depth, ahead):
    """The same, and bring the memory from `ahead` into the cache: `depth` lines for every ROWS rows."""
    blocks = (rows + ROWS - 1) // ROWS
    for i in range(blocks):
        first = rows * i // blocks              # blocks of nearly equal height: no thin one at the end
        _block(rows * (i + 1) // blocks - first, a + 4 * first * lda, lda, panel,
               start + 4 * first * ldstart, ldstart, c + 4 * first * ldc, ldc, depth, ahead + 64 * i * depth)


@helper
def double_multiply(a, lda, panel, start, ldstart, c, ldc, rows, depth):
    """The same in float64, with panels of DOUBLE_PANEL columns."""
    blocks = (rows + ROWS - 1) // ROWS
    for i in range(blocks):
        first = rows * i // blocks
        _double_block(rows * (i + 1) // blocks - first, a + 8 * first * lda, lda, panel,
                      start + 8 * first * ldstart, ldstart, c + 8 * first * ldc, ldc, depth, panel)
