"""Launchers of lrn.cu."""
import numpy as np

from . import launch

_SOURCE = "lrn.cu"
_LRN = np.dtype([("length", np.int32), ("C", np.int32), ("before", np.int32), ("after", np.int32), ("a", np.float64),
                 ("beta", np.float64), ("k", np.float64)], align=True)      # struct Lrn


def lrn_forward(x, size, alpha, beta, k, per_size):
    """y_c = x_c / s_c^beta with s_c = k + alpha * sum over the `size` channels around c of x^2. -> y, s.

    per_size True divides alpha by size (Caffe, torch). Krizhevsky et al. 2012.
    """
    x = launch.ready("lrn_forward", x)
    y, s = launch.empty(x, x.shape), launch.empty(x, x.shape)
    if x.size:
        grid, block = launch.rows(x.shape)
        launch.run(_SOURCE, "lrn_forward" + launch.suffix(x), grid, block,
                   (x, y, s, _struct(x.shape, size, alpha, beta, k, per_size, mirrored=False)))
    return y, s


def lrn_backward(dy, x, s, size, alpha, beta, per_size):
    """dx_c = dy_c s_c^-beta - 2 alpha beta x_c * sum over the d whose window holds c of dy_d x_d s_d^(-beta-1)."""
    dy, x, s = launch.ready("lrn_backward", dy, x, s)
    if not dy.shape == x.shape == s.shape:
        raise ValueError(f"lrn_backward: dy {dy.shape}, x {x.shape} and s {s.shape} must have one shape")
    dx = launch.empty(dy, dy.shape)
    if dy.size:
        grid, block = launch.rows(dy.shape)
        cell = 8 if dy.dtype == np.float64 else 4
        launch.run(_SOURCE, "lrn_backward" + launch.suffix(dy), grid, block,
                   (dy, x, s, dx, _struct(dy.shape, size, alpha, beta, 0, per_size, mirrored=True)),
                   shared=(block + size - 1) * cell)
    return dx


def _struct(shape, size, alpha, beta, k, per_size, mirrored):
    """The window reaches (size-1)//2 channels after c and the rest before it; mirrored, the other way round."""
    before, after = size // 2, (size - 1) // 2
    if mirrored:
        before, after = after, before
    a = alpha / size if per_size else alpha
    return np.array((shape[2] * shape[3], shape[3], before, after, a, beta, k), _LRN)[()]
