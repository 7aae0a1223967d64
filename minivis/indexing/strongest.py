"""The strongest activations of every channel, over pictures that come in any portions.

A Top holds, for each of C channels, the k strongest of what was seen so far, in one total order: value falling, then
picture, row, column rising. So the strongest of two portions are the strongest of their two Tops, in whatever portions
the pictures came: over many processes, and before and after an interruption, the result is the same.
"""
import numpy as np

from .format import Top


def strongest(a, pictures, k, per_picture=1):
    """The Top of activations a, (n, H, W, C) or (n, C), of the pictures with these numbers (n,), rising.

    At most `per_picture` units of one picture count for a channel, its strongest; of equal ones the first row by row.
    """
    pictures = np.asarray(pictures, np.int64)
    if a.ndim == 2:
        a = a[:, None, None, :]
    per_picture = min(per_picture, a.shape[1] * a.shape[2])
    value, row, column = _strongest_one(a) if per_picture == 1 else _strongest_few(a, per_picture)
    picture = np.broadcast_to(pictures[:, None, None], value.shape)     # all (n, per_picture, C)
    return _best(Top(*(np.ascontiguousarray(part.reshape(-1, a.shape[3]).T)
                       for part in (value.astype(np.float32), picture, row, column))), k)


def merge(tops, k):
    """The Top of all that the given Tops were made of."""
    return _best(Top(*(np.concatenate(parts, axis=1) for parts in zip(*tops))), k)


def _best(top, k):
    order = np.lexsort((top.column, top.row, top.picture, -top.value), axis=1)[:, :k]
    return Top(*(np.take_along_axis(part, order, axis=1) for part in top))


def _strongest_one(a):
    """(value, row, column), (n, 1, C) each, of the strongest unit: first in each row, then among the rows."""
    rows = a.max(axis=2)                                                # (n, H, C)
    row = rows.argmax(axis=1)                                           # (n, C)
    value = np.take_along_axis(rows, row[:, None], axis=1)
    n, channels = row.shape
    line = a[np.arange(n)[:, None, None], row[:, :, None], np.arange(a.shape[2]), np.arange(channels)[None, :, None]]
    return value, row[:, None].astype(np.int32), line.argmax(axis=2)[:, None].astype(np.int32)


def _strongest_few(a, count):
    """(value, row, column), (n, count, C) each, of the `count` strongest units of each picture."""
    n, height, width, channels = a.shape
    flat = a.reshape(n, height * width, channels)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(flat, order, axis=1), (order // width).astype(np.int32), (order % width).astype(np.int32)
