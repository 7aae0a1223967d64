"""What NumPy does well on one thread, on several."""
import numpy as np

from . import buffers, threads

SLAB = 1 << 18          # numbers that a thread takes at a time; fewer than two slabs are not worth waking another


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
