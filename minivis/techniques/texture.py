"""Texture synthesis: a new picture with the Gram matrices of a given one."""
from typing import Literal, NamedTuple

import numpy as np

from .. import losses
from ..colours import match_histogram
from ..errors import MinivisError
from ..options import Layer, Network, Picture
from ..results import Synthesis
from ..style_losses import SUMS, StyleLoss, style_terms
from ..tiling import fields_of, step_of
from .common import recipe
from .matching import (
    Painter,
    Planner,
    default_layers,
    named,
    optimizer_of,
    paint,
    painted,
    relative,
    shared,
    sizes_up_to,
)
from .style_options import check_loss


def texture(net: Network, picture: Picture, *, height: int | None = None, width: int | None = None,
            source_size: int | None = 256, steps: int = 200, scales: int = 1, layers: dict[Layer, float] | None = None,
            gram: losses.Gram = "chw", normalize: Literal["mean", "sum", "quarter"] = "mean",
            style_loss: StyleLoss = "gram", scale: Literal["auto", "relative", "paper"] = "auto",
            tv_weight: float = 0.005, pool: Literal["max", "avg"] | None = "avg",
            optimizer: Literal["lbfgs", "adam"] = "lbfgs", rate: float | None = None, history: int = 20,
            noise: float = 50.0, histogram: bool = True,
            tileable: bool = False, margin: int = 8, tile: int | None = None, seed=0, memory=None,
            monitor=None) -> Synthesis:
    """A new piece of the picture's texture, of any size, from noise.

    min sum over layers l of w_l |G_l(x) - G_l(source)|^2, G the Gram matrices: averages over all positions of the
    products of two channels, which know what occurs together but not where. Gatys, Ecker, Bethge 2015,
    arXiv:1505.07376. Patterns larger than the deepest layer's receptive field do not come out.

    pictures (1, height, width, 3)

    height       of the new texture in pixels; none means the source's
    width        of the new texture in pixels; none means the source's
    source_size  longest side at which the given picture is looked at; none means its own
    steps        how many in all
    scales       begin at a size 2^((scales - 1) / 2) times smaller, and enlarge by sqrt 2
    layers       whose Gram matrices are to be matched, with weights
    gram         what they are divided by: C H W, H W or nothing (then the sizes must be equal)
    normalize    of their difference: mean of its squares, their sum, or a quarter of that (the paper)
    style_loss   what is matched: Gram matrices; moments; correlations at a distance too (Berger, Memisevic 2017,
                 arXiv:1606.01286), for regular patterns; histogram; patches; sliced Wasserstein: see `style`
    scale        relative (and auto) divides each layer's loss by its value on noise; paper leaves it as it is
    tv_weight    of total variation, beside 1 for the Gram matrices: against noise finer than the network sees
    pool         all poolings become this; the paper prefers averages
    optimizer    L-BFGS or Adam
    rate         length of the first step tried (lbfgs), or grey levels per step (adam, 5)
    history      steps that L-BFGS remembers
    noise        standard deviation of the noise at the start, in grey levels
    histogram    in the end give each colour exactly the source's distribution
    tileable     the texture continues at the opposite side; its sides become multiples of the network's stride
    margin       pixels made around the texture and cut off, because the network's padding spoils borders
    tile         work on pieces of this many pixels; none means as the memory limit asks
    """
    source = net.see(picture, source_size, "none" if source_size is None else "longest").picture
    scale = check_loss(style_loss, scale, tile=tile)
    wanted = named(net, layers or default_layers(net, style_loss)[1])
    size = height or source.shape[0], width or source.shape[1]
    if min(size) < 8:
        raise MinivisError(f"texture: {size[1]} x {size[0]} pixels are too few")
    if margin < 0:
        raise MinivisError(f"texture: margin {margin} must be at least 0")
    margin = 0 if tileable else margin
    step = step_of(fields_of(net, list(wanted), size)) if tileable else 1
    sizes = sizes_up_to((size[0] + 2 * margin, size[1] + 2 * margin), scales, step)
    if gram == "none" and (sizes[-1] != source.shape[:2] or scales > 1):
        raise MinivisError("texture: with gram none the texture and its margin must have the source's size, "
                           "so give margin 0; or use chw or hw")
    planner = Planner(net, wanted, optimizer, history, memory, tile, tileable, whole=style_loss not in SUMS)
    if tileable and sizes[-1] != size:
        planner.notes.append(f"A tileable texture has sides that are multiples of {step}: {sizes[-1][1]} x "
                             f"{sizes[-1][0]} pixels.")
    weights = {"style": 1.0, "tv": tv_weight}
    task = Task(Painter(net, pool), source, sizes[-1], wanted, weights, scale, gram, normalize, planner, seed,
                style_loss)
    z, course, finished = paint(list(zip(sizes, shared(steps, len(sizes)))), task,
                                task.painter.noise(sizes[0], seed, noise), optimizer_of(optimizer, rate, history),
                                monitor)
    levels = task.painter.levels(z)
    cut = round(margin * len(levels) / sizes[-1][0])        # less if the run was stopped at a smaller size
    levels = levels[cut:len(levels) - cut, cut:levels.shape[1] - cut]
    if histogram:
        levels = match_histogram(levels, source)
    return painted(levels, course, finished, source, planner, "the texture of the source",
                   recipe(texture, net, seed, picture=picture, height=levels.shape[0], width=levels.shape[1],
                          margin=margin, source_size=source_size, steps=steps, scales=scales, layers=wanted, gram=gram,
                          normalize=normalize, style_loss=style_loss, scale=scale, tv_weight=tv_weight, pool=pool,
                          optimizer=optimizer, rate=rate, noise=noise, histogram=histogram, tileable=tileable,
                          used=planner.used()))


class Task(NamedTuple):
    """One texture, whose loss `prepare` makes for each size."""
    painter: Painter
    source: np.ndarray
    final: tuple
    layers: dict
    weights: dict
    scale: str
    gram: str
    normalize: str
    planner: Planner
    seed: int
    loss: str

    def prepare(self, size, plan=None):
        """-> (the loss at this size, the Plan it was made with); the source shrinks as the texture does."""
        plan, p = self.planner(size, plan), self.painter
        source = self.source
        if size != self.final:
            side = max(16, round(max(source.shape[:2]) * size[0] / self.final[0]))
            source = p.net.see(source, side, "longest").picture
        if self.loss == "gram":
            grams = p.grams(p.z(source), self.layers, self.gram, side=plan.side)
            terms = [("style", weight, losses.style(p.net, name, grams[name], self.gram, self.normalize))
                     for name, weight in self.layers.items()]
        else:
            values = p.values(p.z(source), self.layers, plan.side)
            terms = [("style", weight, term) for name, weight in self.layers.items()
                     for term in style_terms(self.loss, p.net, name, values[name], self.gram, self.seed)]
        tv = [("tv", self.weights["tv"], losses.tv)] if self.weights["tv"] else []
        loss = p.loss(size, terms, tv, plan.side, self.planner.wrap)
        return loss if self.scale == "paper" else relative(loss, p.noise(size, self.seed), self.weights), plan
