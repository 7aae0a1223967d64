"""Launchers of pooling.cu. Switches are uint8 for windows of up to 255 cells, else int32, in the shape of y."""
import numpy as np

from ..reference import pool_output_size
from . import launch

_SOURCE = "pooling.cu"
_BYTE_CELLS = 255
_POOL = np.dtype([(name, np.int32) for name in ("H", "W", "C", "OH", "OW", "kh", "kw", "sh", "sw", "top", "bottom",
                                                "left", "right", "count_pad")], align=True)     # struct Pool


def max_pool_forward(x, size, stride, pad, ceil):
    """y = the largest value of each window (padding is -inf), and the switches: which cell it was; the first wins ties.

    -> y (N, OH, OW, C), switches (opaque) of the same shape.
    """
    x = launch.ready("max_pool_forward", x)
    out = _output("max_pool_forward", x.shape, size, stride, pad, ceil)
    y = launch.empty(x, (x.shape[0], *out, x.shape[3]))
    switches = launch.empty(x, y.shape, np.uint8 if size[0] * size[1] <= _BYTE_CELLS else np.int32)
    _run("max_pool_forward" + _kind(switches), y, (x, y, switches), _struct(x.shape, out, size, stride, pad))
    return y, switches


def max_pool_backward(dy, switches, x_shape, size, stride, pad, ceil):
    """dx: each output hands its gradient to the cell its switch names; overlapping windows add."""
    dy, out = _gradient("max_pool_backward", dy, x_shape, size, stride, pad, ceil)
    if switches.shape != dy.shape:
        raise ValueError(f"max_pool_backward: a gradient {dy.shape}, but switches {switches.shape}; give the switches "
                         "of the same forward pass")
    dx = launch.empty(dy, x_shape)
    _run("max_pool_backward" + _kind(switches), dx, (dy, switches, dx), _struct(x_shape, out, size, stride, pad))
    return dx


def unpack_switch(switches, y_shape):
    """(N, OH, OW, C) integers: row * kw + column of the chosen cell inside its window."""
    return switches.reshape(y_shape)


def avg_pool_forward(x, size, stride, pad, ceil, count_pad):
    """The mean of each window. count_pad True divides by all cells of the padded picture, False by real cells only."""
    x = launch.ready("avg_pool_forward", x)
    out = _output("avg_pool_forward", x.shape, size, stride, pad, ceil)
    y = launch.empty(x, (x.shape[0], *out, x.shape[3]))
    _run("avg_pool_forward", y, (x, y), _struct(x.shape, out, size, stride, pad, count_pad))
    return y


def avg_pool_backward(dy, x_shape, size, stride, pad, ceil, count_pad):
    """dx: each output shares its gradient equally among the cells it counted."""
    dy, out = _gradient("avg_pool_backward", dy, x_shape, size, stride, pad, ceil)
    dx = launch.empty(dy, x_shape)
    _run("avg_pool_backward", dx, (dy, dx), _struct(x_shape, out, size, stride, pad, count_pad))
    return dx


def _output(op, x_shape, size, stride, pad, ceil):
    out = tuple(pool_output_size(x_shape[1 + a], size[a], stride[a], pad[2 * a], pad[2 * a + 1], ceil) for a in (0, 1))
    if min(out) < 1:
        raise ValueError(f"{op}: a window {tuple(size)} does not fit into x {tuple(x_shape)} with pad {tuple(pad)}")
    return out


def _gradient(op, dy, x_shape, size, stride, pad, ceil):
    dy, out = launch.ready(op, dy), _output(op, x_shape, size, stride, pad, ceil)
    expected = (x_shape[0], *out, x_shape[3])
    if dy.shape != expected:
        raise ValueError(f"{op}: dy {dy.shape} must be {expected}, the output of x {tuple(x_shape)}")
    return dy, out


def _struct(x_shape, out, size, stride, pad, count_pad=False):
    return np.array((*x_shape[1:], *out, *size, *stride, *pad, count_pad), _POOL)[()]


def _kind(switches):
    return {"uint8": "_u8", "int32": "_i32"}[switches.dtype.name]


def _run(kernel, result, arrays, pool):
    if result.size:
        grid, block = launch.rows(result.shape)
        launch.run(_SOURCE, kernel + launch.suffix(result), grid, block, (*arrays, pool))
