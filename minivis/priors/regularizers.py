"""Regularisers: losses that keep an optimised picture from being noise, and operations that do so after each step.

Losses are Tensors (N,) of z, the picture in grey levels from the mean colour (N, H, W, 3), or of activations.
Operations are `f(z, point, i) -> z` for optimize.Run(after=...): those of Yosinski et al. 2015, arXiv:1506.06579.
"""
import numpy as np

from .. import kernels, ops
from ..errors import MinivisError
from ..tensor import Tensor


def power_norm(z, alpha=2.0):
    """sum |z|^alpha, (N,). alpha 2: Simonyan et al. 2014; 6: Mahendran and Vedaldi 2015, arXiv:1412.0035."""
    a = z * z if alpha == 2 else ops.abs(z) ** float(alpha)
    return ops.sum(a, (1, 2, 3))


def diversity(a):
    """How alike the pictures of a batch look to a layer: a (N, H, W, C) -> (N,), for each picture the mean cosine
    between its Gram matrix and the others'. Olah et al. 2017, doi:10.23915/distill.00007."""
    N = a.shape[0]
    if N < 2 or a.ndim != 4:
        raise MinivisError(f"diversity: it takes several pictures and a layer with positions, not shape {a.shape}")
    g = ops.reshape(ops.gram(a, "hw"), N, -1)
    g = g / ops.sqrt(ops.sum(g * g, 1, keepdims=True) + 1e-12)
    cosines = ops.matmul(g, ops.transpose(g))
    return (ops.sum(cosines, 1) - ops.sum(g * g, 1)) * (1 / (N - 1))


class Decay:
    """z <- (1 - share) z: pulls towards the mean colour, most where colours are extreme; towards a generator's mean
    code, if z is a code. To first order it is a step down share |z|^2 / 2, whatever the optimiser."""

    def __init__(self, share):
        if not 0 <= share < 1:
            raise MinivisError(f"decay: share {share} must be in 0 <= share < 1")
        self.share = share

    def __call__(self, z, point, i):
        return z * z.dtype.type(1 - self.share)


class Blur:
    """z <- Gaussian(sigma) * z after every `every`-th step: high frequencies must be paid for again and again."""

    def __init__(self, sigma, every=1):
        if not sigma > 0 or every < 1:
            raise MinivisError(f"blur: sigma {sigma} must be above 0 and every {every} at least 1")
        self.sigma, self.every = sigma, every

    def __call__(self, z, point, i):
        return ops.gaussian_blur(Tensor(z), self.sigma).data if (i + 1) % self.every == 0 else z


class ClipSmallValues:
    """Pixels whose norm over colours lies below the `percent` percentile become the mean colour; by "entry" each of
    their values does whose size lies below it."""

    def __init__(self, percent, by="norm"):
        if by not in ("norm", "entry"):
            raise MinivisError(f"clipping: by {by!r} must be norm or entry")
        self.percent, self.by = _percentile(percent), by

    def __call__(self, z, point, i):
        xp = kernels.xp(z)
        size = z.astype("float64") ** 2
        size = xp.sqrt(size if self.by == "entry" else size.sum(axis=3, keepdims=True))
        limit = xp.percentile(size, self.percent, axis=(1, 2, 3), keepdims=True)
        return xp.where(size >= limit, z, 0).astype(z.dtype)


class ClipSmallContributions:
    """Pixels that add least to the score become the mean colour: those whose |sum over colours of z g|, the change to
    first order if the pixel went, lies below the `percent` percentile.

    signed   what they add with its sign: pixels that lower the score are the first to go
    """

    def __init__(self, percent, signed=False):
        self.percent, self.signed = _percentile(percent), signed

    def __call__(self, z, point, i):
        xp = kernels.xp(z)
        share = -(z.astype("float64") * point.gradient).sum(axis=3, keepdims=True)      # g is that of minus the score
        share = share if self.signed else xp.abs(share)
        limit = xp.percentile(share, self.percent, axis=(1, 2, 3), keepdims=True)
        return xp.where(share >= limit, z, 0).astype(z.dtype)


def in_turn(operations):
    """One operation that applies several, or None if there are none."""
    operations = [f for f in operations if f is not None]

    def after(z, point, i):
        for f in operations:
            z = f(z, point, i)
        return z
    return after if operations else None


def _percentile(percent):
    if not 0 < percent < 100:
        raise MinivisError(f"clipping: percent {percent} must lie between 0 and 100")
    return float(np.float64(percent))
