"""A stand-in for CuPy on a machine without a GPU: arrays that claim to live elsewhere.

    with installed():                           # `import cupy` now gives the stand-in
        net = net.to("gpu")

The numbers are NumPy's. What it reproduces is CuPy's strictness, as far as CuPy 14 documents it: an array of the
device is never taken for a NumPy array nor mixed with one, sums give arrays and not scalars, what NumPy has and CuPy
lacks is missing. So a technique that would copy silently between host and device, or fail on a GPU, fails here.
Kernels are those of the CPU set, or, with kernels="shim", the CUDA source. It says nothing of memory, streams, speed or
cuBLAS.
"""
import contextlib
import operator
import sys
import types

import numpy as np

from minivis import kernels as kernel_sets
from minivis.kernels import cpu, gpu

from . import Shim

# names that NumPy 2 has and CuPy 14 has not
_LACKING = {"asmatrix", "block", "bmat", "datetime_as_string", "einsum_path", "errstate", "frompyfunc", "fromregex",
            "geomspace", "histogram_bin_edges", "insert", "isnat", "matvec", "nanpercentile", "nanquantile", "nditer",
            "ndenumerate", "ndindex", "nested_iters", "polyder", "polydiv", "polyint", "spacing", "unstack", "vecdot",
            "vecmat"}
_FREE, _TOTAL = 10 << 30, 16 << 30      # bytes that the device is said to have


class ndarray:
    """An array of the device."""

    def __init__(self, host):
        object.__setattr__(self, "_host", np.asarray(host))

    device = property(lambda self: types.SimpleNamespace(id=0))
    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data))
    T = property(lambda self: ndarray(self._host.T))
    real = property(lambda self: ndarray(self._host.real))
    imag = property(lambda self: ndarray(self._host.imag))
    flags = property(lambda self: types.SimpleNamespace(
        c_contiguous=self._host.flags.c_contiguous, f_contiguous=self._host.flags.f_contiguous,
        owndata=self._host.base is None))

    def get(self, *_, **__):
        return self._host.copy()

    def set(self, host, stream=None):
        if not isinstance(host, np.ndarray) or host.shape != self.shape or host.dtype != self.dtype:
            raise ValueError(f"set: a NumPy array {self.shape} of {self.dtype} is wanted")
        self._host[...] = host

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        return _wrapped(getattr(ufunc, method)(*_host(inputs), **_host(settings)))

    def __array_function__(self, function, kinds, args, settings):
        if function.__name__ in _LACKING:
            raise TypeError(f"cupy has no {function.__name__}")
        return _wrapped(function(*_host(args), **_host(settings)))

    def __getattr__(self, name):
        if name.startswith("__"):       # least of all the protocols by which NumPy takes over foreign memory
            raise AttributeError(name)
        found = getattr(self._host, name)
        if not callable(found):
            return found
        return lambda *args, **settings: _wrapped(found(*_host(args), **_host(settings)))

    def __getitem__(self, where):
        return ndarray(self._host[_index(where)])

    def __setitem__(self, where, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("a NumPy array cannot be written into an array of the device")
        self._host[_index(where)] = _host(value)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (ndarray(part) for part in self._host)

    def __repr__(self):
        return repr(self._host)

    def __format__(self, how):
        return format(self._host.item() if self.ndim == 0 else self._host, how)

    __hash__ = None


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift",
              "rshift"):
    _plain = getattr(operator, {"and": "and_", "or": "or_"}.get(_name, _name))
    setattr(ndarray, f"__{_name}__", lambda self, other, f=_plain: _wrapped(f(self._host, _host(other))))
    setattr(ndarray, f"__r{_name}__", lambda self, other, f=_plain: _wrapped(f(_host(other), self._host)))
    setattr(ndarray, f"__i{_name}__", lambda self, other, f=_plain: _in_place(self, f, other))
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(ndarray, f"__{_name}__",
            lambda self, other, f=getattr(operator, _name): _wrapped(f(self._host, _host(other))))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", lambda self, f=getattr(operator, _name): _wrapped(f(self._host)))
for _name, _kind in (("float", float), ("int", int), ("bool", bool), ("index", operator.index), ("complex", complex)):
    setattr(ndarray, f"__{_name}__", lambda self, f=_kind: f(self._host))
ndarray.__module__ = "cupy"


def _in_place(array, function, other):
    array._host[...] = function(array._host, _host(other))
    return array


def _host(value):
    """Of an argument: the numbers of a device array; a NumPy array is refused."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: it lies on the host, the other array on the device")
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_host, value))
    return {k: _host(v) for k, v in value.items()} if type(value) is dict else value


def _index(where):
    if isinstance(where, tuple):
        return tuple(map(_index, where))
    return where._host if isinstance(where, ndarray) else where     # CuPy takes NumPy arrays here


def _wrapped(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(value)
    return type(value)(map(_wrapped, value)) if type(value) in (list, tuple) else value


# -------------------------------------------------------------------------------------------------------- the module


class _Module(types.ModuleType):
    """NumPy's functions, or those of one of its submodules, on device arrays."""

    def __init__(self, name, host):
        super().__init__(name)
        self.__path__, self._numpy = [], host

    def __getattr__(self, name):
        found = None if name in _LACKING else getattr(self._numpy, name, None)
        if name.startswith("__") or found is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if not callable(found) or isinstance(found, type):
            return found
        return lambda *args, **settings: _wrapped(found(*_host(args), **_host(settings)))


def _from_host(function):
    """asarray and array take NumPy arrays too: here things cross over."""
    def crossing(value, *args, **settings):
        return ndarray(getattr(np, function)(_host(value) if not isinstance(value, np.ndarray) else value, *args,
                                             **settings).copy())
    return crossing


def _asarray(value, dtype=None, order=None):
    if isinstance(value, ndarray) and dtype in (None, value.dtype) and (order != "C" or value.flags.c_contiguous):
        return value
    return _from_host("asarray")(value, dtype=dtype, order=order)


class _Device:
    def __init__(self, number=0):
        self.id, self.compute_capability, self.mem_info = number, "80", (_FREE, _TOTAL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    use = synchronize = lambda self: None



class _Pool:
    limit = 0

    def set_limit(self, size=None, fraction=None):
        self.limit = size if size is not None else int(fraction * _TOTAL)

    def get_limit(self):
        return self.limit

    free_all_blocks = used_bytes = total_bytes = lambda self: 0


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory's."""

    def __init__(self, size, total, limit=0):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, limit set to: "
                         f"{limit:,} bytes).")


def module(devices=1):
    """A new stand-in: {name: module}, as sys.modules has them."""
    cupy, fft, linalg = _Module("cupy", np), _Module("cupy.fft", np.fft), _Module("cupy.linalg", np.linalg)
    cupyx, scipyx, sparse = (types.ModuleType(name) for name in ("cupyx", "cupyx.scipy", "cupyx.scipy.sparse"))
    pool = _Pool()
    cupy.ndarray, cupy.fft, cupy.linalg = ndarray, fft, linalg
    cupy.asarray, cupy.array = _asarray, _from_host("array")
    cupy.ascontiguousarray = lambda a, dtype=None: _asarray(a, dtype, "C")
    cupy.asnumpy = lambda a: a.get() if isinstance(a, ndarray) else np.asarray(a)
    cupy.get_array_module = lambda *arrays: cupy if any(isinstance(a, ndarray) for a in arrays) else np
    cupy.get_default_memory_pool = lambda: pool
    cupy.cuda = types.SimpleNamespace(
        Device=_Device, runtime=types.SimpleNamespace(getDeviceCount=lambda: devices),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError))
    cupyx.empty_pinned = lambda shape, dtype=float: np.empty(shape, dtype)
    cupyx.scipy, scipyx.sparse, sparse.csr_matrix = scipyx, sparse, _Sparse
    return {m.__name__: m for m in (cupy, fft, linalg, cupyx, scipyx, sparse)}


class _Sparse:
    """cupyx.scipy.sparse.csr_matrix, as far as it is used: made from SciPy's, times an array of the device."""

    def __init__(self, matrix):
        self.matrix = matrix

    def astype(self, dtype):
        return _Sparse(self.matrix.astype(dtype))

    def __matmul__(self, array):
        return _wrapped(self.matrix @ _host(array))


class _CpuForDevice(types.ModuleType):
    """The CPU's kernels on the device's arrays, under the names of the GPU set."""

    def __getattr__(self, name):
        kernel = getattr(cpu, name)
        if name.startswith("__") or not callable(kernel):
            return kernel
        return lambda *args, **settings: _wrapped(kernel(*map(_deep, args), **_host(settings)))


def _deep(value):
    """As _host, and into what a chain is made of."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value
    return _host(value)


class ShimOnDevice(Shim):
    """The shim for device arrays."""

    @property
    def xp(self):
        return sys.modules["cupy"]

    def owns(self, array):
        return isinstance(array, ndarray)

    def address(self, array):
        return array.data.ptr

    def empty(self, shape, dtype, like):
        return ndarray(super().empty(shape, dtype, like))

    def run(self, source, kernel, grid, block, args, shared):
        super().run(source, kernel, grid, block, [a._host if isinstance(a, ndarray) else a for a in args], shared)


@contextlib.contextmanager
def installed(kernels="cpu", devices=1):
    """Let `import cupy` find the stand-in. kernels: "cpu", or "shim" for the CUDA source."""
    made = module(devices)
    before = {name: sys.modules.get(name) for name in (*made, f"{kernel_sets.__name__}.gpu")}
    sys.modules.update(made)
    if kernels == "cpu":
        stand_in = _CpuForDevice("gpu")
        stand_in.NOT_YET = ()
        sys.modules[f"{kernel_sets.__name__}.gpu"] = stand_in
    try:
        with gpu.launch.through(ShimOnDevice()) as backend:
            yield backend
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
