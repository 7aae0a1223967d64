"""Softmax and what is minimised: cross-entropy, mean squared error, total variation; and the Gram matrix of a style.

Losses give one number per picture, (N,): a picture's loss does not depend on what shares its batch.
"""
import math

import numpy as np

from .. import kernels
from ..tensor import Op
from .elementwise import square, subtract
from .geometry import check_picture
from .reduce import mean

BAND = 1 << 15      # numbers of a picture that total variation looks at at a time


class Softmax(Op):
    """p_c = e^x_c / sum over d of e^x_d along the last axis; dx = p (dy - sum(dy p))."""
    kind = "softmax"

    def forward(self, x):
        p = _softmax(x)
        self.p = p if self.needs[0] else None
        return p

    def backward(self, dy):
        return self.p * (dy - (dy * self.p).sum(axis=-1, keepdims=True))


class LogSoftmax(Op):
    """y_c = x_c - log(sum over d of e^x_d) along the last axis; dx = dy - e^y sum(dy)."""

    def forward(self, x):
        y = _log_softmax(x)
        self.y = y if self.needs[0] else None
        return y

    def backward(self, dy):
        return dy - kernels.xp(dy).exp(self.y) * dy.sum(axis=-1, keepdims=True)


class CrossEntropy(Op):
    """loss_n = - sum over c of q_nc log softmax(x_n)_c; dx = softmax(x) - q.

    x (N, C) logits. targets: (N,) class indices, or (N, C) probabilities. smoothing s mixes in a uniform distribution:
    q = (1 - s) target + s / C. Szegedy et al. 2016, arXiv:1512.00567.
    """

    def __init__(self, targets, smoothing=0.0):
        if not 0 <= smoothing <= 1:
            raise ValueError(f"cross_entropy: smoothing {smoothing} must be between 0 and 1")
        self.targets, self.smoothing = targets, float(smoothing)

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError(f"cross_entropy: logits {x.shape} must be (N, C)")
        q = self._distribution(x)
        log_p = _log_softmax(x)
        self.slope = kernels.xp(x).exp(log_p) - q if self.needs[0] else None
        return -(q * log_p).sum(axis=1)

    def backward(self, dy):
        return dy[:, None] * self.slope

    def _distribution(self, x):
        xp, (N, C) = kernels.xp(x), x.shape
        targets = xp.asarray(self.targets)
        if targets.dtype.kind in "iu":
            if targets.shape != (N,):
                raise ValueError(f"cross_entropy: class indices {targets.shape} must be ({N},) for logits {x.shape}")
            if N and not (int(targets.min()) >= 0 and int(targets.max()) < C):
                raise ValueError(f"cross_entropy: class indices {targets.min()}..{targets.max()} must be in 0..{C - 1}")
            targets = targets[:, None] == xp.arange(C)
        elif targets.shape != x.shape:
            raise ValueError(f"cross_entropy: probabilities {targets.shape} must have the logits' shape, {x.shape}")
        return targets.astype(x.dtype) * (1 - self.smoothing) + self.smoothing / C


class TotalVariation(Op):
    """How rough pictures are, (N, H, W, C) -> (N,), from the differences v to the pixel below and h to the right:

    "l1"     sum |v| + sum |h|. Anisotropic; derivative 0 where neighbours are equal. Rudin, Osher, Fatemi 1992.
    "l2"     sum v^2 + sum h^2 over all neighbours (CS231n's).
    "beta"   sum (v^2 + h^2)^(exponent/2) over pixels that have both neighbours: Mahendran and Vedaldi 2015,
             arXiv:1412.0035. exponent 1 is the isotropic total variation (derivative 0 where v = h = 0); with 2 it is
             twice the loss whose gradient neural-style adds.
    """

    def __init__(self, form="l2", exponent=2.0):
        if form not in ("l1", "l2", "beta"):
            raise ValueError(f"total_variation: form {form!r} must be 'l1', 'l2' or 'beta'")
        if not exponent > 0:
            raise ValueError(f"total_variation: exponent {exponent} must be above 0")
        self.form, self.exponent = form, float(exponent)

    def forward(self, x):
        check_picture(x, "total_variation")
        self.x = x if self.needs[0] else None
        parts = [self._value(*self._differences(x, rows), kernels.xp(x)) for rows in _bands(x)]
        return sum(parts[1:], parts[0]) if parts else kernels.xp(x).zeros(len(x), x.dtype)

    def backward(self, dy):
        xp, dy = kernels.xp(dy), dy[:, None, None, None]
        dx = xp.zeros_like(self.x, order="C")
        for rows in _bands(self.x):
            dv, dh = self._slopes(*self._differences(self.x, rows), dy, xp)
            here = dx[:, rows.start:]
            H, W = dv.shape[1:3]
            here[:, 1:1 + H, :W] += dv
            here[:, :H, :W] -= dv
            H, W = dh.shape[1:3]
            here[:, :H, 1:1 + W] += dh
            here[:, :H, :W] -= dh
        return dx

    def _value(self, v, h, xp):
        if self.form == "l1":
            return xp.abs(v).sum(axis=(1, 2, 3)) + xp.abs(h).sum(axis=(1, 2, 3))
        if self.form == "l2":
            return (v * v).sum(axis=(1, 2, 3)) + (h * h).sum(axis=(1, 2, 3))
        energy = v * v + h * h
        return (energy if self.exponent == 2 else energy ** (self.exponent / 2)).sum(axis=(1, 2, 3))

    def _slopes(self, v, h, dy, xp):
        if self.form == "l1":
            return dy * xp.sign(v), dy * xp.sign(h)
        if self.form == "l2" or self.exponent == 2:
            return 2 * dy * v, 2 * dy * h
        energy = v * v + h * h
        flat = energy == 0
        slope = dy * xp.where(flat, 0, self.exponent * xp.where(flat, 1, energy) ** (self.exponent / 2 - 1))
        return slope * v, slope * h

    def _differences(self, x, rows):
        """Of these rows, to the row below (which the last row of the picture does not have) and to the right."""
        whole, below = x[:, rows], x[:, rows.start + 1:rows.stop + 1]
        v, h = below - whole[:, :below.shape[1]], whole[:, :, 1:] - whole[:, :, :-1]
        return (v[:, :, :-1], h[:, :below.shape[1]]) if self.form == "beta" else (v, h)


class Gram(Op):
    """G[n,c,d] = sum over positions of x[n,i,j,c] x[n,i,j,d], divided by `normalize`: which channels fire together.

    normalize: "chw" (by C H W: neural-style, CS231n), "hw" (by H W: Gatys' PyTorch code), "none".
    dx[n,i,j] = x[n,i,j] (dG[n] + transpose of dG[n]) / divisor. Gatys et al. 2015, arXiv:1505.07376.
    """
    new_gradients = True

    def __init__(self, normalize="chw"):
        if normalize not in ("chw", "hw", "none"):
            raise ValueError(f"gram: normalize {normalize!r} must be 'chw', 'hw' or 'none'")
        self.normalize = normalize

    def forward(self, x):
        check_picture(x, "gram")
        self.x = x if self.needs[0] else None
        self.divisor = {"chw": math.prod(x.shape[1:]), "hw": x.shape[1] * x.shape[2], "none": 1}[self.normalize]
        return kernels.of(x).gram(x) / self.divisor

    def backward(self, dy):
        both = (dy + dy.swapaxes(1, 2)) / self.divisor
        how = {"stride": (1, 1), "pad": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1, "precision": "float32-direct"}
        conv = kernels.of(dy).conv2d_forward         # a matrix for every position's channels: a 1 x 1 convolution
        dx = [conv(self.x[n:n + 1], both[n][None, None], None, **how) for n in range(len(both))]
        return dx[0] if len(dx) == 1 else kernels.xp(dy).concatenate(dx)


class SquaredDistance(Op):
    """y[n] = the sum of (x[n] - target)^2; dx = 2 dy (x - target). The target is a constant, of x's shape or broadcast
    to it. One pass over large maps where x - target, its square and their sum would be three."""
    new_gradients = True

    def __init__(self, target):
        self.target = target

    def forward(self, x):
        if np.broadcast_shapes(x.shape, self.target.shape) != x.shape:
            raise ValueError(f"squared_distance: a target {self.target.shape} is not broadcast to x {x.shape}")
        d = kernels.apply("subtract", x, self.target)
        self.d = d if self.needs[0] else None
        return kernels.sums_of_squares(d)

    def backward(self, dy):
        return kernels.apply("multiply", self.d, (2 * dy).reshape(-1, *[1] * (self.d.ndim - 1)))


def _bands(x):
    """Slices of the rows of pictures (N, H, W, C): few at a time on the CPU, so that what is made of them on the way
    stays in the cache; all at once on a GPU."""
    step = max(1, BAND // max(1, x[:, :1].size)) if isinstance(x, np.ndarray) else max(1, x.shape[1])
    return [slice(top, min(top + step, x.shape[1])) for top in range(0, x.shape[1], step)]


def _softmax(x):
    e = kernels.xp(x).exp(x - x.max(axis=-1, keepdims=True))        # at most e^0: no overflow
    return e / e.sum(axis=-1, keepdims=True)


def _log_softmax(x):
    xp = kernels.xp(x)
    lowered = x - x.max(axis=-1, keepdims=True)
    return lowered - xp.log(xp.exp(lowered).sum(axis=-1, keepdims=True))


def softmax(x):
    """Probabilities along the last axis."""
    return Softmax()(x)


def log_softmax(x):
    """Log-probabilities along the last axis."""
    return LogSoftmax()(x)


def cross_entropy(logits, targets, smoothing=0.0):
    """(N, C) logits and (N,) class indices (or (N, C) probabilities) -> (N,) losses."""
    return CrossEntropy(np.asarray(targets) if isinstance(targets, (list, tuple)) else targets, smoothing)(logits)


def total_variation(x, form="l2", exponent=2.0):
    """(N, H, W, C) -> (N,): see TotalVariation for the forms "l1", "l2", "beta"."""
    return TotalVariation(form, exponent)(x)


def squared_distance(x, target):
    """(N,): the sum of (x - target)^2 of each, target a constant array."""
    return SquaredDistance(target)(x)


def gram(x, normalize="chw"):
    """(N, H, W, C) -> (N, C, C): products of channels summed over positions; normalize "chw", "hw" or "none"."""
    return Gram(normalize)(x)


def mse(a, b):
    """(N, ...), (N, ...) -> (N,): the mean squared difference of every picture."""
    d = subtract(a, b)
    return mean(square(d), axis=tuple(range(1, d.ndim)))
