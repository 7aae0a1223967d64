"""The micro-kernel of everything that is not Winograd: a block of C is a sum over segments of matrix products.

    c[i, j] = start[i, j] + sum over s in segments, k in depth of  a[i*a_row + k*a_step + table[s]] * b[s, k, j]

It is gemm.py's block, ROWS x (1 or 2 vectors) kept in registers, with two freedoms more: the numbers of A may lie at any
distance along the depth (so A may be read as it stands or transposed), and the depth may fall into segments that begin
anywhere (`table`: bytes from a, int64). A convolution reads its input in place that way: row i of A is the i-th output
position, and a segment is a filter row, whose kw * C inputs lie side by side. B is read in order: `b_step` bytes from
one depth to the next, `b_segment` from one segment to the next. Every number of C is one sum in the order of (s, k), so
cutting rows and columns in another way changes no bit.
"""
from . import vector as v
from .compile_cache import helper
from .gemm import ROWS

WIDE = 2 * v.LANES                  # columns of a block of two vectors, float32
NARROW = v.LANES                    # and of one
DOUBLE_WIDE = 2 * v.FLOAT64.lanes   # two vectors, float64

_ARGUMENTS = "a, a_row, a_step, table, segments, b, b_step, b_segment, depth, start, start_row, c, c_row"


def _micro_kernel(rows, vectors, number):
    """Code for a block of `rows` rows; everything in bytes but segments and depth, which are >= 1."""
    width = number.size * number.lanes

    @v.emit(13)
    def contract(b, a, a_row, a_step, table, segments, b0, b_step, b_segment, depth, start, start_row, c, c_row):
        a_rows = [a]
        for _ in range(rows - 1):
            a_rows.append(b.add(a_rows[-1], a_row))
        sums = []
        for _ in range(rows):
            sums += [v.load(b, b.add(start, v.integer(width * j)), number) for j in range(vectors)]
            start = b.add(start, start_row)
        outer = v.Loop(b, segments, [*sums, b0])
        *sums, segment = outer.carried
        entry = b.add(table, v.scaled(b, outer.index, 8))
        a_offset = b.load(b.inttoptr(entry, v.I64.as_pointer()), align=8)
        inner = v.Loop(b, depth, [*sums, segment, a_offset])
        *sums, b_row, a_offset = inner.carried
        columns = [v.load(b, b.add(b_row, v.integer(width * j)), number) for j in range(vectors)]
        for i in range(rows):
            factor = v.broadcast(b, b.add(a_rows[i], a_offset), number)
            for j in range(vectors):
                sums[i * vectors + j] = v.multiply_add(b, factor, columns[j], sums[i * vectors + j], number)
        inner.end([*sums, b.add(b_row, b_step), b.add(a_offset, a_step)])
        outer.end([*sums, b.add(segment, b_segment)])
        for i in range(rows):
            for j in range(vectors):
                v.store(b, sums[i * vectors + j], b.add(c, v.integer(width * j)), number)
            c = b.add(c, c_row)
    return contract


def _any_rows(vectors, number):
    """A helper that picks the micro-kernel for a number of rows between 1 and ROWS."""
    kernels = {f"rows{i}": _micro_kernel(i, vectors, number) for i in range(1, ROWS + 1)}
    lines = [f"def block(rows, {_ARGUMENTS}):"]
    for i in range(ROWS, 0, -1):
        lines.append(f"    {'if' if i == ROWS else 'elif'} rows == {i}:\n        rows{i}({_ARGUMENTS})")
    exec("\n".join(lines), kernels)     # Numba cannot index a table of intrinsics, so the choice is written out
    return helper(kernels["block"])


wide_block = _any_rows(2, v.FLOAT32)
narrow_block = _any_rows(1, v.FLOAT32)
double_block = _any_rows(2, v.FLOAT64)
