"""Layer-wise relevance propagation: a score is handed down layer by layer, and each layer shares out what it was given.

R_i = sum over outputs j of (what input i contributed to j) / (all that was contributed to j) * R_j. The rules differ in
what counts as a contribution. Bach et al. 2015, doi:10.1371/journal.pone.0130140; Montavon et al. 2019,
doi:10.1007/978-3-030-28954-6_10.

Every rule below is one of linear layers (conv, linear) and made of `share`: contributions x_m w_m of one or more parts,
the output's sum z = sum_m x_m w_m (+ b), R_i = sum_m x_m,i * sum_j w_m,ij R_j / stable(z_j). The bias of a layer takes
its share, too, where a rule keeps it in z: that relevance never reaches the pixels.
"""
import functools

import numpy as np

from .. import kernels

STABILIZER = 1e-6       # what keeps a denominator from being 0 in rules other than epsilon


def stable(z, epsilon=STABILIZER):
    """z + epsilon sign(z), with sign(0) = 1; with epsilon 0 only zeros are replaced, by 1e-7."""
    xp = kernels.xp(z)
    if epsilon == 0:
        return xp.where(z == 0, z.dtype.type(1e-7), z)
    return z + xp.where(z >= 0, z.dtype.type(epsilon), z.dtype.type(-epsilon))


def epsilon(epsilon=1e-6, bias=True):
    """Contributions x_i w_ij; epsilon takes relevance where contributions cancel. Bach et al. 2015, equation 58."""
    def rule(op, R):
        return share(op, R, [(op.x, op.w, op.b if bias else None)], epsilon)
    return rule


def gamma(gamma=0.25, epsilon=STABILIZER, bias=True):
    """What speaks for an output counts (1 + gamma)-fold. Montavon et al. 2019; for inputs and outputs of either sign
    Andeol et al. 2021: where z_j > 0 the contributions above 0 are favoured, where z_j < 0 those below 0."""
    def rule(op, R):
        xp = kernels.xp(R)
        high, low = _parts(op.x)
        b = op.b if bias else None
        z = _forward(op, op.x, op.w, op.b)
        more, less = (op.w + w * op.w.dtype.type(gamma) for w in _parts(op.w))
        b_more, b_less = (None, None) if b is None else (b + v * b.dtype.type(gamma) for v in _parts(b))
        risen = share(op, xp.where(z > 0, R, 0), [(high, more, b_more), (low, less, None)], epsilon)
        return risen + share(op, xp.where(z < 0, R, 0), [(high, less, b_less), (low, more, None)], epsilon)
    return rule


def alpha_beta(alpha=2.0, beta=1.0, epsilon=STABILIZER, bias=True):
    """alpha * (shares of the contributions above 0) - beta * (shares of those below 0), alpha - beta = 1.

    Bach et al. 2015, equation 60."""
    if alpha < 0 or beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise ValueError(f"alpha_beta: alpha {alpha:g} minus beta {beta:g} must be 1, and neither below 0")

    def rule(op, R):
        (high, low), (plus, minus) = _parts(op.x), _parts(op.w)
        b_plus, b_minus = _parts(op.b) if bias and op.b is not None else (None, None)
        for_it = share(op, R, [(high, plus, b_plus), (low, minus, None)], epsilon)
        if beta == 0:
            return for_it * alpha if alpha != 1 else for_it
        return alpha * for_it - beta * share(op, R, [(high, minus, b_minus), (low, plus, None)], epsilon)
    return rule


def z_plus(epsilon=STABILIZER, bias=False):
    """Only contributions above 0 count: alpha_beta with 1, 0. Montavon et al. 2017,
    doi:10.1016/j.patcog.2016.11.008."""
    return alpha_beta(1.0, 0.0, epsilon, bias)


def z_box(low, high, epsilon=STABILIZER):
    """For pixels between `low` and `high`, (C,) each: contributions x w - low w+ - high w-. Montavon et al. 2017.

    The bias drops out: b - b+ - b- = 0."""
    def rule(op, R):
        plus, minus = _parts(op.w)
        xp = kernels.xp(R)
        lowest, highest = (xp.broadcast_to(xp.asarray(v, R.dtype), op.x.shape) for v in (low, high))
        return share(op, R, [(op.x, op.w, None), (-lowest, plus, None), (-highest, minus, None)], epsilon)
    return rule


def w_square(epsilon=STABILIZER, bias=False):
    """Contributions w_ij^2, whatever the input. Montavon et al. 2017."""
    def rule(op, R):
        b = op.b * op.b if bias and op.b is not None else None
        return share(op, R, [(np.ones_like(op.x), op.w * op.w, b)], epsilon)
    return rule


def flat(epsilon=STABILIZER):
    """All inputs in a window count the same. Lapuschkin et al. 2019, doi:10.1038/s41467-019-08987-4."""
    def rule(op, R):
        return share(op, R, [(np.ones_like(op.x), np.ones_like(op.w), None)], epsilon)
    return rule


def share(op, R, parts, epsilon):
    """R_i = sum_m x_m,i sum_j w_m,ij R_j / stable(z_j), z = sum_m (x_m w_m + b_m). parts: (x_m, w_m, b_m or None)."""
    z = None
    for x, w, b in parts:
        more = _forward(op, x, w, b)
        z = more if z is None else z + more
    s = R / stable(z, epsilon)
    given = None
    for x, w, _ in parts:
        more = x * _backward(op, s, w)
        given = more if given is None else given + more
    return given


def _forward(op, x, w, b):
    k, x = kernels.of(w), kernels.xp(w).ascontiguousarray(x)
    if op.kind == "linear":
        return k.linear_forward(x, w, b)
    return k.conv2d_forward(x, w, b, **op.geometry, precision=op.precision)


def _backward(op, s, w):
    k = kernels.of(w)
    if op.kind == "linear":
        return k.linear_backward_input(s, w)
    return k.conv2d_backward_input(s, w, op.x_shape, **op.geometry, precision=op.precision)


def _parts(values):
    """(max(values, 0), min(values, 0))"""
    xp = kernels.xp(values)
    return xp.maximum(values, 0), xp.minimum(values, 0)


# ---------------------------------------------------------------------------------------------- layers without weights


def average(op, R, epsilon=STABILIZER):
    """Average pooling: each cell of a window contributed its value, R_i = x_i sum_j R_j / stable(sum of window j)."""
    if op.kind == "global_avg_pool":
        y = op.x.mean(axis=(1, 2))
    else:
        y = kernels.of(op.x).avg_pool_forward(op.x, **op.geometry, count_pad=op.count_pad)
    return op.x * op.backward(R / stable(y, epsilon))


def add(op, R, epsilon=STABILIZER):
    """A sum of two branches: each gets its share of the sum."""
    a, b = op.x
    s = R / stable(a + b, epsilon)
    return a * s, b * s


def passed(op, R):
    """What treats every value by itself hands relevance on as it is. So does local response normalisation, though it
    mixes channels: what neighbours inhibit is not seen."""
    return R


def passed_relu(R, positive):
    """ReLU hands relevance on as it is: `passed`, as rules for ReLUs are written."""
    return R


def fixed(kind, epsilon=STABILIZER):
    """The rule of a kind of layer without weights."""
    rule = FIXED[kind]
    return functools.partial(rule, epsilon=epsilon) if rule in (average, add) else rule


LINEAR = ("conv", "linear")
FIXED = {"avg_pool": average, "global_avg_pool": average, "add": add, "relu": passed_relu,
         **dict.fromkeys(("leaky_relu", "clip", "tanh", "sigmoid", "lrn", "batch_norm", "scale", "dropout"),
                         passed)}
PLAIN = ("input", "max_pool", "concat", "flatten", "pad", "upsample")      # their derivative shares rightly
