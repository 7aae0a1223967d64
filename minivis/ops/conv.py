"""2-D convolution.

    y[n,i,j,k] = b[k] + sum_pqc x[n, i*stride + p*dilation - top, j*stride + q*dilation - left, c] * w[p,q,c,k]

x is (N, H, W, C), w (kh, kw, C/groups, K). As everywhere in deep learning this is a cross-correlation: the filter is
not flipped.
"""
from .. import kernels
from ..tensor import Op
from .geometry import check_picture, padding, pair


class Conv2d(Op):
    kind = "conv"

    def __init__(self, *, stride=1, pad=0, dilation=1, groups=1, precision="float32", keep_inputs=False):
        self.stride, self.dilation = pair(stride, "stride"), pair(dilation, "dilation")
        self.pad, self.groups, self.precision, self.keep_inputs = pad, int(groups), precision, keep_inputs

    def forward(self, x, w, b=None):
        self._check(x, w, b)
        self.w, self.x_shape = w, x.shape
        self.x = x if self.needs[1] or self.keep_inputs else None       # only the weight gradient and rules read it
        self.b = b if self.keep_inputs else None
        self.geometry = {"stride": self.stride, "dilation": self.dilation, "groups": self.groups,
                         "pad": padding(self.pad, x.shape, w.shape[:2], self.stride, self.dilation)}
        self._check_size(x, w)
        return kernels.of(x).conv2d_forward(x, w, b, **self.geometry, precision=self.precision)

    def backward(self, dy):
        k = kernels.of(dy)
        how = {**self.geometry, "precision": self.precision}
        dx = k.conv2d_backward_input(dy, self.w, self.x_shape, **how) if self.needs[0] else None
        dw = k.conv2d_backward_weight(dy, self.x, self.w.shape, **how) if self.needs[1] else None
        db = dy.sum(axis=(0, 1, 2)) if len(self.needs) > 2 and self.needs[2] else None
        return (dx, dw, db)[:len(self.needs)]

    def _check(self, x, w, b):
        check_picture(x, "conv2d")
        if w.ndim != 4:
            raise ValueError(f"conv2d: w {w.shape} must be (kh, kw, C/groups, K)")
        if x.shape[3] != w.shape[2] * self.groups or w.shape[3] % self.groups:
            raise ValueError(f"conv2d: x {x.shape} has {x.shape[3]} channels, w {w.shape} in {self.groups} group(s) "
                             f"wants {w.shape[2] * self.groups}, and K a multiple of the groups")
        if b is not None and b.shape != w.shape[3:]:
            raise ValueError(f"conv2d: b {b.shape} must have one number per filter of w {w.shape}")

    def _check_size(self, x, w):
        pad = self.geometry["pad"]
        for a, side in ((0, "high"), (1, "wide")):
            reach, room = (w.shape[a] - 1) * self.dilation[a] + 1, x.shape[1 + a] + pad[2 * a] + pad[2 * a + 1]
            if room < reach:
                raise ValueError(f"conv2d: x {x.shape} is too small: padded it is {room} {side}, the filter {reach}")


class ConvTranspose2d(Op):
    """y[n, i*stride+p-top, j*stride+q-left, k] += x[n,i,j,c] * w[p,q,c,k]: a convolution's input gradient, as a layer.

    w is (kh, kw, C, K/groups), C the channels of x. The output has (H-1)*stride + kh - top - bottom + output_pad rows;
    with pad "same" it has H*stride (TensorFlow).
    Dumoulin and Visin 2016, arXiv:1603.07285.
    """
    kind = "conv_transpose"

    def __init__(self, *, stride=1, pad=0, output_pad=0, groups=1, precision="float32", keep_inputs=False):
        self.stride, self.groups, self.precision = pair(stride, "stride"), int(groups), precision
        self.keep_inputs = keep_inputs
        self.pad, self.output_pad = pad, (output_pad,) * 2 if isinstance(output_pad, int) else tuple(output_pad)
        if any(not 0 <= o < s for o, s in zip(self.output_pad, self.stride)):
            raise ValueError(f"conv_transpose2d: output_pad {output_pad} must be >= 0 and below the stride {stride}")

    def forward(self, x, w, b=None):
        check_picture(x, "conv_transpose2d")
        if w.ndim != 4 or x.shape[3] != w.shape[2] or w.shape[2] % self.groups:
            raise ValueError(f"conv_transpose2d: x {x.shape} has C = {x.shape[-1]}, w {w.shape} must be (kh, kw, C, "
                             f"K/groups), that C, a multiple of {self.groups} group(s)")
        K = w.shape[3] * self.groups
        if b is not None and b.shape != (K,):
            raise ValueError(f"conv_transpose2d: b {b.shape} must have one number per output channel, {K}")
        self.w = w.swapaxes(2, 3)               # the weights of the convolution whose input gradient this is
        self.x = x if self.needs[1] or self.keep_inputs else None
        pad = self._padding(x, w)
        out = [(x.shape[1 + a] - 1) * self.stride[a] + w.shape[a] - pad[2 * a] - pad[2 * a + 1] + self.output_pad[a]
               if self.pad != "same" else x.shape[1 + a] * self.stride[a] for a in (0, 1)]
        if min(out) < 1:
            raise ValueError(f"conv_transpose2d: x {x.shape} with filter {w.shape[:2]} and pad {pad} leaves no output")
        self.geometry = {"stride": self.stride, "pad": pad, "dilation": (1, 1), "groups": self.groups,
                         "precision": self.precision}
        y = kernels.of(x).conv2d_backward_input(x, self.w, (x.shape[0], *out, K), **self.geometry)
        return y if b is None else y + b

    def backward(self, dy):
        k = kernels.of(dy)
        dx = k.conv2d_forward(dy, self.w, None, **self.geometry) if self.needs[0] else None
        dw = None
        if self.needs[1]:
            dw = k.conv2d_backward_weight(self.x, dy, self.w.shape, **self.geometry).swapaxes(2, 3)
        db = dy.sum(axis=(0, 1, 2)) if len(self.needs) > 2 and self.needs[2] else None
        return (dx, dw, db)[:len(self.needs)]

    def _padding(self, x, w):
        if self.pad != "same":
            return padding(self.pad, x.shape, w.shape[:2], self.stride)
        # TensorFlow: the output has H * stride rows, so the matching convolution pads for that size
        out = (1, x.shape[1] * self.stride[0], x.shape[2] * self.stride[1], 1)
        return padding("same", out, w.shape[:2], self.stride)


def conv2d(x, w, b=None, *, stride=1, pad=0, dilation=1, groups=1, precision="float32"):
    """Convolve x (N,H,W,C) with w (kh,kw,C/groups,K), add b (K,). pad: n, (top, bottom, left, right) or "same"."""
    op = Conv2d(stride=stride, pad=pad, dilation=dilation, groups=groups, precision=precision)
    return op(x, w) if b is None else op(x, w, b)


def conv_transpose2d(x, w, b=None, *, stride=1, pad=0, output_pad=0, groups=1, precision="float32"):
    """Transposed convolution of x (N,H,W,C) with w (kh,kw,C,K/groups): see ConvTranspose2d."""
    op = ConvTranspose2d(stride=stride, pad=pad, output_pad=output_pad, groups=groups, precision=precision)
    return op(x, w) if b is None else op(x, w, b)
