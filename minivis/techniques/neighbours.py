"""Nearest neighbours of a picture in a layer's features, beside those in pixels."""
from typing import Literal

import numpy as np

from ..dataset import printable
from ..errors import MinivisError
from ..indexing import distances as d
from ..indexing import open_index
from ..indexing.graph import search
from ..indexing.job import pooled
from ..options import Index, Layer, Network, Picture
from ..preprocessing import resize
from ..results.neighbours import Neighbours
from .common import recipe


def neighbours(net: Network, index: Index, picture: Picture, *, layer: Layer | None = None, count: int = 8,
               metric: Literal["l2", "cosine"] = "l2", approximate: bool = False, itself: bool = False,
               memory=None) -> Neighbours:
    """The pictures of an index that are nearest to a picture: in a layer's features, and in pixels.

    d_i = |f(x) - f(x_i)| (l2) or 1 - cos of the angle between them (cosine), over all pictures of the index, exactly.
    Krizhevsky, Sutskever, Hinton 2012: neighbours in the last dense layer are of one kind, neighbours in pixels of one
    pose and colour. Both spaces get the same metric; pixels are those of the index's small pictures, from 0 to 1.

    values (count,): the distances in features; pixel_values those in pixels.

    index       a file that `minivis index` made with the same network
    layer       in whose features; default: the first that the index has features of
    count       how many neighbours
    metric      distance l2, or cosine
    approximate   walk the index's graph instead of comparing with all pictures (`minivis index --graph`)
    itself      list pictures with the same pixels as the query, too
    """
    if count < 1:
        raise MinivisError(f"neighbours: count {count} must be at least 1")
    index = open_index(index)
    index.check_network(net)
    layer = index.feature_layer(None if layer is None else net.layer_name(layer))
    seen = net.see(picture, size=index.size)
    x = net.preprocessing.normalize(seen.picture, net.dtype)[None]
    query = pooled(net(x, layers=[layer.name])[layer.name].numpy(), layer.pool)[0]
    side = index.pixels(slice(0, 1)).shape[1]
    pixel_distances = d.to_pixels(index, resize(seen.picture, (side, side)), metric, memory)
    same = [] if itself else np.flatnonzero(_is_zero(index, pixel_distances, seen.picture, side, metric))
    if approximate:
        some = search(index, layer.name, query, count + len(same), metric)
        some = np.sort(some[~np.isin(some, same)])
        all_distances = np.full(index.count, np.inf)
        all_distances[some] = d.distances(index.features(layer.name, some), query, metric)
        chosen = d.nearest(all_distances, min(count, len(some)))
    else:
        all_distances = d.to_features(index, layer.name, query, metric, memory)
        chosen = d.nearest(all_distances, count, same)
    by_pixels = d.nearest(pixel_distances, count, same)
    notes = [f"Left out: {printable(index.names[i])}, which has the same pixels." for i in same[:3]]
    notes += _approximation(approximate, index)
    shown, missing = _pictures(net, index, [*chosen, *by_pixels])
    return Neighbours(all_distances[chosen], pixel_distances[by_pixels], _rows(index, chosen, all_distances),
                      _rows(index, by_pixels, pixel_distances), seen, shown[:len(chosen)], shown[len(chosen):],
                      layer=layer.name, metric=metric, pool=layer.pool, side=side, total=index.count,
                      notes=notes + missing,
                      recipe=recipe(neighbours, net, index=index.recipe, layer=layer.name, count=count, metric=metric,
                                    approximate=approximate, itself=itself))


def _is_zero(index, pixel_distances, picture, side, metric):
    """Which pictures have exactly the small picture's pixels. A cosine of 1 would not say so: colours may be scaled."""
    if metric == "l2":
        return pixel_distances == 0
    small, close = resize(picture, (side, side)), np.flatnonzero(pixel_distances < 1e-9)
    found = np.zeros(len(pixel_distances), bool)
    found[close] = [np.array_equal(one, small) for one in index.pixels(close)] if len(close) else []
    return found


def _approximation(approximate, index):
    return [f"Neighbours in features were searched approximately, in a graph of {index.count:,} pictures: near ones "
            "can be missing."] if approximate else []


def _rows(index, chosen, all_distances):
    return [{"picture": int(i), "name": index.names[i], "label": index.label_of(i),
             "distance": float(all_distances[i])} for i in chosen]


def _pictures(net, index, chosen):
    """What the network saw of these pictures, and a remark; the index's small pictures if the files have gone."""
    try:
        source = index.pictures()
        return [net.see(source.load(index.names[i]), size=index.size).picture for i in chosen], []
    except (MinivisError, OSError) as error:
        rows = np.unique(chosen)
        small = dict(zip(rows.tolist(), index.pixels(rows)))
        shown = [resize(small[int(i)], index.size) for i in chosen]
        return shown, [f"Shown are the index's small pictures: {printable(str(error))}"]
