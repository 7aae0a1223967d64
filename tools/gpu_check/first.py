"""Is there anything to work with: CuPy, a driver, a card, cuBLAS; and what else this machine has."""
import importlib
import os
import shutil
import subprocess
import time

import numpy as np

from .carry import lacking

PROGRAMS = ("nvcc", "compute-sanitizer", "ncu", "nvidia-smi", "g++")
PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "torch", "captum", "nvidia-cublas", "nvidia-cuda-nvrtc", "pytest")


def cases(small):
    return [("device", device), ("packages", packages), ("memory", memory), ("one kernel", one_kernel),
            ("cublas", cublas), ("recording", recording)]


def device():
    begin = time.perf_counter()
    cupy = importlib.import_module("cupy")
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    found = {"name": properties["name"].decode(), "capability": cupy.cuda.Device(0).compute_capability,
             "memory": int(properties["totalGlobalMem"]), "multiprocessors": properties.get("multiProcessorCount"),
             "shared": properties.get("sharedMemPerBlockOptin"), "count": cupy.cuda.runtime.getDeviceCount(),
             "driver": cupy.cuda.runtime.driverGetVersion(), "runtime": cupy.cuda.runtime.runtimeGetVersion(),
             "nvrtc": list(cupy.cuda.nvrtc.getVersion()), "cupy": cupy.__version__}
    return {"device": found, "seconds to import and ask": round(time.perf_counter() - begin, 2)}


def packages():
    from importlib.metadata import PackageNotFoundError, version
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    smi = shutil.which("nvidia-smi")
    state = subprocess.run([smi, "--query-gpu=name,driver_version,clocks.sm,clocks.mem,memory.used,temperature.gpu",
                            "--format=csv,noheader"], capture_output=True, text=True, check=False,
                           timeout=20).stdout.strip() if smi else None
    return {"versions": versions, "programs": {name: shutil.which(name) for name in PROGRAMS}, "lacking": lacking(),
            "cores": os.cpu_count(), "nvidia-smi": state}


def memory():
    from minivis import devices
    cupy = importlib.import_module("cupy")
    array = np.random.default_rng(0).standard_normal(20_000_000).astype(np.float32)        # several pieces
    there = devices.to_gpu(array, "gpu:0")
    np.testing.assert_array_equal(there.get(), array)
    pool = cupy.get_default_memory_pool()
    try:
        cupy.empty(pool.get_limit() + (1 << 30), np.uint8)
        raise AssertionError("the pool gave more than its limit")
    except cupy.cuda.memory.OutOfMemoryError as error:
        said = str(devices.out_of_memory(error))
    return {"limit": pool.get_limit(), "free, total": list(cupy.cuda.Device(0).mem_info), "said when full": said}


def one_kernel():
    from minivis.kernels import gpu
    cupy = importlib.import_module("cupy")
    x = np.random.default_rng(0).standard_normal((2, 5, 7, 37)).astype(np.float32)
    y, mask = gpu.relu_forward(cupy.asarray(x))
    np.testing.assert_array_equal(y.get(), np.maximum(x, 0))
    np.testing.assert_array_equal(gpu.unpack_mask(mask, x.shape).get(), x > 0)


def cublas():
    from minivis.kernels.gpu import launch
    cupy = importlib.import_module("cupy")
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((36, 50, 30), (36, 30, 70)))
    out = cupy.full((36, 50, 70), np.nan, np.float32)
    launch.product(cupy.asarray(a), cupy.asarray(b), out)
    np.testing.assert_array_equal(out.get(), a @ b)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 256, 256), (4, 256, 256)))
    out = cupy.empty((4, 256, 256), np.float32)
    launch.product(cupy.asarray(a), cupy.asarray(b), out)
    true = a.astype(float) @ b.astype(float)
    error = float(np.linalg.norm(out.get() - true) / np.linalg.norm(true))
    assert error < 1e-6, f"relative error {error:.1e}: TF32 would give about 3e-4"
    return {"relative error": error}


def recording():
    from minivis.graphs import Captured
    from minivis.kernels.gpu import launch
    cupy = importlib.import_module("cupy")

    def step(a, b):
        out = launch.empty(a, (a.shape[0], a.shape[1], b.shape[2]))
        launch.product(a, b, out)
        return [out * 2, out.sum()]
    rng = np.random.default_rng(0)
    a, b, c = (cupy.asarray(rng.integers(-3, 4, (36, 20, 20)).astype(np.float32)) for _ in range(3))
    recorded = Captured(step, a, b)
    for pair in ((a, b), (b, c)):
        for got, expected in zip(recorded(*pair), step(*pair)):
            np.testing.assert_array_equal(got.get(), expected.get())
