"""Style transfer: what is in one picture, painted like others."""
from typing import Literal, NamedTuple

import numpy as np

from .. import colours as colour
from .. import losses
from ..errors import MinivisError
from ..options import Layer, Mask, Network, Picture, StylePicture
from ..preprocessing import resize
from ..results import Synthesis
from ..style_losses import SUMS, StyleLoss, style_terms
from .common import recipe
from .matching import (
    Painter,
    Planner,
    default_layers,
    most_scales,
    named,
    optimizer_of,
    paint,
    painted,
    relative,
    shared,
    sizes_up_to,
)
from .style_options import PRESETS, check, check_loss, settings, translated, weights_of
from .synthesis import to_uint8


def style(net: Network, picture: Picture, *, styles: list[StylePicture],
          preset: Literal["draft", "good", "print"] = "good", size: int | None = None, steps: int | None = None,
          scales: int | None = None, optimizer: Literal["lbfgs", "adam"] | None = None, rate: float | None = None,
          history: int = 20, content_weight: float | None = None, style_weight: float | None = None,
          tv_weight: float | None = None, content_layers: dict[Layer, float] | None = None,
          style_layers: dict[Layer, float] | None = None, scale: Literal["auto", "neural-style", "relative"] = "auto",
          gram: losses.Gram = "chw", style_loss: StyleLoss = "gram",
          blend_weights: list[float] | None = None, blend: Literal["targets", "losses"] = "targets",
          masks: list[Mask] | None = None, style_masks: list[Mask] | None = None, style_scale: float = 1.0,
          init: Literal["content", "noise", "picture"] = "content", init_picture: Picture | None = None,
          noise: float = 50.0, pool: Literal["max", "avg"] | None = None,
          colours: Literal["style", "luminance", "match"] = "style", margin: int = 8, tile: int | None = None, seed=0,
          memory=None, monitor=None) -> Synthesis:
    """Style transfer: the picture's content with the Gram matrices of one or several style pictures.

    min a sum_l |F_l(x) - F_l(content)|^2 + b sum_l |G_l(x) - G_l(style)|^2 + c TV(x) over the pixels x. Gatys, Ecker,
    Bethge 2016, doi:10.1109/CVPR.2016.265. A style is what occurs together at the scale of the receptive fields, so it
    depends on the size in pixels: one size's result is not another's made larger.

    pictures (1, H, W, 3); history: content, style and tv, weighted, before every step.

    styles          one or several style pictures; files, or names of those that come with minivis
    preset          draft: 256 pixels, 60 steps; good: 512 pixels, 150 steps over 3 sizes; print: 1448 pixels over 4
    size            longest side of the result, in pixels
    steps           how many in all, shared out to the sizes
    scales          begin at a size 2^((scales - 1) / 2) times smaller, and enlarge by sqrt 2
    optimizer       L-BFGS or Adam, whose moments are carried over to the next size
    rate            length of the first step tried (lbfgs), or grey levels per step (adam, 5)
    history         steps that L-BFGS remembers
    content_weight  a; none means 5 (neural-style) or 1 (relative)
    style_weight    b; none means 100 (neural-style) or 8 (relative)
    tv_weight       c, the same at every size; none means 0.001 (neural-style) or 0.02 (relative)
    content_layers  where contents are compared, with weights
    style_layers    where styles are compared, with weights
    scale           neural-style: means over all values, in grey levels; relative: each layer's loss divided by its
                    value on noise. auto: the former for VGG networks of the Caffe kind, whose published weights it fits
    gram            what Gram matrices are divided by: C H W, H W or nothing
    style_loss      what the style is: Gram matrices; moments (mean and deviation of each channel); correlations (Gram
                    matrices with the layer moved, for patterns; Berger, Memisevic 2017); histogram (beside the Gram
                    matrices; Risser et al. 2017); patches (the nearest of the style's; Li, Wand 2016) or sliced
                    (Wasserstein distance; Heitz et al. 2021). All but gram are relative; the last four take the picture
                    whole, never in tiles
    blend_weights   shares of the styles; they are divided by their sum
    blend           the styles' Gram matrices are mixed, or their losses; of other style losses always the losses
    masks           for each style the region of the picture it is for (white), any size
    style_masks     for each style the region of the style picture to take it from
    style_scale     size of the style pictures relative to the result's
    init            begin with the content, with noise, or with another picture
    init_picture    that picture
    noise           standard deviation of the noise, in grey levels
    pool            all poolings become this; none leaves them as they are
    colours         the style's; luminance: only that is painted, the colours stay; match: the style pictures get the
                    content's mean colour and covariance first
    margin          pixels of the picture's mirror image around it that are painted too and cut off, because the
                    network's padding spoils borders; 0 is what the papers do
    tile            work on pieces of this many pixels; none means as the memory limit asks
    """
    o = settings(PRESETS[preset], size=size, steps=steps, scales=scales, optimizer=optimizer)
    shares = check(styles, blend_weights, masks, style_masks, style_scale, init, init_picture, gram)
    scale = check_loss(style_loss, scale, masks, style_masks, tile)
    defaults = default_layers(net, style_loss)
    contents, wanted = named(net, content_layers or defaults[0]), named(net, style_layers or defaults[1])
    scale, weights = weights_of(net, scale, content_weight, style_weight, tv_weight)
    full = net.see(picture, o["size"], "longest").picture
    frame = Frame(full.shape[:2], 0 if gram == "none" else margin)      # sums over more pixels would be larger
    sources = Sources(_dressed(styles, full, colours), shares, masks and [frame.mask(m) for m in masks], style_masks,
                      style_scale, blend, style_loss)
    task = Task(Painter(net, pool), frame, frame.picture(full), sources, contents, wanted, weights, scale, gram,
                Planner(net, [*contents, *wanted], o["optimizer"], history, memory, tile, kept=contents,
                        whole=style_loss not in SUMS), seed)
    if scales is None:
        o["scales"] = min(o["scales"], most_scales(frame.size))
    sizes = sizes_up_to(frame.size, o["scales"])
    if init == "noise":
        start = task.painter.noise(sizes[0], seed, noise)
    else:
        first = full if init == "content" else resize(net.see(init_picture, None, "none").picture, full.shape[:2],
                                                      "bicubic")
        start = task.painter.z(resize(frame.picture(first), sizes[0], "bicubic"))
    z, course, finished = paint(list(zip(sizes, shared(o["steps"], len(sizes)))), task, start,
                                optimizer_of(o["optimizer"], rate, history), monitor)
    levels = frame.cut(task.painter.levels(z))
    if colours == "luminance":
        levels = colour.with_colours_of(levels, resize(full, levels.shape[:2], "bicubic"))
    return painted(levels, course, finished, full, task.planner,
                   f"the content of the picture in the style of {len(styles)} other{'s' * (len(styles) > 1)}",
                   recipe(style, net, seed, picture=picture, styles=styles, preset=preset, **o, rate=rate,
                          weights=weights, content_layers=contents, style_layers=wanted, scale=scale, gram=gram,
                          style_loss=style_loss, blend_weights=shares, blend=blend, masks=masks,
                          style_masks=style_masks, style_scale=style_scale, init=init, init_picture=init_picture,
                          noise=noise, pool=pool, colours=colours, margin=frame.margin, used=task.planner.used()))


style.translate = translated        # the command line takes neural-style's options too


def _dressed(styles, content, colours):
    """The style pictures in the colours that the option asks for."""
    if colours == "match":
        return [to_uint8(colour.recoloured(p, content)) for p in styles]
    return [to_uint8(colour.grey(p)) for p in styles] if colours == "luminance" else styles


class Frame:
    """`margin` pixels around a picture of size (H, W), less if the picture is small. size: with it."""

    def __init__(self, size, margin):
        if margin < 0:
            raise MinivisError(f"style: margin {margin} must be at least 0")
        self.inner, self.margin = size, min(margin, min(size) - 1)
        self.size = tuple(n + 2 * self.margin for n in size)

    def picture(self, picture):
        """A picture (H, W, 3) with its mirror image around it."""
        m = self.margin
        return np.pad(picture, ((m, m), (m, m), (0, 0)), "reflect") if m else picture

    def mask(self, mask):
        """A mask of any size, which is for the picture, with its edge around it; None stays None."""
        if mask is None:
            return None
        mask = np.asarray(mask, np.float64)
        width = [round(self.margin * n / side) for n, side in zip(mask.shape, self.inner)]
        return np.pad(mask, [(w, w) for w in width], "edge")

    def cut(self, levels):
        """Levels of any size without the margin, which is smaller in smaller ones."""
        top, left = (round(self.margin * n / whole) for n, whole in zip(levels.shape[:2], self.size))
        return levels[top:len(levels) - top, left:levels.shape[1] - left]


class Sources(NamedTuple):
    """The style pictures, their shares, and for each the region to paint and the one to take the style from."""
    pictures: list
    shares: list
    masks: list | None
    style_masks: list | None
    scale: float
    blend: str
    loss: str


class Task(NamedTuple):
    """One style transfer, whose loss `prepare` makes for each size."""
    painter: Painter
    frame: Frame
    content: np.ndarray
    sources: Sources
    content_layers: dict
    style_layers: dict
    weights: dict
    scale: str
    gram: str
    planner: Planner
    seed: int

    def prepare(self, size, plan=None):
        """-> (the loss at this size, the Plan it was made with)"""
        shown = resize(self.content, size, "bicubic")
        plan = self.planner(size, plan)
        terms = [*self._content_terms(shown, plan.side), *self._style_terms(size, plan.side)]
        tv = [("tv", self.weights["tv"], losses.tv)] if self.weights["tv"] else []
        loss = self.painter.loss(size, terms, tv, plan.side)
        if self.scale == "relative":
            loss = relative(loss, self.painter.noise(size, self.seed), self.weights)
        return loss, plan

    def _content_terms(self, shown, side):
        a = self.weights["content"]
        if not a:
            return []
        values = self.painter.values(self.painter.z(shown), self.content_layers, side)
        return [("content", a * w, losses.content(self.painter.net, name, values[name]))
                for name, w in self.content_layers.items()]

    def _style_terms(self, size, side):
        """One term for each layer with mixed Gram matrices, or one (or more) for each layer and style."""
        s, net, b = self.sources, self.painter.net, self.weights["style"]
        if not b:
            return
        longest = max(size) * max(self.frame.inner) / max(self.frame.size) * s.scale
        shown = [net.see(picture, max(16, round(longest)), "longest").picture for picture in s.pictures]
        if s.loss != "gram":
            yield from self._other_terms(shown, side)
            return
        nothing = [None] * len(s.pictures)
        regions = [None if m is None else np.asarray(m, np.float64) for m in s.masks or nothing]
        grams = [self.painter.grams(self.painter.z(seen), self.style_layers, self.gram, mask, side)
                 for seen, mask in zip(shown, s.style_masks or nothing)]
        for name, weight in self.style_layers.items():
            if s.blend == "targets" and s.masks is None:
                mixed = sum(share * g[name] for share, g in zip(s.shares, grams))
                yield "style", b * weight, losses.style(net, name, mixed, self.gram)
            else:
                for share, g, region in zip(s.shares, grams, regions):
                    if share:
                        yield "style", b * weight * share, losses.style(net, name, g[name], self.gram, mask=region)

    def _other_terms(self, shown, side):
        s, p = self.sources, self.painter
        for share, seen in zip(s.shares, shown):
            values = p.values(p.z(seen), self.style_layers, side) if share else {}
            for name in values:
                for term in style_terms(s.loss, p.net, name, values[name], self.gram, self.seed):
                    yield "style", self.weights["style"] * self.style_layers[name] * share, term
