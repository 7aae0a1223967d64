"""DeepLIFT's rescale rule: contributions relative to a baseline, walked like a gradient.

A batch holds n inputs and then their n baselines. Where a nonlinearity maps x to y and the baseline x0 to y0, its
multiplier is (y - y0) / (x - x0) in the place of the derivative; linear layers keep theirs. Then
sum over i of m_i (x_i - x0_i) = f(x) - f(x0) holds at every layer. Shrikumar, Greenside, Kundaje 2017,
arXiv:1704.02685; max pooling as Ancona et al. 2018, arXiv:1711.06104 and Lundberg, Lee 2017 treat it: the excess of the
larger output over the other goes to the cell that gave it.
"""
from .. import kernels

SAME = 1e-10        # inputs closer than this have no quotient: their derivative is taken

NONLINEAR = ("relu", "leaky_relu", "clip", "tanh", "sigmoid")


def rescale(op, dy):
    """Multiplier of a nonlinearity that treats every value by itself."""
    x, x0 = _halves(op.x)
    y, y0 = _halves(_again(op))
    xp = kernels.xp(x)
    difference = x - x0
    near = abs(difference) < SAME
    dx = xp.empty_like(dy)
    m = y - y0
    m /= xp.where(near, 1, difference)
    for half, given in zip(_halves(dx), _halves(dy)):
        xp.multiply(given, m, out=half)
    if near.any():
        dx = xp.where(xp.concatenate([near, near]), op.backward(dy), dx)
    return dx


rescale.reads_op = True     # ReLU hands its rules the signs; this one wants the layer's input


def max_pool(op, dy):
    """The rise of the maximum goes to the cell that is the maximum of x, its fall to that of the baseline."""
    k, xp = kernels.of(dy), kernels.xp(dy)
    x, x0 = _halves(op.x)
    y, y0 = _halves(k.max_pool_forward(op.x, **op.geometry)[0])
    largest = xp.maximum(y, y0)
    change = dy * xp.concatenate([largest - y0, y - largest])
    given = _halves(k.max_pool_backward(xp.ascontiguousarray(change), op.switches, op.x_shape, **op.geometry))
    difference = x - x0
    near = abs(difference) < SAME
    m = (given[0] + given[1]) / xp.where(near, 1, difference)
    derivative = _halves(op.backward(dy))[0]
    m = xp.where(near, derivative, m)
    return xp.concatenate([m, m])


def rules(net, start):
    """{layer: rule} of the nonlinear layers between the picture and `start`; the rest keeps its derivative."""
    found = {}
    for name in net.table.needed([start]):
        kind = net.table[name].kind
        if kind in NONLINEAR:
            found[name] = rescale
        elif kind == "max_pool":
            found[name] = max_pool
    return found


def _again(op):
    """The layer's output, computed again from its input."""
    from ..ops import relu
    from ..tensor import Tensor
    if op.kind == "relu":
        return relu(Tensor(op.x)).data
    if op.kind in ("tanh", "sigmoid"):
        return op.y
    xp = kernels.xp(op.x)
    if op.kind == "leaky_relu":
        return xp.where(op.x > 0, op.x, op.x * op.x.dtype.type(op.slope))
    low, high = (-xp.inf if op.low is None else op.low), (xp.inf if op.high is None else op.high)
    return xp.minimum(xp.maximum(op.x, low), high)


def _halves(batch):
    n = len(batch) // 2
    return batch[:n], batch[n:]
