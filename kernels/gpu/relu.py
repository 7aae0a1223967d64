"""Launchers of relu.cu. A mask is an array of uint32: bit i % 32 of word i // 32 belongs to the i-th number of x."""
import math

import numpy as np

from . import launch

_SOURCE = "relu.cu"
_PER_THREAD = 4
_WORD = 32


def relu_forward(x):
    """-> max(x, 0), and the mask of x > 0 (opaque)."""
    x = launch.ready("relu_forward", x)
    y, mask = launch.empty(x, x.shape), launch.empty(x, -(-x.size // _WORD), np.uint32)
    _run("relu_forward", x, x, y, mask)
    return y, mask


def relu_backward(dy, mask):
    """dx = dy where x > 0: the derivative."""
    return _backward(dy, mask, 0)


def guided_relu_backward(dy, mask):
    """dx = dy where x > 0 and dy > 0. Springenberg et al. 2015, arXiv:1412.6806."""
    return _backward(dy, mask, 1)


def deconv_relu_backward(dy):
    """dx = dy where dy > 0, whatever x was. Zeiler and Fergus 2014, arXiv:1311.2901."""
    dy = launch.ready("deconv_relu_backward", dy)
    dx = launch.empty(dy, dy.shape)
    _run("deconv_relu_backward", dy, dy, dx)
    return dx


def unpack_mask(mask, shape):
    """The mask as a boolean array of the given shape."""
    _check("unpack_mask", mask, math.prod(shape))
    positive = launch.empty(mask, shape, np.bool_)
    if positive.size:
        launch.run(_SOURCE, "unpack_mask", launch.blocks(positive.size), launch.THREADS,
                   (mask, positive, *launch.i64(positive.size)))
    return positive


def _backward(dy, mask, guided):
    dy = launch.ready("relu_backward", dy)
    _check("relu_backward", mask, dy.size)
    dx = launch.empty(dy, dy.shape)
    _run("relu_backward", dy, dy, mask, dx, extra=launch.i64(guided))
    return dx


def _check(name, mask, count):
    if mask.dtype != np.uint32 or mask.size != -(-count // _WORD):
        raise ValueError(f"{name}: an array of {count} numbers, but a mask of {mask.size} words of {mask.dtype}; "
                         "give the mask of the same forward pass")


def _run(kernel, like, *arrays, extra=()):
    if like.size:
        launch.run(_SOURCE, kernel + launch.suffix(like), launch.blocks(-(-like.size // _PER_THREAD)), launch.THREADS,
                   (*arrays, *launch.i64(like.size), *extra))
