"""Pooling as an op: formula, ties, ceil mode, what counts in a mean."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis import kernels, ops
from minivis.tensor import Tensor, gradient


def windows(x, size, stride, pad, ceil):
    """The real cells of every window, for one picture of one channel: {(i, j): [(row, column)]}."""
    H, W = x.shape[1:3]
    found = {}

    def count(n, a):
        room = n + 2 * pad - size
        out = (-(-room // stride) if ceil else room // stride) + 1
        return out - 1 if ceil and (out - 1) * stride >= n + pad else out

    for i in range(count(H, 0)):
        for j in range(count(W, 1)):
            found[i, j] = [(r, c) for r in range(i * stride - pad, i * stride - pad + size)
                           for c in range(j * stride - pad, j * stride - pad + size) if 0 <= r < H and 0 <= c < W]
    return found


SIDE = st.integers(3, 8)
GEOMETRY = (SIDE, SIDE, st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 1))


@pytest.mark.parametrize("name", ["cpu", "reference"])
@given(*GEOMETRY)
@settings(max_examples=60, deadline=None)
def test_max_pooling_hands_the_gradient_to_the_first_of_the_largest(name, H, W, size, stride, ceil, pad):
    pad = min(pad, size - 1)
    x = np.random.default_rng(0).integers(-3, 1, (1, H, W, 1)).astype(np.float64)       # ties; padding would win as 0
    t = Tensor(x, needs_grad=True)
    with kernels.using(name):
        y = ops.max_pool2d(t, size, stride=stride, pad=pad, ceil=ceil)
        seed = 1.0 + np.arange(y.size).reshape(y.shape)
        dx = gradient(y, t, seed=seed)
    expected = np.zeros_like(x)
    cells = windows(x, size, stride, pad, ceil)
    assert y.shape[1:3] == tuple(np.array(list(cells)).max(axis=0) + 1)
    for (i, j), seen in cells.items():
        best = max(seen, key=lambda rc: x[0, rc[0], rc[1], 0])      # max takes the first
        assert y.data[0, i, j, 0] == x[0, best[0], best[1], 0]
        expected[0, best[0], best[1], 0] += seed[0, i, j, 0]
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("name", ["cpu", "reference"])
@given(*GEOMETRY)
@settings(max_examples=60, deadline=None)
def test_an_average_that_leaves_padding_out_is_the_mean_of_real_cells(name, H, W, size, stride, ceil, pad):
    pad = min(pad, size - 1)
    x = np.random.default_rng(0).standard_normal((1, H, W, 1))
    with kernels.using(name):
        y = ops.avg_pool2d(x, size, stride=stride, pad=pad, ceil=ceil, count_pad=False).data
    for (i, j), seen in windows(x, size, stride, pad, ceil).items():
        np.testing.assert_allclose(y[0, i, j, 0], np.mean([x[0, r, c, 0] for r, c in seen]), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("each_kernel_set")
def test_counted_padding_is_zeros_in_the_mean_but_what_ceil_adds_is_not():
    x = np.ones((1, 4, 4, 1))
    np.testing.assert_allclose(ops.avg_pool2d(x, 2, pad=1).data[0, :, :, 0],
                               [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    np.testing.assert_allclose(ops.avg_pool2d(x, 3, stride=2, ceil=True).data, 1)


@pytest.mark.usefixtures("each_kernel_set")
def test_the_gradient_of_an_average_sums_to_the_seed(rng):
    """Every output hands on exactly what it got, when padding is not counted."""
    x = Tensor(rng.standard_normal((2, 7, 6, 3)), needs_grad=True)
    y = ops.avg_pool2d(x, 3, stride=2, pad=1, count_pad=False)
    seed = rng.standard_normal(y.shape)
    np.testing.assert_allclose(gradient(y, x, seed=seed).sum(axis=(1, 2)), seed.sum(axis=(1, 2)), rtol=1e-12)


def test_global_average_is_an_average_over_everything(rng):
    x = rng.standard_normal((2, 5, 6, 3))
    np.testing.assert_allclose(ops.global_avg_pool(x).data, ops.avg_pool2d(x, (5, 6)).data[:, 0, 0], rtol=1e-13)


@pytest.mark.parametrize("f", [ops.max_pool2d, ops.avg_pool2d])
@pytest.mark.parametrize("shape, how, words", [
    ((1, 2, 5, 1), {"size": 3}, r"x \(1, 2, 5, 1\) is smaller than the window \(3, 3\)"),
    ((1, 1, 5, 1), {"size": 3, "stride": 2, "ceil": True}, "smaller than the window"),
    ((1, 5, 5, 1), {"size": 2, "pad": 2}, r"pad \(2, 2, 2, 2\) is as wide as the window \(2, 2\)"),
    ((5, 5, 1), {"size": 2}, r"must be \(N, H, W, C\)"),
    ((1, 5, 5, 1), {"size": 0}, "size must be a positive integer"),
])
def test_impossible_windows_are_named(f, shape, how, words):
    with pytest.raises(ValueError, match=words):
        f(np.ones(shape), **how)


@pytest.mark.usefixtures("each_kernel_set")
def test_a_last_partial_window_counts_with_ceil():
    x = np.arange(2.0).reshape(1, 2, 1, 1)
    assert ops.max_pool2d(x, (3, 1), stride=2, ceil=True).data.ravel().tolist() == [1]


def test_a_pooling_whose_gradient_nobody_asks_for_keeps_no_switches():
    from minivis.ops.pool import MaxPool2d
    op = MaxPool2d(size=2)
    op(np.ones((1, 4, 4, 1)))
    assert op.switches is None and op.x is None
