"""Random views of a picture while it is optimised: what holds in every one of them is no accident of single pixels.

`Views(...)(x, seed, step) -> Tensor` draws from (seed, step) alone, and gradients flow through to x.
"""
import math

import numpy as np

from . import kernels, ops
from .ops.geometry import check_picture
from .tensor import Op

VIEW = 22           # this file's stream of random numbers


class Views:
    """Jitter, scale and rotation around the middle, in one resampling, then the window the network sees.

    margin   the picture is this many pixels larger on each side than the network's input
    jitter   shift by up to this many pixels, either way
    scale    the largest relative enlargement and reduction: 0.1 draws from 0.9 to 1.1
    angle    the largest rotation, in degrees, either way
    wrap     shift circularly and by whole pixels (Mordvintsev et al. 2015); else what lies beyond a border is the
             picture's mirror image and shifts are of any size
    """

    def __init__(self, margin=0, jitter=0, scale=0.0, angle=0.0, wrap=False):
        self.margin, self.jitter, self.scale, self.angle, self.wrap = margin, jitter, scale, angle, wrap

    def __call__(self, x, seed, step):
        draw = np.random.default_rng([seed, VIEW, step])
        size = x.shape[1] - 2 * self.margin, x.shape[2] - 2 * self.margin
        if self.wrap and self.jitter:
            down, right = draw.integers(-self.jitter, self.jitter + 1, 2)
            x = ops.roll(x, (int(down), int(right)), (1, 2))
        shift = (0.0, 0.0) if self.wrap else draw.uniform(-self.jitter, self.jitter, 2)
        factor, turn = 1 + draw.uniform(-self.scale, self.scale), draw.uniform(-self.angle, self.angle)
        if self.scale or self.angle or (self.jitter and not self.wrap):
            return Resample(size, shift, factor, turn)(x)
        return self.window(x)

    def window(self, x):
        """The middle of x, without its margin."""
        m = self.margin
        return x[:, m:x.shape[1] - m, m:x.shape[2] - m] if m else x


class Resample(Op):
    """A window of `size` from the middle of x (N, H, W, C), shifted by (down, right) pixels, with everything `factor`
    times as large and turned by `angle` degrees: bilinear, mirrored beyond the borders.

    Each output value is the same weighted sum of four pixels for every picture and channel: a sparse matrix M, so that
    y = M x and dx = M^T dy.
    """

    def __init__(self, size, shift=(0.0, 0.0), factor=1.0, angle=0.0):
        self.size, self.shift, self.factor, self.angle = size, shift, factor, angle

    def forward(self, x):
        check_picture(x, "resample")
        self.x_shape = x.shape
        matrix = self._matrix(*x.shape[1:3], x.dtype)
        self.back = matrix.T.tocsr() if self.needs[0] else None
        return apply_sparse(matrix, x, self.size)

    def backward(self, dy):
        return apply_sparse(self.back, dy, self.x_shape[1:3])

    def _matrix(self, H, W, dtype):
        from scipy.sparse import csr_matrix
        h, w = self.size
        y = (np.arange(h) - (h - 1) / 2)[:, None] / self.factor
        x = (np.arange(w) - (w - 1) / 2)[None] / self.factor
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        rows = (H - 1) / 2 + self.shift[0] + y * cos - x * sin
        columns = (W - 1) / 2 + self.shift[1] + y * sin + x * cos
        top, left = np.floor(rows).astype(np.int32), np.floor(columns).astype(np.int32)
        down, right = rows - top, columns - left
        at, weights = np.empty((h, w, 4), np.int32), np.empty((h, w, 4), dtype)
        lefts, rights = _mirrored(left, W), _mirrored(left + 1, W)
        for k, (a, wa) in enumerate(((_mirrored(top, H), 1 - down), (_mirrored(top + 1, H), down))):
            a = a * np.int32(W)
            at[..., 2 * k], at[..., 2 * k + 1] = a + lefts, a + rights
            weights[..., 2 * k], weights[..., 2 * k + 1] = wa * (1 - right), wa * right
        starts = np.arange(0, at.size + 1, 4, dtype=np.int32)
        return csr_matrix((weights.reshape(-1), at.reshape(-1), starts), shape=(h * w, H * W))


def _mirrored(i, size):
    """Indices folded back into 0 .. size - 1, the border pixel not repeated."""
    if i.min() >= 0 and i.max() < size:
        return i
    period = max(1, 2 * (size - 1))
    i = np.mod(i, period)
    return np.minimum(i, period - i)


def apply_sparse(matrix, x, size):
    """The matrix on the positions of (N, H, W, C)."""
    N, H, W, C = x.shape
    y = kernels.of(x).sparse_rows(x.reshape(N, H * W, C), matrix.indptr, matrix.indices, matrix.data)
    return y.reshape(N, *size, C)
