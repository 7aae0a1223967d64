"""Normalisation: local response (between channels), batch and instance (zero mean, unit variance), per-channel scale.

x is (N, H, W, C), or (N, C) where stated; scale, shift, mean and var are (C,). Variances are biased (divided by count).
"""
from .. import kernels
from ..tensor import Op
from .geometry import check_picture


class Lrn(Op):
    """y_c = x_c / (k + alpha * sum over the `size` channels around c of x^2)^beta. Krizhevsky et al. 2012.

    per_size True divides alpha by size (Caffe, torch, ONNX), False does not (the paper, TensorFlow).
    """
    kind = "lrn"

    def __init__(self, size=5, alpha=1e-4, beta=0.75, k=1.0, per_size=True):
        if size < 1:
            raise ValueError(f"lrn: size {size} must be at least 1")
        self.how = int(size), float(alpha), float(beta), float(k), bool(per_size)

    def forward(self, x):
        check_picture(x, "lrn")
        y, s = kernels.of(x).lrn_forward(x, *self.how)
        self.kept = (x, s) if self.needs[0] else None
        return y

    def backward(self, dy):
        x, s = self.kept
        size, alpha, beta, _, per_size = self.how
        return kernels.of(dy).lrn_backward(dy, x, s, size, alpha, beta, per_size)


class Scale(Op):
    """y_c = scale_c x_c + shift_c, channels last; shift is optional."""
    kind = "scale"

    def forward(self, x, scale, shift=None):
        _check("scale", x, scale=scale, shift=shift)
        self.scale, self.x = scale, x if self.needs[1] else None
        y = x * scale
        return y if shift is None else y + shift

    def backward(self, dy):
        dx = dy * self.scale if self.needs[0] else None
        dscale = _per_channel(dy * self.x) if self.needs[1] else None
        dshift = _per_channel(dy) if len(self.needs) > 2 and self.needs[2] else None
        return (dx, dscale, dshift)[:len(self.needs)]


class BatchNorm(Op):
    """With known statistics: y = scale (x - mean) / sqrt(var + eps) + shift. Ioffe, Szegedy 2015, arXiv:1502.03167."""
    kind = "batch_norm"

    def __init__(self, eps=1e-5):
        self.eps = float(eps)

    def forward(self, x, scale, shift, mean, var):
        _check("batch_norm", x, scale=scale, shift=shift, mean=mean, var=var)
        self.inverse = 1 / kernels.xp(x).sqrt(var + self.eps)
        self.scale = scale
        self.normal = (x - mean) * self.inverse if self.needs[1] or self.needs[4] else None
        factor = scale * self.inverse
        return x * factor + (shift - mean * factor)

    def backward(self, dy):
        factor = self.scale * self.inverse
        dx = dy * factor if self.needs[0] else None
        dscale = _per_channel(dy * self.normal) if self.needs[1] else None
        dshift = _per_channel(dy) if self.needs[2] else None
        dmean = -factor * _per_channel(dy) if self.needs[3] else None
        dvar = -0.5 * factor * self.inverse * _per_channel(dy * self.normal) if self.needs[4] else None
        return dx, dscale, dshift, dmean, dvar


class BatchNormTrain(Op):
    """Batch normalisation with the batch's own statistics, over every axis but the channels; the gradient passes
    through them too. After forward `.mean` and `.var` hold them.

    rectify: a ReLU behind it in the same pass over memory, which is what the time of this op goes into.
    """
    kind = "batch_norm"

    def __init__(self, eps=1e-5, rectify=False):
        self.eps, self.rectify = float(eps), rectify

    def forward(self, x, scale=None, shift=None):
        _check(self.kind, x, scale=scale, shift=shift)
        xp, C = kernels.xp(x), x.shape[-1]
        self.scale = xp.ones(C, x.dtype) if scale is None else scale
        shift = xp.zeros(C, x.dtype) if shift is None else shift
        y, self.mean, self.var, mask = kernels.of(x).batch_norm_forward(x, self.scale, shift, self.eps, self.rectify)
        self.kept = (x, mask) if any(self.needs) else None
        return y

    def backward(self, dy):
        x, mask = self.kept
        found = kernels.of(dy).batch_norm_backward(dy, x, self.scale, self.mean, self.var, self.eps, mask)
        return tuple(g if needed else None for g, needed in zip(found, self.needs))


class InstanceNorm(Op):
    """Every picture and channel by itself, over its positions: batch normalisation of each picture alone. Ulyanov,
    Vedaldi, Lempitsky 2016, arXiv:1607.08022. After forward `.mean` and `.var`, (N, C), hold the statistics, which
    depend on x; the gradient passes through them too."""
    kind = "instance_norm"

    def __init__(self, eps=1e-5):
        self.eps = float(eps)

    def forward(self, x, scale=None, shift=None):
        check_picture(x, "instance_norm")
        _check(self.kind, x, scale=scale, shift=shift)
        xp, k, C = kernels.xp(x), kernels.of(x), x.shape[-1]
        self.scale = xp.ones(C, x.dtype) if scale is None else scale
        shift = xp.zeros(C, x.dtype) if shift is None else shift
        found = [k.batch_norm_forward(x[n:n + 1], self.scale, shift, self.eps) for n in range(len(x))]
        y, self.mean, self.var = (_joined(xp, [f[i] for f in found], i == 0) for i in range(3))
        self.x = x if any(self.needs) else None
        return y

    def backward(self, dy):
        xp, k = kernels.xp(dy), kernels.of(dy)
        found = [k.batch_norm_backward(dy[n:n + 1], self.x[n:n + 1], self.scale, self.mean[n], self.var[n], self.eps)
                 for n in range(len(dy))]
        dx = _joined(xp, [f[0] for f in found], True)
        return tuple(g if needed else None for g, needed in zip(
            (dx, *(sum(f[i] for f in found) for i in (1, 2))), self.needs))


def _joined(xp, parts, pictures):
    """Arrays of one picture each as one: along their first axis, or as rows."""
    if not pictures:
        return xp.stack(parts)
    return parts[0] if len(parts) == 1 else xp.concatenate(parts)


def _check(op, x, **per_channel):
    for name, values in per_channel.items():
        if values is not None and values.shape != x.shape[-1:]:
            raise ValueError(f"{op}: {name} {values.shape} must have one number per channel of x {x.shape}")


def _per_channel(dy):
    return dy.sum(axis=tuple(range(dy.ndim - 1)))


def lrn(x, size=5, alpha=1e-4, beta=0.75, k=1.0, per_size=True):
    """Local response normalisation of (N, H, W, C) between neighbouring channels."""
    return Lrn(size, alpha, beta, k, per_size)(x)


def scale(x, scale, shift=None):
    """scale * x + shift per channel."""
    return Scale()(x, scale) if shift is None else Scale()(x, scale, shift)


def batch_norm(x, scale, shift, mean, var, eps=1e-5):
    """Batch normalisation with given mean and variance, as at inference. x (..., C)."""
    return BatchNorm(eps)(x, scale, shift, mean, var)


def batch_norm_train(x, scale=None, shift=None, eps=1e-5):
    """Batch normalisation with the batch's own statistics. -> y, and as arrays mean (C,) and biased variance (C,)."""
    op = BatchNormTrain(eps)
    y = op(x) if scale is None else op(x, scale, shift)
    return y, op.mean, op.var


def instance_norm(x, scale=None, shift=None, eps=1e-5):
    """Zero mean and unit variance for every picture and channel of (N, H, W, C), then scale and shift (C,)."""
    return InstanceNorm(eps)(x) if scale is None else InstanceNorm(eps)(x, scale, shift)
