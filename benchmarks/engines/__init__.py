"""The engines. Each module defines

    start(threads, **settings) -> versions     import the library, set its threads
    WORK = {work: build(case, folder)}         build -> run; run() computes once and returns the answer as NHWC arrays
                                               {"y": ...}, {"dx": ...}, {"map": ...} or {"dw": HWIO}, in whatever form
                                               `numpy` reads
    numpy(answer) -> the same as NumPy arrays, NHWC and HWIO

build raises Unsupported where the engine cannot do the case. To compare something new (a step of style transfer, an
occlusion map): add a function to WORK under a new name, in ours and in the rivals that can, and rows to cases.py.
"""
import importlib
import importlib.util
from dataclasses import dataclass, field

import numpy as np

# glibc keeps freed memory instead of handing it back: no page faults for big results
TUNED_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}


class Unsupported(Exception):
    """This engine cannot do this case; the message says why."""


@dataclass(frozen=True)
class Engine:
    module: str
    needs: str = ""                                    # the package it wants
    settings: dict = field(default_factory=dict)       # for start()
    env: dict = field(default_factory=dict)            # set before the process starts
    memory: bool = False                               # its peak memory is measured too

    def missing(self):
        """Why it cannot run here, or None."""
        found = not self.needs or importlib.util.find_spec(self.needs)
        return None if found else f"{self.needs} is not installed"

    def load(self):
        return importlib.import_module(f"benchmarks.engines.{self.module}")


ENGINES = {
    "ours": Engine("ours", memory=True),
    "ours-malloc": Engine("ours", env=TUNED_MALLOC),
    "torch": Engine("torch_engine", "torch", memory=True),
    "torch-malloc": Engine("torch_engine", "torch", env=TUNED_MALLOC),
    "torch-cl": Engine("torch_engine", "torch", {"channels_last": True}, memory=True),
    "torch-cl-malloc": Engine("torch_engine", "torch", {"channels_last": True}, TUNED_MALLOC),
    "torch-compile": Engine("torch_engine", "torch", {"channels_last": True, "compiled": True}),
    "onnxruntime": Engine("onnx_engine", "onnxruntime", memory=True),
    "jax": Engine("jax_engine", "jax", memory=True),
}

# whose answers the others are checked against: the first that is installed
REFERENCES = {
    "torch float64": Engine("torch_engine", "torch", {"dtype": "float64"}),
    "minivis float64": Engine("ours", settings={"dtype": "float64"}),
}
SINGLE_REFERENCE = Engine("torch_engine", "torch")     # for cases too large for float64


def thread_env(threads):
    """What keeps every library at the same number of threads; must be set before the process starts."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MINIVIS_THREADS")
    return {name: str(threads) for name in names}


def inputs(case):
    """x for a case: the same numbers in every process. Drawn in float32, whatever the engine computes in."""
    return np.random.default_rng([1, case.seed]).standard_normal(case.shape, np.float32)


# attribution maps: what all engines do alike
NOISE = 0.15            # of SmoothGrad
PICTURE_MEAN, PICTURE_STD = (np.array(v, np.float32) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def noisy(clean, i):
    """SmoothGrad's sample i of a network input (H, W, 3): minivis draws the same."""
    noise = np.random.default_rng([0, 11, i]).standard_normal(clean.shape, np.float32)
    return clean + noise * np.float32(NOISE * (np.float64(clean.max()) - clean.min()))


def upstream(shape):
    """dy (N, H, W, K) for the cases that are handed one."""
    return np.random.default_rng(2).standard_normal(shape, np.float32)
