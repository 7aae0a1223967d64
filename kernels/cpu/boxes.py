"""Cutting boxes out of one picture's values and laying other cells over them, many pictures at once.

What incremental occlusion spends its time with beside convolutions. One item of work is a picture; numbers are copied
as 32-bit words, whatever they mean.
"""
import numpy as np

from . import buffers, threads
from .addresses import address, float32_at, int64_at
from .compile_cache import helper, kernel

_ENTRIES = 8            # of a row of the table of pictures: 0:top 1:left of the box, 2:address 3:height 4:width of the
#                         cells (address 0: none) 5:words from a row of theirs to the next, 6:row 7:column of the box
#                         where they begin, perhaps outside
# descriptor: 0:batch 1:values 2:words of a row of values 3:height 4:width of a box 5:words of a cell 6:table
#             7:words from a cell of the batch to the next: more where the boxes are some of its channels


@helper
def _copy(source, target, cells, cell, pitch):
    """cells x cell words from source to target, where they are `pitch` words apart."""
    if pitch == cell:
        cell, cells = cell * cells, 1
    for j in range(cells):
        a, b = float32_at(source + 4 * j * cell), float32_at(target + 4 * j * pitch)
        for i in range(cell):
            b[i] = a[i]


@kernel
def _cut(d, scratch, first, last):
    row, height, width, cell, pitch = d[2], d[3], d[4], d[5], d[7]
    for i in range(first, last):
        p = int64_at(d[6] + 8 * _ENTRIES * i)
        target = d[0] + 4 * i * height * width * pitch
        left, right = max(0, p[7]), min(width, p[7] + p[4])
        covered = p[2] != 0 and left < right
        for r in range(height):
            source, out = d[1] + 4 * ((p[0] + r) * row + p[1] * cell), target + 4 * r * width * pitch
            if covered and p[6] <= r < p[6] + p[3]:             # no number is written twice
                new = p[2] + 4 * ((r - p[6]) * p[5] + (left - p[7]) * cell)
                _copy(source, out, left, cell, pitch)
                _copy(new, out + 4 * left * pitch, right - left, cell, pitch)
                _copy(source + 4 * right * cell, out + 4 * right * pitch, width - right, cell, pitch)
            else:
                _copy(source, out, width, cell, pitch)


class Patches:
    """Cells of N pictures: of each an array (h, w, C), somewhere in a batch (n, H, W, C) of such arrays, or none."""

    def __init__(self, count):
        self.batches, self.batch = [], np.full(count, -1)
        self.lie = []           # where each batch lies: asked for at every cutting, so it is looked up once
        self.place, self.corner, self.size = np.zeros(count, int), np.zeros((count, 2), int), np.zeros((count, 2), int)

    def put(self, members, batch, corner, size):
        """The pictures `members` have, in this order, the cells `size` (n, 2) from `corner` (n, 2) on of the batch."""
        self.batch[members], self.place[members] = len(self.batches), np.arange(len(members))
        self.corner[members], self.size[members] = corner, size
        self.batches.append(batch)
        self.lie.append((address(batch), *batch.strides[:3]))

    def __len__(self):
        return len(self.batch)

    def __getitem__(self, i):
        if self.batch[i] < 0:
            return None
        (top, left), (height, width) = self.corner[i].tolist(), self.size[i].tolist()
        return self.batches[self.batch[i]][self.place[i], top:top + height, left:left + width]

    def table(self, members):
        """(n, 4) of these pictures: address, height, width, words from a row to the next; 0 where there is none."""
        if not self.batches:
            return np.zeros((len(members), 4), np.int64)
        start, picture, row, column = np.array(self.lie, np.int64)[self.batch[members]].T
        corner = self.corner[members]
        start = start + self.place[members] * picture + corner[:, 0] * row + corner[:, 1] * column
        found = np.stack([start, *self.size[members].T, row // 4], axis=1)
        found[self.batch[members] < 0] = 0
        return found


def cut_boxes(values, places, shape, cells, members, offsets, out=None):
    """(n, h, w, C): box i is values[0, top:top+h, left:left+w] with the cells of picture members[i] laid over it, cut
    off where they overhang.

    values (1, H, W, C), contiguous; places (n, 2): top and left, inside; shape (h, w); cells: Patches whose batches are
    contiguous; offsets (n, 2): the row and column of the box where the cells begin, perhaps negative. out: an array for
    the boxes, which may be some of the channels of a contiguous one.
    """
    n, C, words = len(places), values.shape[3], values.itemsize // 4
    table = np.concatenate([places, cells.table(members), offsets], axis=1).astype(np.int64, copy=False)
    batch = buffers.empty((n, *shape, C), values.dtype) if out is None else out
    d = np.array([address(batch), address(values), words * values.shape[2] * C, *shape, words * C, address(table),
                  batch.strides[2] // 4], np.int64)
    threads.run(_cut, d, n, chunk=max(1, n // 16))
    return batch


def plain(values, places, shape, cells, members, offsets, out=None):
    """cut_boxes without compiled code."""
    batch = np.empty((len(places), *shape, values.shape[3]), values.dtype) if out is None else out
    for box, (top, left), member, (row, column) in zip(batch, places, members, offsets):
        box[:] = values[0, top:top + shape[0], left:left + shape[1]]
        new = cells[member]
        if new is not None:
            y, x = max(0, row), max(0, column)
            part = new[y - row:max(0, shape[0] - row), x - column:max(0, shape[1] - column)]
            box[y:y + part.shape[0], x:x + part.shape[1]] = part
    return batch
