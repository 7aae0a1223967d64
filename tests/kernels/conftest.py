"""The fixtures `kernels` and `fast`: each kernel set of the CPU in turn; and `every_set`: those of the GPU too."""
import os

import numpy as np
import pytest

from minivis.kernels import cpu, gpu, reference
from tools import cuda_shim


class PlainCpu:
    """The CPU set as it is where no vector instructions can be built."""

    def __getattr__(self, name):
        def call(*args, **settings):
            before, cpu._plain_only = cpu._plain_only, True
            try:
                return getattr(cpu, name)(*args, **settings)
            finally:
                cpu._plain_only = before
        return call


SETS = {"reference": reference, "cpu": cpu, "cpu without intrinsics": PlainCpu()}


@pytest.fixture(params=SETS)
def kernels(request):
    return SETS[request.param]


@pytest.fixture(params=[name for name in SETS if name != "reference"])
def fast(request):
    """The sets that are not the definition itself."""
    return SETS[request.param]


# ----------------------------------------------------------------------------------------- with those of the GPU


class OnDevice:
    """A kernel set that takes NumPy arrays, wherever it computes; `host` brings its results back."""

    def __init__(self, kernel_set, move=lambda array: array):
        self._set, self._move = kernel_set, move

    def __getattr__(self, name):
        kernel = getattr(self._set, name)
        return lambda *args, **settings: kernel(*[self._moved(a) for a in args], **settings)

    def _moved(self, value):
        if isinstance(value, np.ndarray):
            return self._move(value)
        if isinstance(value, list | tuple) and any(isinstance(v, np.ndarray | tuple | list) for v in value):
            return type(value)(map(self._moved, value)) if type(value) in (list, tuple) else value
        return value

    @staticmethod
    def host(array):
        return array.get() if hasattr(array, "get") else array


def missing_for_shim():
    """Why CUDA source cannot be run without a GPU here, or None."""
    if os.environ.get("MINIVIS_SKIP_CUDA_CHECK") == "1":
        return "MINIVIS_SKIP_CUDA_CHECK=1"
    return None if cuda_shim.compiler() else "g++ is missing"


def missing_for_gpu():
    """Why nothing can run on a GPU here, or None."""
    try:
        import cupy
        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return f"no GPU: {type(error).__name__}: {error}"
    return None


@pytest.fixture(params=[*SETS, "gpu-shim", pytest.param("gpu-races", marks=pytest.mark.slow),
                        pytest.param("gpu", marks=pytest.mark.gpu)])
def every_set(request):
    """Every kernel set; NumPy arrays in. gpu-shim: the CUDA source through g++; gpu-races: and looking for races."""
    if request.param in SETS:
        yield OnDevice(SETS[request.param])
        return
    missing = missing_for_gpu() if request.param == "gpu" else missing_for_shim()
    if missing:
        pytest.skip(missing)
    if request.param == "gpu":
        import cupy
        yield OnDevice(gpu, cupy.asarray)
    else:
        with gpu.launch.through(cuda_shim.Shim(races=request.param == "gpu-races")):
            yield OnDevice(gpu)
