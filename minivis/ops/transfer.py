"""From the host to the device and back: the identity, whose gradient crosses over the other way."""
from .. import kernels
from ..tensor import Op


class ToDevice(Op):
    """y = x in the memory in which the array `like` lies; dx = dy on the host."""

    def __init__(self, like):
        self.xp = kernels.xp(like)

    def forward(self, x):
        return self.xp.asarray(x)

    def backward(self, dy):
        return dy.get()


def to_memory_of(x, like):
    """x, a Tensor on the host, in the memory of the array `like`; x itself if that is the host."""
    if kernels.xp(like) is kernels.xp(x.data):
        return x
    return ToDevice(like)(x)
