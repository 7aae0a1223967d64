"""Compute kernels on plain arrays. This package knows nothing of networks, tensors or pictures.

`of(array)` gives the kernel set for the memory the array lives in. Every set defines the names, with the signatures,
of `reference`; a test compares them. A kernel that a set does not have is a loud error, never a silent copy elsewhere.
"""
import importlib
import sys

import numpy as np

from . import sums

_forced = None


def of(array):
    """The kernel set for `array`: `cpu` for NumPy arrays, `gpu` for CuPy arrays."""
    if isinstance(array, np.ndarray | np.generic):
        return _load(_forced or "cpu")
    if type(array).__module__.split(".")[0] == "cupy":
        return _load("gpu")
    raise TypeError(f"kernels.of: no kernels for {type(array).__name__}; give a numpy or cupy array")


def xp(array):
    """The array module (numpy or cupy) of `array`."""
    if isinstance(array, np.ndarray | np.generic | float | int):
        return np
    return importlib.import_module(type(array).__module__.split(".")[0])


def prepare():
    """The CPU's kernels are about to be used, so what takes long, compiling them, may begin. Returns at once."""
    if _forced in (None, "cpu"):
        _load("cpu").prepare()


_moved, _MOST_MOVED = {}, 4096


def kept(array, like):
    """A small array of the host whose numbers are constants, in the memory of `like`: moved there once and kept.

    So a step that is repeated moves nothing, which would make it wait, and could not be recorded as a graph.
    """
    there = xp(like)
    if there is np:
        return array
    key = array.tobytes(), array.shape, array.dtype.str, type(like), like.device.id
    if key not in _moved:
        if len(_moved) >= _MOST_MOVED:      # never replaced: a recorded graph goes on reading where it lies
            return there.asarray(array)
        _moved[key] = there.asarray(array)
    return _moved[key]


def _by_cpu_set(array):
    return xp(array) is np and _forced in (None, "cpu")


def empty(shape, like):
    """An array of the kind, memory and number type of `like`, contents undefined. On the CPU it may lie in memory that
    was used before, so that no page has to be fetched from the system."""
    if _by_cpu_set(like):
        return _load("cpu").empty(shape, like.dtype)
    return xp(like).empty(shape, like.dtype)


def keeping():
    """`with keeping():` around a loop whose rounds make and drop the same large arrays: on the CPU their memory stays
    with the process meanwhile. CuPy's pool does so anyway."""
    return _load("cpu").Keeping()


def apply(name, x, y, out=None):
    """The function of this name ("add", "subtract", "multiply") of each number of x and of y, which is an array of x's
    shape that lives in the same place, or of one number. out may be x."""
    if _by_cpu_set(x):
        return _load("cpu").apply(name, x, y, out)
    return getattr(xp(x), name)(x, y, out=empty(x.shape, x) if out is None else out)


def sums_of_squares(x):
    """(N,) of x's type: of each picture of a batch."""
    if _by_cpu_set(x):
        return np.array([_load("cpu").products([one], [one])[0, 0] for one in x], x.dtype)
    return (x * x).sum(axis=tuple(range(1, x.ndim)))


def products(xs, ys):
    """(len(xs), len(ys)) float64 NumPy array: the sum of all products of each x with each y, arrays of one shape: the
    same bits for any number of threads, and whatever else is asked for."""
    if _by_cpu_set(xs[0]):
        return _load("cpu").products(xs, ys)
    return sums.products(xs, ys, xp(xs[0]))


def dot(x, y):
    """The sum of all products of two arrays of one shape, a float."""
    return float(products([x], [y])[0, 0])


def combination(xs, coefficients):
    """sum c_i x_i of arrays of one shape and type; the coefficients are the host's."""
    if _by_cpu_set(xs[0]):
        return _load("cpu").combination(xs, coefficients)
    return sums.combination(xs, coefficients)


class using:
    """`with using("reference"):` runs NumPy arrays through another kernel set; for tests and for reading along."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        global _forced
        self.before, _forced = _forced, self.name

    def __exit__(self, *_):
        global _forced
        _forced = self.before


def _load(name):
    full = f"{__name__}.{name}"
    return sys.modules.get(full) or importlib.import_module(full)      # asked for several times in every layer
