"""The one call to cuBLAS: many float32 products of equal shape, strict float32, in a recording too.

CuPy's own binding refuses to call cuBLAS while a stream is recorded as a graph (NotImplementedError), and leaves how
float32 is multiplied to a handle that others may have set. So the library that CuPy has loaded is called directly, with
a handle and a workspace of our own for each thread and GPU: a recorded call keeps the workspace's address.
"""
import contextlib
import ctypes
import functools
import importlib
import os
import sys
import threading

WORKSPACE = 32 << 20            # bytes; what NVIDIA recommends for compute capability 9.0, and more than others need
_DEFAULT_MATH = 0               # float32 sums of float32 products: neither TF32 nor anything emulated
_FUNCTIONS = {                  # the types of the arguments; every function returns a status, 0 if all is well
    "cublasCreate_v2": (ctypes.POINTER(ctypes.c_void_p),),
    "cublasDestroy_v2": (ctypes.c_void_p,),
    "cublasSetMathMode": (ctypes.c_void_p, ctypes.c_int),
    "cublasSetStream_v2": (ctypes.c_void_p, ctypes.c_void_p),
    "cublasSetWorkspace_v2": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
    "cublasSgemmStridedBatched": (
        ctypes.c_void_p, *[ctypes.c_int] * 5, ctypes.POINTER(ctypes.c_float),
        ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong,
        ctypes.POINTER(ctypes.c_float), ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong, ctypes.c_int),
}
_local = threading.local()


class CublasError(RuntimeError):
    """A call that cuBLAS refuses, or no cuBLAS."""


def batched_product(cupy, a, b, out):
    """out[i] = a[i] @ b[i] for C-contiguous float32 a (n, I, J), b (n, J, K), out (n, I, K), on the current stream."""
    (count, rows, depth), columns = a.shape, b.shape[2]
    library, handle = _ready(cupy)
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    # row by row here is column by column there: (a b)^T = b^T a^T
    _check("cublasSgemmStridedBatched", library.cublasSgemmStridedBatched(
        handle, 0, 0, columns, rows, depth, ctypes.byref(one), b.data.ptr, columns, depth * columns,
        a.data.ptr, depth, rows * depth, ctypes.byref(zero), out.data.ptr, columns, rows * columns, count))


def _ready(cupy):
    """(library, handle) of this thread and the current GPU, set to the current stream."""
    handles = _local.__dict__.setdefault("handles", {})
    device = cupy.cuda.runtime.getDevice()
    if device not in handles:
        handles[device] = _Handle(cupy)
    mine = handles[device]
    mine.work_on(cupy.cuda.get_current_stream().ptr)
    return mine.library, mine.handle


class _Handle:
    def __init__(self, cupy):
        self.library, self.handle = _library(cupy.cuda.runtime.runtimeGetVersion() // 1000), ctypes.c_void_p()
        self.workspace = cupy.cuda.Memory(WORKSPACE)        # of no pool: it outlives whoever asked first
        _check("cublasCreate", self.library.cublasCreate_v2(ctypes.byref(self.handle)))
        _check("cublasSetMathMode", self.library.cublasSetMathMode(self.handle, _DEFAULT_MATH))

    def work_on(self, stream):
        """The workspace last: setting the stream takes it away."""
        _check("cublasSetStream", self.library.cublasSetStream_v2(self.handle, stream))
        _check("cublasSetWorkspace", self.library.cublasSetWorkspace_v2(self.handle, self.workspace.ptr, WORKSPACE))

    def __del__(self):
        if self.handle and not sys.is_finalizing():
            self.library.cublasDestroy_v2(self.handle)


@functools.cache
def _library(major):
    """libcublas for CUDA `major`. Importing CuPy's binding finds and loads it, wherever it was installed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("cupy_backends.cuda.libs.cublas")
    name = f"cublas64_{major}.dll" if os.name == "nt" else f"libcublas.so.{major}"
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise CublasError(f"cuBLAS cannot be loaded ({error}); install it with pip install 'cupy-cuda{major}x[ctk]', "
                          "or use --precision float32-direct, which does without") from None
    for function, arguments in _FUNCTIONS.items():
        getattr(library, function).argtypes = arguments
    return library


def _check(what, status):
    if status:
        raise CublasError(f"{what} failed with status {status}")
