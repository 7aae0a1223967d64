"""Colours of one picture for another: all arrays are grey levels, (H, W, 3) RGB, of any float or uint8 type."""
import numpy as np

LUMINANCE = np.array([0.299, 0.587, 0.114])     # ITU-R BT.601


def with_colours_of(levels, colours):
    """The luminance of `levels` with the colours of another picture of the same size; float64. Gatys et al. 2016,
    arXiv:1606.05897, section 3.2.

    Differences of colour, R - Y and B - Y, stay when the same is added to red, green and blue.
    """
    return np.asarray(colours, np.float64) + (grey(levels) - grey(colours))


def recoloured(picture, like):
    """`picture` with the mean colour and the covariance of colours of `like`, clipped to 0..255; float64.

    x' = A (x - m) + m', A = S'^(1/2) S^(-1/2), the roots symmetric. Gatys et al. 2016, arXiv:1606.05897, section 3.1.
    A grey picture, whose covariance has no inverse, gets no more colour than it had directions.
    """
    x, y = (np.asarray(p, np.float64).reshape(-1, 3) for p in (picture, like))
    A = _power(np.cov(y.T), 0.5) @ _power(np.cov(x.T), -0.5)
    moved = (x - x.mean(axis=0)) @ A.T + y.mean(axis=0)
    return np.clip(moved, 0, 255).reshape(np.shape(picture))


def _power(covariance, exponent):
    values, vectors = np.linalg.eigh(covariance)
    small = values <= 1e-9 * max(values.max(), 1e-30)
    return (vectors * np.where(small, 0, np.where(small, 1, values) ** exponent)) @ vectors.T


def match_histogram(levels, source):
    """`levels` with each colour's values replaced, rank by rank, by those of `source`; float64.

    The k-th smallest of n values becomes the (k + 1/2) / n quantile of the source's. What DeepTextures does at the end.
    """
    levels, source = np.asarray(levels, np.float64), np.asarray(source, np.float64)
    out = np.empty_like(levels)
    for c in range(levels.shape[-1]):
        flat, wanted = levels[..., c].ravel(), np.sort(source[..., c].ravel())
        at = (np.arange(flat.size) + 0.5) / flat.size * wanted.size - 0.5
        ranked = np.empty_like(flat)
        ranked[np.argsort(flat, kind="stable")] = np.interp(at, np.arange(wanted.size), wanted)
        out[..., c] = ranked.reshape(levels.shape[:-1])
    return out


def grey(picture):
    """The luminance in all three colours; float64."""
    return np.repeat((np.asarray(picture, np.float64) @ LUMINANCE)[..., None], 3, axis=-1)
