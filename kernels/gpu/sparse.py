"""Launcher of sparse.cu."""
import numpy as np

from . import launch

_SOURCE = "sparse.cu"


def sparse_rows(x, starts, cells, weights):
    """y[n,r,c] = sum over j from starts[r] to starts[r+1] - 1 of weights[j] x[n, cells[j], c]: a matrix in CSR form.

    x (N, P, C) on the device; starts (R + 1,), cells (J,) and weights (J,) on the host, every cell from 0 to P - 1.
    """
    x = launch.ready("sparse_rows", x)
    N, P, C = x.shape
    _check(starts, cells, weights, P)
    rows, xp = len(starts) - 1, launch.xp(x)
    y = launch.empty(x, (N, rows, C))
    if y.size:
        work = np.float64 if x.dtype == np.float64 else np.float32
        moved = [launch.aligned(xp.asarray(np.ascontiguousarray(a, dtype)))
                 for a, dtype in ((starts, np.int32), (_some(cells), np.int32), (_some(weights), work))]
        launch.run(_SOURCE, "sparse_rows" + launch.suffix(x), launch.blocks(y.size), launch.THREADS,
                   (x, *moved, y, *launch.i64(y.size, rows, P, C)))
    return y


def _check(starts, cells, weights, P):
    if len(cells) != len(weights) or len(starts) < 1 or starts[0] != 0 or starts[-1] != len(cells) or \
            (np.diff(starts) < 0).any():
        raise ValueError(f"sparse_rows: {len(cells)} cells and {len(weights)} weights do not belong to these rows")
    if len(cells) and (np.min(cells) < 0 or np.max(cells) >= P):
        raise ValueError(f"sparse_rows: cells {np.min(cells)} to {np.max(cells)} must be from 0 to {P - 1}")


def _some(a):
    """The array, or one number where it is empty: an array of nothing has no address."""
    return a if len(a) else np.zeros(1, np.asarray(a).dtype)
