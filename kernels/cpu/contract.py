"""The micro-kernels of everything that is not Winograd: a block of C is a sum over segments of matrix products.

    c[i, j] = start[i, j] + sum over s in segments, k in depth of  a[i*a_row + k*a_step + A_s] * b[k*b_step + B_s, j]

It is gemm.py's block, rows x vectors kept in registers, with two freedoms more: the numbers of A may lie at any
distance along the depth (so A may be read as it stands or transposed), and the depth falls into segments that may
begin anywhere (`table` holds the pairs A_s, B_s in bytes). A convolution reads its input in place that way: row i of
A is the i-th output position, and a segment is a filter row, whose kw * C inputs lie side by side. Every number of C
is one sum in the order of (s, k), so cutting rows and columns in another way changes no bit.

Also here: the depthwise block, and ReLU with its bits on what lies in the cache.
"""
from . import vector as v
from .gemm import ROWS

WIDE = 2 * v.LANES                      # columns of a block of two vectors, float32
NARROW = v.LANES                        # and of one
DOUBLE_WIDE = 2 * v.FLOAT64.lanes       # two vectors, float64
FLAT_ROWS = 6                           # a block of few rows takes more vectors to keep the multipliers busy
FLAT = (4 if v.REGISTERS == 32 else 2) * v.LANES
DEPTHWISE_ROWS = 8


def _pair(b, table, index):
    """The two offsets of a segment."""
    entry = b.add(table, v.scaled(b, index, 16))
    pointers = [b.inttoptr(b.add(entry, v.integer(8 * i)), v.I64.as_pointer()) for i in (0, 1)]
    return [b.load(p, align=8) for p in pointers]


def _contract(b, rows, vectors, number, a, a_row, a_step, table, segments, b_start, b_step, depth, start, start_row, c,
              c_row):
    """Code for a block of `rows` rows; everything in bytes but segments and depth, which are >= 1."""
    width = number.size * number.lanes
    a_rows = [a]
    for _ in range(rows - 1):
        a_rows.append(b.add(a_rows[-1], a_row))
    sums = []
    for _ in range(rows):
        sums += [v.load(b, b.add(start, v.integer(width * j)), number) for j in range(vectors)]
        start = b.add(start, start_row)
    outer = v.Loop(b, segments, sums)
    a_offset, b_offset = _pair(b, table, outer.index)
    inner = v.Loop(b, depth, [*outer.carried, a_offset, b.add(b_start, b_offset)])
    *sums, a_offset, b_row = inner.carried
    columns = [v.load(b, b.add(b_row, v.integer(width * j)), number) for j in range(vectors)]
    for i in range(rows):
        factor = v.broadcast(b, b.add(a_rows[i], a_offset), number)
        for j in range(vectors):
            sums[i * vectors + j] = v.multiply_add(b, factor, columns[j], sums[i * vectors + j], number)
    inner.end([*sums, b.add(a_offset, a_step), b.add(b_row, b_step)])
    outer.end(sums)
    for i in range(rows):
        for j in range(vectors):
            v.store(b, sums[i * vectors + j], b.add(c, v.integer(width * j)), number)
        c = b.add(c, c_row)


# f(rows, a, a_row, a_step, table, segments, b, b_step, depth, start, start_row, c, c_row)


@v.emit(13)
def wide_block(b, rows, *arguments):
    v.choose(b, rows, ROWS, lambda i: _contract(b, i, 2, v.FLOAT32, *arguments))


@v.emit(13)
def narrow_block(b, rows, *arguments):
    v.choose(b, rows, ROWS, lambda i: _contract(b, i, 1, v.FLOAT32, *arguments))


@v.emit(13)
def flat_block(b, rows, *arguments):
    v.choose(b, rows, FLAT_ROWS, lambda i: _contract(b, i, FLAT // v.LANES, v.FLOAT32, *arguments))


@v.emit(14)
def single_block(b, narrow, rows, *arguments):
    """The narrow block where `narrow`, else the wide one."""
    def write(i):
        _contract(b, (i - 1) % ROWS + 1, 2 if i <= ROWS else 1, v.FLOAT32, *arguments)
    v.choose(b, b.add(rows, v.scaled(b, narrow, ROWS)), 2 * ROWS, write)


@v.emit(14)
def double_any_block(b, narrow, rows, *arguments):
    """Of float64 there is the wide one only."""
    v.choose(b, rows, ROWS, lambda i: _contract(b, i, 2, v.FLOAT64, *arguments))


def _depthwise(b, rows, a, a_row, table, segments, w, start, c, c_row):
    a_rows = [a]
    for _ in range(rows - 1):
        a_rows.append(b.add(a_rows[-1], a_row))
    loop = v.Loop(b, segments, [v.load(b, start)] * rows)
    a_offset, w_offset = _pair(b, table, loop.index)
    weights = v.load(b, b.add(w, w_offset))
    loop.end([v.multiply_add(b, v.load(b, b.add(place, a_offset)), weights, total)
              for place, total in zip(a_rows, loop.carried)])
    for total in loop.carried:
        v.store(b, total, c)
        c = b.add(c, c_row)


@v.emit(9)
def depthwise_block(b, rows, *arguments):
    """f(rows, a, a_row, table, segments, w, start, c, c_row): c[i] = start + sum over s of a[i*a_row + A_s] * w[B_s],
    each a vector of channels."""
    v.choose(b, rows, DEPTHWISE_ROWS, lambda i: _depthwise(b, i, *arguments))


@v.emit(2)
def rectify_vectors(b, y, vectors):
    """y = max(y, 0) for so many vectors, at least one."""
    loop = v.Loop(b, vectors, [y])
    v.store(b, v.relu(b, v.load(b, loop.carried[0])), loop.carried[0])
    loop.end([b.add(loop.carried[0], v.integer(4 * v.LANES))])


@v.emit(3)
def decide_vectors(b, y, bits, vectors):
    """The same, and a bit per number: was it positive."""
    loop = v.Loop(b, vectors, [y, bits])
    place, bits = loop.carried
    value = v.load(b, place)
    v.store_bits(b, v.positive(b, value), bits)
    v.store(b, v.relu(b, value), place)
    loop.end([b.add(place, v.integer(4 * v.LANES)), b.add(bits, v.integer(v.BITS_BYTES))])
