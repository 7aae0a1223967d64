"""Maps of a set of pictures: who lies near whom in a network's eyes, or in pixels."""
from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..indexing import open_index
from ..loading import DEFAULT
from ..options import File, Folder, Layer, Network
from ..provenance import make_recipe
from ..representation import gridding, sets
from ..representation.projection import pca, project, trustworthiness
from ..results import Comparison, Map
from ..results.map import METHOD_NAMES
from ..targets import class_name, first_name, imagenet_classes
from .common import recipe

FRACTIONS = 10          # components whose share of the variance is reported
JUDGED = 2000           # points of which trustworthiness is computed: it takes all pairs


def map(net: Network, source: Folder = None, *, data: Literal["digits"] | None = None, features: File | None = None,
        layer: Layer = None, space: Literal["features", "pixels", "both"] = "features",
        pool: Literal["mean", "max", "none"] = "mean", method: Literal["tsne", "pca", "opentsne", "umap"] = "tsne",
        views: list[Literal["scatter", "thumbnails", "grid"]] | None = None,
        colour: Literal["label", "prediction", "none"] = "label", perplexity: float = 30.0, steps: int = 1000,
        exaggeration: float = 12.0, rate: float | None = None, before: int = 50, exact: bool = False,
        neighbours: int = 15, columns: int | None = None, limit: int = 2000, memory=None, seed=0,
        monitor=None) -> Map | Comparison:
    """Pictures laid out in the plane so that what is near in a layer's features is near on the map.

    t-SNE: van der Maaten and Hinton 2008: KL(P || Q) = sum p log(p / q) is lowered, p the neighbourhood of points in
    the space (Gaussians of a perplexity), q in the map (Student's t). The last KL is reported, and trustworthiness: how
    far neighbours on the map are neighbours in the space. PCA: the two directions of most variance. The grid moves
    every picture to a cell of its own, all together as little as possible (a linear assignment).

    points (N, 2). The descent starts from PCA, so that the same pictures give the same map.
    Caution: t-SNE and UMAP show who is near whom; the size of groups and the distance between them mean nothing.

    source        pictures: a folder (sub-folders are labels), zip, tar, HDF5 file, list of files, or an index file
    data          instead: the handwritten digits that come with scikit-learn; their network is `digits`
    features      instead: a .npz file with `features` (N, D) and, if you like, `value` (N,) to be coloured by, `label`
                  (N,), `names` (N,) and `pictures` (N, h, w, 3) uint8
    layer         whose features; none means the network's features layer, or the index's
    space         features of the network, plain pixels (32 x 32), or both maps side by side
    pool          a channel counts by its mean or its largest value over all positions; none: every value by itself
    method        t-SNE of scikit-learn, principal components, t-SNE of openTSNE, UMAP
    views         dots, small pictures at their places, small pictures on a grid; none means what there is to show
    colour        of dots and frames: the label, the class that the network names, or none
    perplexity    about how many neighbours a point heeds (t-SNE)
    steps         steps of the descent (t-SNE)
    exaggeration  factor on P in the first 250 steps (t-SNE)
    rate          size of a step (t-SNE); none means N / exaggeration, at least 50
    before        principal components that t-SNE and UMAP start from; 0 means all values
    exact         all pairs instead of Barnes and Hut's approximation (t-SNE)
    neighbours    how many neighbours a point heeds (UMAP)
    columns       of the grid; none means a square
    limit         with more pictures than this, so many are drawn at random
    """
    if [source, data, features].count(None) != 2:
        raise MinivisError("map: give one of a source of pictures, --data and --features")
    how = {"perplexity": perplexity, "steps": steps, "exaggeration": exaggeration, "rate": rate, "before": before,
           "exact": exact, "neighbours": neighbours, "seed": seed}
    common = {"recipe": _recipe(net, source=source, data=data, features=features, layer=layer, space=space,
                                pool=pool, method=method, colour=colour, columns=columns, limit=limit, **how)}
    if features is not None:
        X, known = read_features(features, limit, seed)
        return _one(X, "given features", method, how, views, columns, known | common)
    chosen = data or source
    if data is None and sets.is_index(source):
        if space == "both" or pool != "mean" or colour == "prediction":
            raise MinivisError("map: an index holds its features as they were pooled, and no predictions; for "
                               "--space both, --pool and --colour prediction name the pictures themselves")
        if net is not None:
            open_index(source).check_network(net)
        gathered, layer = sets.from_index(source, layer, limit, seed)
        common["recipe"]["network"] = open_index(source).network
    else:
        chosen = sets.open_set(chosen, limit, seed)
        if net is None and (space != "pixels" or colour == "prediction"):
            raise MinivisError("map: features and predictions need a network")
        layer = None if space == "pixels" else net.layer_name(layer or net.features_layer)
        gathered = sets.gather(net, chosen, [layer] if layer else [], pool=pool, says=colour == "prediction",
                               thumb=8 if data else sets.THUMB, memory=memory, monitor=monitor)
    common |= {"names": gathered.names, "thumbs": gathered.thumbs, "notes": gathered.notes,
               **_colours(net, gathered, colour)}
    spaces = []
    if space in ("pixels", "both"):
        spaces.append((gathered.pixels(), "pixels"))
    if space in ("features", "both"):
        spaces.append((gathered.features[layer], f"{layer} ({gathered.features[layer].shape[1]} values)"))
    maps = [_one(X, name, method, how, views, columns, common) for X, name in spaces]
    return maps[0] if len(maps) == 1 else _side_by_side(maps)


def _recipe(net, seed, **options):
    """Without a network if none was needed."""
    return make_recipe("map", options, None, seed) if net is None else recipe(map, net, seed, **options)


def _network_for(given):
    """Which network to load for a command line that names none; None: none is needed."""
    indexed = given.source is not None and sets.is_index(given.source)
    if given.features is not None or indexed or (given.space == "pixels" and given.colour != "prediction"):
        return None
    return "digits" if given.data == "digits" else DEFAULT


map.network_for = _network_for


def _one(X, space, method, how, views, columns, known):
    """The Map of one space."""
    X = np.asarray(X).reshape(len(X), -1)
    found = project(X, method, **how)
    quality, some = dict(found.quality), slice(None, None, -(-len(X) // JUDGED))
    quality["trustworthiness"] = trustworthiness(X[some], found.points[some])
    views = tuple(views or _views(known))
    if set(views) != {"scatter"} and known.get("thumbs") is None:
        raise MinivisError("map: no pictures are known, only their features; use --views scatter")
    grid = None
    if "grid" in views:
        grid = gridding.assign(found.points * [1, -1], columns)
        quality["share of grid neighbours that are neighbours in the space"] = gridding.kept_neighbours(X, *grid)
    _, explained, _ = pca(X, FRACTIONS)
    return Map(found.points, method=method, space=space, quality=quality, explained=explained, grid=grid, views=views,
               **known)


def _views(known):
    """What there is to show."""
    coloured = known.get("value") is not None or (known.get("label") is not None and len(set(known["label"])) > 1)
    pictures = known.get("thumbs") is not None and known["thumbs"].shape[1] > 8
    return [*(["scatter"] if coloured or not pictures else []), *(["thumbnails", "grid"] if pictures else [])]


def _side_by_side(maps):
    pairs = [replace(m, views=(view,)) for view in maps[0].views for m in maps]
    captions = [f"By {m.space}" for m in pairs]
    first = maps[0]
    return Comparison(pairs, captions, title=f"{len(first.points)} pictures by {METHOD_NAMES[first.method]}: "
                      f"{first.space} and features", recipe=first.recipe, notes=first.notes)


def _colours(net, gathered, colour):
    if colour == "none":
        return {}
    if colour == "label":
        known = dict(imagenet_classes()) | dict(net.labels if net is not None and net.labels else ())
        return {"label": gathered.label, "labels": [first_name(known.get(name, name)) for name in gathered.labels]}
    present, label = np.unique(gathered.says, return_inverse=True)
    return {"label": label, "labels": [class_name(net, int(i)) for i in present]}


def read_features(path, limit, seed=0):
    """(X (N, D), what else a Map takes) of a .npz file: see `map`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise MinivisError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise MinivisError(f"{path} is not a readable .npz file: {error}") from error
    flat = [name for name, a in held.items() if a.ndim >= 2 and a.dtype.kind in "fiu"]
    key = "features" if "features" in held else flat[0] if len(flat) == 1 else None
    if key is None:
        raise MinivisError(f"{path} must hold an array `features` (N, D); it holds {', '.join(held) or 'nothing'}")
    N = len(held[key])
    for name in ("value", "label", "names", "pictures"):
        if name in held and len(held[name]) != N:
            raise MinivisError(f"{path}: {name} has {len(held[name])} entries for {N} features")
    pictures = held.get("pictures")
    if pictures is not None and (pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8):
        raise MinivisError(f"{path}: pictures must be uint8 (N, h, w, 3), not {pictures.dtype} {pictures.shape}")
    rows = np.arange(N)
    if limit < N:
        rows = np.sort(np.random.default_rng([seed, sets.CHOOSING]).permutation(N)[:limit])
    known = {"names": [str(v) for v in held["names"][rows]] if "names" in held else [str(i) for i in rows],
             "notes": [f"{limit} of {N} rows, drawn at random."] if len(rows) < N else []}
    if "value" in held:
        known["value"] = held["value"][rows].astype(np.float64).reshape(len(rows), -1)[:, 0]
    if "label" in held:
        known["label"], known["labels"] = sets.numbered([str(v) for v in held["label"][rows]])
    if pictures is not None:
        known["thumbs"] = np.stack([sets.squared(p, sets.THUMB) for p in pictures[rows]])
    return held[key][rows], known
