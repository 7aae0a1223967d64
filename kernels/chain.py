"""What a chain of layers is, for every kernel set.

A chain is a straight run of layers with one input and one output, nothing asked for inside. The network hands it over
as a whole so that a kernel set may fuse it: keep activations in a layout of its own, apply bias, ReLU and pooling while
a convolution's result is still in registers, and store only the decisions (signs, switches) that the gradient needs.

`steps` is a list of Step; `weights` has one entry per step: (w, b) for "conv" (b may be None), None for the others.
"""
from typing import NamedTuple


class Step(NamedTuple):
    """One layer of a chain.

    kind "conv":      stride (2), pad (top, bottom, left, right), dilation (2), groups
    kind "relu":      no settings
    kind "max_pool":  size (2), stride (2), pad (4), ceil
    kind "avg_pool":  size (2), stride (2), pad (4), ceil, count_pad
    """
    kind: str
    settings: dict
