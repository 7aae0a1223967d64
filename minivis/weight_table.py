"""The weights of a network: {"conv1/weight": Tensor}, of known names and shapes, read-only while nobody trains them."""
from collections.abc import MutableMapping

import numpy as np

from .errors import MinivisError
from .layers import did_you_mean
from .tensor import Tensor

STATISTICS = ("mean", "var")        # of batch normalisation: measured, never learned


class Weights(MutableMapping):
    """A mapping whose keys are fixed. Setting an entry checks its shape, freezes the array and counts up `version`.

    A frozen array is taken over, not copied, and made read-only: writing to it is then a loud error, and whatever was
    derived from it (transformed filters, copies in another precision) stays true for as long as it is the entry.
    A Tensor with needs_grad=True is kept as it is: its owner, a trainer, may change it in place at any time.
    """

    def __init__(self, shapes, arrays, dtype):
        self.shapes, self.dtype, self.version = dict(shapes), np.dtype(dtype), 0
        for name in self.shapes:
            if name not in arrays:
                raise MinivisError(f"weights: {name} {self.shapes[name]} is missing")
        self._tensors = dict.fromkeys(self.shapes)
        for name, array in arrays.items():
            self[name] = array

    def __getitem__(self, name):
        if name not in self._tensors:
            raise KeyError(f"no weight {name!r}{did_you_mean(name, self._tensors)}")
        return self._tensors[name]

    def __setitem__(self, name, value):
        if name not in self._tensors:
            raise MinivisError(f"weights: the layer table has no place for {name!r}{did_you_mean(name, self._tensors)}")
        array = value.data if isinstance(value, Tensor) else value
        if tuple(array.shape) != self.shapes[name]:
            raise MinivisError(f"weights: {name} is {tuple(array.shape)}, but the table wants {self.shapes[name]}")
        if array.dtype.kind != "f":
            raise MinivisError(f"weights: {name} holds {array.dtype}, but must be floating point")
        if isinstance(value, Tensor) and value.needs_grad:
            if array.dtype != self.dtype:
                raise MinivisError(f"weights: {name} is {array.dtype}, but the network computes in {self.dtype}")
            self._tensors[name] = value
        else:
            self._tensors[name] = Tensor(_frozen(array, self.dtype))
        self.version += 1

    def __contains__(self, name):
        return name in self._tensors

    def get(self, name, default=None):
        """The entry, or `default`; without the search for close names that a KeyError comes with."""
        return self._tensors.get(name, default)

    def __delitem__(self, name):
        raise TypeError(f"weights: {name} cannot be removed, its layer needs it")

    def __iter__(self):
        return iter(self._tensors)

    def __len__(self):
        return len(self._tensors)

    def __repr__(self):
        return f"Weights({len(self)} arrays, {sum(t.size for t in self.values()):,} numbers)"

    def arrays(self):
        """{name: array}"""
        return {name: t.data for name, t in self._tensors.items()}

    def trainable(self):
        """Names of the entries that need a gradient."""
        return [name for name, t in self._tensors.items() if t.needs_grad]

    def unfreeze(self, names=None):
        """Give the named entries (None: all that can be learned) arrays of their own, writeable, with needs_grad."""
        for name in [n for n in self if n.split("/")[1] not in STATISTICS] if names is None else names:
            self[name] = Tensor(self[name].data.copy(), needs_grad=True)

    def freeze(self):
        """The opposite: every entry is read-only from now on."""
        for name in self.trainable():
            self[name] = self[name].data


def _frozen(array, dtype):
    """The array in `dtype`, contiguous and read-only; copied only if somebody could still write to it another way."""
    array = array.astype(dtype, order="C", copy=False)
    if not isinstance(array, np.ndarray):
        return array                        # CuPy has no read-only arrays
    base = array.base
    while base is not None:
        if not isinstance(base, np.ndarray) or base.flags.writeable:
            array, base = array.copy(), None
        else:
            base = base.base
    array.flags.writeable = False
    return array
