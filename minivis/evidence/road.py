"""ROAD: remove pixels so that what is removed can hardly be seen.

Rong, Leemann, Borisov, Kasneci, Kasneci 2022, "A consistent and efficient evaluation strategy for attribution methods",
arXiv:2202.00449. A removed pixel becomes the weighted mean of its neighbours (1/6 beside, 1/12 diagonally), removed
ones included, plus a little noise: a sparse linear system.
"""
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from ..techniques.sampling import scores
from .curves import ranking

SHARES = (0.2, 0.4, 0.6, 0.8)       # of the pixels removed
NOISE = 0.01                        # of the picture's standard deviation
_AROUND = [(dy, dx, 1 / 6 if dy == 0 or dx == 0 else 1 / 12) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def road(hiding, values, shares=SHARES, seed=0, memory=None, monitor=None):
    """Mean over shares of (score with the least important pixels removed - with the most important removed) / 2.

    Above 0 the map ranks pixels better than chance; the ROADCombined of pytorch-grad-cam.
    """
    order, shape = ranking(values), hiding.x.shape[1:3]
    pictures = []
    for share in shares:
        count = round(share * len(order))
        for chosen in (order[len(order) - count:], order[:count]):      # least important, then most important
            removed = np.zeros(len(order), bool)
            removed[chosen] = True
            pictures.append(impute(hiding.x[0], removed.reshape(shape), seed))
    found = scores(hiding.net, hiding.start, lambda i: pictures[i], len(pictures), hiding.x.shape[1:], memory, monitor)
    return float((found[0::2] - found[1::2]).mean() / 2)


def impute(x, removed, seed=0):
    """x (H, W, C) with the removed pixels (H, W) filled from their neighbours, and noise."""
    H, W, C = x.shape
    count = int(removed.sum())
    if count in (0, H * W):
        return np.zeros_like(x) if count else x.copy()      # no neighbour is left: the network's zero
    number = np.full((H + 2, W + 2), -2)                    # -2: no pixel there
    number[1:-1, 1:-1] = -1
    number[1:-1, 1:-1][removed] = np.arange(count)
    padded = np.pad(x.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    ys, xs = np.nonzero(removed)
    rows, columns, entries = [np.arange(count)], [np.arange(count)], []
    known, total = np.zeros((count, C)), np.zeros(count)
    for dy, dx, weight in _AROUND:
        there = number[ys + 1 + dy, xs + 1 + dx]
        total += weight * (there != -2)
        inside, fixed = there >= 0, there == -1
        rows.append(np.flatnonzero(inside))
        columns.append(there[inside])
        entries.append(np.full(inside.sum(), -weight))
        known[fixed] += weight * padded[ys[fixed] + 1 + dy, xs[fixed] + 1 + dx]
    matrix = sparse.coo_array((np.concatenate([total, *entries]), (np.concatenate(rows), np.concatenate(columns))),
                              shape=(count, count)).tocsc()
    filled = x.astype(np.float64)
    noise = np.random.default_rng([seed, 5]).standard_normal((count, C)) * NOISE * x.std()
    filled[removed] = spsolve(matrix, known).reshape(count, C) + noise
    return filled.astype(x.dtype)
