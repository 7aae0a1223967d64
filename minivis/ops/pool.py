"""Pooling: the largest or the mean value of every window. x (N, H, W, C) -> (N, OH, OW, C).

OH = floor((H + pad - size) / stride) + 1; with ceil=True a last partial window counts too, unless it would start in the
padding at the bottom or right. Padding is -inf for the maximum, so it never wins; the first of equal values wins.
"""
from .. import kernels
from ..tensor import Op
from .geometry import check_picture, padding, pair


class Pool2d(Op):
    """What both poolings share: reading the geometry."""

    def __init__(self, *, size, stride=None, pad=0, ceil=False, keep_inputs=False):
        self.size = pair(size, "size")
        self.stride = self.size if stride is None else pair(stride, "stride")
        self.pad, self.ceil, self.keep_inputs = pad, bool(ceil), keep_inputs

    def _read(self, x):
        check_picture(x, self.kind)
        pad = padding(self.pad, x.shape, self.size, self.stride)
        for a in (0, 1):
            if max(pad[2 * a:2 * a + 2]) >= self.size[a]:
                raise ValueError(f"{self.kind}: pad {pad} is as wide as the window {self.size}: it would see nothing")
            partial = self.stride[a] - 1 if self.ceil else 0        # rows that a last window may lack
            if x.shape[1 + a] + pad[2 * a] + pad[2 * a + 1] + partial < self.size[a]:
                raise ValueError(f"{self.kind}: x {x.shape} is smaller than the window {self.size}")
        self.x_shape = x.shape
        self.x = x if self.keep_inputs else None
        self.geometry = {"size": self.size, "stride": self.stride, "pad": pad, "ceil": self.ceil}


class MaxPool2d(Pool2d):
    kind = "max_pool"

    def forward(self, x):
        self._read(x)
        y, switches = kernels.of(x).max_pool_forward(x, **self.geometry)
        self.switches = switches if self.needs[0] else None
        return y

    def backward(self, dy):
        return kernels.of(dy).max_pool_backward(dy, self.switches, self.x_shape, **self.geometry)


class AvgPool2d(Pool2d):
    kind = "avg_pool"

    def __init__(self, *, count_pad=True, **geometry):
        super().__init__(**geometry)
        self.count_pad = bool(count_pad)

    def forward(self, x):
        self._read(x)
        return kernels.of(x).avg_pool_forward(x, **self.geometry, count_pad=self.count_pad)

    def backward(self, dy):
        return kernels.of(dy).avg_pool_backward(dy, self.x_shape, **self.geometry, count_pad=self.count_pad)


class GlobalAvgPool(Op):
    """y[n,c] = mean over positions of x[n,i,j,c]. Lin et al. 2014, arXiv:1312.4400."""
    kind = "global_avg_pool"

    def __init__(self, *, keep_inputs=False):
        self.keep_inputs = keep_inputs

    def forward(self, x):
        check_picture(x, self.kind)
        self.x, self.x_shape = (x if self.keep_inputs else None), x.shape
        return x.mean(axis=(1, 2))

    def backward(self, dy):
        _, H, W, _ = self.x_shape
        xp = kernels.xp(dy)
        return xp.ascontiguousarray(xp.broadcast_to((dy / (H * W))[:, None, None, :], self.x_shape))


def max_pool2d(x, size, *, stride=None, pad=0, ceil=False):
    """The largest value of every window; stride None means the window's size."""
    return MaxPool2d(size=size, stride=stride, pad=pad, ceil=ceil)(x)


def avg_pool2d(x, size, *, stride=None, pad=0, ceil=False, count_pad=True):
    """The mean of every window. count_pad: padding counts as zeros (torch), or not at all (TensorFlow, ONNX: False)."""
    return AvgPool2d(size=size, stride=stride, pad=pad, ceil=ceil, count_pad=count_pad)(x)


def global_avg_pool(x):
    """(N, H, W, C) -> (N, C): the mean over all positions."""
    return GlobalAvgPool()(x)
