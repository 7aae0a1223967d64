"""Is this backward the derivative of this forward? A check by finite differences along random directions.

For f with output y, an upstream gradient g and a direction v of unit length, the derivative of <g, f(x)> along v is
<backward(g), v>. Central differences give (<g, f(x + h v)> - <g, f(x - h v)>) / 2h, with an error of order h^2 from the
third derivative and eps/h from rounding; in float64 h = 1e-5 leaves about 1e-10 of both. Two forward passes check one
direction whatever the size. Keep inputs away from kinks (ReLU's 0, ties in a maximum): there is no derivative there.

Checked along the way: two walks give the same bits, gradients have the shapes of their inputs, and an input's gradient
is the same when it is the only one asked for (an op then keeps less, and must still keep enough).
"""
import numpy as np

from .tensor import Tensor, gradient


def gradcheck(f, *arrays, directions=3, h=1e-5, tolerance=1e-7, seed=0, rules="plain"):
    """Compare f's backward with finite differences in float64; AssertionError if they differ, else the worst error.

    f        takes as many Tensors as arrays are given and returns a Tensor
    rules    as in gradient(); rules other than "plain" are no derivatives, and the check fails, as it should
    error    |numeric - expected| / the largest of |numeric|, |expected| and the root mean square of the gradient
    """
    arrays = [np.asarray(a, np.float64) for a in arrays]
    rng = np.random.default_rng(seed)
    tensors = [Tensor(a.copy(), needs_grad=True) for a in arrays]
    y = f(*tensors)
    g = rng.standard_normal(y.shape)
    analytic = gradient(y, tensors, seed=g, rules=rules)
    _check_bits("two walks over the same graph", analytic, gradient(y, tensors, seed=g, rules=rules))
    for i, (a, x) in enumerate(zip(analytic, arrays)):
        if a.shape != x.shape:
            raise AssertionError(f"gradcheck: gradient {a.shape} for input {i} of shape {x.shape}")
        if not a.any():
            raise AssertionError(f"gradcheck: the gradient of input {i} is zero everywhere: nothing is checked")
        alone = [Tensor(other, needs_grad=j == i) for j, other in enumerate(arrays)]
        _check_bits(f"input {i} alone and with the others", [a], [gradient(f(*alone), alone[i], seed=g, rules=rules)])
    errors = [0.0]
    for i, x in enumerate(arrays):
        for _ in range(directions):
            v = rng.standard_normal(x.shape)
            v /= max(np.linalg.norm(v), 1e-30)
            plus, minus = ([Tensor(a + s * h * v if j == i else a) for j, a in enumerate(arrays)] for s in (1, -1))
            numeric = float(np.sum(g * (f(*plus).data - f(*minus).data)) / (2 * h))
            expected = float(np.sum(analytic[i] * v))
            scale = max(abs(numeric), abs(expected), np.linalg.norm(analytic[i]) / np.sqrt(x.size))
            errors.append(abs(numeric - expected) / scale)
    worst = float(np.max(errors))       # nan if any is: Python's max would lose it
    if not worst <= tolerance:
        raise AssertionError(f"gradcheck: relative error {worst:.2e} is above {tolerance:.0e}")
    return worst


def _check_bits(what, one, other):
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other)):
        raise AssertionError(f"gradcheck: {what} gave different bits")
