"""The GPU kernel set: CUDA of our own, through CuPy.

NOT_YET lists the kernels of `reference` that have not been written for the GPU. Asking for one is an error that says
so, never a copy to the host.
"""
from pathlib import Path

NOT_YET = tuple((Path(__file__).parent / "NOT_YET").read_text(encoding="utf-8").split())


def __getattr__(name):
    if name in NOT_YET:
        raise AttributeError(f"the GPU has no kernel {name} yet (see kernels/gpu/NOT_YET); use the CPU")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
