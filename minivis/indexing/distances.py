"""Exact distances from one vector to every picture of an index, in the space of features or of pixels."""
import numpy as np

from .. import batching

METRICS = ("l2", "cosine")


def distances(rows, query, metric="l2"):
    """(n,) float64: how far each of rows (n, D) is from query (D,).

    l2        |row - query|
    cosine    1 - row . query / (|row| |query|), and 1 where a vector is 0
    """
    rows, query = np.asarray(rows), np.asarray(query, np.float64)
    if metric == "l2":
        return np.sqrt(np.square(rows - query).sum(axis=1))
    lengths = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1)) * np.sqrt(np.square(query).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, 1 - (rows * query).sum(axis=1) / lengths, 1.0)


def to_features(index, layer, query, metric="l2", memory=None):
    """(N,) distances of all pictures in a layer's features, read in portions."""
    width = index.feature_layer(layer).width
    found = [distances(block, query, metric) for _, block in index.feature_blocks(layer, _rows(width, memory))]
    return np.concatenate(found)


def to_pixels(index, small, metric="l2", memory=None):
    """(N,) distances of all pictures from `small`, (s, s, 3) uint8; from black to white is 1."""
    rows = _rows(small.size, memory)
    found = [distances(_flat(index.pixels(slice(first, first + rows))), _flat(small[None])[0], metric)
             for first in range(0, index.count, rows)]
    return np.concatenate(found)


def nearest(d, count, without=()):
    """Numbers of the `count` smallest of d, rising; equal ones in their order; those in `without` are left out."""
    order = np.lexsort((np.arange(len(d)), d))
    return order[~np.isin(order, without)][:count]


def _rows(width, memory):
    """How many rows of float64 and their differences fit into a quarter of the memory budget."""
    memory = batching.default_budget() if memory is None else batching.parse_bytes(memory)
    return max(1, int(memory / 4 // (20 * width)))


def _flat(pictures):
    return pictures.reshape(len(pictures), -1) / 255.0
