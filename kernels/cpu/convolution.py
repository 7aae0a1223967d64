"""Convolution forward and input gradient, each by the algorithm that choice.py names."""
import numpy as np

from .. import reference
from . import buffers, choice, direct, general, winograd


def conv2d_forward(x, w, b, stride, pad, dilation, groups, precision="float32"):
    """y[n,i,j,k] = b[k] + sum over p,q,c of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * w[p,q,c,k]."""
    out = reference._output_shape(x.shape, w.shape[:2], stride, pad, dilation)
    how = choice.algorithm(out, w.shape, stride, pad, dilation, groups, precision, x.dtype)
    if how is choice.DIRECT:
        return general.conv2d_forward(x, w, b, stride, pad, dilation, groups, precision)
    _check_channels("conv2d_forward: x", x.shape, x.shape[3], w.shape, w.shape[2])
    y = buffers.empty((x.shape[0], *out, w.shape[3]), np.float32)
    if how is choice.PICTURE:
        direct.forward(np.ascontiguousarray(x), w.shape, direct.pack_forward(w), direct.pack_bias(b, w.shape[3]), y,
                       stride, pad)
        return y
    winograd.convolve(np.ascontiguousarray(x), winograd.padded(w), y, how.tile, (pad[0], pad[2]),
                      None if b is None else winograd.pad_bias(b))
    return y


def conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups, precision="float32"):
    """dx: every output position hands dy[k] * w[p,q,c,k] back to the input cell it read. The transpose of forward."""
    how = choice.algorithm(x_shape[1:3], w.shape, stride, pad, dilation, groups, precision, dy.dtype)
    if how is choice.DIRECT:
        return general.conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups, precision)
    _check_channels("conv2d_backward_input: dy", dy.shape, dy.shape[3], w.shape, w.shape[3])
    dx = buffers.empty(x_shape, np.float32)
    if how is choice.PICTURE:
        direct.backward_input(np.ascontiguousarray(dy), w.shape, direct.pack_gradient(w), dx, stride, pad)
        return dx
    winograd.convolve(np.ascontiguousarray(dy), winograd.padded(w), dx, how.tile, (2 - pad[0], 2 - pad[2]), turned=True)
    return dx


def _check_channels(what, shape, has, w_shape, wants):
    if has != wants:
        raise ValueError(f"{what} {tuple(shape)} has {has} channels, w {tuple(w_shape)} wants {wants}")
