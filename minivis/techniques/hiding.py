"""What techniques share that hide parts of a picture: a start, a filling, and scores of partly hidden pictures."""
from typing import NamedTuple

import numpy as np

from ..incremental import Incremental
from ..objectives import class_scores
from ..superpixels import superpixels
from ..tensor import Tensor
from .common import begin, look
from .occlusion import filled
from .sampling import host, scores


class Hiding(NamedTuple):
    """A picture as the network sees it, what stands for its hidden parts, and the score in question.

    When the monitor says Stop, the scores are those so far, the first of them.
    """
    net: object
    seen: object
    x: np.ndarray               # (1, H, W, C)
    background: np.ndarray      # (1, H, W, C)
    start: object

    def scores(self, mask, count, memory=None, monitor=None):
        """(count,) float64: the score with mask(i) x + (1 - mask(i)) background, masks (H, W) from 0 to 1."""
        clean, ground = self.x[0], self.background[0]

        def make(i):
            m = mask(i)[:, :, None]
            return clean * m + ground * (1 - m)
        return scores(self.net, self.start, make, count, clean.shape, memory, monitor, may_stop=True)

    def scores_without(self, hidden, count, memory=None, monitor=None):
        """(count,) float64: the score with the pixels of the boolean mask hidden(i) filled. Only what the box around
        them changes is computed again; on a GPU the whole network runs."""
        if self.net.device != "cpu":
            return self.scores(lambda i: 1 - host(hidden(i)).astype(self.net.dtype), count, memory, monitor)
        boxes = [box_around(hidden(i)) for i in range(count)]

        def content(i):
            top, left, bottom, right = boxes[i]
            where = np.s_[top:bottom, left:right]
            return np.where(hidden(i)[where][:, :, None], self.background[0][where], self.x[0][where])

        again = Incremental(self.net, self.x, self.start.layer)
        if self.start.kind not in ("prob", "logprob"):
            return again.run_all(boxes, content, memory, monitor, True, self.start.seed)
        values = again.run_all(boxes, content, memory, monitor, may_stop=True)
        return (class_scores(Tensor(values), self.start.kind).data * self.start.seed).sum(axis=1, dtype=np.float64)


def hiding(net, picture, fill, *, target=None, unit=None, positions="strongest", score="logit", seed=0):
    """The Hiding of a technique's options."""
    seen, x = look(net, picture)
    start = begin(net, x, target=target, unit=unit, score=score, positions=positions)
    return Hiding(net, seen, x.data, filled(net, x.data, seen, fill, seed), start)


def segments_of(seen, count, compactness=10.0):
    """The superpixels of what the network saw, (H, W), and how many there are."""
    labels = superpixels(seen.picture, count, compactness)
    return labels, int(labels.max()) + 1


def box_around(mask):
    """(top, left, bottom, right) of a mask's true cells; an empty box if there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
