"""Sets of pictures and what a network makes of them, in memory: for techniques that look at a few thousand at most.

    chosen = open_set("photos/", limit=500)             # a folder, zip, tar, HDF5 file, list; "digits"; an index
    for batch in batches(net, chosen): ...              # Batch(numbers, x, pictures)
    gathered = gather(net, chosen, ["fire9"])           # labels, thumbnails and features of all that could be read
"""
import math
import os
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .. import batching
from ..charts import at_size
from ..dataset import Pictures, open_pictures
from ..errors import MinivisError
from ..indexing.job import pooled
from ..monitor import SilentMonitor
from ..tensor import Tensor

DIGITS = "digits"
CHOOSING = 51           # the stream of random numbers that picks some of many pictures
SIDE = 224              # of pictures for networks that take any size
THUMB = 64              # side of the small pictures that maps show
PIXELS = 32             # side of the pictures whose pixels are compared
TOGETHER = 16           # pictures in a batch at most


class Digits(Pictures):
    """The 1797 handwritten digits of 8 x 8 pixels that come with scikit-learn (Alpaydin and Kaynak 1998)."""

    kind = DIGITS

    def __init__(self):
        from sklearn.datasets import load_digits
        data = load_digits()
        self.path = "the digits of scikit-learn"
        self._images = np.rint(data.images * (255 / 16)).astype(np.uint8)
        self.labels = [str(label) for label in data.target]

    def describe(self):
        return {"kind": self.kind}

    def _list(self):
        return [str(i) for i in range(len(self._images))]

    def load(self, name):
        return np.repeat(self._images[int(name)][:, :, None], 3, axis=2)


@dataclass(eq=False)
class PictureSet:
    """Some or all pictures of a source: source.load(names[i]) is picture i, labels[i] its label or None."""
    source: Pictures
    names: list
    labels: list
    total: int                      # how many the source has
    bad: dict = field(default_factory=dict)     # {name: why}, filled as pictures are read

    def load(self, i):
        """Picture i, uint8 (H, W, 3), or None if it cannot be read, which is remembered."""
        try:
            return self.source.load(self.names[i])
        except MinivisError as error:
            self.bad[self.names[i]] = str(error)
            return None

    def notes(self):
        """Sentences about what was left out."""
        found = []
        if len(self.names) < self.total:
            found.append(f"{len(self.names)} of {self.total} pictures, drawn at random.")
        if self.bad:
            few = "; ".join(list(self.bad.values())[:3]) + (" ..." if len(self.bad) > 3 else "")
            found.append(f"{len(self.bad)} pictures could not be read and are left out: {few}.")
        return found


class Batch(NamedTuple):
    """numbers of the pictures in their set, network input x (n, H, W, C), what the network saw: [uint8 (H, W, 3)]"""
    numbers: list
    x: np.ndarray
    pictures: list


def open_set(source, limit=None, seed=0):
    """A PictureSet: of a folder, zip, tar or HDF5 file, list of files, or of "digits". limit: at most so many, drawn
    without repetition by the seed, in the source's order."""
    if limit is not None and limit < 1:
        raise MinivisError(f"a limit of {limit} pictures leaves none; give 1 or more")
    pictures = Digits() if os.fspath(source) == DIGITS and not os.path.exists(DIGITS) else open_pictures(source)
    names, labels = pictures.names, pictures.labels
    total = len(names)
    if limit is not None and total > limit:
        chosen = np.sort(np.random.default_rng([seed, CHOOSING]).permutation(total)[:limit])
        names, labels = [names[i] for i in chosen], [labels[i] for i in chosen]
    return PictureSet(pictures, list(names), list(labels), total)


def batches(net, chosen, layers=None, *, together=TOGETHER, memory=None, backward=False, monitor=None, numbers=None):
    """Batches of the readable pictures of a set, all of the network's own size (224 x 224 if it takes any).

    As many at once as a pass to `layers` has room for, `together` at most: how they are cut changes no bit of the
    result. numbers: which pictures, in which order; None: all.
    """
    monitor = monitor or SilentMonitor()
    size = net.input_size or (SIDE, SIDE)
    names = [net.layer_name(name) for name in layers or [net.output_layer]]
    each = net.bytes_needed((1, *size, 3), names, backward=backward)
    budget = batching.default_budget() if memory is None else batching.parse_bytes(memory)
    count = max(1, min(together, int(budget // max(1, each))))
    numbers = list(range(len(chosen.names)) if numbers is None else numbers)
    held, xs, seen = [], [], []
    for done, i in enumerate(numbers, 1):
        picture = chosen.load(i)
        if picture is not None:
            held.append(i)
            seen.append(net.see(picture, size=size).picture)
            xs.append(net.preprocessing.normalize(seen[-1], net.dtype))
        if held and (len(held) == count or done == len(numbers)):
            yield Batch(held, np.stack(xs), seen)
            held, xs, seen = [], [], []
        monitor.step(done, len(numbers))


@dataclass(eq=False)
class Gathered:
    """What is known of N pictures. label (N,) numbers in `labels`, -1 for none; thumbs (N, s, s, 3) uint8;
    features {layer: (N, D) float32}; says (N,): the class that the network names first, or None."""
    names: list
    label: np.ndarray
    labels: list
    thumbs: np.ndarray | None = None
    features: dict = field(default_factory=dict)
    says: np.ndarray | None = None
    notes: list = field(default_factory=list)

    def pixels(self):
        """(N, D) float32 in 0..1: the small pictures as vectors."""
        side = min(PIXELS, self.thumbs.shape[1])
        small = [at_size(picture, side) for picture in self.thumbs]
        return np.stack(small).reshape(len(small), -1).astype(np.float32) / 255


def gather(net, chosen, layers=(), *, pool="mean", thumb=THUMB, says=False, memory=None, monitor=None):
    """One pass over a set: Gathered. net None: thumbnails and labels only.

    pool    features are the mean or max of each channel over its positions, or with "none" all values of the layer
    says    also run to the class scores and remember the first choice
    """
    if net is None:
        kept = [(i, picture) for i in range(len(chosen.names)) if (picture := chosen.load(i)) is not None]
        numbers, thumbs, features, said = [i for i, _ in kept], [squared(p, thumb) for _, p in kept], {}, []
    else:
        layers = [net.layer_name(name) for name in layers]
        if says and net.logits_layer is None:
            raise MinivisError(f"network {net.name} names no classes")
        check_room(net, layers, len(chosen.names), pool, memory)
        asked = list(dict.fromkeys([*layers, *([net.logits_layer] if says else [])])) or None
        numbers, thumbs, found, said = [], [], {name: [] for name in layers}, []
        for batch in batches(net, chosen, asked, memory=memory, monitor=monitor):
            numbers += batch.numbers
            thumbs += [squared(picture, thumb) for picture in batch.pictures]
            values = net(Tensor(batch.x), layers=asked) if asked else {}
            for name in layers:
                found[name].append(pooled(host(values[name].data), pool))
            if says:
                said.append(host(values[net.logits_layer].data).reshape(len(batch.x), -1).argmax(axis=1))
        features = {name: np.concatenate(rows) for name, rows in found.items() if rows}
    if not numbers:
        raise MinivisError(f"none of the pictures of {chosen.source.path} could be read: "
                           f"{next(iter(chosen.bad.values()))}")
    label, labels = numbered([chosen.labels[i] for i in numbers])
    return Gathered([chosen.names[i] for i in numbers], label, labels, np.stack(thumbs), features,
                    np.concatenate(said) if said else None, chosen.notes())


def check_room(net, layers, count, pool, memory, copies=2):
    """An error if the features of so many pictures, `copies` times, take more than the memory budget."""
    shapes = net.shapes(net.input_size or (SIDE, SIDE))
    budget = batching.default_budget() if memory is None else batching.parse_bytes(memory)
    widths = {name: math.prod(shapes[name]) if pool == "none" else shapes[name][-1] for name in layers}
    need = 4 * copies * count * sum(widths.values())
    if need > budget and pool == "none":
        raise MinivisError(f"all values of {', '.join(layers)} on {count} pictures need {need / 1e9:.2g} GB, more than "
                           f"the {budget / 1e9:.2g} GB there are; use --pool mean, a smaller --limit, other --layers "
                           "or more --memory")


def from_index(path, layer=None, limit=None, seed=0):
    """Gathered from an index file that `minivis index` made, and the name of the layer its features are of."""
    from ..indexing import open_index
    index = open_index(path)
    layer = index.feature_layer(layer).name
    rows, notes = np.arange(index.count), []
    if limit is not None and index.count > limit:
        rows = np.sort(np.random.default_rng([seed, CHOOSING]).permutation(index.count)[:limit])
        notes = [f"{limit} of {index.count} pictures, drawn at random."]
    return Gathered([index.names[i] for i in rows], np.asarray(index.label)[rows], list(index.labels),
                    index.pixels(rows), {layer: index.features(layer, rows)}, None, notes), layer


def is_index(path):
    """Whether a file is an index."""
    import h5py
    if not os.path.isfile(path) or not h5py.is_hdf5(path):
        return False
    from ..checkpoints.safe_hdf5 import open_hdf5
    with open_hdf5(path) as root:
        return root.attribute("format", None) == "minivis index"


def numbered(labels):
    """(numbers (N,), names in order) of a list of labels, in which None becomes -1."""
    names = sorted({label for label in labels if label is not None}, key=lambda t: (len(t), t) if t.isdigit() else
                   (0, t))
    at = {name: i for i, name in enumerate(names)}
    return np.array([at.get(label, -1) for label in labels], np.int32), names


def squared(picture, side):
    """The middle square of a picture at a side of `side` pixels, so that all of a set are of one size."""
    height, width = picture.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    return at_size(picture[top:top + least, left:left + least], side)


def host(array):
    return array.get() if hasattr(array, "get") else array
