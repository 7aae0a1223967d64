"""The GPU kernel set: CUDA of our own, through CuPy. Same names and signatures as `reference`.

NOT_YET lists the kernels of `reference` that have not been written for the GPU. Asking for one is an error that says
so, never a copy to the host. Importing this needs neither CuPy nor a GPU; launch.py is the one door to the device.
"""
from pathlib import Path

from ..reference import Step, conv_output_size, pool_output_size  # noqa: F401
from . import launch  # noqa: F401
from .batch_norm import batch_norm_backward, batch_norm_forward  # noqa: F401
from .chain import chain_backward_input, chain_forward, describe_chain  # noqa: F401
from .conv import conv2d_backward_input, conv2d_backward_weight, conv2d_forward  # noqa: F401
from .linear import gram, linear_backward_input, linear_backward_weight, linear_forward  # noqa: F401
from .lrn import lrn_backward, lrn_forward  # noqa: F401
from .pooling import (  # noqa: F401
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
    unpack_switch,
)
from .relu import deconv_relu_backward, guided_relu_backward, relu_backward, relu_forward, unpack_mask  # noqa: F401
from .resample import axis_matmul  # noqa: F401
from .sparse import sparse_rows  # noqa: F401

NOT_YET = tuple((Path(__file__).parent / "NOT_YET").read_text(encoding="utf-8").split())


def __getattr__(name):
    if name in NOT_YET:
        raise AttributeError(f"the GPU has no kernel {name} yet (see kernels/gpu/NOT_YET); use the CPU")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
