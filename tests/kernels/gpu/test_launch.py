"""The door to the GPU refuses what a kernel would silently read wrongly."""
import subprocess
import sys

import numpy as np
import pytest

from minivis.kernels import gpu
from minivis.kernels.gpu import compile as compile_module
from minivis.kernels.gpu import launch
from minivis.kernels.gpu import source as sources


class Recorder:
    """A backend that computes nothing and remembers what it was asked to run."""
    is_shim, xp = False, np

    def __init__(self, devices=()):
        self.ran, self.devices = [], dict(devices)

    def owns(self, array):
        return isinstance(array, np.ndarray)

    def device_of(self, array):
        return self.devices.get(id(array), 0)

    def address(self, array):
        return array.ctypes.data

    def empty(self, shape, dtype, like):
        return np.zeros(shape, dtype)

    def run(self, *what):
        self.ran.append(what)


@pytest.fixture
def backend():
    with launch.through(Recorder()) as recorder:
        yield recorder


X = np.zeros((2, 3, 4, 5), np.float32)


@pytest.mark.parametrize("args, error, says", [
    ((X, 3), TypeError, "argument 1 is a builtins.int"),
    ((X, [1.0]), TypeError, "argument 1 is a builtins.list"),
    ((X[:, ::2],), ValueError, "not C-contiguous"),
    ((np.int64(3), None), ValueError, "no array"),
])
def test_arguments_are_looked_at_before_a_launch(backend, args, error, says):
    with pytest.raises(error, match=says):
        launch.run("relu.cu", "k", 1, 32, args)
    assert not backend.ran


def test_arrays_on_two_gpus_are_refused():
    other = X.copy()
    with launch.through(Recorder({id(other): 1})) as backend:
        with pytest.raises(ValueError, match="GPU 1, another on GPU 0"):
            launch.run("relu.cu", "k", 1, 32, (X, other))
        launch.run("relu.cu", "k", 1, 32, (other,))
        assert len(backend.ran) == 1


@pytest.mark.parametrize("grid, block", [(0, 32), (1, 2048), ((1, 70000), 32), (1, (32, 64, 1)), (1 << 31, 32)])
def test_a_grid_that_cuda_cannot_launch_is_refused(backend, grid, block):
    with pytest.raises(ValueError, match="none that CUDA can launch"):
        launch.run("relu.cu", "k", grid, block, (X,))


def test_ready_copies_only_what_a_kernel_cannot_read(backend):
    assert launch.ready("op", X) is X
    strided = X[:, ::2]
    x, none, y = launch.ready("op", strided, None, X)
    assert none is None and y is X and x.flags.c_contiguous and np.array_equal(x, strided)
    shifted = np.zeros(100, np.float32)[1:50]
    assert launch.aligned(shifted) is not shifted and launch.aligned(shifted).ctypes.data % 16 == 0


@pytest.mark.parametrize("arrays, says", [
    ((X, X.astype(float)), "float64 beside float32"),
    ((X.astype(int),), "float16, float32 and float64"),
    (([1.0],), "was given a builtins.list"),
])
def test_ready_refuses_other_types(backend, arrays, says):
    with pytest.raises(TypeError, match=says):
        launch.ready("op", *arrays)


def test_numpy_arrays_are_refused_where_cupy_computes():
    class CupyWithoutDevice(launch.Cupy):
        xp = type("cupy", (), {"ndarray": type("ndarray", (), {})})

    with launch.through(CupyWithoutDevice()), pytest.raises(TypeError, match=r"numpy.ndarray.*net.to"):
        gpu.relu_forward(X)


def test_a_row_launch_covers_every_number_once():
    for shape in ((2, 3, 4, 5), (1, 1, 1, 1), (3, 7, 100, 64), (1, 2, 33, 1)):
        (rows, across), block = launch.rows(shape)
        length = shape[2] * shape[3]
        assert rows == shape[0] * shape[1] and across * block >= length > (across - 1) * block and block % 32 == 0
    with pytest.raises(ValueError, match="smaller"):
        launch.rows((1, 1, 1 << 20, 1 << 12))


@pytest.mark.parametrize("call, says", [
    (lambda: gpu.linear_forward(X[0, 0], np.zeros((4, 2), np.float32), None), r"x \(4, 5\) has 5 inputs"),
    (lambda: gpu.max_pool_forward(X, (5, 5), (1, 1), (0, 0, 0, 0), False), "does not fit"),
    (lambda: gpu.avg_pool_backward(X, X.shape, (2, 2), (2, 2), (0, 0, 0, 0), False, True), "dy .* must be"),
    (lambda: gpu.relu_backward(X, np.zeros(3, np.uint32)), "120 numbers, but a mask of 3 words"),
    (lambda: gpu.unpack_mask(np.zeros(3, np.uint32), (4, 40)), "160 numbers"),
    (lambda: gpu.axis_matmul(X, np.zeros((2, 2), np.float32), 1), "must have 3 columns"),
    (lambda: gpu.lrn_backward(X, X[:1], X, 5, 1, 1, True), "one shape"),
    (lambda: gpu.batch_norm_forward(X, np.zeros(4, np.float32), np.zeros(5, np.float32), 0.1), "one number per"),
])
def test_shapes_that_do_not_fit_are_refused_before_a_launch(backend, call, says):
    with pytest.raises(ValueError, match=says):
        call()
    assert not backend.ran


def test_importing_the_gpu_set_needs_no_cupy():
    code = ("import sys; sys.modules['cupy'] = None; from minivis.kernels import gpu; "
            "print('cupy' in [m for m, there in sys.modules.items() if there])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --------------------------------------------------------------------------------------------------------- compiling


class FakeNvrtc:
    """CuPy's binding, as far as compile.py uses it."""
    NVRTCError = type("NVRTCError", (Exception,), {})

    def __init__(self):
        self.compiled = []

    def getVersion(self):
        return 13, 0

    def createProgram(self, text, name, headers, names):
        return text, name

    def compileProgram(self, program, options):
        self.compiled.append((program[1], options))
        if "refuse" in program[0]:
            raise self.NVRTCError("failed")

    def getCUBIN(self, program):
        return b"ELF " + program[1].encode()

    def getProgramLog(self, program):
        return "line 1: refused"

    def destroyProgram(self, program):
        pass


def fake_cupy(capability, nvrtc):
    device = type("Device", (), {"__init__": lambda self, number: None, "compute_capability": capability})
    return type("cupy", (), {"cuda": type("cuda", (), {"nvrtc": nvrtc, "Device": device})})


def test_a_file_is_compiled_once_for_each_architecture(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVIS_CACHE", str(tmp_path))
    nvrtc = FakeNvrtc()
    for capability in ("80", "90", "80"):
        path = compile_module.cubin(fake_cupy(capability, nvrtc), "relu.cu", 0)
        assert path.read_bytes() == b"ELF relu.cu\0" and sources.digest("relu.cu") in path.name
    assert [options[0] for _, options in nvrtc.compiled] == ["-arch=sm_80", "-arch=sm_90a"]
    assert sorted(p.suffix for p in (tmp_path / "cuda").iterdir()) == [".cubin"] * 2


def test_a_refused_file_says_what_the_compiler_said(tmp_path):
    (tmp_path / "bad.cu").write_text("refuse this\n")
    with pytest.raises(compile_module.CompileError, match=r"sm_80: line 1: refused"):
        compile_module.compile_text(FakeNvrtc(), str(tmp_path / "bad.cu"), "sm_80")


def test_an_edit_of_an_included_file_is_another_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    (tmp_path / "a.cu").write_text('#include "b.cuh"\n#include "b.cuh"\nint a;\n')
    (tmp_path / "b.cuh").write_text("#pragma once\nint b;\n")
    sources.text.cache_clear()
    before = sources.digest("a.cu")
    assert sources.text("a.cu").count("int b;") == 1
    (tmp_path / "b.cuh").write_text("#pragma once\nint c;\n")
    sources.text.cache_clear()
    assert sources.digest("a.cu") != before
    monkeypatch.undo()
    sources.text.cache_clear()
