"""The CPU kernel set: Numba and LLVM vector instructions. Same names and signatures as `reference`.

Each kernel exists twice: compiled, and in plain NumPy and BLAS (blas.py). The plain one serves where
MINIVIS_INTRINSICS=0 asks for it, for numbers that are neither float32 nor float64, and from the moment on that a kernel
cannot be compiled.
"""
import functools
import os
import warnings

import numpy as np

from .. import reference, sums
from ..reference import Step, conv_output_size, pool_output_size  # noqa: F401
from . import (
    batch_norm,
    blas,
    boxes,
    chain,
    compile_cache,
    convolution,
    elementwise,
    linear,
    lrn,
    max_pooling,
    pooling,
    relu,
    resample,
    weight_gradient,
)
from .blas import sparse_rows, unpack_mask, unpack_switch  # noqa: F401
from .buffers import Keeping, empty  # noqa: F401
from .elementwise import apply  # noqa: F401
from .threads import get_threads, set_threads  # noqa: F401

_plain_only = os.environ.get("MINIVIS_INTRINSICS") == "0" or os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _either(fast, plain=None):
    """The compiled kernel where it can serve, else the plain one (of the same name)."""
    plain = plain or getattr(blas, fast.__name__)

    @functools.wraps(fast)
    def kernel(first, *rest, **settings):
        global _plain_only
        array = first[0] if isinstance(first, list | tuple) else first
        if not _plain_only and array.dtype in _FLOATS:
            try:
                return fast(first, *rest, **settings)
            except compile_cache.CompileError as error:
                _plain_only = True
                warnings.warn(f"minivis runs on plain NumPy, which is slow: {error}", RuntimeWarning, stacklevel=2)
        return plain(first, *rest, **settings)
    return kernel


conv2d_forward = _either(convolution.conv2d_forward)
conv2d_backward_input = _either(convolution.conv2d_backward_input)
conv2d_backward_weight = _either(weight_gradient.conv2d_backward_weight)
linear_forward = _either(linear.linear_forward)
linear_backward_input = _either(linear.linear_backward_input)
linear_backward_weight = _either(weight_gradient.linear_backward_weight)
gram = _either(weight_gradient.gram)
products = _either(elementwise.products, sums.products)
combination = _either(elementwise.combination, sums.combination)
cut_boxes = _either(boxes.cut_boxes, boxes.plain)      # of incremental occlusion, which runs on CPUs alone
max_pool_forward = _either(max_pooling.max_pool_forward)
max_pool_backward = _either(max_pooling.max_pool_backward)
avg_pool_forward = _either(pooling.avg_pool_forward)
avg_pool_backward = _either(pooling.avg_pool_backward)
relu_forward = _either(relu.relu_forward)
relu_backward = _either(relu.relu_backward)
guided_relu_backward = _either(relu.guided_relu_backward)
deconv_relu_backward = relu.deconv_relu_backward
lrn_forward = _either(lrn.lrn_forward)
lrn_backward = _either(lrn.lrn_backward)
batch_norm_forward = _either(batch_norm.batch_norm_forward)
batch_norm_backward = _either(batch_norm.batch_norm_backward)
axis_matmul = _either(resample.axis_matmul)
chain_forward = _either(chain.chain_forward, chain.forward_singly)
chain_backward_input = chain.chain_backward_input
describe_chain = reference.describe_chain if _plain_only else chain.describe


def prepare():
    """A network is about to be used: what it will need is compiled meanwhile."""
    if not _plain_only:
        compile_cache.prepare()


def warmup():
    """Compile every kernel, or load it where that has been done before. -> how many there are."""
    return 0 if _plain_only else compile_cache.load_all()
