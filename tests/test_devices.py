"""Which device is chosen, how arrays get there, and what is said when they cannot. No GPU: CuPy is stood in for."""
import sys

import numpy as np
import pytest

from minivis import devices
from minivis.commandline import _failed
from minivis.errors import MinivisError
from minivis.tensor import Tensor
from tools.cuda_shim import cupy_on_host
from tools.cuda_shim.cupy_on_host import installed

FULL = "Out of memory allocating 3,000,000,000 bytes (allocated so far: 1,000,000,000 bytes{})."


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)      # importing it is an ImportError


def test_without_cupy_auto_is_the_cpu_and_gpu_an_error_that_says_how_to_get_it(no_cupy):
    assert devices.choose("auto") == devices.choose("cpu") == "cpu"
    with pytest.raises(MinivisError, match=r"device gpu: the GPU needs CuPy \(pip install 'minivis\[gpu\]'\)"):
        devices.choose("gpu")


@pytest.mark.parametrize("device", ["cuda", "gpu:", "gpu:x", "gpu:-1", ""])
def test_a_device_of_no_known_form_is_refused(device):
    with pytest.raises(MinivisError, match="no device"):
        devices.choose(device)


def test_with_a_gpu_auto_takes_the_first_and_a_number_beyond_is_refused():
    with installed(devices=2):
        assert [devices.choose(d) for d in ("auto", "gpu", "gpu:1", "cpu")] == ["gpu:0", "gpu:0", "gpu:1", "cpu"]
        with pytest.raises(MinivisError, match="device gpu:2: there are 2 GPUs here, numbered from 0"):
            devices.choose("gpu:2")


def test_a_driver_that_does_not_answer_is_one_line():
    with installed():
        def broken():
            raise RuntimeError("cudaErrorInsufficientDriver: too old\nmore lines")
        sys.modules["cupy"].cuda.runtime.getDeviceCount = broken
        assert devices.choose("auto") == "cpu"
        with pytest.raises(MinivisError, match=r"no NVIDIA GPU can be used here: cudaError\w+: too old$"):
            devices.choose("gpu")


@pytest.mark.parametrize("shape, dtype", [((3, 5), "float32"), ((1000, 7), "float64"), ((0, 4), "float32"),
                                          ((), "float64")])
def test_arrays_cross_in_pieces_and_arrive_whole(monkeypatch, shape, dtype):
    monkeypatch.setattr(devices, "_PIECE", 100)
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    with installed():
        there = devices.to_gpu(array, "gpu:0")
        assert type(there).__module__ == "cupy" and there.shape == shape and there.dtype == dtype
        np.testing.assert_array_equal(there.get(), array)
        strided = np.arange(24.0).reshape(4, 6)[:, ::2]
        np.testing.assert_array_equal(devices.to_gpu(strided, "gpu").get(), strided)


def test_no_piece_is_copied_over_by_the_next(monkeypatch):
    """The stand-in begins a copy from the host as late as a GPU may."""
    monkeypatch.setattr(devices, "_PIECE", 80)
    array = np.arange(1000.0)
    with installed():
        import cupy
        buffer, there = np.zeros(10), cupy.empty(10)
        there.set(buffer)
        buffer[:] = 7                           # too early
        assert there.get().tolist() == [7] * 10
        np.testing.assert_array_equal(devices.upload(cupy, array).get(), array)


def test_the_pool_is_limited_once_and_not_where_somebody_did(monkeypatch):
    with installed():
        pool = sys.modules["cupy"].get_default_memory_pool()
        devices.to_gpu(np.ones(3), "gpu")
        assert pool.get_limit() == int(0.9 * cupy_on_host.FREE)
        pool.set_limit(size=12345)
        devices.to_gpu(np.ones(3), "gpu")
        assert pool.get_limit() == 12345
    with installed():
        monkeypatch.setenv("CUPY_GPU_MEMORY_LIMIT", "50%")
        devices.to_gpu(np.ones(3), "gpu")
        assert sys.modules["cupy"].get_default_memory_pool().get_limit() == 0


@pytest.mark.parametrize("limit, percent", [(", limit set to: 2,000,000,000 bytes", 70), ("", 50)])
def test_a_full_memory_says_how_full_and_what_would_fit(limit, percent):
    error = devices.out_of_memory(MemoryError(FULL.format(limit)))
    assert "3000 MB more were asked for with 1000 MB held" in str(error) and f"about {percent} % of" in str(error)
    assert isinstance(error, MinivisError) and isinstance(error, MemoryError)
    assert "is full (what else)" in str(devices.out_of_memory(MemoryError("what else")))


def test_the_command_line_prints_a_full_memory_as_one_line(capsys):
    error_type = type("OutOfMemoryError", (MemoryError,), {"__module__": "cupy.cuda.memory"})
    assert _failed(error_type(FULL.format(""))) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("minivis: the GPU's memory is full") and printed.count("\n") == 1


def test_weights_that_do_not_fit_are_said_to_not_fit(monkeypatch):
    with installed():
        cupy = sys.modules["cupy"]

        def full(shape, dtype):
            raise cupy_on_host.OutOfMemoryError(4_000_000, 9_000_000, 10_000_000)
        monkeypatch.setattr(cupy, "empty", full, raising=False)
        with pytest.raises(devices.GpuMemoryError, match="4 MB more were asked for with 9 MB held of 10 MB allowed"):
            devices.to_gpu(np.ones(10), "gpu")


def test_a_tensor_of_the_device_comes_back_as_numpy():
    with installed():
        assert isinstance(Tensor(devices.to_gpu(np.ones(3), "gpu")).numpy(), np.ndarray)
