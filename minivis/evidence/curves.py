"""Deletion and insertion: how fast the score falls as the most important pixels go, and rises as they come.

Petsiuk, Das, Saenko 2018, arXiv:1806.07421, section 4.1, with the constants of its authors' code: 224 * 8 pixels a
step, the network's zero in the place of deleted pixels, a Gaussian of sigma 5 cut to 11 x 11 where nothing is inserted
yet.
"""
import numpy as np
from scipy import ndimage

STEP = 224 * 8
BLUR_SIGMA, BLUR_CELLS = 5.0, 11


def ranking(values):
    """Flat pixel numbers, the most important first. A map (H, W, 3) counts the sum of |value| over its colours."""
    values = np.asarray(values)
    flat = (np.abs(values).sum(axis=2) if values.ndim == 3 else values).reshape(-1)
    return np.argsort(-flat, kind="stable")


def deletion(hiding, values, step=STEP, memory=None, monitor=None):
    """(scores, their area): the score with the first 0, step, 2 step, ... pixels set to the network's zero."""
    return _curve(hiding, values, np.zeros_like(hiding.x), step, True, memory, monitor)


def insertion(hiding, values, step=STEP, memory=None, monitor=None):
    """(scores, their area): the score with only the first 0, step, 2 step, ... pixels sharp, the others blurred."""
    return _curve(hiding, values, blurred(hiding.x), step, False, memory, monitor)


def _curve(hiding, values, ground, step, delete, memory, monitor):
    order = ranking(values)
    shape = hiding.x.shape[1:3]
    if len(order) != shape[0] * shape[1]:
        raise ValueError(f"a map of shape {np.shape(values)} does not lie on the network's input {shape}")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))            # of each pixel: how many are more important
    place = place.reshape(shape)
    count = -(-len(order) // step) + 1
    with_ground = hiding._replace(background=ground)

    def mask(i):
        touched = place < i * step
        return (~touched if delete else touched).astype(hiding.x.dtype)
    scores = with_ground.scores(mask, count, memory, monitor)
    return scores, auc(scores)


def auc(scores):
    """The area under a curve of evenly spaced scores, by trapezoids, 0 to 1 along the axis."""
    return float((scores.sum() - (scores[0] + scores[-1]) / 2) / (len(scores) - 1))


def blurred(x):
    """(1, H, W, C) blurred, zeros beyond the border."""
    one = np.zeros(BLUR_CELLS)
    one[BLUR_CELLS // 2] = 1
    bell = ndimage.gaussian_filter1d(one, BLUR_SIGMA)       # folded back at its ends, so it sums to 1
    for axis in (1, 2):
        x = ndimage.convolve1d(x, bell.astype(x.dtype), axis=axis, mode="constant")
    return x
