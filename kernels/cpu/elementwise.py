"""Whole arrays, where NumPy takes one thread and more memory than needed: x + y and its like, all products x_i . y_j of
several vectors, and sum c_i x_i. The last two read every vector once, however many of the others there are."""
import numpy as np
from llvmlite import ir

from .. import sums
from . import buffers, threads
from . import vector as v
from .addresses import address, float32_at, float64_at, int64_at
from .compile_cache import helper, kernel

SLAB = 1 << 18          # numbers that a thread takes at a time; fewer than two slabs are not worth waking another
PART = 1 << 12          # numbers of a vector that are in the cache together with those of others
SUMS = 4                # partial sums that a block keeps in registers, vectors of float64
BLOCK = SUMS * v.FLOAT64.lanes


def apply(name, x, y, out=None):
    """NumPy's function of this name of each number of x and of y, an array of x's shape or a single number, on all
    threads, in memory that was used before, or in `out`, which may be x."""
    function = getattr(np, name)
    if out is None:
        out = buffers.empty(x.shape, x.dtype)
    if x.size < 2 * SLAB or not all(a.flags.c_contiguous for a in (x, y, out)) or (y.shape != x.shape and y.size != 1):
        return function(x, y, out=out)
    x_flat, y_flat, out_flat = (a.reshape(-1) for a in (x, y, out))

    def job(_, scratch, first, last):
        part = slice(first * SLAB, last * SLAB)
        function(x_flat[part], y_flat[part] if y.size > 1 else y_flat, out=out_flat[part])

    threads.run(job, None, -(-x.size // SLAB), 1)
    return out


# -------------------------------------------------------------------------------------------------------- product


@v.emit(4)
def _dot_block(b, x, y, count, sums):
    """sums[j] = the products of the numbers j, j + BLOCK, ... of `count`, a multiple of BLOCK but 0; in float64."""
    lanes = v.FLOAT64.lanes
    few = ir.VectorType(ir.FloatType(), lanes)
    loop = v.Loop(b, v.scaled(b, count, 4), [ir.Constant(v.FLOAT64.vector, [0.0] * lanes)] * SUMS, step=4 * BLOCK)
    totals = []
    for j, total in enumerate(loop.carried):
        offset = b.add(loop.index, v.integer(4 * lanes * j))
        pair = [b.fpext(b.load(b.inttoptr(b.add(start, offset), few.as_pointer()), align=4), v.FLOAT64.vector)
                for start in (x, y)]
        totals.append(v.multiply_add(b, *pair, total, v.FLOAT64))
    loop.end(totals)
    for j, total in enumerate(loop.carried):
        v.store(b, total, b.add(sums, v.integer(8 * lanes * j)), v.FLOAT64)


@helper
def _part(x, y, count, scratch):
    whole = count // BLOCK * BLOCK
    sums, total = float64_at(scratch), 0.0
    if whole > 0:
        _dot_block(x, y, whole, scratch)
        for j in range(BLOCK):
            total += sums[j]
    a, b = float32_at(x), float32_at(y)
    for i in range(whole, count):
        total += 1.0 * a[i] * b[i]          # the 1.0 makes it a product of float64
    return total


@kernel
def product_parts(d, scratch, first, last):
    """Items: parts of the vectors. d: the addresses of the partial sums, (parts, rows, columns), and of the table of
    addresses of the vectors; how many are rows, how many columns; how many numbers each has."""
    sums, vectors, rows, columns = float64_at(d[0]), int64_at(d[1]), d[2], d[3]
    for item in range(first, last):
        begin = item * PART
        count = min(PART, d[4] - begin)
        for i in range(rows):
            for j in range(columns):
                sums[(item * rows + i) * columns + j] = _part(vectors[i] + 4 * begin, vectors[rows + j] + 4 * begin,
                                                              count, scratch)


def products(xs, ys):
    """(len(xs), len(ys)) float64: the sum of all products of each two arrays, all of one shape, in an order that does
    not depend on the number of threads, nor on which others are asked for."""
    size = xs[0].size
    if size < PART or not _plain_vectors([*xs, *ys]):
        return sums.products(xs, ys)
    parts = np.empty((-(-size // PART), len(xs), len(ys)))
    table = np.array([address(a) for a in (*xs, *ys)], np.int64)
    d = np.array([address(parts), address(table), len(xs), len(ys), size], np.int64)
    threads.run(product_parts, d, len(parts), max(1, len(parts) // 16), 8 * BLOCK)
    return parts.sum(axis=0)


def _plain_vectors(arrays):
    return all(a.dtype == np.float32 and a.flags.c_contiguous and a.shape == arrays[0].shape for a in arrays)


# ---------------------------------------------------------------------------------------------------- combination


@kernel
def combine_parts(d, scratch, first, last):
    """Items: parts of the vectors. d: the addresses of the result, of the table of addresses of the vectors, and of
    their coefficients, float64; how many there are; how many numbers each has. scratch: PART float64."""
    vectors, coefficients, sums = int64_at(d[1]), float64_at(d[2]), float64_at(scratch)
    for item in range(first, last):
        begin = item * PART
        count = min(PART, d[4] - begin)
        for i in range(d[3]):
            x, c = float32_at(vectors[i] + 4 * begin), coefficients[i]
            if i == 0:
                for k in range(count):
                    sums[k] = c * x[k]
            else:
                for k in range(count):
                    sums[k] += c * x[k]
        y = float32_at(d[0] + 4 * begin)
        for k in range(count):
            y[k] = sums[k]


def combination(xs, coefficients):
    """sum c_i x_i of arrays of one shape and type, added up in float64: a new array."""
    if xs[0].size < PART or not _plain_vectors(xs):
        return sums.combination(xs, coefficients)
    y = buffers.empty(xs[0].shape, np.float32)
    table, coefficients = np.array([address(x) for x in xs], np.int64), np.array(coefficients, np.float64)
    d = np.array([address(y), address(table), address(coefficients), len(xs), y.size], np.int64)
    parts = -(-y.size // PART)
    threads.run(combine_parts, d, parts, max(1, parts // 16), 8 * PART)
    return y
