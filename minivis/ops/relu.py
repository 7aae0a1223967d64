"""ReLU, y = max(x, 0): the layer at which the ways of looking back differ (see rules.py).

Forward keeps one bit per value, whether x was above 0; that decides the derivative, guided backprop and, trivially,
deconvnet, so one forward pass serves every rule.
"""
from .. import kernels
from ..rules import RELU_RULES, plain
from ..tensor import Op


class Relu(Op):
    kind = "relu"

    def forward(self, x):
        y, mask = kernels.of(x).relu_forward(x)
        self.shape, self.mask = x.shape, mask if self.needs[0] else None
        return y

    def backward(self, dy):
        return plain(dy, self.mask)

    def backward_by(self, rule, dy):
        if isinstance(rule, str):
            return RELU_RULES[rule](dy, self.mask)
        if getattr(rule, "reads_op", False):        # a rule that wants the layer's input, as those of other kinds do
            return rule(self, dy)
        return rule(dy, self.positive())

    def positive(self):
        """Where x was above 0, as a boolean array."""
        return kernels.of(self.mask).unpack_mask(self.mask, self.shape)


class LeakyRelu(Op):
    """y = x where x > 0, slope * x elsewhere. Maas et al. 2013."""
    kind = "leaky_relu"

    def __init__(self, slope=0.01):
        self.slope = float(slope)

    def forward(self, x):
        xp = kernels.xp(x)
        self.positive = x > 0 if self.needs[0] else None
        return xp.where(x > 0, x, x * x.dtype.type(self.slope))

    def backward(self, dy):
        return kernels.xp(dy).where(self.positive, dy, dy * dy.dtype.type(self.slope))


def relu(x):
    """max(x, 0), any shape."""
    return Relu()(x)


def leaky_relu(x, slope=0.01):
    """x where x > 0, slope * x elsewhere."""
    return LeakyRelu(slope)(x)
