"""A network: a table of named layers and their weights, run as far as asked, activations by name.

    net = load_network("squeezenet1_0.h5")
    x = Tensor(net.preprocess(picture), needs_grad=True)
    values = net(x, layers=["fire9", "logits"])         # {layer: Tensor}; nothing beyond is computed
"""
import copy
import math

import numpy as np

from . import accounting, kernels
from .chains import FUSED, Chain, Joints, plan
from .errors import MinivisError
from .layer_ops import PRECISIONS, check_precision, run_layer
from .layers import Table, did_you_mean
from .names import aliases
from .ops.transfer import to_memory_of
from .preprocessing import Preprocessing
from .shapes import infer_shapes, weight_shapes
from .tensor import Tensor
from .weight_table import Weights


class Network:
    """layers, weights {"conv1/weight": array}, and what a file says beside them.

    logits_layer     the class scores before the softmax, or None if the network is no classifier
    features_layer   what neighbours and maps compare; default: relu7, else the global average, else below the logits
    output_layer     what net(x) gives; default: the logits, else the last layer
    preprocessing    a Preprocessing or its JSON: how a picture becomes an input
    labels           [(WordNet id, name), ...] of the classes, or None
    meta             {"architecture", "source", "licence"}
    """

    def __init__(self, layers, weights, logits_layer=None, features_layer=None, preprocessing=None, labels=None,
                 meta=None, *, output_layer=None, precision="float32", name=None):
        self.table = layers if isinstance(layers, Table) else Table(layers)
        self.aliases = aliases(self.table)
        self.meta = dict(meta or {})
        self.name = name or self.meta.get("architecture") or "network"
        self.precision = check_precision(precision)
        self.memory = None
        self.weights = Weights(weight_shapes(self.table), weights, self.dtype)
        self._channels = infer_shapes(self.table)       # of the table's own size, which may be free
        self.logits_layer = logits_layer and self.layer_name(logits_layer)
        self.output_layer = self.layer_name(output_layer or logits_layer or self.table.names[-1])
        self.features_layer = self.layer_name(features_layer or _default_features(self.table, self.logits_layer))
        if not (preprocessing is None or isinstance(preprocessing, Preprocessing)):
            preprocessing = Preprocessing.from_json(preprocessing)
        self._preprocessing, self.has_preprocessing = preprocessing, preprocessing is not None
        self.labels = None if labels is None else [tuple(label) for label in labels]
        self._forget()

    # ------------------------------------------------------------------------------------------------------ running

    def __call__(self, x, layers=None, *, keep=None, pool=None, train=None, start=None):
        """Run as far as `layers` need and return {layer: Tensor}, under the names given.

        x        (N, H, W, C) in network units, array or Tensor; with `start`, the output of that layer
        layers   a name or several; None: the output layer (a classifier's logits) alone
        keep     "inputs": every op keeps its input in op.x, for rules that read it; nothing is fused
        pool     "avg" or "max": all max and average poolings become this one
        train    a numpy Generator: dropout draws from it, batch normalisation uses the batch's own statistics and these
                 come back as further entries "LAYER/mean" and "LAYER/var"
        start    the layer whose output x is, instead of the input
        """
        given = [self.output_layer] if layers is None else [layers] if isinstance(layers, str) else list(layers)
        asked = {name: self.layer_name(name) for name in given}
        start = self.table.names[0] if start is None else self.layer_name(start)
        if keep not in (None, "inputs") or pool not in (None, "avg", "max"):
            raise MinivisError(f"net(x): keep={keep!r} must be None or 'inputs', pool={pool!r} None, 'avg' or 'max'")
        x = self._as_input(x, start)
        runs = self._plan(frozenset(asked.values()), x.shape[1:], start, pool, keep is None, train is not None)
        values, statistics, joints = {start: x}, {}, Joints()
        for run in runs:
            inputs = [values[name] for name in run.reads]
            if run.steps is not None:
                y = self._run_chain(run, pool, *inputs, joints.part(run, inputs[0]))
            else:
                y = run_layer(self.table[run.names[0]], inputs, self.weights, pool=pool, train=train,
                              keep=keep == "inputs", precision=self.precision, statistics=statistics,
                              rectify=len(run.names) > 1, out=joints.whole(run))
            values[run.names[-1]] = y
            del inputs, y
            for name in run.done_with:
                del values[name]
        return {name: values[where] for name, where in asked.items()} | statistics

    def _plan(self, asked, shape, start, pool, fuse, train):
        """The list of chains.Run for a call; kept, because the same call is usually made again."""
        self._notice_changes()
        trained = frozenset(name.split("/")[0] for name in self.weights.trainable())
        key = asked, shape, start, pool, fuse, train, trained
        if key not in self._plans:
            names = self.table.needed(asked, start)
            shapes = infer_shapes(self.table, shape, start=start, names=names)
            self._check_dense(names, shapes, start)
            chains = fuse and self.precision != "float64"

            def fusible(layer):
                return (chains and layer.kind in FUSED and layer.name not in trained
                        and not (train and layer.kind == "dropout"))

            if len(self._plans) >= 64:
                self._plans.clear()
            learning = [n for n in trained if self.table[n].kind == "batch_norm"] if fuse and train else ()
            self._plans[key] = plan(self.table, names, shapes, asked, start, fusible, pool, learning)
        return self._plans[key]

    def runs(self, shape):
        """The chains.Runs of net(x) for one picture of `shape` (H, W, C): see accounting.plan."""
        return self._plan(frozenset([self.output_layer]), tuple(shape), self.table.names[0], None, True, False)

    def _run_chain(self, run, pool, x, out):
        key = tuple(run.names), pool
        weights = [self.pair(name) if kind == "conv" else None for name, kind in run.layers if kind != "dropout"]
        known, cache = self._caches.get(key, (weights, None))
        if any(a is not b for old, new in zip(known, weights) if new for a, b in zip(old, new)):
            self._forget()                  # somebody gave a weight's Tensor another array behind our back
            cache = None
        if cache is None:
            cache = {"weights": self.derived}
            self._caches[key] = weights, cache
        return Chain(run.layers, run.steps, weights, self.precision, cache, self.memory, out)(x)

    def pair(self, name):
        """(weight, bias or None) of a layer, arrays."""
        bias = self.weights.get(f"{name}/bias")
        return self.weights[f"{name}/weight"].data, None if bias is None else bias.data

    def _check_dense(self, names, shapes, start):
        for name in names:
            if self.table[name].kind == "linear" and name != start:
                wanted, got = self.weights.shapes[f"{name}/weight"][0], shapes[self.table.reads[name][0]][0]
                if wanted != got:
                    raise MinivisError(f"layer {name} is dense: it takes {wanted} values, which is an input of "
                                       f"{self._size_text()}, and here it gets {got}; resize the picture to that, or "
                                       "ask for layers below it")

    def _size_text(self):
        return "{} x {}".format(*self.input_size) if self.input_size else "another size"

    def _as_input(self, x, start):
        """x as a Tensor of the network's dtype, checked; an array is converted, a Tensor has to fit."""
        data = x.data if isinstance(x, Tensor) else np.asarray(x) if not hasattr(x, "dtype") else x
        wanted = self._channels[start]
        if data.ndim != len(wanted) + 1 or wanted[-1] not in (None, data.shape[-1]):
            form = "(N, H, W, {})" if len(wanted) == 3 else "(N, {})"
            raise MinivisError(f"net(x): x has shape {tuple(data.shape)}, but {start!r} is {form.format(wanted[-1])}")
        if data.dtype.kind != "f":
            raise MinivisError(f"net(x): x holds {data.dtype}; make it a network input with net.preprocess(picture)")
        if isinstance(x, Tensor):
            if data.dtype != self.dtype:
                raise MinivisError(f"net(x): x is {data.dtype}, but the network computes in {self.dtype}; use "
                                   f"net.with_precision({str(data.dtype)!r}) or convert x")
        else:
            x = Tensor(kernels.xp(data).ascontiguousarray(data.astype(self.dtype, copy=False)))
        some = next(iter(self.weights.values()), None)
        return x if some is None else to_memory_of(x, some.data)   # pictures come from the host, and gradients go there

    def _notice_changes(self):
        if self._version != self.weights.version:
            self._forget()

    def _forget(self):
        """Drop everything that was derived from the weights."""
        self._plans, self._caches, self._copies = {}, {}, {}
        self.derived = {}               # what kernels make of a weight alone: it serves every chain the weight is in
        self._hash = None
        self._version = self.weights.version

    # ----------------------------------------------------------------------------------------------- names and sizes

    def layer_name(self, name):
        """The layer's name in this table for a name or alias; an error that lists close ones if there is none."""
        if name in self.table:
            return name
        if name in self.aliases:
            return self.aliases[name]
        close = did_you_mean(name, [*self.table.names, *self.aliases])
        raise MinivisError(f"network {self.name} has no layer {name!r}{close or '; `minivis layers` lists them'}")

    @property
    def input_size(self):
        """(H, W) that the network was made for, or None if any will do."""
        size = self.table.layers[0]["shape"][:2]
        if None not in size:
            return tuple(size)
        return self.preprocessing.size if self.has_preprocessing else None

    def shapes(self, size=None):
        """{layer: (H, W, C) or (C,)} for one picture of `size` (H, W); None: the network's own size."""
        channels = self.table.layers[0]["shape"][2]
        size = self.input_size if size is None else (size, size) if isinstance(size, int) else tuple(size)
        if size is None:
            raise MinivisError(f"network {self.name} takes pictures of any size: say which, as (H, W)")
        shapes = infer_shapes(self.table, (*size[:2], channels))
        self._check_dense(self.table.names, shapes, self.table.names[0])
        return shapes

    def channels(self, layer):
        """How many channels a layer has."""
        return self._channels[self.layer_name(layer)][-1]

    def rank(self, layer):
        """3 if the layer's values for one picture are (H, W, C), 1 if they are a vector (C,)."""
        return len(self._channels[self.layer_name(layer)])

    def summary(self, size=None):
        """One accounting.Row per layer: name, kind, shape, parameters, multiply-adds, receptive field, stride."""
        return accounting.summary(self, size)

    def bytes_needed(self, shape, layers=None, backward=False):
        """Bytes that a pass over x of `shape` (N, H, W, C) takes beside the weights: see accounting.bytes_needed."""
        return accounting.bytes_needed(self, shape, layers, backward)

    @property
    def parameters(self):
        """How many numbers the weights are, batch statistics left out."""
        return sum(math.prod(s) for n, s in self.weights.shapes.items() if not n.endswith(("/mean", "/var")))

    # ------------------------------------------------------------------------------------------- precision and device

    @property
    def dtype(self):
        return np.dtype(PRECISIONS[self.precision])

    @property
    def device(self):
        some = next(iter(self.weights.values()), None)
        return "cpu" if some is None or isinstance(some.data, np.ndarray) else "gpu"

    def with_precision(self, precision):
        """This network computing in "float32", "float32-direct" or "float64" (on a GPU also "tf32" and "float16").

        The copy is kept, so asking again costs nothing; as long as the weights do not change both share what they can.
        """
        check_precision(precision, self.device)
        if precision == self.precision:
            return self
        self._notice_changes()
        if precision in self._copies and not self.weights.trainable():
            return self._copies[precision]
        other = self._copy(self.weights.arrays(), precision)
        self._copies[precision] = other
        return other

    def with_memory(self, memory):
        """This network with work memory of at most so many bytes (or "256MB") at once; None: as fast as it goes.

        It changes how the work is cut up, never a bit of the result. Weights and what was derived from them are shared.
        """
        from .batching import parse_bytes
        other = copy.copy(self)
        other.memory = None if memory is None else parse_bytes(memory)
        return other

    def with_weights(self, weights):
        """A network like this one in which the named weights {"conv1/weight": array} are others; all else is shared."""
        return self._copy({**self.weights.arrays(), **weights}, self.precision)

    def to(self, device):
        """This network with its weights on "cpu" or "gpu" ("gpu:1": the second)."""
        if device == self.device == "cpu":
            return self
        if device == "cpu":
            return self._copy({name: a.get() for name, a in self.weights.arrays().items()}, self.precision)
        from .devices import to_gpu
        return self._copy({name: to_gpu(a, device) for name, a in self.weights.arrays().items()}, self.precision)

    def _copy(self, arrays, precision):
        other = copy.copy(self)
        other.precision = precision
        frozen = {name: a.copy() if self.weights[name].needs_grad and a is self.weights[name].data else a
                  for name, a in arrays.items()}        # what a trainer goes on changing is not ours to freeze
        other.weights = Weights(self.weights.shapes, frozen, PRECISIONS[precision])
        other._forget()
        return other

    def weights_hash(self):
        """SHA-256 of all weights, the same on every device."""
        self._notice_changes()
        if self._hash is None or self.weights.trainable():
            from .provenance import hash_weights
            self._hash = hash_weights(self.weights)
        return self._hash

    # ------------------------------------------------------------------------------------------------------ pictures

    @property
    def preprocessing(self):
        """The Preprocessing: how a picture becomes an input, and back."""
        if not self.has_preprocessing:
            raise MinivisError(f"network {self.name} does not say how it wants its pictures (no preprocessing)")
        return self._preprocessing

    def preprocess(self, picture, size=None, policy="network"):
        """picture -> x (1, H, W, 3), an array in network units and channel order, of the network's dtype."""
        return self.preprocessing.apply(picture, self.dtype, size, policy)

    def see(self, picture, size=None, policy="network"):
        """The part of the picture that preprocess shows the network: see Preprocessing.see."""
        return self.preprocessing.see(picture, size, policy)

    def restore(self, x):
        """Network input -> uint8 picture: the exact inverse of preprocess, but for what cropping and resizing took."""
        return self.preprocessing.restore(x)

    def to_rgb(self, array):
        """A gradient or input (..., 3) with its channels in the order red, green, blue."""
        return self.preprocessing.to_rgb(array)

    def __repr__(self):
        return f"Network({self.name!r}, {len(self.table)} layers, {self.parameters:,} parameters, {self.precision})"


def _default_features(table, logits_layer):
    if "relu7" in table:
        return "relu7"
    averages = [layer.name for layer in table if layer.kind == "global_avg_pool" and layer.name != logits_layer]
    if averages:
        return averages[-1]
    return table.reads[logits_layer][0] if logits_layer else table.names[-1]
