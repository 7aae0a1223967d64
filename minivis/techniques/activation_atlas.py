"""The activation atlas: what a layer can see, sorted by likeness, each place drawn by the network itself."""
from typing import Literal

import numpy as np

from .. import batching, kernels, ops
from ..errors import MinivisError
from ..objectives import Objective
from ..optimize import Run
from ..options import Folder, Layer, Network
from ..parameterize import parameterization
from ..representation import sets
from ..representation.projection import project, trustworthiness
from ..results import Atlas
from ..targets import class_name
from ..tensor import Tensor
from ..transforms import Views
from .common import recipe
from .synthesis import ascent, follow, optimizer_of, stacked, to_uint8

PLACES = 52         # this technique's own stream of random numbers, beside seed and picture
OUTLIERS = 1.0      # per cent at each end of the map's axes that do not stretch the grid
SHRINK = 0.9        # of the covariance towards its mean variance: few vectors of many values know little of it
TOGETHER = 32       # icons optimised at once
WAKE = 16           # first steps that pass the last ReLU where it is off: see synthesis.ascent


def activation_atlas(net: Network, source: Folder, *, layer: Layer = None, per_picture: int = 1,
                     method: Literal["tsne", "pca", "opentsne", "umap"] = "tsne", columns: int = 10, least: int = 1,
                     perplexity: float = 30.0, whiten: bool = True, power: float = 4.0, icon: int = 96,
                     steps: int = 96, rate: float = 0.05, limit: int = 2000, memory=None, seed=0,
                     monitor=None) -> Atlas:
    """A map of a layer's activations on many pictures; what is near is averaged, and each average drawn as an icon.

    From every picture the layer's vector a at a random place is taken; the vectors are laid out (t-SNE), a grid is put
    over the layout and the mean v of each cell inverted: the icon x climbs mean over places of (a(x).w) cos(a(x), w)^p,
    w = S^-1 v, S the covariance of the vectors, so that what all of them share counts little. Carter, Armstrong,
    Schubert, Johnson, Olah 2019, doi:10.23915/distill.00015.

    icons (cells, s, s, 3). Beside them the figure shows the pictures whose vectors are nearest to the means.
    Caution: an average over a cell is no picture that the network ever saw.

    source       pictures: a folder, zip, tar, HDF5 file or list of files
    layer        a layer with positions; none means the last one before the class scores' average
    per_picture  random places taken from each picture
    method       how the vectors are laid out
    columns      of the grid, and its rows
    least        vectors that a cell must have to be drawn
    perplexity   about how many neighbours a vector heeds (t-SNE)
    whiten       w = S^-1 v; else w = v
    power        p: with more, the icon's direction counts more than the size of its activations
    icon         side of an icon in pixels, as the network sees it
    steps        of every icon
    rate         size of a step (Adam)
    limit        with more pictures than this, so many are drawn at random
    """
    if columns < 1 or least < 1 or icon < 8 or per_picture < 1 or steps < 1:
        raise MinivisError(f"activation_atlas: columns {columns}, least {least}, per_picture {per_picture} and steps "
                           f"{steps} must be at least 1, icon {icon} at least 8")
    layer = net.layer_name(layer) if layer else default_layer(net)
    if net.rank(layer) != 3:
        raise MinivisError(f"activation_atlas: {layer} has no positions; name a layer that has, with --layer")
    chosen = sets.open_set(source, limit, seed)
    vectors, owners, thumbs, says = collect(net, chosen, layer, per_picture, memory, seed, monitor)
    found = project(vectors, method, perplexity=perplexity, seed=seed)
    cells, rows = into_cells(found.points, columns), columns
    filled = [c for c in np.unique(cells) if (cells == c).sum() >= least]
    if not filled:
        raise MinivisError(f"activation_atlas: no cell holds {least} vectors; give fewer columns, more pictures or a "
                           "smaller --least")
    means = np.stack([vectors[cells == c].mean(axis=0, dtype=np.float64) for c in filled])
    directions = whitened(means, vectors) if whiten else means
    icons, history, finished = draw(net, layer, directions, power, icon, steps, rate, memory, seed, monitor)
    done = len(icons)
    nearest = [owners[_nearest(vectors, cells, c, mean)] for c, mean in zip(filled, means)]
    notes = chosen.notes() + ([] if finished else ["The run was stopped: icons are missing or unfinished."])
    quality = {**found.quality, "trustworthiness": trustworthiness(vectors, found.points)}
    return Atlas(icons, np.array(filled[:done]), (rows, columns), layer, points=found.points, cells=cells,
                 means=means[:done].astype(np.float32), photographs=np.stack([thumbs[i] for i in nearest[:done]]),
                 captions=[_said(net, says, owners, cells == c) for c in filled[:done]], quality=quality,
                 history=history, notes=notes, pictures=len(thumbs),
                 recipe=recipe(activation_atlas, net, seed, source=source, layer=layer, per_picture=per_picture,
                               method=method, columns=columns, least=least, perplexity=perplexity, whiten=whiten,
                               power=power, icon=icon, steps=steps, rate=rate, limit=limit))


def default_layer(net):
    """The last ReLU or concatenation with positions that is not one channel per class already."""
    names = [layer.name for layer in net.table
             if layer.kind in ("relu", "concat", "add") and net.rank(layer.name) == 3]
    classes = net.channels(net.logits_layer) if net.logits_layer else None
    names = [name for name in names if net.channels(name) != classes] or names
    if not names:
        raise MinivisError(f"activation_atlas: network {net.name} has no layer with positions")
    return names[-1]


def collect(net, chosen, layer, per_picture, memory, seed, monitor):
    """(vectors (M, C), owner (M,) of each in thumbs, thumbs, the class named first for each picture, or None)"""
    vectors, owners, thumbs, says = [], [], [], []
    asked = [layer] + ([net.logits_layer] if net.logits_layer else [])
    for batch in sets.batches(net, chosen, asked, memory=memory, monitor=monitor):
        values = net(Tensor(batch.x), layers=asked)
        a = sets.host(values[layer].data)
        for n, number in enumerate(batch.numbers):
            draw = np.random.default_rng([seed, PLACES, number])
            for _ in range(per_picture):
                vectors.append(a[n, draw.integers(a.shape[1]), draw.integers(a.shape[2])])
                owners.append(len(thumbs))
            thumbs.append(sets.squared(batch.pictures[n], sets.THUMB))
        if net.logits_layer:
            says += list(sets.host(values[net.logits_layer].data).reshape(len(batch.x), -1).argmax(axis=1))
    if len(vectors) < 4:
        raise MinivisError(f"activation_atlas: {len(thumbs)} pictures could be read; a map needs at least 4 vectors")
    return np.stack(vectors), np.array(owners), thumbs, says or None


def into_cells(points, columns):
    """The cell row * columns + column of each point; the grid spans all but the outermost per cent of the points."""
    low, high = np.percentile(points, [OUTLIERS, 100 - OUTLIERS], axis=0)
    share = (points - low) / np.where(high > low, high - low, 1)
    place = np.clip((share * columns).astype(int), 0, columns - 1)
    return (columns - 1 - place[:, 1]) * columns + place[:, 0]


def whitened(means, vectors):
    """S^-1 v for each mean v, S the covariance of the vectors, shrunk towards s I (Ledoit and Wolf's form)."""
    S = np.cov(vectors.T.astype(np.float64))
    S = np.atleast_2d(S)
    variance = np.trace(S) / len(S)
    S = (1 - SHRINK) * S + SHRINK * (variance or 1.0) * np.eye(len(S))
    return np.linalg.solve(S, means.T).T


def draw(net, layer, directions, power, icon, steps, rate, memory, seed, monitor):
    """(icons uint8 (n, s, s, 3), history, whether all were finished)"""
    views = Views(margin=6, jitter=4, scale=0.05, angle=5.0)
    side = icon + 2 * views.margin
    each = net.bytes_needed((1, side, side, 3), [layer], backward=True)
    count = max(1, min(TOGETHER, int((batching.default_budget() if memory is None else batching.parse_bytes(memory))
                                     // max(1, each))))
    icons, histories, total = [], [], steps * len(directions)
    start = parameterization("fourier", net, (side, side), len(directions)).start(seed, 0.01)
    for first in range(0, len(directions), count):
        block = directions[first:first + count]
        p = parameterization("fourier", net, (side, side), len(block))
        run = Run(ascent(net, towards(layer, block, power, net.dtype), p, views, seed, wake=WAKE),
                  start[first:first + count], optimizer_of("adam", rate), steps)
        whole = follow(run, monitor, lambda z, p=p: to_uint8(views.window(p.levels(z)))[0], before=steps * first,
                       total=total)
        icons.append(to_uint8(views.window(p.levels(run.z))))
        histories.append(stacked(run.history)["score"] if run.history else np.zeros((0, len(block))))
        if not whole:
            break
    same = min(map(len, histories))
    return np.concatenate(icons), {"score": np.concatenate([h[:same] for h in histories], axis=1)}, whole


def towards(layer, directions, power, dtype):
    """The Objective mean over places of (a.w) max(cos(a, w), 0.1)^power for picture n and direction n; |w| = 1."""
    w = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-30)
    w = w[:, None, None].astype(dtype)

    def value(values):
        a = values[layer]
        dot = ops.sum(a * kernels.xp(a.data).asarray(w), 3)
        size = ops.sqrt(ops.sum(ops.square(a), 3) + 1e-8)
        cosine = ops.maximum(dot / size, 0.1)
        return ops.mean(dot * cosine ** power if power else dot, (1, 2))
    return Objective(f"direction in {layer}", (layer,), value)


def _nearest(vectors, cells, cell, mean):
    """The number of the cell's vector nearest to its mean."""
    here = np.flatnonzero(cells == cell)
    return here[((vectors[here] - mean) ** 2).sum(axis=1).argmin()]


def _said(net, says, owners, here):
    """What the network says most of the pictures in a cell."""
    if says is None:
        return ""
    said = np.array(says)[owners[here]]
    return class_name(net, int(np.bincount(said).argmax()))


