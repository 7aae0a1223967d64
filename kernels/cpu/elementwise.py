"""Sums over whole arrays, where NumPy takes one thread and more memory than needed: x + y, and the product x . y."""
import numpy as np
from llvmlite import ir

from . import buffers, threads
from . import vector as v
from .addresses import address, float32_at, float64_at
from .compile_cache import helper, kernel

SLAB = 1 << 18          # numbers that a thread adds at a time; fewer than two slabs are not worth waking another
PART = 1 << 14          # numbers whose products make one partial sum
SUMS = 4                # partial sums that a block keeps in registers, vectors of float64
BLOCK = SUMS * v.FLOAT64.lanes


def add(x, y, out=None):
    """x + y, arrays of one shape and type, in memory that was used before, or in `out`, which may be x."""
    if out is None:
        out = buffers.empty(x.shape, x.dtype)
    if x.size < 2 * SLAB or not all(a.flags.c_contiguous for a in (x, y, out)):
        return np.add(x, y, out=out)
    flat = [a.reshape(-1) for a in (x, y, out)]

    def job(_, scratch, first, last):
        part = slice(first * SLAB, last * SLAB)
        np.add(flat[0][part], flat[1][part], out=flat[2][part])

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
def dot_parts(d, scratch, first, last):
    """Items: parts of the sum. d: the addresses of x, y and the parts' sums, and how many numbers there are."""
    sums = float64_at(d[2])
    for item in range(first, last):
        begin = item * PART
        sums[item] = _part(d[0] + 4 * begin, d[1] + 4 * begin, min(PART, d[3] - begin), scratch)


def dot(x, y):
    """The sum of all products, float64, in an order that does not depend on the number of threads."""
    if x.size < PART or not (x.dtype == y.dtype == np.float32 and x.flags.c_contiguous and y.flags.c_contiguous
                             and x.shape == y.shape):
        return plain_dot(x, y)
    sums = np.empty(-(-x.size // PART))
    d = np.array([address(x), address(y), address(sums), x.size], np.int64)
    threads.run(dot_parts, d, len(sums), max(1, len(sums) // 8), 8 * BLOCK)
    return sums.sum()


def plain_dot(x, y):
    """The same without compiled code."""
    return (x.astype("float64") * y).sum()
