"""What all tests share: data from outside, GPUs, the kernel sets, and a count of what was not run for want of them."""
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from minivis import kernels

OUTSIDE_DATA = "MINIVIS_TEST_DATA"


def _gpu_missing():
    """Why no GPU test can run here, or None."""
    try:
        import cupy
        return None if cupy.cuda.runtime.getDeviceCount() else "no CUDA device"
    except ImportError:
        return "cupy is not installed"
    except Exception as error:      # cupy raises types of its own when there is no driver
        return f"cupy finds no usable device: {error}"


def pytest_configure():
    """A shell starts what it puts into the background with Ctrl-C ignored; tests of Ctrl-C want it as it usually is."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    gpu = next((_gpu_missing() for item in items if item.get_closest_marker("gpu")), None)
    for item in items:
        if item.get_closest_marker("data") and not os.environ.get(OUTSIDE_DATA):
            item.add_marker(pytest.mark.skip(reason=f"data: {OUTSIDE_DATA} names no folder"))
        if gpu and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=f"gpu: {gpu}"))


def pytest_terminal_summary(terminalreporter):
    """Say in one place how many tests want what this machine does not give, and which."""
    from minivis.kernels.gpu import NOT_YET
    if NOT_YET:
        terminalreporter.write_line(f"{len(NOT_YET)} kernels have not been written for the GPU (kernels/gpu/NOT_YET)")
    for kind in ("data", "gpu"):
        names = [report.nodeid for report in terminalreporter.getreports("skipped")
                 if isinstance(report.longrepr, tuple) and f"Skipped: {kind}: " in report.longrepr[2]]
        if names:
            shown = sorted(names) if len(names) <= 12 else sorted({name.partition("[")[0] for name in names})
            terminalreporter.write_line(f"{len(names)} {kind} test(s) not run: {', '.join(shown)}")


@pytest.fixture(scope="session")
def data_folder():
    """The folder of pictures and networks named by MINIVIS_TEST_DATA; for tests marked `data`."""
    folder = Path(os.environ.get(OUTSIDE_DATA, ""))
    if not os.environ.get(OUTSIDE_DATA):
        pytest.skip(f"data: {OUTSIDE_DATA} names no folder")
    assert folder.is_dir(), f"{OUTSIDE_DATA}={folder} is no folder"
    return folder


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """No test writes to the cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIVIS_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
        yield


@pytest.fixture(params=["cpu", "reference"])
def each_kernel_set(request):
    """Run a test once with each kernel set for NumPy arrays."""
    with kernels.using(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def write_tiny_inputs():
    """f(path, height, width): put a small classifier (tiny.h5) and a picture of noise (a.png) into a folder."""
    from PIL import Image

    from minivis.checkpoints.minivis_hdf5 import write
    from minivis.layers import Layer
    from minivis.network import Network

    def write_inputs(path, height, width):
        random = np.random.RandomState(0)
        layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=4, kernel=3, pad=1),
                  Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2),
                  Layer("conv2", "conv", filters=3, kernel=3), Layer("relu2", "relu"),
                  Layer("scores", "global_avg_pool")]
        weights = {"conv1/weight": random.standard_normal((3, 3, 3, 4)), "conv1/bias": np.zeros(4),
                   "conv2/weight": random.standard_normal((3, 3, 4, 3)), "conv2/bias": np.zeros(3)}
        preprocessing = {"size": [24, 24], "resize": None, "crop": "none", "channels": "BGR", "range": 1,
                         "interpolation": "bilinear", "antialias": True, "mean": [.5, .5, .5], "std": [.5, .5, .5]}
        net = Network(layers, weights, "scores", preprocessing=preprocessing, name="tiny",
                      labels=[("n01", "cat"), ("n02", "dog"), ("n03", "bird")])
        write(net, path / "tiny.h5")
        Image.fromarray(random.randint(0, 256, (height, width, 3)).astype(np.uint8)).save(path / "a.png")
    return write_inputs
