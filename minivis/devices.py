"""CPU or GPU: which one a network is put on."""
import importlib
import re

from .errors import MinivisError


def choose(device):
    """"auto", "cpu", "gpu" or "gpu:N" -> "cpu" or "gpu:N", after looking whether that GPU is there and works."""
    if device == "cpu":
        return "cpu"
    match = re.fullmatch(r"gpu(?::(\d{1,3}))?", str(device))
    if device != "auto" and match is None:
        raise MinivisError(f"no device {device!r}; there are auto, cpu, gpu and gpu:N")
    missing = _gpu_missing(int(match[1] or 0) if match else 0)
    if missing is None:
        return f"gpu:{match[1] or 0}" if match else "gpu:0"
    if device == "auto":
        return "cpu"
    raise MinivisError(f"device {device}: {missing}")


def _gpu_missing(number):
    """Why GPU `number` cannot be used, or None."""
    try:
        cupy = importlib.import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
        missing = importlib.import_module(".kernels.gpu", __package__).NOT_YET
    except ImportError as error:
        return f"the GPU needs CuPy (pip install 'minivis[gpu]'): {error}"
    except Exception as error:      # CuPy's own errors are classes that exist only where it is installed
        return f"no NVIDIA GPU can be used here: {error}".split("\n")[0]
    if missing:
        return f"{len(missing)} kernels have not been written for the GPU yet; use --device cpu"
    return None if number < count else f"there are {count} GPUs here, numbered from 0"


def to_gpu(array, device):
    """A copy of the array in the memory of that GPU."""
    number = int(choose(device).partition(":")[2])
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(number):
        return cupy.asarray(array)
