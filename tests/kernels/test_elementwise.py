"""Sums over arrays on several threads are the sums."""
import math

import numpy as np
import pytest

from minivis import kernels
from minivis.kernels.cpu import elementwise, threads


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", [(), (3, 5), (2 * elementwise.SLAB + 7,), (3, elementwise.SLAB)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_apply_gives_numpys_numbers_in_memory_of_its_own(n, shape, order):
    threads.set_threads(n)
    rng = np.random.default_rng(0)
    x, y = (np.asarray(rng.standard_normal(shape, np.float32), order=order) for _ in range(2))
    before = x.copy(), y.copy()
    out, twice = kernels.apply("add", x, y), kernels.apply("multiply", x, np.full((1,) * x.ndim, 2, "f"))
    assert kernels.apply("add", x, y, x) is x and np.array_equal(x, out) and np.array_equal(twice, before[0] * 2)
    x[...] = before[0]
    threads.set_threads(None)
    assert np.array_equal(out, before[0] + before[1]) and out.dtype == np.float32 and out.shape == shape
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])
    assert not np.shares_memory(out, x) and not np.shares_memory(out, y)


PART = elementwise.PART


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART + 1001])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dot_is_the_exact_product_to_float64_and_the_same_bits_for_any_number_of_threads(size, dtype):
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    results = []
    for n in (1, 2, 3):
        threads.set_threads(n)
        results.append(kernels.dot(x, y))
    threads.set_threads(None)
    exact = math.fsum(float(a) * float(b) for a, b in zip(x, y))
    assert len(set(results)) == 1
    assert abs(results[0] - exact) <= 1e-13 * max(1, float(np.abs(x * y).sum()))


def test_dot_reads_any_layout_and_keeps_nan_and_infinity():
    x = np.ones((64, 1000), np.float32)
    assert kernels.dot(x, x) == kernels.dot(x.T, x.T) == kernels.dot(x[:, ::2], x[:, ::2]) * 2 == 64000
    for odd in (np.nan, np.inf):
        x[63, 999] = odd
        assert not np.isfinite(kernels.dot(x, x))


@pytest.mark.parametrize("size", [0, 7, PART + 5, 2 * PART])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_and_combinations_of_many_vectors_are_those_of_two(size, dtype):
    rng = np.random.default_rng(2)
    xs, ys = ([rng.standard_normal((1, size)).astype(dtype) for _ in range(count)] for count in (5, 3))
    tables, sums, coefficients = [], [], rng.standard_normal(5)
    for n in (1, 2, 3):
        threads.set_threads(n)
        tables.append(kernels.products(xs, ys).tobytes())
        sums.append(kernels.combination(xs, coefficients))
    threads.set_threads(None)
    assert len(set(tables)) == 1 and len({s.tobytes() for s in sums}) == 1
    assert kernels.products(xs, ys).tolist() == [[kernels.dot(x, y) for y in ys] for x in xs]
    exact = sum(c * x.astype(np.float64) for c, x in zip(coefficients, xs))
    assert sums[0].dtype == dtype and sums[0].shape == (1, size)
    assert np.allclose(sums[0], exact, rtol=0, atol=1e-14 if dtype == np.float64 else 1e-6)


def test_every_set_has_the_same_sums():
    rng = np.random.default_rng(3)
    xs = [rng.standard_normal((2, PART)).astype(np.float32) for _ in range(3)]
    ours = kernels.products(xs, xs), kernels.combination(xs, [1, -2, 0.5]), kernels.sums_of_squares(xs[0])
    with kernels.using("reference"):
        plain = kernels.products(xs, xs), kernels.combination(xs, [1, -2, 0.5]), kernels.sums_of_squares(xs[0])
    for a, b in zip(ours, plain):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-6)
