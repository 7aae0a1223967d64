"""Differentiable operations, one file per family, forward directly above backward.

Sizes, everywhere: N pictures, H x W positions, C input channels, K output channels; arrays are (N, H, W, C).
"""
from .conv import conv2d, conv_transpose2d  # noqa: F401
from .pool import avg_pool2d, global_avg_pool, max_pool2d  # noqa: F401
from .relu import leaky_relu, relu  # noqa: F401
