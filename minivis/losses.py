"""Objectives that compare a picture with others: content (what is where), style (which channels fire together).

    look = losses.content(net, "relu4_2", a) + 100 * losses.style(net, "relu1_1", g)
    loss = look(net(x, layers=look.layers))             # Tensor (N,)

Each is a function of a sum over positions, `loss(statistic(a, part))`, which tiling.py uses for pictures larger than
memory. Published losses differ by constants; `normalize` names them, so that published weights mean what they meant.
"""
from typing import Literal

import numpy as np

from . import kernels, ops
from .errors import MinivisError
from .objectives import Objective
from .ops.resample import resize_matrix
from .tiling import Part

Gram = Literal["chw", "hw", "none"]
STYLE = ("mean", "sum", "quarter")
CONTENT = ("mean", "sum", "half")


class Term(Objective):
    """An objective of one layer that is `loss` of a sum over positions.

    statistic   f(a Tensor (N, h, w, C), Part) -> Tensor (N, ...): of the layer's cells in that part; the statistics of
                parts that make up the layer add up to the layer's
    loss        f(Tensor (N, ...)) -> Tensor (N,)
    """

    def __init__(self, name, layer, statistic, loss):
        self.statistic, self.loss = statistic, loss
        super().__init__(name, (layer,), lambda values: loss(of_whole(statistic, values[layer])))


def of_whole(statistic, a):
    """A statistic of all of a layer's values a, Tensor (N, H, W, C)."""
    return statistic(a, Part.whole(*a.shape[1:3]))


def content(net, layer, target, normalize: Literal["mean", "sum", "half"] = "mean"):
    """The squared distance between a layer's values and those of another picture.

    target      (H, W, C) or (1, H, W, C): the layer's values for that picture
    normalize   "mean" over all values (neural-style, Johnson et al. 2016); "sum" (CS231n); "half" the sum (Gatys et al.
                2016, equation 1)
    """
    layer = net.layer_name(layer)
    target = target if target.ndim == 4 else target[None]
    factor = _factor(normalize, CONTENT, target[0].size)

    def statistic(a, part):
        if (part.height, part.width, a.shape[3]) != target.shape[1:]:
            raise MinivisError(f"content: layer {layer} has {part.height} x {part.width} x {a.shape[3]} values here, "
                               f"its target {target.shape[1:]}; both pictures must have the same size")
        return ops.squared_distance(a, target[:, part.rows, part.columns])
    return Term(f"content {layer}", layer, statistic, lambda s: s * factor)


def style(net, layer, target, gram: Gram = "chw", normalize: Literal["mean", "sum", "quarter"] = "mean", mask=None):
    """The squared distance between a layer's Gram matrix and `target` (C, C), which `gram_statistic` made.

    gram        what the Gram matrix is divided by: "chw", "hw" or "none"; the target's must be the same
    normalize   "mean" over the C^2 entries (neural-style, Gatys' PyTorch code); "sum" (CS231n); "quarter" of the sum
                (with gram "chw" the E_l of Gatys et al. 2015 and 2016)
    mask        (H, W) from 0 to 1, of any size: only this region counts (Gatys et al. 2017, arXiv:1611.07865)
    """
    layer = net.layer_name(layer)
    target = target.reshape(1, *target.shape[-2:])
    factor = _factor(normalize, STYLE, target.size)

    def loss(g):
        return ops.squared_distance(g, target.astype(g.dtype)) * factor
    return Term(f"style {layer}", layer, gram_statistic(gram, mask), loss)


def gram_statistic(gram: Gram = "chw", mask=None):
    """f(a, part) -> Tensor (N, C, C): the part's share in sum m^2 a a^T / divisor.

    divisor     "hw": the sum of m^2 over the whole layer, its number of positions without a mask; "chw": C times that;
                "none": 1
    """
    if gram not in ("chw", "hw", "none"):
        raise MinivisError(f"gram {gram!r} must be chw, hw or none")
    guides = {}         # the mask at each layer's size

    def statistic(a, part):
        positions = part.height * part.width
        if mask is not None:
            size = part.height, part.width
            if size not in guides:
                guides[size] = shrink(mask, size)
            m = guides[size]
            positions = float((m * m).sum())
            if positions == 0:
                raise MinivisError("a mask is black all over: it leaves nothing of the picture")
            a = a * kernels.kept(m[None, part.rows, part.columns, None].astype(a.dtype), a.data)
        divisor = {"chw": positions * a.shape[3], "hw": positions, "none": 1}[gram]
        return ops.gram(a, "none") * (1 / divisor)
    return statistic


def shrink(mask, size):
    """A mask (H, W) at another size: the mean over what each cell covers; float64."""
    mask = np.asarray(mask, np.float64)
    if mask.ndim != 2:
        raise MinivisError(f"a mask must be (H, W), not {mask.shape}")
    rows, columns = (resize_matrix(n, out, "area") for n, out in zip(mask.shape, size))
    return rows @ mask @ columns.T


def tv(levels, normalize: Literal["512", "sum"] = "512"):
    """How rough a picture is, Tensor (N, H, W, 3) of grey levels -> Tensor (N,).

    normalize   "512": half the sum of squared differences v^2 + h^2 over pixels that have both neighbours, times
                512^2 / (H W): neural-style's at 512 x 512 pixels, and as strong at every other size. "sum": the sum of
                all squared differences (CS231n)
    """
    if normalize == "512":
        return ops.total_variation(levels, "beta", 2.0) * (0.5 * 512**2 / (levels.shape[1] * levels.shape[2]))
    if normalize == "sum":
        return ops.total_variation(levels, "l2")
    raise MinivisError(f"tv: normalize {normalize!r} must be 512 or sum")


def _factor(normalize, known, count):
    if normalize not in known:
        raise MinivisError(f"normalize {normalize!r} must be {', '.join(known)}")
    return {"mean": 1 / count, "sum": 1.0, "half": 0.5, "quarter": 0.25}[normalize]
