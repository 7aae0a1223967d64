"""CPU or GPU: which one a network is put on, how arrays get there, and what to do when its memory is full.

The GPU's memory is CuPy's pool, limited to most of what was free when a network first came, so that a run too large
ends in an error that names a size that fits, and leaves the driver and other programs room to live.
"""
import importlib
import math
import os
import re

import numpy as np

from .errors import MinivisError

_SHARE = 0.9                # of the free memory goes to the pool; the rest is for libraries and the driver
_PIECE = 32 << 20           # bytes that cross at a time, through memory the GPU can fetch from by itself
_FULL = re.compile(r"allocating ([\d,]+) bytes \(allocated so far: ([\d,]+) bytes(?:, limit set to: ([\d,]+))?")


class GpuMemoryError(MinivisError, MemoryError):
    """The GPU's memory is full: how full, and what would fit."""


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
    cupy.cuda.Device(number).use()          # and everything after it: one process works on one GPU
    limit_pool(cupy, number)
    try:
        return upload(cupy, array)
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise out_of_memory(error) from None


def upload(cupy, array):
    """A NumPy array to the current GPU, in pieces through two pinned buffers: no second copy of a large file is held.

    A copy from pinned memory begins some time after it is asked for, so a buffer is filled again only when the event
    behind its copy has come.
    """
    if not isinstance(array, np.ndarray):
        return cupy.asarray(array)
    flat, result = np.ascontiguousarray(array).reshape(-1), cupy.empty(array.shape, array.dtype)
    if flat.size == 0:
        return result
    there, step = result.reshape(-1), max(1, _PIECE // flat.itemsize)
    stream, empty_pinned = cupy.cuda.get_current_stream(), importlib.import_module("cupyx").empty_pinned
    buffers = [empty_pinned(min(step, flat.size), flat.dtype) for _ in range(2 if flat.size > step else 1)]
    copied = [None] * len(buffers)
    for turn, start in enumerate(range(0, flat.size, step)):
        which, piece = turn % len(buffers), flat[start:start + step]
        if copied[which] is not None:
            copied[which].synchronize()
        buffers[which][:piece.size] = piece
        there[start:start + step].set(buffers[which][:piece.size])
        copied[which] = stream.record()
    stream.synchronize()                # the buffers go back to where others get theirs
    return result


def limit_pool(cupy, number):
    """Bound the pool of a GPU, once, unless somebody has: CUPY_GPU_MEMORY_LIMIT, or set_limit on CuPy's pool."""
    pool = cupy.get_default_memory_pool()
    if pool.get_limit() == 0 and not os.environ.get("CUPY_GPU_MEMORY_LIMIT"):
        free, _ = cupy.cuda.Device(number).mem_info
        pool.set_limit(size=pool.total_bytes() + int(_SHARE * free))


def out_of_memory(error):
    """CuPy's error in one line that says what would fit; a run's memory grows with the number of pixels."""
    match = _FULL.search(str(error))
    if match is None:
        return GpuMemoryError(f"the GPU's memory is full ({error}); a smaller picture or --memory may help")
    wanted, held, limit = (int(n.replace(",", "")) if n else 0 for n in match.groups())
    text = (f"the GPU's memory is full: {wanted / 1e6:.0f} MB more were asked for with {held / 1e6:.0f} MB held"
            + (f" of {limit / 1e6:.0f} MB allowed" if limit else ""))
    room = limit or held
    side = math.floor(100 * math.sqrt(room / (held + wanted)))
    return GpuMemoryError(f"{text}; a picture of about {max(1, min(side, 99))} % of this one's height and width would "
                          "fit, or say a smaller --memory")
