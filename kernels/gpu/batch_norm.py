"""Launchers of batch_norm.cu."""
import numpy as np

from . import launch

_SOURCE = "batch_norm.cu"
_CHANNELS, _LINES = 32, 8
_SLICE = 512                    # rows of a slice: each thread adds up 64 numbers before the sum goes on in double


def batch_norm_forward(x, scale, shift, eps, rectify=False):
    """y = scale (x - mean) / sqrt(var + eps) + shift over all axes but the last. -> y, mean, var (biased), mask.

    rectify: y is max(that, 0), and the mask that of a ReLU; else the mask is None.
    """
    x, scale, shift = launch.ready("batch_norm_forward", x, scale, shift)
    C, rows = x.shape[-1], _rows("batch_norm_forward", x, scale=scale, shift=shift)
    slices = -(-rows // _SLICE)
    partial = launch.empty(x, (slices, 2, C), np.float64)
    y, mean, var, factor = launch.empty(x, x.shape), *(launch.empty(x, C) for _ in range(3))
    mask = launch.empty(x, -(-x.size // 32), np.uint32) if rectify else None
    _over_slices("moments", x, slices, C, (x, partial, *launch.i64(rows, C, _SLICE)))
    _run("moments_end", x, C, (partial, x, scale, mean, var, factor, *launch.i64(rows, C, slices), np.float64(eps)))
    _run("normalize", x, -(-x.size // 4), (x, mean, factor, shift, y, mask, *launch.i64(x.size, C)))
    return y, mean, var, mask


def batch_norm_backward(dy, x, scale, mean, var, eps, mask=None):
    """-> dx, dscale, dshift. With z = (x - mean) / sqrt(var + eps): dx = scale (dy - mean(dy) - z mean(dy z)) / sqrt.

    mean and var are those of x, and the gradient through them is in it. mask: that of a ReLU behind.
    """
    dy, x, scale, mean, var = launch.ready("batch_norm_backward", dy, x, scale, mean, var)
    C, rows = x.shape[-1], _rows("batch_norm_backward", x, scale=scale, mean=mean, var=var)
    if dy.shape != x.shape:
        raise ValueError(f"batch_norm_backward: dy {dy.shape} must have the shape of x {x.shape}")
    slices, eps = -(-rows // _SLICE), np.float64(eps)
    partial = launch.empty(x, (slices, 2, C), np.float64)
    dx, dscale, dshift = launch.empty(x, x.shape), launch.empty(x, C), launch.empty(x, C)
    means = launch.empty(x, (2, C), np.float64 if x.dtype == np.float64 else np.float32)
    _over_slices("gradient_sums", x, slices, C, (dy, x, mask, mean, var, partial, *launch.i64(rows, C, _SLICE), eps))
    _run("gradient_end", x, C, (partial, dscale, dshift, means, *launch.i64(rows, C, slices)))
    _run("gradient_input", x, x.size, (dy, x, mask, scale, mean, var, means, dx, *launch.i64(x.size, C), eps))
    return dx, dscale, dshift


def _rows(op, x, **per_channel):
    for name, values in per_channel.items():
        if values.shape != x.shape[-1:]:
            raise ValueError(f"{op}: {name} {values.shape} must have one number per channel of x {x.shape}")
    if x.size == 0 or x.size // x.shape[-1] > _SLICE * 65535:
        raise ValueError(f"{op}: x {x.shape} must have 1 to {_SLICE * 65535} values per channel")
    return x.size // x.shape[-1]


def _over_slices(kernel, x, slices, C, args):
    launch.run(_SOURCE, kernel + launch.suffix(x), (-(-C // _CHANNELS), slices), _CHANNELS * _LINES, args)


def _run(kernel, x, work, args):
    launch.run(_SOURCE, kernel + launch.suffix(x), launch.blocks(work), launch.THREADS, args)
