"""Resizing and blurring. Both work on rows and columns separately, and along one side they are a matrix:

y[n,i,j,c] = sum over h,w of R[i,h] Q[j,w] x[n,h,w,c], so the backward pass applies the two transposes. A row of a
matrix holds the weights with which one output pixel looks at the input pixels; the conventions lie in making rows.
"""
import numpy as np

from .. import kernels
from ..tensor import Op
from .geometry import check_picture, pair


class Separable(Op):
    """Apply a matrix to the rows and one to the columns of (N, H, W, C)."""

    def __init__(self, make_matrices):
        self.make_matrices = make_matrices          # (H, W) -> ((OH, H), (OW, W)) float64

    def forward(self, x):
        check_picture(x, "resample")
        xp = kernels.xp(x)
        self.rows, self.columns = (xp.asarray(m, dtype=x.dtype) for m in self.make_matrices(*x.shape[1:3]))
        return self._apply(x, self.rows, self.columns)

    def backward(self, dy):
        ascontiguous = kernels.xp(dy).ascontiguousarray
        return self._apply(dy, ascontiguous(self.rows.T), ascontiguous(self.columns.T))

    @staticmethod
    def _apply(x, rows, columns):
        k = kernels.of(x)
        return k.axis_matmul(k.axis_matmul(x, rows, 1), columns, 2)


class UpsampleNearest(Op):
    """Every pixel becomes a block of factor[0] x factor[1] equal ones; dx = the sum of dy over the block."""
    kind = "upsample"

    def __init__(self, factor=2):
        self.factor = pair(factor, "upsample: factor")

    def forward(self, x):
        check_picture(x, "upsample")
        return x.repeat(self.factor[0], axis=1).repeat(self.factor[1], axis=2)

    def backward(self, dy):
        N, H, W, C = dy.shape
        a, b = self.factor
        return dy.reshape(N, H // a, a, W // b, b, C).sum(axis=(2, 4))


# --------------------------------------------------------------------------------------------- the weights of resizing


def resize_matrix(size, out, method="bilinear", align="half_pixel", antialias=None, a=None):
    """(out, size) float64: the weights with which each of `out` pixels looks at `size` pixels; every row sums to 1.

    method    "nearest", "bilinear", "bicubic" or "area" (the mean over the input that an output pixel covers)
    align     "half_pixel": pixel i is a cell with its centre at i + 1/2, and both pictures have the same outer edges
              (Pillow, torch, OpenCV, TensorFlow 2). "corners": the centres of the outermost pixels coincide.
    antialias when shrinking, widen the filter by the factor, so that every input pixel counts; at the border the filter
              is cut off and rescaled (Pillow's way). Without it bilinear and bicubic read 2 and 4 pixels, and the
              outermost pixel again beyond the border (torch's default). None: yes, unless align is "corners".
    a         bicubic's free parameter, Keys 1981. None: -0.5 with antialias (Pillow), -0.75 without (torch, OpenCV).
    """
    if method not in ("nearest", "bilinear", "bicubic", "area"):
        raise ValueError(f"resize: method {method!r} must be 'nearest', 'bilinear', 'bicubic' or 'area'")
    if align not in ("half_pixel", "corners"):
        raise ValueError(f"resize: align {align!r} must be 'half_pixel' or 'corners'")
    if size < 1 or out < 1:
        raise ValueError(f"resize: from {size} to {out} pixels; both must be at least 1")
    antialias = align == "half_pixel" if antialias is None else antialias
    if align == "corners":
        if method == "area" or (antialias and method != "nearest"):
            raise ValueError("resize: align='corners' goes with antialias=False and with nearest, bilinear or bicubic")
        where = np.arange(out) * ((size - 1) / max(out - 1, 1))
    else:
        where = (np.arange(out) + 0.5) * (size / out) - 0.5        # each output pixel's centre, in input pixels
    if method == "nearest":
        return _rows(np.clip(np.floor(where + 0.5), 0, size - 1)[:, None], np.ones((out, 1)), size)
    if method == "area":
        return _area(size, out)
    a = (-0.5 if antialias else -0.75) if a is None else a
    kernel, reach = (_triangle, 1) if method == "bilinear" else (_cubic(a), 2)
    if antialias:
        return _antialiased(size, out, where, kernel, reach)
    cells = np.floor(where)[:, None] + np.arange(1 - reach, 1 + reach)
    return _rows(np.clip(cells, 0, size - 1), kernel(cells - where[:, None]), size)


def _rows(cells, weights, size):
    """The matrix with weights[i, t] added at column cells[i, t] of row i."""
    matrix = np.zeros((len(cells), size))
    np.add.at(matrix, (np.arange(len(cells))[:, None], cells.astype(int)), weights)
    return matrix


def _triangle(t):
    return np.maximum(0, 1 - np.abs(t))


def _cubic(a):
    """Keys 1981: a cubic through the samples, with slope a at distance 1."""
    def weight(t):
        t = np.abs(t)
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((t - 5) * t + 8) * t * a - 4 * a
        return np.where(t <= 1, near, np.where(t < 2, far, 0))
    return weight


def _antialiased(size, out, where, kernel, reach):
    stretch = max(size / out, 1)
    support = reach * stretch
    # the pixels whose centres are within the support, rounded as Pillow does
    first = np.maximum(np.floor(where + 0.5 - support + 0.5), 0)
    last = np.minimum(np.floor(where + 0.5 + support + 0.5), size)
    cells = first[:, None] + np.arange(int((last - first).max()))
    weights = np.where(cells < last[:, None], kernel((cells - where[:, None]) / stretch), 0)
    return _rows(np.minimum(cells, size - 1), weights / weights.sum(axis=1, keepdims=True), size)


def _area(size, out):
    edges = np.arange(out + 1) * (size / out)
    left, right = edges[:-1, None], edges[1:, None]
    cells = np.floor(left) + np.arange(int(np.ceil(size / out)) + 1)
    shared = np.clip(np.minimum(cells + 1, right) - np.maximum(cells, left), 0, None)
    return _rows(np.minimum(cells, size - 1), shared / shared.sum(axis=1, keepdims=True), size)


# ----------------------------------------------------------------------------------------------------------- blurring


def blur_matrix(size, sigma, truncate=4.0, border="symmetric"):
    """(size, size) float64: a Gaussian of standard deviation sigma pixels, cut at truncate * sigma, with sum 1.

    border, what lies beyond a b c d: "symmetric" c b a a b c (what scipy.ndimage calls reflect), "reflect" c b a b c,
    "edge" a a a b c, "zero" (rows at the border then sum to less than 1).
    """
    modes = {"symmetric": "symmetric", "reflect": "reflect", "edge": "edge"}
    if border != "zero" and border not in modes:
        raise ValueError(f"gaussian_blur: border {border!r} must be 'symmetric', 'reflect', 'edge' or 'zero'")
    if not sigma >= 0 or not np.isfinite(sigma):
        raise ValueError(f"gaussian_blur: sigma {sigma} must be a number of pixels, at least 0")
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return np.eye(size)
    t = np.arange(-radius, radius + 1)
    g = np.exp(-0.5 * (t / sigma) ** 2)
    g /= g.sum()
    if border == "zero":
        source = np.pad(np.arange(size), radius, constant_values=-1)
    else:
        source = np.pad(np.arange(size), radius, mode=modes[border])
    cells = np.lib.stride_tricks.sliding_window_view(source, 2 * radius + 1)
    return _rows(np.maximum(cells, 0), np.where(cells >= 0, g, 0), size)


def resize(x, size, method="bilinear", *, align="half_pixel", antialias=None, a=None):
    """(N, H, W, C) to size (h, w): see resize_matrix for the conventions. Nothing is rounded or clipped."""
    h, w = pair(size, "resize: size")
    how = {"method": method, "align": align, "antialias": antialias, "a": a}
    return Separable(lambda H, W: (resize_matrix(H, h, **how), resize_matrix(W, w, **how)))(x)


def upsample(x, factor=2):
    """Nearest-neighbour enlargement by a whole factor, or (vertical, horizontal) ones."""
    return UpsampleNearest(factor)(x)


def gaussian_blur(x, sigma, *, truncate=4.0, border="symmetric"):
    """Blur (N, H, W, C) with a Gaussian of `sigma` pixels (or (vertical, horizontal)): see blur_matrix."""
    down, across = (sigma, sigma) if np.isscalar(sigma) else sigma
    return Separable(lambda H, W: (blur_matrix(H, down, truncate, border), blur_matrix(W, across, truncate, border)))(x)
