"""What style may be besides the Gram matrix: other ways of saying that two layers hold the same things anywhere.

    terms = style_terms("sliced", net, "relu3_1", values)       # values (1, h, w, C): the layer on the style picture

Gram matrices and moments are sums over positions, so tiles serve them (tiling.py). The others compare all positions
with one another: their statistic is the layer itself, and a picture that had to be cut into tiles is a clear error.
What such a loss matches (ranks, nearest patches) is taken as given by the values; the losses have the exact gradient of
that, which is the true one wherever no two values tie.
"""
from typing import Literal

import numpy as np

from . import kernels, losses, ops
from .errors import MinivisError
from .losses import Term
from .tensor import Tensor

StyleLoss = Literal["gram", "moments", "correlations", "histogram", "patches", "sliced"]
SUMS = ("gram", "moments")          # those that tiles can be added up for
EPS = 1e-5
DIRECTIONS = 25                     # a stream of random numbers
MOST_PATCHES = 4096                 # of the style picture; more are thinned out
AT_ONCE = 2**25                     # bytes of the largest array while patches are compared


def style_terms(kind, net, layer, values, gram="chw", seed=0):
    """The Terms of one layer for one style picture, for which the layer's values are (1, h, w, C)."""
    if kind == "gram":
        target = losses.of_whole(losses.gram_statistic(gram), Tensor(values)).data
        return [losses.style(net, layer, target, gram)]
    if kind == "histogram":     # Risser et al. keep the Gram matrix beside it
        return [*style_terms("gram", net, layer, values, gram), histogram(net, layer, values)]
    make = {"moments": moments, "correlations": correlations, "patches": patches, "sliced": sliced}
    if kind not in make:
        raise MinivisError(f"style loss {kind!r} must be gram, histogram, {', '.join(make)}")
    more = {"seed": seed} if kind == "sliced" else {}
    return [make[kind](net, layer, values, **more)]


# ------------------------------------------------------------------------------------------------------------- moments

def moments(net, layer, values):
    """Mean over channels of (mu - mu')^2 + (sigma - sigma')^2: the channels' means and deviations alone.

    Li, Wang, Liu, Hou 2017, arXiv:1701.01036 (section 4.2); the style loss of Huang, Belongie 2017, arXiv:1703.06868.
    """
    wanted = mean_and_deviation(losses.of_whole(moment_statistic, Tensor(values))).data

    def loss(s):
        return ops.squared_distance(mean_and_deviation(s), wanted.astype(s.dtype)) * (1 / wanted.shape[2])
    return Term(f"moments {layer}", net.layer_name(layer), moment_statistic, loss)


def moment_statistic(a, part):
    """The part's share in the mean of a and of a^2: Tensor (N, 2, C)."""
    count = part.height * part.width
    both = [ops.sum(v, (1, 2), keepdims=True) for v in (a, a * a)]
    return ops.reshape(ops.concatenate(both, 1), (a.shape[0], 2, a.shape[3])) * (1 / count)


def mean_and_deviation(s):
    """(N, 2, C) of means and mean squares -> (N, 2, C) of means and deviations."""
    mean = s[:, :1]
    variance = ops.maximum(s[:, 1:] - mean * mean, 0.0)
    return ops.concatenate([mean, ops.sqrt(variance + EPS)], 1)


# -------------------------------------------------------------------------------------------------------- correlations

def correlations(net, layer, values):
    """Gram matrices of the layer with itself, moved by 0, 1, 2, 4 ... cells down or across: what repeats at which
    distance. The mean over these matrices of the mean squared difference.

    Berger, Memisevic 2017, arXiv:1606.01286. G_ij(t) = sum over p of F_i(p) F_j(p + t) / (number of p, channels).
    """
    h, w = values.shape[1:3]
    wanted = {move: _moved_gram(Tensor(values), move).data for move in _moves(h, w)}

    def loss(a):
        shared = [m for m in _moves(*a.shape[1:3]) if m in wanted]
        total = None
        for move in shared:
            here = ops.squared_distance(_moved_gram(a, move), wanted[move].astype(a.dtype)) * (1 / wanted[move].size)
            total = here if total is None else total + here
        return total * (1 / len(shared))
    return _whole_term("correlations", net, layer, loss)


def _moves(h, w):
    """No move, and powers of two up to half the side, down and across."""
    return [(0, 0), *((2**k, 0) for k in range(12) if 2**k <= h // 2), *((0, 2**k) for k in range(12)
                                                                         if 2**k <= w // 2)]


def _moved_gram(a, move):
    dy, dx = move
    N, h, w, C = a.shape
    here, there = a[:, :h - dy, :w - dx], a[:, dy:, dx:]
    count = (h - dy) * (w - dx)
    flat = [ops.reshape(v, (N, count, C)) for v in (here, there)]
    return ops.matmul(ops.transpose(flat[0], (0, 2, 1)), flat[1]) * (1 / (count * C))


# ---------------------------------------------------------------------------------------------- histograms, Wasserstein

def histogram(net, layer, values):
    """Mean squared distance of each value to what it would be if its channel had the style's histogram.

    Risser, Wilmot, Barnes 2017, arXiv:1701.08893, equation 4, with exact histograms (ranks) in place of binned ones.
    """
    sorted_values = np.sort(_host(values).reshape(-1, values.shape[3]), axis=0)

    def loss(a):
        N, h, w, C = a.shape
        return _to_ranks(ops.reshape(a, (N, h * w, C)), sorted_values)
    return _whole_term("histogram", net, layer, loss)


def sliced(net, layer, values, seed=0):
    """Sliced Wasserstein distance: the values of all positions, points in C dimensions, are projected on C random
    directions; along each, sorted, they are compared with the style's. It is zero only if all distributions agree.

    Heitz, Vanhoey, Chambon, Belcour 2021, arXiv:2006.07229, equation 6; they draw directions anew in each step, here
    they are drawn once, orthogonal, so that line searches see one function.
    """
    C = values.shape[3]
    drawn = np.random.default_rng([seed, DIRECTIONS, C]).standard_normal((C, C))
    directions = np.linalg.qr(drawn)[0]
    wanted = np.sort(_host(values).reshape(-1, C).astype(np.float64) @ directions, axis=0)

    def loss(a):
        N, h, w, _ = a.shape
        turn = kernels.xp(a.data).asarray(directions.astype(a.dtype))
        return _to_ranks(ops.matmul(ops.reshape(a, (N * h * w, C)), turn), wanted, (N, h * w, C))
    return _whole_term("sliced", net, layer, loss)


def _to_ranks(a, wanted, shape=None):
    """Tensor (N, M, C) -> (N,): mean squared distance to the quantiles `wanted` (M', C), each value to that of its
    rank."""
    a = a if shape is None else ops.reshape(a, shape)
    xp, M = kernels.xp(a.data), a.shape[1]
    quantiles = xp.asarray(_quantiles(wanted, M))
    ranks = xp.argsort(xp.argsort(a.data, axis=1), axis=1)
    aim = xp.stack([xp.take_along_axis(quantiles, r, 0) for r in ranks]).astype(a.dtype)
    return ops.squared_distance(a, aim) * (1 / aim[0].size)


def _quantiles(ordered, count):
    """Sorted values (M, C) at `count` equally spaced places: (count, C)."""
    if len(ordered) == count:
        return ordered
    at = np.clip((np.arange(count) + 0.5) * len(ordered) / count - 0.5, 0, len(ordered) - 1)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None]
    return ordered[low] * (1 - share) + ordered[np.minimum(low + 1, len(ordered) - 1)] * share


# ------------------------------------------------------------------------------------------------------------- patches

def patches(net, layer, values, side=3):
    """Mean squared distance of every 3x3 patch of the layer to the style's patch that points most in its direction.

    Markov random fields: Li, Wand 2016, arXiv:1601.04589, equations 2 and 3 (nearest by normalised correlation). It
    keeps what belongs together in a patch, and so wants styles whose parts look like the content's.
    """
    source = _host(values)[0]
    if min(source.shape[:2]) < side:
        raise MinivisError(f"style loss patches: layer {layer} has only {source.shape[0]} x {source.shape[1]} cells "
                           "for the style picture; use a larger one or a lower layer")
    rows, columns = (np.arange(n - side + 1) for n in source.shape[:2])
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    places = places[::-(-len(places) // MOST_PATCHES)]
    book = np.stack([_patch_at(source, p, side) for p in places]).astype(np.float32)
    book /= np.maximum(np.linalg.norm(book, axis=1, keepdims=True), 1e-12)

    def loss(a):
        if min(a.shape[1:3]) < side:
            raise MinivisError(f"style loss patches: layer {layer} has only {a.shape[1]} x {a.shape[2]} cells; use a "
                               "lower layer")
        xp, C = kernels.xp(a.data), a.shape[3]
        h, w = (n - side + 1 for n in a.shape[1:3])
        near = [places[_nearest(_host(one), book, side)] for one in a.data]
        total = None
        for dy in range(side):
            for dx in range(side):
                aim = np.stack([source[p[:, 0] + dy, p[:, 1] + dx].reshape(h, w, C) for p in near])
                here = ops.squared_distance(a[:, dy:dy + h, dx:dx + w], xp.asarray(aim.astype(a.dtype)))
                total = here if total is None else total + here
        return total * (1 / (side * side * h * w * C))
    return _whole_term("patches", net, layer, loss)


def _patch_at(a, place, side):
    return a[place[0]:place[0] + side, place[1]:place[1] + side].ravel()


def _nearest(a, book, side):
    """For each patch of (h, w, C), in the order of rows, the number of the book's row with the largest product."""
    views = np.lib.stride_tricks.sliding_window_view(a.astype(np.float32), (side, side), axis=(0, 1))
    views = views.transpose(0, 1, 3, 4, 2)
    h, w = views.shape[:2]
    step = max(1, AT_ONCE // (4 * w * max(book.shape)))
    found = [(views[top:top + step].reshape(-1, book.shape[1]) @ book.T).argmax(axis=1) for top in range(0, h, step)]
    return np.concatenate(found)


# -------------------------------------------------------------------------------------------------------------- pieces

def _whole_term(name, net, layer, loss):
    """A Term whose statistic is the layer itself."""
    def statistic(a, part):
        if tuple(a.shape[1:3]) != (part.height, part.width):
            raise MinivisError(f"style loss {name} compares all positions with one another, so the picture cannot be "
                               "cut into tiles; give more --memory, a smaller --size, or use gram or moments")
        return a * 1.0
    return Term(f"{name} {layer}", net.layer_name(layer), statistic, loss)


def _host(a):
    return a.get() if hasattr(a, "get") else np.asarray(a)
