"""With the folder above this one on the path, `import cupy` in a whole process gives the stand-in for CuPy.

    PYTHONPATH=tools/cuda_shim/on_path:. python -m minivis ... --device gpu

MINIVIS_STAND_IN_GPUS says how many GPUs there are (1).
"""
import os

from minivis.kernels.gpu import launch
from tools.cuda_shim import cupy_on_host

launch.through(cupy_on_host.ShimOnDevice()).__enter__()
cupy_on_host.install(devices=int(os.environ.get("MINIVIS_STAND_IN_GPUS", "1")))
