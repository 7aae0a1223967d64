"""Differentiable operations, one file per family, forward directly above backward.

Sizes, everywhere: N pictures, H x W positions, C input channels, K output channels; arrays are (N, H, W, C).
Every function takes Tensors or arrays and gives a Tensor; the Op classes are what a Network gives its layers' names to.
"""
from . import operators  # noqa: F401  (gives Tensor its + - * / and the like)
from .activation import clip, dropout, round_through, sigmoid, tanh  # noqa: F401
from .conv import conv2d, conv_transpose2d  # noqa: F401
from .elementwise import (  # noqa: F401
    abs,
    add,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    sqrt,
    square,
    subtract,
)
from .linear import linear, matmul  # noqa: F401
from .loss import cross_entropy, gram, log_softmax, mse, softmax, squared_distance, total_variation  # noqa: F401
from .norm import batch_norm, batch_norm_train, instance_norm, lrn, scale  # noqa: F401
from .pool import avg_pool2d, global_avg_pool, max_pool2d  # noqa: F401
from .reduce import max, mean, min, sum, variance  # noqa: F401
from .relu import leaky_relu, relu  # noqa: F401
from .resample import gaussian_blur, resize, upsample  # noqa: F401
from .shape import concatenate, flatten, flip, index, pad, reshape, roll, transpose  # noqa: F401
