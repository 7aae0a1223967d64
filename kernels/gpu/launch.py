"""The one door to the GPU: every kernel is launched here, after its arguments have been looked at.

CuPy checks neither dtype nor layout nor device of what it hands to a kernel; a mistake there reads somebody else's
memory. So `run` does. Which machinery runs a kernel is a backend: CuPy's on a GPU, and for tests a compiled stand-in on
the host (`through`), which takes NumPy arrays. CuPy is imported when the first kernel runs, never before.
"""
import contextlib
import functools
import importlib
import math

import numpy as np

FLOATS = {"float16": "_f16", "float32": "_f32", "float64": "_f64"}
THREADS = 256                       # of a one-dimensional launch
_MOST_BLOCKS = 1 << 20              # more work than that: every thread takes several turns
_ALIGNED = 16                       # bytes: what a vector load needs
_STATIC_SHARED = 48 << 10           # bytes a kernel may have without asking


# ----------------------------------------------------------------------------------------------------- backends


class Cupy:
    """Kernels on an NVIDIA GPU, through CuPy: modules compiled once per source and architecture (compile.py)."""
    is_shim = False

    @functools.cached_property
    def xp(self):
        return importlib.import_module("cupy")

    def owns(self, array):
        return isinstance(array, self.xp.ndarray)

    def device_of(self, array):
        return array.device.id

    def address(self, array):
        return array.data.ptr

    def empty(self, shape, dtype, like):
        with self.xp.cuda.Device(like.device.id):
            return self.xp.empty(shape, dtype)

    def product(self, a, b, out):
        from .cublas import batched_product
        with self.xp.cuda.Device(out.device.id):
            batched_product(self.xp, a, b, out)

    def run(self, source, kernel, grid, block, args, shared):
        device = next(a.device.id for a in args if self.owns(a))
        with self.xp.cuda.Device(device):
            function = self._function(source, kernel, device)
            if shared > _STATIC_SHARED:
                function.max_dynamic_shared_size_bytes = shared
            function(grid, block, tuple(np.uintp(0) if a is None else a for a in args), shared_mem=shared)

    @functools.cache            # noqa: B019  (one backend per process)
    def _function(self, source, kernel, device):
        from .compile import cubin
        return self._module(cubin(self.xp, source, device)).get_function(kernel)

    @functools.cache            # noqa: B019
    def _module(self, path):
        return self.xp.RawModule(path=str(path))


_backend = Cupy()


def backend():
    """What runs kernels at the moment."""
    return _backend


@contextlib.contextmanager
def through(other):
    """Run kernels through another backend, for tests: `with through(Shim()): gpu.relu_forward(numpy_array)`."""
    global _backend
    before, _backend = _backend, other
    try:
        yield other
    finally:
        _backend = before


# ------------------------------------------------------------------------------------------------- what launchers use


def run(source, kernel, grid, block, args, shared=0):
    """Launch one kernel of a .cu file on the current stream.

    grid, block   a number or up to three; shared: bytes of dynamic shared memory
    args          device arrays, C-contiguous and all on one device; NumPy scalars of exactly the type that the kernel
                  declares (np.int64 for i64); a NumPy structured scalar for a struct by value; None for a null pointer
    """
    grid, block = _triple(grid), _triple(block)
    device = None
    for number, arg in enumerate(args):
        if isinstance(arg, np.generic) or arg is None:
            continue
        if not _backend.owns(arg):
            raise TypeError(f"{kernel}: argument {number} is a {_kind(arg)}; a kernel on this device takes its arrays, "
                            "NumPy scalars of the exact type, or None")
        if not arg.flags.c_contiguous:
            raise ValueError(f"{kernel}: argument {number} of shape {arg.shape} is not C-contiguous")
        here = _backend.device_of(arg)
        if device not in (None, here):
            raise ValueError(f"{kernel}: argument {number} lies on GPU {here}, another on GPU {device}")
        device = here
    if device is None:
        raise ValueError(f"{kernel}: no array among the arguments")
    if min(grid) < 1 or min(block) < 1 or math.prod(block) > 1024 or grid[0] >= 1 << 31 or max(grid[1:]) > 65535:
        raise ValueError(f"{kernel}: grid {grid} of blocks {block} is none that CUDA can launch")
    _backend.run(source, kernel, grid, block, args, int(shared))


def product(a, b, out):
    """out[i] = a[i] @ b[i] in strict float32; a (n, I, J), b (n, J, K), out (n, I, K), C-contiguous, of this device."""
    for name, array in (("a", a), ("b", b), ("out", out)):
        if not _backend.owns(array) or array.dtype != np.float32 or not array.flags.c_contiguous or array.ndim != 3:
            raise TypeError(f"product: {name} is no C-contiguous float32 array (n, rows, columns) of this device: "
                            f"{_kind(array)} {array.shape} {array.dtype}")
    if (a.shape[0], *b.shape[1:]) != (b.shape[0], a.shape[2], out.shape[2]) or out.shape[:2] != a.shape[:2]:
        raise ValueError(f"product: a {a.shape}, b {b.shape} and out {out.shape} do not fit")
    if out.size and a.size:
        _backend.product(a, b, out)


def ready(op, *arrays):
    """The arrays as a kernel can read them: on this device, of one floating point type, contiguous and aligned.

    None stays None. A copy is made only of what is not contiguous or does not begin at a multiple of 16 bytes.
    """
    dtype, result = None, []
    for array in arrays:
        if array is None:
            result.append(None)
            continue
        if not _backend.owns(array):
            raise TypeError(f"{op}: the GPU was given a {_kind(array)}; move it with net.to('gpu') or cupy.asarray")
        dtype = dtype or array.dtype
        if array.dtype.name not in FLOATS or array.dtype != dtype:
            raise TypeError(f"{op}: {array.dtype} beside {dtype}; the GPU has float16, float32 and float64, one at a "
                            "time")
        result.append(aligned(array))
    return result[0] if len(arrays) == 1 else result


def aligned(array):
    """The array, or a contiguous copy that begins at a multiple of 16 bytes."""
    if not array.flags.c_contiguous:
        array = _backend.xp.ascontiguousarray(array)
    if array.size and _backend.address(array) % _ALIGNED:
        array = array.copy()
    return array


def suffix(array):
    """The ending of kernel names for the array's type: "_f32"."""
    return FLOATS[array.dtype.name]


def empty(like, shape, dtype=None):
    """An array on the device of `like`, of its dtype if none is named, whose contents are to be written."""
    return _backend.empty(shape, dtype or like.dtype, like)


def zeros(like, shape, dtype=None):
    array = empty(like, shape, dtype)
    array[...] = 0
    return array


def xp(like):
    """The array module that works on `like`."""
    return _backend.xp


def i64(*numbers):
    """As kernels take sizes."""
    return tuple(np.int64(n) for n in numbers)


def blocks(work, threads=THREADS):
    """The grid of a one-dimensional launch in which each of `work` items is done by the next free turn of a thread."""
    return max(1, min(-(-work // threads), _MOST_BLOCKS))


def rows(shape):
    """(grid, block) of a launch over an (N, H, W, C) result: block x is a row, y and the threads run along it.

    A row's W * C numbers are counted in 32 bits, so that no thread divides 64-bit numbers.
    """
    N, H, W, C = shape
    length = W * C
    block = min(THREADS, -(-length // 32) * 32)
    if length >= 1 << 31 or -(-length // block) > 65535 or N * H >= 1 << 31:
        raise ValueError(f"an array {tuple(shape)} has rows longer, or more rows, than the GPU kernels count; give "
                         "smaller pictures or batches")
    return (N * H, -(-length // block)), block


def _kind(thing):
    return f"{type(thing).__module__}.{type(thing).__name__}"


def _triple(n):
    n = (n,) if isinstance(n, int | np.integer) else tuple(n)
    return tuple(int(i) for i in n) + (1,) * (3 - len(n))
