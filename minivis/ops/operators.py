"""What + - * / ** @ [] and a few methods mean for a Tensor: the ops of this folder, attached here and nowhere else."""
from ..tensor import Tensor
from . import elementwise, linear, reduce, shape

Tensor.__array_ufunc__ = None       # numpy_array * tensor: NumPy leaves it to Tensor.__rmul__

Tensor.__add__ = lambda self, other: elementwise.add(self, other)
Tensor.__radd__ = lambda self, other: elementwise.add(other, self)
Tensor.__sub__ = lambda self, other: elementwise.subtract(self, other)
Tensor.__rsub__ = lambda self, other: elementwise.subtract(other, self)
Tensor.__mul__ = lambda self, other: elementwise.multiply(self, other)
Tensor.__rmul__ = lambda self, other: elementwise.multiply(other, self)
Tensor.__truediv__ = lambda self, other: elementwise.divide(self, other)
Tensor.__rtruediv__ = lambda self, other: elementwise.divide(other, self)
Tensor.__pow__ = lambda self, other: elementwise.power(self, other)
Tensor.__rpow__ = lambda self, other: elementwise.power(other, self)
Tensor.__matmul__ = lambda self, other: linear.matmul(self, other)
Tensor.__rmatmul__ = lambda self, other: linear.matmul(other, self)
Tensor.__neg__ = lambda self: elementwise.negative(self)
Tensor.__abs__ = lambda self: elementwise.abs(self)
Tensor.__getitem__ = lambda self, i: shape.index(self, i)

Tensor.sum, Tensor.mean, Tensor.max, Tensor.min = reduce.sum, reduce.mean, reduce.max, reduce.min
Tensor.reshape, Tensor.transpose = shape.reshape, shape.transpose
