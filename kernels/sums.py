"""Sums over whole vectors in any array module. The CPU's kernels for the same are in cpu/elementwise.py."""

import numpy as np


def products(xs, ys, xp=np):
    """(len(xs), len(ys)) float64 NumPy array: the sum of all products of each x with each y."""
    if not xs or not ys:
        return xp.zeros((len(xs), len(ys)))
    found = xp.stack([(x.astype("float64") * y).sum() for x in xs for y in ys]).reshape(len(xs), len(ys))
    return found.get() if hasattr(found, "get") else found


def combination(xs, coefficients):
    """sum c_i x_i, added up in the arrays' own type."""
    of = xs[0].dtype.type
    y = xs[0] * of(coefficients[0])
    for x, c in zip(xs[1:], coefficients[1:]):
        y += x * of(c)
    return y
