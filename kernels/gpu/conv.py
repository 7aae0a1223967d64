"""Convolution on the GPU: the three kernels of `reference`, for any stride, padding, dilation and groups.

conv_plan.py turns each into dense contractions, choice.py picks their algorithm, conv_launch.py runs them.
precision speaks of float32 arrays: "float32" may use Winograd's algorithm, "float32-direct" may not, "tf32" and
"float16" use tensor cores with factors rounded to 10 bits and float32 sums, where the layer suits them (choice.py).
float16 arrays are multiplied as they are, with float32 sums.
"""
import numpy as np

from . import conv_launch, conv_plan, launch
from .choice import PRECISIONS, algorithm


def conv2d_forward(x, w, b, stride, pad, dilation, groups, precision="float32"):
    """y[n,i,j,k] = b[k] + sum over p,q,c of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * w[p,q,c,k]; b or None."""
    x, w, b = launch.ready("conv2d_forward", x, w, b)
    part = conv_plan.forward(x.shape, w.shape, stride, pad, dilation, groups)
    y = launch.empty(x, (part.N, *part.result, part.K))
    run([part], x, w, bias_of(b), y, precision, gradient=False)
    return y


def conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups, precision="float32"):
    """dx: every output position hands dy[k] * w[p,q,c,k] back to the input cell it read. The transpose of forward."""
    dy, w = launch.ready("conv2d_backward_input", dy, w)
    parts, complete = conv_plan.backward_input(dy.shape, w.shape, x_shape, stride, pad, dilation, groups)
    dx = (launch.empty if complete else launch.zeros)(dy, tuple(x_shape))
    run(parts, dy, w, None, dx, precision, gradient=True)
    return dx


def conv2d_backward_weight(dy, x, w_shape, stride, pad, dilation, groups, precision="float32"):
    """dw[p,q,c,k] = sum over n,i,j of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * dy[n,i,j,k].

    Always with exact factors: no precision rounds them.
    """
    _check(precision)
    dy, x = launch.ready("conv2d_backward_weight", dy, x)
    part = conv_plan.forward(x.shape, w_shape, stride, pad, dilation, groups)
    if dy.shape != (part.N, part.OH, part.OW, part.K):
        raise ValueError(f"conv2d_backward_weight: dy {dy.shape} must be {(part.N, part.OH, part.OW, part.K)}")
    if not part.positions:
        return launch.zeros(dy, tuple(w_shape))
    dw = launch.empty(dy, tuple(w_shape))
    conv_launch.weight_gradient(part, x, dy, dw)
    return dw


def run(parts, x, w, bias, y, precision, gradient):
    """Contract x with w part by part into y, in the precision asked for."""
    _check(precision)
    half = None
    for part in parts:
        how = algorithm(part, precision, x.dtype)
        source = x
        if how.name == "mma" and precision == "float16" and x.dtype == np.float32:
            half = source = x.astype(np.float16) if half is None else half
        filters = conv_launch.prepare(conv_plan.filters(w, part, gradient), how, source.dtype)
        conv_launch.contract(part, how, source, filters, bias, y)


def bias_of(b):
    """The bias in the type sums have: float32 for half precision."""
    return b.astype(np.float32) if b is not None and b.dtype == np.float16 else b


def _check(precision):
    if precision not in PRECISIONS:
        raise ValueError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
