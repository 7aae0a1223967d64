"""Cutting boxes out of one picture's values and laying other cells over them, many pictures at once.

What incremental occlusion spends its time with beside convolutions. One item of work is a picture; numbers are copied
as 32-bit words, whatever they mean.
"""
import numpy as np

from . import threads
from .addresses import address, float32_at, int64_at
from .compile_cache import helper, kernel

_ENTRIES = 7            # of a row of the table of pictures: 0:top 1:left of the box, 2:address 3:height 4:width of the
#                         cells (address 0: none), 5:row 6:column of the box where they begin, perhaps outside
# descriptor: 0:batch 1:values 2:words of a row of values 3:height 4:width of a box 5:words of a cell 6:table


@helper
def _copy(source, target, words):
    a, b = float32_at(source), float32_at(target)
    for i in range(words):
        b[i] = a[i]


@kernel
def _cut(d, scratch, first, last):
    row, height, width, cell = d[2], d[3], d[4], d[5]
    for i in range(first, last):
        p = int64_at(d[6] + 8 * _ENTRIES * i)
        target = d[0] + 4 * i * height * width * cell
        left, right = max(0, p[6]), min(width, p[6] + p[4])
        covered = p[2] != 0 and left < right
        for r in range(height):
            source, out = d[1] + 4 * ((p[0] + r) * row + p[1] * cell), target + 4 * r * width * cell
            if covered and p[5] <= r < p[5] + p[3]:             # no number is written twice
                _copy(source, out, left * cell)
                _copy(p[2] + 4 * ((r - p[5]) * p[4] + left - p[6]) * cell, out + 4 * left * cell, (right - left) * cell)
                _copy(source + 4 * right * cell, out + 4 * right * cell, (width - right) * cell)
            else:
                _copy(source, out, width * cell)


def cut_boxes(values, places, shape, cells, offsets):
    """(n, h, w, C): box i is values[0, top:top+h, left:left+w] with cells[i] laid over it, cut off where they overhang.

    values (1, H, W, C), contiguous; places (n, 2): top and left, inside; shape (h, w); cells: n contiguous arrays
    (h', w', C) or None; offsets (n, 2): the row and column of the box where cells[i] begins, perhaps negative.
    """
    n, C, words = len(places), values.shape[3], values.itemsize // 4
    table = np.zeros((n, _ENTRIES), np.int64)
    table[:, :2], table[:, 5:] = places, offsets
    for entry, new in zip(table, cells):
        if new is not None:
            entry[2:5] = address(new), new.shape[0], new.shape[1]
    batch = np.empty((n, *shape, C), values.dtype)
    d = np.array([address(batch), address(values), words * values.shape[2] * C, *shape, words * C, address(table)],
                 np.int64)
    threads.run(_cut, d, n, chunk=max(1, n // 16))
    return batch


def plain(values, places, shape, cells, offsets):
    """cut_boxes without compiled code."""
    batch = np.empty((len(places), *shape, values.shape[3]), values.dtype)
    for box, (top, left), new, (row, column) in zip(batch, places, cells, offsets):
        box[:] = values[0, top:top + shape[0], left:left + shape[1]]
        if new is not None:
            y, x = max(0, row), max(0, column)
            part = new[y - row:max(0, shape[0] - row), x - column:max(0, shape[1] - column)]
            box[y:y + part.shape[0], x:x + part.shape[1]] = part
    return batch
