"""The index file: what one pass of a network over a set of pictures leaves behind. HDF5, version 1.

    /                           attributes format "minivis index", version 1
    /recipe                     JSON: options, network {name, architecture, weights}, precision, versions
    /source                     JSON {"kind": "folder" | "zip" | "tar" | "hdf5" | "list", "path": absolute path, ...}
    /size                       (2,) int64: H, W of the network's input, the same for all pictures
    /pictures/names             (N,) strings: names within the source, in the order of the source
    /pictures/label             (N,) int32: which of /labels, -1 for none
    /pictures/pixels            (N, s, s, 3) uint8: what the network saw of each picture, squeezed to s x s
    /labels                     JSON list of strings: names of sub-folders, or what a list or an HDF5 file says
    /bad                        JSON list of {"name", "why"}: pictures that could not be read; they have no number
    /layers/LAYER/              attributes pool ("mean", "max", "none"; "" without features), height, width
                                (0 and 0 if the layer's values for a picture are a vector), channels
    /layers/LAYER/features      (N, D) float32, one row per picture; D = channels, or height * width * channels for
                                pool "none". Only for the layers that features were asked for
    /layers/LAYER/top/value     (channels, k) float32: the strongest activations of each channel over all pictures,
                                falling; of one picture at most `per_picture` (see the recipe)
    /layers/LAYER/top/picture   (channels, k) int64: in which picture, -1 where there are fewer than k
    /layers/LAYER/top/row       (channels, k) int32, and column: at which unit; 0 in a layer that is a vector
    /layers/LAYER/graph         uint8: a faiss HNSW graph over the features, for approximate search. Optional, beside
                                the attribute graph_metric, "l2" or "cosine"

Equal activations are ordered by picture, then row, then column. N counts only pictures that could be read.
"""
import json
import os
from typing import NamedTuple

import numpy as np

from ..checkpoints.safe_hdf5 import open_hdf5
from ..errors import MinivisError

FORMAT, VERSION = "minivis index", 1
ROWS = 4096             # of features that are read at once
MOST_PICTURES = 2**31


class Layer(NamedTuple):
    """One layer of an index."""
    name: str
    channels: int
    grid: tuple | None      # (height, width) of its units, None for a vector
    pool: str               # how features were pooled, "" without features
    width: int              # D, the length of a picture's feature vector, 0 without features
    kept: int               # k, how many strongest activations per channel; 0: none
    graph: str              # the metric of its graph for approximate search, "" without one


class Top(NamedTuple):
    """The strongest activations of every channel, (channels, k) each, falling; picture -1: there are fewer."""
    value: np.ndarray
    picture: np.ndarray
    row: np.ndarray
    column: np.ndarray


def open_index(path):
    """The Index in a file; an Index is handed back as it is."""
    return path if isinstance(path, Index) else Index(path)


class Index:
    """An index file, opened for reading; each call reads what it needs and closes the file again.

    names, label, labels    of the pictures: label[i] is the number in `labels` of picture i, -1 for none
    layers                  {name: Layer}
    size                    (H, W) of the network's input
    network                 {name, architecture, weights}: weights is a hash, see Network.weights_hash
    bad                     [{"name", "why"}] of the pictures that could not be read
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        if os.path.isdir(self.path):
            raise MinivisError(f"{self.path} is a folder, not an index; `minivis index {self.path} -o INDEX.h5` "
                               "makes one")
        with self._file() as root:
            if root.attribute("format") != FORMAT or root.attribute("version") != VERSION:
                raise MinivisError(f"{self.path} is not an index of this version; `minivis index` makes one")
            self.recipe, self.source, self.labels, self.bad = (
                _json(root, name, kind) for name, kind in (("recipe", dict), ("source", dict), ("labels", list),
                                                           ("bad", list)))
            self.network = self.recipe.get("network") or {}
            self.size = tuple(int(side) for side in root.array("size", (2,), ("i8",)))
            pictures = root.group("pictures")
            self.count = len(pictures.dataset("names"))
            self.label = pictures.array("label", (self.count,), ("i4",))
            self.names = _strings(pictures, "names")
            self.layers = {name: _layer(root.group("layers").group(name), name, self.count)
                           for name in root.group("layers").names()}

    def _file(self):
        return open_hdf5(self.path)

    def layer(self, name):
        """The Layer of that name, or an error that lists those there are."""
        if name not in self.layers:
            raise MinivisError(f"{self.path} has no layer {name!r}; it has {', '.join(self.layers)}")
        return self.layers[name]

    def feature_layer(self, name=None):
        """The Layer of that name, which must have features; None: the first that has them."""
        have = [layer for layer in self.layers.values() if layer.width]
        if not have:
            raise MinivisError(f"{self.path} holds no features; make it with `minivis index --features LAYER`")
        if name is None:
            return have[0]
        if not self.layer(name).width:
            raise MinivisError(f"{self.path} holds no features of {name}, only of "
                               f"{', '.join(layer.name for layer in have)}; index again with --features {name}")
        return self.layer(name)

    def label_of(self, i):
        """The label of picture i, a string, or None."""
        return self.labels[self.label[i]] if self.label[i] >= 0 else None

    def features(self, layer=None, rows=slice(None)):
        """(N, D) float32 of a layer (None: the first that has features), or the rows asked for (slice or rising
        indices)."""
        layer = self.feature_layer(layer)
        with self._file() as root:
            return self._of_layer(root, layer, "features", (self.count, layer.width))[rows]

    def feature_blocks(self, layer=None, rows=ROWS):
        """Yields (first row, features (n, D)) of consecutive pictures: all of them without holding all in memory."""
        layer = self.feature_layer(layer)
        for first in range(0, self.count, rows):
            yield first, self.features(layer.name, slice(first, first + rows))

    def pixels(self, rows=slice(None)):
        """(N, s, s, 3) uint8 of all pictures, or of the rows asked for (slice or rising indices)."""
        with self._file() as root:
            data = root.group("pictures").dataset("pixels")
            if data.ndim != 4 or data.shape != (self.count, data.shape[1], data.shape[1], 3) or data.dtype != np.uint8:
                raise MinivisError(f"{self.path}: /pictures/pixels is {data.dtype} of shape {data.shape}")
            return data[rows]

    def top(self, layer):
        """The Top of a layer: arrays (channels, k)."""
        layer = self.layer(layer)
        if not layer.kept:
            raise MinivisError(f"{self.path} holds no strongest patches of {layer.name}; "
                               f"index again with --layers {layer.name}")
        shape = (layer.channels, layer.kept)
        with self._file() as root:
            group = root.group("layers").group(layer.name).group("top")
            top = Top(*(group.array(name, shape, kind) for name, kind in (("value", ("f4",)), ("picture", ("i8",)),
                                                                          ("row", ("i4",)), ("column", ("i4",)))))
        height, width = layer.grid or (1, 1)
        for name, array, end in (("picture", top.picture, self.count), ("row", top.row, height),
                                 ("column", top.column, width)):
            if array.size and not (array.min() >= -1 and array.max() < end):
                raise MinivisError(f"{self.path}: /layers/{layer.name}/top/{name} points at {array.max()} of {end}")
        return top

    def graph(self, layer):
        """The bytes of a layer's graph for approximate search, a uint8 array."""
        with self._file() as root:
            return root.group("layers").group(layer).dataset("graph")[:]

    def pictures(self):
        """The pictures themselves, read again from where they were: a minivis.dataset source; read(name) gives one."""
        from ..dataset import reopen
        return reopen(self.source)

    def check_network(self, net):
        """An error unless `net` is the network that made this index."""
        if net.weights_hash() != self.network.get("weights"):
            raise MinivisError(f"{self.path} was made by network {self.network.get('name')} with other weights than "
                               f"{net.name}; name that one with --network, or index again")

    def _of_layer(self, root, layer, name, shape):
        data = root.group("layers").group(layer.name).dataset(name)
        if data.shape != shape or data.dtype != np.float32:
            raise MinivisError(f"{self.path}: /layers/{layer.name}/{name} is {data.dtype} of shape {data.shape}, "
                               f"not float32 {shape}")
        return data


def _layer(group, name, count):
    height, width, channels = (group.attribute(key) for key in ("height", "width", "channels"))
    if not all(isinstance(n, int) and 0 <= n < 2**31 for n in (height, width, channels)) or not channels:
        raise group.refuse("", f"says {height} x {width} x {channels}")
    features = group.dataset("features").shape if "features" in group else (count, 0)
    kept = group.group("top").dataset("value").shape if "top" in group else (channels, 0)
    if len(features) != 2 or features[0] != count or len(kept) != 2 or kept[0] != channels:
        raise group.refuse("", f"has features {features} and strongest patches {kept} for {count} pictures and "
                               f"{channels} channels")
    return Layer(name, channels, (height, width) if height else None, str(group.attribute("pool", "")),
                 int(features[1]), int(kept[1]), str(group.attribute("graph_metric", "")) if "graph" in group else "")


def _strings(group, name):
    data = group.dataset(name)
    if data.ndim != 1 or data.dtype.kind != "O" or len(data) > MOST_PICTURES:
        raise group.refuse(name, f"must be a list of strings, not {data.dtype} of shape {data.shape}")
    return [text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text) for text in data[:]]


def _json(root, name, kind):
    try:
        value = json.loads(root.text(name))
    except (ValueError, RecursionError) as error:
        if isinstance(error, MinivisError):
            raise
        raise root.refuse(name, f"is not valid JSON: {error}") from error
    if not isinstance(value, kind):
        raise root.refuse(name, f"must be a JSON {kind.__name__}")
    return value
