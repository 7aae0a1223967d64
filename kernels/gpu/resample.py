"""Launchers of resample.cu."""
import numpy as np

from . import launch

_SOURCE = "resample.cu"


def axis_matmul(x, m, axis):
    """Apply a matrix along the rows (axis 1) or columns (axis 2): y[n,i,w,c] = sum over h of m[i,h] x[n,h,w,c].

    Resizing and Gaussian blur are two of these; their transposes are the backward passes. Entries of m that lie outside
    the band from a row's first to its last number that is not zero are not looked at, and neither is x there.
    """
    x = launch.ready("axis_matmul", x)
    m = launch.aligned(launch.xp(x).asarray(m, dtype=x.dtype))
    if axis not in (1, 2):
        raise ValueError(f"axis_matmul: axis {axis} must be 1 (rows) or 2 (columns)")
    if m.ndim != 2 or m.shape[1] != x.shape[axis]:
        raise ValueError(f"axis_matmul: m {m.shape} must have {x.shape[axis]} columns for axis {axis} of x {x.shape}")
    N, H, W, C = x.shape
    out = m.shape[0]
    y = launch.empty(x, (N, out, W, C) if axis == 1 else (N, H, out, C))
    if y.size == 0 or m.size == 0:
        y[...] = 0
        return y
    kind, band = launch.suffix(x), launch.empty(x, (out, 2), np.int32)
    launch.run(_SOURCE, "bands" + kind, -(-out * 32 // launch.THREADS), launch.THREADS,
               (m, band, *launch.i64(*m.shape)))
    grid, block = launch.rows(y.shape)
    name, sizes = ("along_rows", (H, out, W * C)) if axis == 1 else ("along_columns", (W, out, C))
    launch.run(_SOURCE, name + kind, grid, block, (x, m, band, y, *(np.int32(n) for n in sizes)))
    return y
