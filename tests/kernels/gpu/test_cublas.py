"""How cuBLAS is called, with a stand-in for the library that reads the very addresses. Whether the real one agrees can
only be seen on a GPU: test_every_convolution.py, Winograd.
"""
import ctypes
import types

import numpy as np
import pytest

from minivis.kernels.gpu import cublas, launch


class Library:
    """What is called of libcublas: column by column, on host memory."""

    def __init__(self, fails=None):
        self.calls, self.fails, self.stream, self.workspace = [], fails, None, None

    def _note(self, name, *what):
        self.calls.append((name, *what))
        return 13 if name == self.fails else 0

    def cublasCreate_v2(self, handle):
        handle._obj.value = 77
        return self._note("create")

    def cublasDestroy_v2(self, handle):
        return self._note("destroy")

    def cublasSetMathMode(self, handle, mode):
        return self._note("math", mode)

    def cublasSetStream_v2(self, handle, stream):
        self.stream, self.workspace = stream, None          # as the manual says
        return self._note("stream", stream)

    def cublasSetWorkspace_v2(self, handle, memory, size):
        self.workspace = memory, size
        return self._note("workspace", memory, size)

    def cublasSgemmStridedBatched(self, handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc,
                                  count):
        assert handle.value == 77 and (ta, tb) == (0, 0) and (alpha._obj.value, beta._obj.value) == (1, 0)
        for i in range(count):
            left, right = columns(a + 4 * i * sa, m, k, lda), columns(b + 4 * i * sb, k, n, ldb)
            columns(c + 4 * i * sc, m, n, ldc)[...] = left @ right
        return self._note("product", m, n, k, count)


def columns(address, rows, count, leading):
    """A column-major matrix at an address."""
    data = (ctypes.c_float * (leading * count)).from_address(address)
    return np.frombuffer(data, np.float32).reshape(count, leading).T[:rows]


class Array:
    """As much of a device array as the call reads."""

    def __init__(self, host):
        self.host, self.shape, self.data = host, host.shape, types.SimpleNamespace(ptr=host.ctypes.data)


@pytest.fixture
def cupy(monkeypatch):
    runtime = types.SimpleNamespace(getDevice=lambda: 0, runtimeGetVersion=lambda: 13020)
    streams = types.SimpleNamespace(ptr=5)
    monkeypatch.setattr(cublas, "_local", types.SimpleNamespace())
    return types.SimpleNamespace(cuda=types.SimpleNamespace(
        runtime=runtime, get_current_stream=lambda: streams, Memory=lambda size: types.SimpleNamespace(ptr=4096),
        streams=streams))


def test_rows_of_ours_are_columns_of_its(cupy, monkeypatch):
    library = Library()
    monkeypatch.setattr(cublas, "_library", lambda major: library)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((4, 5, 3), (4, 3, 7)))
    out = np.full((4, 5, 7), np.nan, np.float32)
    cublas.batched_product(cupy, Array(a), Array(b), Array(out))
    np.testing.assert_array_equal(out, a @ b)


def test_each_call_goes_to_the_current_stream_with_our_workspace_and_strict_float32(cupy, monkeypatch):
    library = Library()
    monkeypatch.setattr(cublas, "_library", lambda major: library)
    arrays = [Array(np.ones((1, 2, 2), np.float32)) for _ in range(3)]
    for stream in (5, 9):
        cupy.cuda.streams.ptr = stream
        cublas.batched_product(cupy, *arrays)
        assert library.stream == stream and library.workspace == (4096, cublas.WORKSPACE)
    assert [call[0] for call in library.calls] == ["create", "math", *["stream", "workspace", "product"] * 2]
    assert library.calls[1] == ("math", 0)


@pytest.mark.parametrize("step", ["create", "math", "stream", "workspace", "product"])
def test_what_cublas_refuses_is_an_error(cupy, monkeypatch, step):
    monkeypatch.setattr(cublas, "_library", lambda major: Library(step))
    with pytest.raises(cublas.CublasError, match="failed with status 13"):
        cublas.batched_product(cupy, *[Array(np.ones((1, 2, 2), np.float32)) for _ in range(3)])


def test_without_cublas_the_way_out_is_said():
    with pytest.raises(cublas.CublasError, match=r"cupy-cuda99x\[ctk\].*float32-direct"):
        cublas._library(99)


@pytest.mark.parametrize("a, b, out, error", [
    ((2, 3, 4), (2, 4, 5), (2, 3, 6), ValueError), ((2, 3, 4), (3, 4, 5), (2, 3, 5), ValueError),
    ((2, 3, 4), (2, 4, 5), (2, 5, 3), ValueError), ((3, 4), (4, 5), (3, 5), TypeError)])
def test_a_product_of_matrices_that_do_not_fit_is_refused(a, b, out, error):
    from tools.cuda_shim import Shim
    with launch.through(Shim()), pytest.raises(error, match="product: "):
        launch.product(*(np.zeros(shape, np.float32) for shape in (a, b, out)))
