"""A stand-in for CuPy on a machine without a GPU: arrays that claim to live elsewhere.

    with installed():                           # `import cupy` now gives the stand-in
        net = net.to("gpu")

The numbers are NumPy's. What it reproduces is CuPy's strictness, as far as CuPy 14 documents it: an array of the
device is never taken for a NumPy array nor mixed with one, sums give arrays and not scalars, what NumPy has and CuPy
lacks is missing. So a technique that would copy silently between host and device, or fail on a GPU, fails here.
Kernels are those of the CPU set, or, with kernels="shim", the CUDA source. streams_on_host.py has streams and recorded
graphs. It says nothing of memory, speed or cuBLAS' results.
"""
import contextlib
import operator
import sys
import types

import numpy as np

from minivis import kernels as kernel_sets
from minivis.kernels import cpu, gpu

from . import Shim, streams_on_host
from .streams_on_host import FREE, TOTAL, MemoryPool, OutOfMemoryError, Stream, current, perform  # noqa: F401

# names that NumPy 2 has and CuPy 14 has not
_LACKING = {"asmatrix", "block", "bmat", "datetime_as_string", "einsum_path", "errstate", "frompyfunc", "fromregex",
            "geomspace", "histogram_bin_edges", "insert", "isnat", "matvec", "nanpercentile", "nanquantile", "nditer",
            "ndenumerate", "ndindex", "nested_iters", "polyder", "polydiv", "polyint", "spacing", "unstack", "vecdot",
            "vecmat"}


class ndarray:
    """An array of the device."""

    def __init__(self, host):
        object.__setattr__(self, "_array", np.asarray(host))

    @property
    def _host(self):
        streams_on_host.catch_up()
        return self._array

    device = property(lambda self: types.SimpleNamespace(id=0))
    data = property(lambda self: types.SimpleNamespace(ptr=self._array.ctypes.data))
    T = property(lambda self: ndarray(self._host.T))
    real = property(lambda self: ndarray(self._host.real))
    imag = property(lambda self: ndarray(self._host.imag))
    flags = property(lambda self: types.SimpleNamespace(
        c_contiguous=self._array.flags.c_contiguous, f_contiguous=self._array.flags.f_contiguous,
        owndata=self._array.base is None))

    def get(self, *_, **__):
        current().refuse("get")
        return self._host.copy()

    def set(self, host, stream=None):
        """The copy may begin after this has returned, as from pinned memory."""
        current().refuse("set", "moves an array from the host")
        if not isinstance(host, np.ndarray) or host.shape != self.shape or host.dtype != self.dtype:
            raise ValueError(f"set: a NumPy array {self.shape} of {self.dtype} is wanted")
        streams_on_host.later(lambda: np.copyto(self._array, host))

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        return _on_host(f"{ufunc.__name__}", getattr(ufunc, method), inputs, settings)

    def __array_function__(self, function, kinds, args, settings):
        if function.__name__ in _LACKING:
            raise TypeError(f"cupy has no {function.__name__}")
        return _on_host(function.__name__, function, args, settings)

    def __getattr__(self, name):
        if name.startswith("__"):       # least of all the protocols by which NumPy takes over foreign memory
            raise AttributeError(name)
        found = getattr(self._array, name)
        if not callable(found):
            return found
        return lambda *args, **settings: _on_host(name, getattr(np.ndarray, name), (self, *args), settings)

    def __getitem__(self, where):
        if any(str(getattr(i, "dtype", "")) == "bool" for i in (where if isinstance(where, tuple) else (where,))):
            current().refuse("a mask as index")
        return perform("getitem", lambda a, i: ndarray(a._host[_index(i)]), (self, where), {})

    def __setitem__(self, where, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("a NumPy array cannot be written into an array of the device")
        perform("setitem", _put, (self, where, value), {})

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self._array)

    def __format__(self, how):
        current().refuse("format")
        return format(self._host.item() if self.ndim == 0 else self._host, how)

    __hash__ = None


def _put(array, where, value):
    array._host[_index(where)] = _host(value)


def _in_place(array, function, other):
    array._host[...] = function(array._host, _host(other))


def _binary(name, plain):
    def forward(self, other):
        return _on_host(name, plain, (self, other), {})

    def backward(self, other):
        return _on_host(name, plain, (other, self), {})

    def in_place(self, other):
        perform(name, _in_place, (self, plain, other), {})
        return self
    return forward, backward, in_place


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift",
              "rshift"):
    for _kind, _method in zip(("", "r", "i"), _binary(_name, getattr(operator, {"and": "and_", "or": "or_"}.get(
            _name, _name)))):
        setattr(ndarray, f"__{_kind}{_name}__", _method)
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _binary(_name, getattr(operator, _name))[0])
for _name in ("neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", lambda self, f=getattr(operator, _name): _on_host(f.__name__, f, (self,), {}))
for _name, _kind in (("float", float), ("int", int), ("bool", bool), ("index", operator.index), ("complex", complex)):
    setattr(ndarray, f"__{_name}__", lambda self, f=_kind: (current().refuse(f.__name__), f(self._host))[1])
ndarray.__module__ = "cupy"


def _on_host(name, function, args, settings, where="cupy"):
    """NumPy's function on the numbers of device arrays."""
    return perform(name, lambda *a, **s: _wrapped(function(*_host(a), **_host(s))), tuple(args), settings, where)


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
        return lambda *args, **settings: _on_host(name, found, args, settings, self.__name__)


def _from_host(function):
    """asarray and array take NumPy arrays too: here things cross over. A single number is written by a kernel."""
    def crossing(value, *args, **settings):
        if isinstance(value, ndarray):
            return _on_host(function, lambda v, *a, **s: getattr(np, function)(v, *a, **s).copy(), (value, *args),
                            settings)
        if np.ndim(value):
            current().refuse(function, "moves an array from the host")
        return ndarray(getattr(np, function)(value, *args, **settings).copy())
    return crossing


def _asarray(value, dtype=None, order=None):
    if isinstance(value, ndarray) and dtype in (None, value.dtype) and (order != "C" or value.flags.c_contiguous):
        return value
    return _from_host("asarray")(value, dtype=dtype, order=order)


def module(devices=1):
    """A new stand-in: {name: module}, as sys.modules has them."""
    cupy, fft, linalg = _Module("cupy", np), _Module("cupy.fft", np.fft), _Module("cupy.linalg", np.linalg)
    cupyx = types.ModuleType("cupyx")
    pool = MemoryPool()
    cupy.ndarray, cupy.fft, cupy.linalg = ndarray, fft, linalg
    cupy.asarray, cupy.array = _asarray, _from_host("array")
    cupy.ascontiguousarray = lambda a, dtype=None: _asarray(a, dtype, "C")
    cupy.asnumpy = lambda a: a.get() if isinstance(a, ndarray) else np.asarray(a)
    cupy.get_array_module = lambda *arrays: cupy if any(isinstance(a, ndarray) for a in arrays) else np
    cupy.get_default_memory_pool = lambda: pool
    cupy.cuda = types.SimpleNamespace(
        Device=streams_on_host.Device, Event=streams_on_host.Event, Stream=Stream, MemoryPool=MemoryPool,
        get_current_stream=current, using_allocator=streams_on_host.using_allocator, set_allocator=lambda malloc: None,
        get_elapsed_time=lambda start, end: 1000 * (end.when - start.when),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: devices, getDevice=lambda: 0),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError))
    cupyx.empty_pinned = lambda shape, dtype=float: np.empty(shape, dtype)
    return {m.__name__: m for m in (cupy, fft, linalg, cupyx)}


class _CpuForDevice(types.ModuleType):
    """The CPU's kernels on the device's arrays, under the names of the GPU set."""

    def __getattr__(self, name):
        kernel = getattr(cpu, name)
        if name.startswith("__") or not callable(kernel):
            return kernel
        deep = (lambda a: a if isinstance(a, np.ndarray) else _deep(a)) if name == "sparse_rows" else _deep
        return lambda *args, **settings: perform(
            name, lambda *a, **s: _wrapped(kernel(*map(deep, a), **_host(s))), args, settings)


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

    def product(self, a, b, out):
        perform("product", lambda *arrays: Shim.product(self, *_host(arrays)), (a, b, out), {})

    def run(self, source, kernel, grid, block, args, shared):
        perform(kernel, lambda *a: Shim.run(self, source, kernel, grid, block, list(_host(a)), shared), args, {})


def install(kernels="cpu", devices=1):
    """Let `import cupy` find the stand-in from now on. -> the modules that were put in place"""
    made = module(devices)
    if kernels == "cpu":
        stand_in = _CpuForDevice(f"{kernel_sets.__name__}.gpu")
        stand_in.NOT_YET, stand_in.__path__ = (), gpu.__path__       # its modules, such as launch, can be imported
        made[f"{kernel_sets.__name__}.gpu"] = stand_in
    sys.modules.update(made)
    return made


@contextlib.contextmanager
def installed(kernels="cpu", devices=1):
    """Let `import cupy` find the stand-in. kernels: "cpu", or "shim" for the CUDA source."""
    before = dict(sys.modules)
    made = install(kernels, devices)
    try:
        with gpu.launch.through(ShimOnDevice()) as backend:
            yield backend
    finally:
        for name in made:
            if name in before:
                sys.modules[name] = before[name]
            else:
                del sys.modules[name]
