"""RISE: random masks, each weighted by the score that it leaves."""
import numpy as np

from ..errors import MinivisError
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Attribution
from .common import Positions, cautions, recipe, stopped_after, why_zero
from .hiding import hiding
from .occlusion import FILLS, Fill


def rise(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
         positions: Positions = "strongest", score: Score = "prob", samples: int = 4000, cells: int = 7,
         keep: float = 0.5, fill: Fill = "zero", memory=None, seed=0, monitor=None) -> Attribution:
    """Show the picture through random masks: a pixel's value is the mean score of the masks that show it.

    S = 1 / (samples * keep) sum_i score(mask_i x + (1 - mask_i) fill) mask_i. A mask is a grid of cells, each open with
    probability `keep`, enlarged bilinearly and shifted by less than a cell.
    Petsiuk, Das, Saenko 2018, arXiv:1806.07421.

    values (H, W): at least 0 for prob. Needs nothing of the network but its scores.
    Caution: a few thousand masks leave a noise floor, of the order of score / sqrt(samples), over the whole map.

    target      the class: an index, a WordNet id or a label; none means the network's first choice
    unit        start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    score       prob, or logprob / logit
    samples     how many masks
    cells       cells of the grid along each side
    keep        the probability that a cell is open
    fill        what hidden places show: the network's zero (the paper's), mean, black, grey, white, blur or noise
    """
    if samples < 1 or cells < 1 or not 0 < keep <= 1:
        raise MinivisError(f"rise: samples {samples} and cells {cells} must be at least 1, keep {keep} in (0, 1]")
    h = hiding(net, picture, fill, target=target, unit=unit, positions=positions, score=score, seed=seed)
    masks = Masks(h.x.shape[1:3], cells, keep, seed)
    scores = h.scores(lambda i: masks(i).astype(net.dtype), samples, memory, monitor)
    values = np.zeros(h.x.shape[1:3])
    for i, s in enumerate(scores):
        values += s * masks(i)
    values /= len(scores) * keep
    stopped = stopped_after(len(scores), samples, "masks")
    notes = [f"{len(scores)} masks of {cells} x {cells} cells, {100 * keep:g} % open; hidden places show "
             f"{FILLS[fill]}.", *stopped, *([] if values.any() else [why_zero(h.start)]), *cautions("rise")]
    how = recipe(rise, net, seed, target=target, unit=unit, positions=positions, score=score, samples=samples,
                 cells=cells, keep=keep, fill=fill)
    return MeanScore(values.astype(net.dtype), None, h.start.target, h.start.value, h.start.kind, h.seen,
                     layer=h.start.layer, quantity=f"mean {h.start.kind} of the masks that show the pixel", recipe=how,
                     notes=notes, partial=bool(stopped))


class MeanScore(Attribution):
    """Every pixel has some score, so the colours begin at the least one and not at 0."""

    def shown(self):
        return self.heat_colours(self.values, low=None)


class Masks:
    """masks(i): the i-th mask, (H, W) float64 from 0 to 1; drawn again whenever asked, so none need be kept."""

    def __init__(self, size, cells, keep, seed):
        self.size, self.cells, self.keep, self.seed = size, cells, keep, seed
        self.step = [-(-side // cells) for side in size]                # pixels of a cell
        self.enlarge = [bilinear(cells, (cells + 1) * step) for step in self.step]

    def __call__(self, i):
        rng = np.random.default_rng([self.seed, 3, i])
        grid = (rng.random((self.cells, self.cells)) < self.keep).astype(np.float64)
        along_y, along_x = (matrix[at:at + side] for matrix, at, side in
                            zip(self.enlarge, (rng.integers(0, step) for step in self.step), self.size))
        return along_y @ grid @ along_x.T


def bilinear(n, m):
    """(m, n): the matrix that enlarges n values to m, half-pixel centres, the edge values going on outside."""
    at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    low = np.minimum(at.astype(int), max(0, n - 2))
    matrix = np.zeros((m, n))
    matrix[np.arange(m), low] = 1 - (at - low)
    if n > 1:
        matrix[np.arange(m), low + 1] += at - low
    return matrix
