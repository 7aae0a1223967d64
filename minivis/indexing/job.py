"""What is computed for a run of pictures, wherever that happens: read them, run the network, keep what was asked for.

A Job says what to compute. It can be sent to another process or machine: the network travels as its table and weights
and arrives on the CPU (`device` says where it was), the pictures as the place where they are. A part is what comes
back, a nested dict of arrays (so monitor.write_state can keep it): first, count (which pictures of the set), good
(which of them could be read), bad [{name, why}],
pixels (g, s, s, 3), features {layer: (g, D)}, top {layer: Top as a dict}. Pictures are numbered as in the whole set.
"""
import functools
import json

import numpy as np

from .. import batching
from ..dataset import printable, reopen
from ..errors import MinivisError
from ..network import Network
from ..preprocessing import resize
from .format import Top
from .strongest import merge, strongest

POOLS = ("mean", "max", "none")


class Job:
    """layers    of which the `keep` strongest activations of each channel are kept, `per_picture` of one picture
    features     layers whose values are kept for each picture, pooled as `pool` says
    size         (H, W) of the network's input; pixels: side of the small pictures that are kept
    """

    def __init__(self, net, pictures, layers, features, *, pool="mean", keep=9, per_picture=1, size, pixels=64,
                 memory=None):
        if pool not in POOLS:
            raise MinivisError(f"index: pool {pool!r} is not one of {', '.join(POOLS)}")
        for name, value, least in (("keep", keep, 1), ("per_picture", per_picture, 1), ("pixels", pixels, 1)):
            if value < least:
                raise MinivisError(f"index: {name} {value} must be at least {least}")
        self.net, self.device, self.source = net, net.device, pictures.describe()
        self.layers = list(dict.fromkeys(map(net.layer_name, layers)))
        self.features = list(dict.fromkeys(map(net.layer_name, features)))
        self.pool, self.keep, self.per_picture = pool, keep, per_picture
        self.size, self.pixels = tuple(size), pixels
        self.memory = batching.default_budget() if memory is None else batching.parse_bytes(memory)
        shape = (*self.size, 3)
        self.bytes_read = int(np.prod(shape)) * net.dtype.itemsize
        self.bytes_run = net.bytes_needed((1, *shape), self.asked)

    @property
    def asked(self):
        """All layers that the network has to give."""
        return list(dict.fromkeys(self.layers + self.features))

    def __getstate__(self):
        return {**self.__dict__, "net": pack(self.net)}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.net = unpack(state["net"])

    def read(self, name):
        """(network input (H, W, 3), small picture) of one picture, or why it cannot be read."""
        try:
            seen = self.net.see(reopen(self.source).load(name), size=self.size)
        except (MinivisError, OSError, MemoryError) as error:
            return printable(" ".join(str(error).split()) or type(error).__name__)
        small = resize(seen.picture, (self.pixels, self.pixels))
        return self.net.preprocessing.normalize(seen.picture, self.net.dtype), small

    def run(self, first, names, loaded):
        """The part of the pictures first, first + 1 ...; loaded: what `read` gave for each name."""
        good = np.array([not isinstance(one, str) for one in loaded], bool)
        fine = [one for one in loaded if not isinstance(one, str)]
        numbers = first + np.flatnonzero(good)
        features, tops = {name: [] for name in self.features}, {name: [] for name in self.layers}
        for part in batching.split(len(fine), self.bytes_run, self.memory):
            values = self.net(np.stack([x for x, _ in fine[part]]), layers=self.asked)
            values = {name: tensor.numpy() for name, tensor in values.items()}
            for name in self.features:
                features[name].append(pooled(values[name], self.pool))
            for name in self.layers:
                tops[name].append(strongest(values[name], numbers[part], self.keep, self.per_picture))
        return {"first": first, "count": len(names), "good": good,
                "bad": [{"name": name, "why": why} for name, why in zip(names, loaded) if isinstance(why, str)],
                "pixels": np.array([small for _, small in fine], np.uint8).reshape(-1, self.pixels, self.pixels, 3),
                "features": {name: np.concatenate(each) for name, each in features.items() if each},
                "top": {name: merge(each, self.keep)._asdict() for name, each in tops.items() if each}}

    def block(self, first, names):
        """Read and run, one after the other."""
        return self.run(first, names, [self.read(name) for name in names])


def join(parts, keep):
    """One part of consecutive ones."""
    features = {name for part in parts for name in part["features"]}
    tops = {name for part in parts for name in part["top"]}
    return {"first": parts[0]["first"], "count": sum(part["count"] for part in parts),
            "good": np.concatenate([part["good"] for part in parts]),
            "bad": [one for part in parts for one in part["bad"]],
            "pixels": np.concatenate([part["pixels"] for part in parts]),
            "features": {name: np.concatenate([part["features"][name] for part in parts if name in part["features"]])
                         for name in sorted(features)},
            "top": {name: merge([Top(**part["top"][name]) for part in parts if name in part["top"]], keep)._asdict()
                    for name in sorted(tops)}}


def pooled(a, pool):
    """(n, D) float32 of a layer's values (n, H, W, C); a vector (n, C) stays what it is.

    mean    over all units of a channel, summed along rows in the network's own type and over rows in float64
    """
    if a.ndim == 4 and pool == "mean":
        a = a.sum(axis=2).sum(axis=1, dtype=np.float64) / (a.shape[1] * a.shape[2])
    elif a.ndim == 4 and pool == "max":
        a = a.max(axis=2).max(axis=1)
    return np.ascontiguousarray(a.reshape(len(a), -1), np.float32)


def pack(net):
    """A network as plain data, which any process can make a network of again."""
    return {"layers": json.dumps(net.table.to_json()), "weights": {n: t.numpy() for n, t in net.weights.items()},
            "preprocessing": net.preprocessing.to_json(), "hash": net.weights_hash(), "memory": net.memory,
            "fields": {"logits_layer": net.logits_layer, "features_layer": net.features_layer,
                       "output_layer": net.output_layer, "meta": net.meta, "precision": net.precision,
                       "labels": net.labels, "name": net.name}}


def unpack(packed):
    """The network; of equal ones, a process makes one only, so that what it derives from the weights is kept."""
    return _made(_Packed(packed))


class _Packed:
    """Packed networks are equal when all but their arrays is equal, the hash of these included."""

    def __init__(self, packed):
        self.packed = packed
        self.key = json.dumps({name: value for name, value in packed.items() if name != "weights"}, sort_keys=True)

    def __hash__(self):
        return hash(self.key)

    def __eq__(self, other):
        return self.key == other.key


@functools.lru_cache(1)
def _made(packed):
    packed = packed.packed
    net = Network(json.loads(packed["layers"]), packed["weights"], preprocessing=packed["preprocessing"],
                  **packed["fields"])
    return net.with_memory(packed["memory"])
