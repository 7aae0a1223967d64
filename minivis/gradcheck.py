"""Is this backward the derivative of this forward? A check by finite differences along random directions.

For f with output y, an upstream gradient g and a direction v of unit length, the derivative of <g, f(x)> along v is
<backward(g), v>. Central differences give (<g, f(x + h v)> - <g, f(x - h v)>) / 2h, with an error of order h^2 from the
third derivative and eps/h from rounding; in float64 h = 1e-5 leaves about 1e-10 of both. Two forward passes check one
direction whatever the size. Keep inputs away from kinks (ReLU's 0, ties in a maximum): there is no derivative there.
"""
import numpy as np

from .tensor import Tensor, gradient


def gradcheck(f, *arrays, directions=3, h=1e-5, tolerance=1e-7, seed=0):
    """Compare f's backward with finite differences in float64: the worst error, or AssertionError if they differ.

    f        takes as many Tensors as arrays are given and returns a Tensor
    error    |difference| / (|g| |J v| + |backward| terms): relative to the size of both numbers compared
    """
    arrays = [np.asarray(a, np.float64) for a in arrays]
    rng = np.random.default_rng(seed)
    tensors = [Tensor(a.copy(), needs_grad=True) for a in arrays]
    y = f(*tensors)
    g = rng.standard_normal(y.shape)
    analytic = gradient(y, tensors, seed=g)
    repeated = gradient(y, tensors, seed=g)
    if any(not np.array_equal(a, b) for a, b in zip(analytic, repeated)):
        raise AssertionError("gradcheck: two walks over the same graph gave different bits")
    for a, x in zip(analytic, arrays):
        if a.shape != x.shape:
            raise AssertionError(f"gradcheck: gradient {a.shape} for an input {x.shape}")
    worst = 0.0
    for i, x in enumerate(arrays):
        for _ in range(directions):
            v = rng.standard_normal(x.shape)
            v /= max(np.linalg.norm(v), 1e-30)
            plus, minus = ([Tensor(a + s * h * v if j == i else a) for j, a in enumerate(arrays)] for s in (1, -1))
            numeric = float(np.sum(g * (f(*plus).data - f(*minus).data)) / (2 * h))
            expected = float(np.sum(analytic[i] * v))
            scale = max(abs(numeric), abs(expected), np.linalg.norm(analytic[i]) / np.sqrt(max(x.size, 1)), 1e-12)
            worst = max(worst, abs(numeric - expected) / scale)
    if not worst <= tolerance:
        raise AssertionError(f"gradcheck: relative error {worst:.2e} is above {tolerance:.0e}")
    return worst
