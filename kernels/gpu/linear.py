"""Launchers of gemm.cu: fully connected layers, their gradients, and Gram matrices."""
import numpy as np

from . import launch

_SOURCE = "gemm.cu"
_GEMM = np.dtype([(name, np.int64) for name in ("M", "N", "K", "slice", "a_m", "a_k", "b_k", "b_n", "a_batch",
                                                "b_batch", "symmetric")], align=True)      # struct Gemm
_THREADS = 256
_SLICE = 512            # depth of a slice: 16 steps; part of the result's last bits, so one number for every shape
_FLAT = 8               # up to so many rows a tile of 4 x 256 does less useless work than one of 64 x 64
_MOST_PARTIAL = 1 << 28     # numbers in the partial results, at once


def linear_forward(x, w, b):
    """y[n,k] = b[k] + sum over c of x[n,c] w[c,k]; b may be None. A row's bits never depend on the other rows."""
    x, w, b = launch.ready("linear_forward", x, w, b)
    N, C = x.shape
    if w.shape[0] != C:
        raise ValueError(f"linear: x {x.shape} has {C} inputs, w {w.shape} wants {w.shape[0]}")
    K = w.shape[1]
    return _product(x, w, (N, K), depth=C, a=(C, 1), b=(K, 1), bias=b)


def linear_backward_input(dy, w):
    """dx[n,c] = sum over k of dy[n,k] w[c,k]."""
    dy, w = launch.ready("linear_backward_input", dy, w)
    C, K = w.shape
    if dy.shape[1] != K:
        raise ValueError(f"linear_backward_input: dy {dy.shape} must have the {K} outputs of w {w.shape}")
    return _product(dy, w, (dy.shape[0], C), depth=K, a=(K, 1), b=(1, K))


def linear_backward_weight(dy, x):
    """dw[c,k] = sum over n of x[n,c] dy[n,k]."""
    dy, x = launch.ready("linear_backward_weight", dy, x)
    if len(dy) != len(x):
        raise ValueError(f"linear_backward_weight: dy {dy.shape} and x {x.shape} must have as many rows")
    C, K = x.shape[1], dy.shape[1]
    return _product(x, dy, (C, K), depth=len(x), a=(1, C), b=(K, 1))


def gram(x):
    """G[n,c,d] = sum over positions of x[n,i,j,c] x[n,i,j,d]. Gatys et al. 2015, arXiv:1505.07376."""
    x = launch.ready("gram", x)
    N, H, W, C = x.shape
    each = C * C * -(-H * W // _SLICE)
    some = max(1, _MOST_PARTIAL // max(each, 1))
    y = launch.empty(x, (N, C, C))
    for n in range(0, N, some):
        _product(x[n:n + some], x[n:n + some], (C, C), depth=H * W, a=(1, C), b=(C, 1), batches=min(some, N - n),
                 apart=H * W * C, symmetric=True, into=y[n:n + some])
    return y


def _product(left, right, shape, depth, a, b, bias=None, batches=1, apart=0, symmetric=False, into=None):
    """A (M, depth) times B (depth, N), for each of the batches that lie `apart` numbers from one another.

    a, b: the distances in memory along (m, k) of A and along (k, n) of B.
    """
    M, N = shape
    y = launch.empty(left, shape) if into is None else into
    if depth == 0 or y.size == 0:
        y[...] = 0 if bias is None else bias
        return y
    slices = -(-depth // _SLICE)
    per_column = batches * slices * N
    rows = max(1, min(M, _MOST_PARTIAL // per_column)) if batches == 1 and not symmetric else M
    for m in range(0, M, rows):         # all at once, unless the partial results would be too many
        _some_rows(left.reshape(-1)[m * a[0]:], right, y[m:m + rows] if batches == 1 else y, min(rows, M - m), N, depth,
                   slices, (*a, *b), bias, batches, apart, symmetric)
    return y


def _some_rows(left, right, y, M, N, depth, slices, steps, bias, batches, apart, symmetric):
    partial = launch.empty(y, (batches, slices, M, N), np.float64 if y.dtype == np.float64 else np.float32)
    flat = M <= _FLAT
    tile = (4, 256) if flat else (64, 64)
    grid = -(-M // tile[0]) * -(-N // tile[1]), batches * slices
    if grid[1] > 65535:
        raise ValueError(f"a sum over {depth} numbers for {batches} pictures is longer than the GPU kernels count; "
                         "give smaller batches")
    launch.run(_SOURCE, ("gemm_flat" if flat else "gemm") + launch.suffix(y), grid, _THREADS,
               (left, right, partial, np.array((M, N, depth, _SLICE, *steps, apart, apart, symmetric), _GEMM)[()]))
    launch.run(_SOURCE, "add_slices" + launch.suffix(y), launch.blocks(y.size), launch.THREADS,
               (partial, bias, y, *launch.i64(batches, slices, M, N, symmetric)))
