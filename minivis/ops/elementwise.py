"""Arithmetic, value by value, with broadcasting: + - * / **, maximum, minimum, square, exp, log, sqrt, abs.

Broadcasting repeats an input along some axes; the gradient of a repeated value is the sum over its repeats: that is
`unbroadcast`. A Python number (and a NumPy float64 scalar, which is one) takes the type of the array it meets, so
float32 stays float32. Where a derivative does not exist, the value chosen is stated: that makes it a subgradient.
"""
import numpy as np

from .. import kernels
from ..tensor import Op, as_tensor


def unbroadcast(dy, shape):
    """The transpose of broadcasting `shape` to dy.shape: sum over every axis that was added or repeated."""
    if dy.shape == tuple(shape):
        return dy
    added = dy.ndim - len(shape)
    repeated = tuple(added + i for i, size in enumerate(shape) if size == 1 and dy.shape[added + i] != 1)
    return dy.sum(axis=tuple(range(added)) + repeated, keepdims=True).reshape(shape)


class Binary(Op):
    """What operations on two broadcast inputs share."""

    def _read(self, a, b):
        self.inputs_were = (a.shape, a.dtype), (b.shape, b.dtype)
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            name = type(self).__name__.lower()
            raise ValueError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast") from None

    def _fit(self, i, gradient):
        """A gradient of the result's shape and type, as one of input i's."""
        shape, dtype = self.inputs_were[i]
        return unbroadcast(gradient, shape).astype(dtype, copy=False)


class Add(Binary):
    """y = a + b."""
    kind = "add"

    def forward(self, a, b):
        self._read(a, b)
        return a + b

    def backward(self, dy):
        return self._fit(0, dy) if self.needs[0] else None, self._fit(1, dy) if self.needs[1] else None


class Subtract(Binary):
    """y = a - b."""

    def forward(self, a, b):
        self._read(a, b)
        return a - b

    def backward(self, dy):
        return self._fit(0, dy) if self.needs[0] else None, self._fit(1, -dy) if self.needs[1] else None


class Multiply(Binary):
    """y = a b."""
    kind = "multiply"

    def forward(self, a, b):
        self._read(a, b)
        self.a, self.b = a if self.needs[1] else None, b if self.needs[0] else None
        return a * b

    def backward(self, dy):
        return (self._fit(0, dy * self.b) if self.needs[0] else None,
                self._fit(1, dy * self.a) if self.needs[1] else None)


class Divide(Binary):
    """y = a / b; dy/da = 1/b, dy/db = -y/b."""

    def forward(self, a, b):
        self._read(a, b)
        y = a / b
        self.b, self.y = b, y if self.needs[1] else None
        return y

    def backward(self, dy):
        da = dy / self.b
        return self._fit(0, da) if self.needs[0] else None, self._fit(1, -da * self.y) if self.needs[1] else None


class Power(Binary):
    """y = a^b; dy/da = b a^(b-1), 0 where b is 0; dy/db = y log a, 0 where a is 0."""

    def forward(self, a, b):
        self._read(a, b)
        y = a ** b
        self.a, self.b, self.y = a, b, y if self.needs[1] else None
        return y

    def backward(self, dy):
        xp = kernels.xp(dy)
        da = db = None
        if self.needs[0]:
            exponent = xp.where(self.b == 0, 1, self.b)         # 0 a^-1 would be nan at a = 0
            da = self._fit(0, dy * xp.where(self.b == 0, 0, self.b * self.a ** (exponent - 1)))
        if self.needs[1]:
            zero = self.a == 0
            db = self._fit(1, dy * xp.where(zero, 0, self.y * xp.log(xp.where(zero, 1, self.a))))
        return da, db


class Extremum(Binary):
    """The larger (or smaller) of a and b. On a tie the first input, a, gets the whole gradient."""

    def __init__(self, larger):
        self.larger = larger

    def forward(self, a, b):
        self._read(a, b)
        first = a >= b if self.larger else a <= b
        self.first = first if any(self.needs) else None
        return (kernels.xp(a).maximum if self.larger else kernels.xp(a).minimum)(a, b)

    def backward(self, dy):
        where = kernels.xp(dy).where
        return (self._fit(0, where(self.first, dy, 0)) if self.needs[0] else None,
                self._fit(1, where(self.first, 0, dy)) if self.needs[1] else None)


class Negative(Op):
    """y = -x."""

    def forward(self, x):
        return -x

    def backward(self, dy):
        return -dy


class Square(Op):
    """y = x^2; dy/dx = 2 x."""

    def forward(self, x):
        self.x = x if self.needs[0] else None
        return x * x

    def backward(self, dy):
        return dy * (2 * self.x)


class Exp(Op):
    """y = e^x; dy/dx = y."""

    def forward(self, x):
        y = kernels.xp(x).exp(x)
        self.y = y if self.needs[0] else None
        return y

    def backward(self, dy):
        return dy * self.y


class Log(Op):
    """y = ln x; dy/dx = 1/x."""

    def forward(self, x):
        self.x = x if self.needs[0] else None
        return kernels.xp(x).log(x)

    def backward(self, dy):
        return dy / self.x


class Sqrt(Op):
    """y = sqrt(x); dy/dx = 1/(2 y), infinite at 0."""

    def forward(self, x):
        y = kernels.xp(x).sqrt(x)
        self.y = y if self.needs[0] else None
        return y

    def backward(self, dy):
        return dy / (2 * self.y)


class Abs(Op):
    """y = |x|; dy/dx = sign(x), which is 0 at 0."""

    def forward(self, x):
        xp = kernels.xp(x)
        self.sign = xp.sign(x).astype(xp.int8) if self.needs[0] else None       # a byte per value instead of x
        return xp.abs(x)

    def backward(self, dy):
        return dy * self.sign


def _weak(a, b):
    """Give a Python number the type it would have beside the other operand: float32 for a float32 array."""
    if isinstance(a, (int, float)):
        b = as_tensor(b)
        return _number(a, b), b
    if isinstance(b, (int, float)):
        a = as_tensor(a)
        return a, _number(b, a)
    return a, b


def _number(value, beside):
    value = value.item() if isinstance(value, np.generic) else value
    return kernels.xp(beside.data).asarray(value, dtype=np.result_type(beside.dtype, value))


def _arithmetic(op, a, b):
    op.kind = None      # arithmetic between tensors is no layer of a network: no rule for "add" layers may meet it
    return op(*_weak(a, b))


def add(a, b):
    """a + b."""
    return _arithmetic(Add(), a, b)


def subtract(a, b):
    """a - b."""
    return _arithmetic(Subtract(), a, b)


def multiply(a, b):
    """a * b, value by value."""
    return _arithmetic(Multiply(), a, b)


def divide(a, b):
    """a / b."""
    return _arithmetic(Divide(), a, b)


def power(a, b):
    """a ** b."""
    if isinstance(b, (int, float)) and b == 2:
        return Square()(a)
    return _arithmetic(Power(), a, b)


def maximum(a, b):
    """The larger of a and b; on a tie a gets the gradient."""
    return _arithmetic(Extremum(larger=True), a, b)


def minimum(a, b):
    """The smaller of a and b; on a tie a gets the gradient."""
    return _arithmetic(Extremum(larger=False), a, b)


def negative(x):
    """-x."""
    return Negative()(x)


def square(x):
    """x * x."""
    return Square()(x)


def exp(x):
    """e ** x."""
    return Exp()(x)


def log(x):
    """The natural logarithm."""
    return Log()(x)


def sqrt(x):
    """The square root; its derivative is infinite at 0."""
    return Sqrt()(x)


def abs(x):
    """|x|; derivative 0 at 0."""
    return Abs()(x)
