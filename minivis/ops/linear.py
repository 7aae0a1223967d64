"""Dense layers: y = x w + b with x (N, in), w (in, out), b (out,); and products of any two stacks of matrices."""
from .. import kernels
from ..tensor import Op
from .elementwise import unbroadcast


class Linear(Op):
    kind = "linear"

    def __init__(self, *, keep_inputs=False):
        self.keep_inputs = keep_inputs

    def forward(self, x, w, b=None):
        if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0]:
            raise ValueError(f"linear: x {x.shape} must be (N, in) and w {w.shape} (in, out) with the same in")
        if b is not None and b.shape != w.shape[1:]:
            raise ValueError(f"linear: b {b.shape} must have one number per column of w {w.shape}")
        self.w = w
        self.x = x if self.needs[1] or self.keep_inputs else None
        self.b = b if self.keep_inputs else None
        return kernels.of(x).linear_forward(x, w, b)

    def backward(self, dy):
        dx = kernels.of(dy).linear_backward_input(dy, self.w) if self.needs[0] else None
        dw = kernels.of(dy).linear_backward_weight(dy, self.x) if self.needs[1] else None
        db = dy.sum(axis=0) if len(self.needs) > 2 and self.needs[2] else None
        return (dx, dw, db)[:len(self.needs)]


class Matmul(Op):
    """y = a @ b over the last two axes; leading axes broadcast."""

    def forward(self, a, b):
        if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul: a {a.shape} and b {b.shape} do not fit: (..., I, J) @ (..., J, K)")
        self.a, self.b = a if self.needs[1] else None, b if self.needs[0] else None
        self.shapes = a.shape, b.shape
        return a @ b

    def backward(self, dy):
        da = unbroadcast(dy @ self.b.swapaxes(-1, -2), self.shapes[0]) if self.needs[0] else None
        db = unbroadcast(self.a.swapaxes(-1, -2) @ dy, self.shapes[1]) if self.needs[1] else None
        return da, db


def linear(x, w, b=None):
    """x (N, in) @ w (in, out) + b (out,)."""
    return Linear()(x, w) if b is None else Linear()(x, w, b)


def matmul(a, b):
    """Matrix product over the last two axes."""
    return Matmul()(a, b)
