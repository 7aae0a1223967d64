"""Points of a map -> cells of a grid, each cell one point at most, none moved further than needed in all."""
import math

import numpy as np

from ..errors import MinivisError

LARGEST = 4000          # points: the assignment takes time of their number cubed


def assign(points, columns=None):
    """(rows, columns, cells (N,)) : the cell row * columns + column of every point (N, 2); y grows downwards.

    The assignment with the least sum of squared distances between points, stretched to the unit square, and the centres
    of their cells (a linear sum assignment; Jonker and Volgenant 1987). A grid has at least as many cells as points;
    those left over are where the map is emptiest.
    """
    from scipy.optimize import linear_sum_assignment
    points = np.asarray(points, np.float64)
    N = len(points)
    if not 1 <= N <= LARGEST:
        raise MinivisError(f"a grid of {N} pictures: 1 to {LARGEST} can be assigned; give a smaller --limit")
    columns = columns or math.ceil(math.sqrt(N))
    if columns < 1:
        raise MinivisError(f"a grid of {columns} columns; it needs at least 1")
    rows = -(-N // columns)
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    unit = (points - low) / np.where(span > 0, span, 1.0)
    centres = cell_centres(rows, columns)
    cost = ((unit[:, None] - centres[None]) ** 2).sum(axis=2)
    _, cells = linear_sum_assignment(cost)
    return rows, columns, cells


def cell_centres(rows, columns):
    """(rows * columns, 2) of (x, y) in the unit square, row by row."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([(x.ravel() + 0.5) / columns, (y.ravel() + 0.5) / rows], axis=1)


def kept_neighbours(X, rows, columns, cells):
    """The share of grid neighbours (of the up to 8 around a cell) that are among as many nearest neighbours in X; for
    comparison, a random grid keeps 8 / (N - 1)."""
    from sklearn.neighbors import NearestNeighbors
    N = len(X)
    if N < 10:
        return None
    nearest = NearestNeighbors(n_neighbors=8).fit(X).kneighbors(return_distance=False)      # itself left out
    who = np.full(rows * columns, -1)
    who[cells] = np.arange(N)
    board, kept, asked = np.pad(who.reshape(rows, columns), 1, constant_values=-1), 0, 0
    for i, cell in enumerate(cells):
        y, x = divmod(int(cell), columns)
        around = board[y:y + 3, x:x + 3].ravel()
        around = around[(around >= 0) & (around != i)]
        kept += np.isin(around, nearest[i]).sum()
        asked += len(around)
    return float(kept / asked)
