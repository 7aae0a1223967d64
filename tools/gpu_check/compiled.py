"""Every .cu file compiled by NVRTC and loaded; every kernel found in it, with what it takes of a multiprocessor."""
import importlib
import time
import tomllib

from minivis.kernels.gpu import launch
from minivis.kernels.gpu import source as sources

from .known import ROOT


def cases(small):
    return [(name, lambda name=name: load(name)) for name in sources.names()]


def load(name):
    from minivis.kernels.gpu.compile import cubin
    cupy, backend = importlib.import_module("cupy"), launch.backend()
    begin = time.perf_counter()
    path = cubin(cupy, name, 0)
    seconds, takes = round(time.perf_counter() - begin, 2), {}
    for kernel in tomllib.loads((ROOT / "kernels/gpu/budget.toml").read_text(encoding="utf-8"))[name]:
        function = backend._function(name, kernel, 0)
        takes[kernel] = {"registers": function.num_regs, "local": function.local_size_bytes,
                         "shared": function.shared_size_bytes, "threads": function.max_threads_per_block}
    spilled = [kernel for kernel, took in takes.items() if took["local"]]
    return {"seconds to compile": seconds, "bytes": path.stat().st_size, "in local memory": spilled, "kernels": takes}
