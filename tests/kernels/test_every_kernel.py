"""One body per kernel, for every kernel set: reference, CPU with and without vector instructions, the CUDA source run
by g++, and a GPU where there is one. Small whole numbers make every sum exact, so results are compared bit by bit.
"""
import numpy as np
import pytest

from minivis.kernels import gpu, reference
from tools.cuda_shim import Shim

FLOATS = ("float32", "float64")
SHAPES = [
    (1, 1, 1, 1),       # a single number
    (2, 5, 7, 3),       # odd everything
    (1, 8, 9, 37),      # several words of a mask, no multiple of a warp
    (3, 4, 4, 64),      # whole vectors
]


def integers(shape, dtype="float32", seed=0, low=-3, high=4):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def close(got, expected, dtype):
    """Within the rounding of the working precision, measured against the largest value."""
    scale = max(1e-30, float(np.abs(expected).max()))
    tolerance = {"float16": 4e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


# ------------------------------------------------------------------------------------------------------------- ReLU


@pytest.mark.parametrize("dtype", ("float16", *FLOATS))
@pytest.mark.parametrize("shape", SHAPES)
def test_relu_and_its_rules(every_set, shape, dtype):
    x, dy = integers(shape, dtype), integers(shape, dtype, seed=1)
    y, mask = every_set.relu_forward(x)
    np.testing.assert_array_equal(every_set.host(y), np.maximum(x, 0))
    np.testing.assert_array_equal(every_set.host(every_set.unpack_mask(mask, shape)), x > 0)
    for rule, expected in (("relu_backward", np.where(x > 0, dy, 0)),
                           ("guided_relu_backward", np.where((x > 0) & (dy > 0), dy, 0))):
        np.testing.assert_array_equal(every_set.host(getattr(every_set, rule)(dy, mask)), expected)
    np.testing.assert_array_equal(every_set.host(every_set.deconv_relu_backward(dy)), np.maximum(dy, 0))


def test_relu_keeps_nan_and_does_not_call_it_positive(every_set):
    x = np.array([[[[np.nan, -1, 2, -0.0]]]], np.float32)
    y, mask = every_set.relu_forward(x)
    np.testing.assert_array_equal(every_set.host(y), [[[[np.nan, 0, 2, 0]]]])
    assert every_set.host(every_set.unpack_mask(mask, x.shape)).ravel().tolist() == [False, False, True, False]


# ---------------------------------------------------------------------------------------------------------- pooling


POOLS = [
    ((2, 8, 6, 3), ((2, 2), (2, 2), (0, 0, 0, 0), False)),         # VGG's
    ((1, 9, 9, 2), ((3, 3), (2, 2), (1, 1, 1, 1), True)),          # overlapping, padded, a last partial window
    ((1, 7, 20, 33), ((3, 2), (2, 3), (0, 1, 1, 0), True)),        # different along the two sides
    ((1, 18, 19, 2), ((16, 17), (1, 2), (0, 0, 0, 0), False)),     # more cells than a byte counts
    ((1, 4, 4, 300), ((2, 2), (3, 3), (0, 0, 0, 0), False)),       # a row longer than a block; cells between windows
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape, how", POOLS)
def test_max_pool(every_set, shape, how, dtype):
    x = integers(shape, dtype)
    expected, where = reference.max_pool_forward(x, *how)
    y, switches = every_set.max_pool_forward(x, *how)
    np.testing.assert_array_equal(every_set.host(y), expected)
    np.testing.assert_array_equal(every_set.host(every_set.unpack_switch(switches, y.shape)), where)
    dy = integers(y.shape, dtype, seed=1)
    np.testing.assert_array_equal(every_set.host(every_set.max_pool_backward(dy, switches, shape, *how)),
                                  reference.max_pool_backward(dy, where, shape, *how))


@pytest.mark.parametrize("count_pad", (False, True))
@pytest.mark.parametrize("shape, how", POOLS)
def test_avg_pool(every_set, shape, how, count_pad):
    x = integers(shape)
    y = every_set.host(every_set.avg_pool_forward(x, *how, count_pad))
    close(y, reference.avg_pool_forward(x, *how, count_pad), "float32")
    dy = normal(y.shape, "float64")
    close(every_set.host(every_set.avg_pool_backward(dy, shape, *how, count_pad)),
          reference.avg_pool_backward(dy, shape, *how, count_pad), "float64")


# ---------------------------------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size, per_size", [(5, True), (4, False), (1, True)])
@pytest.mark.parametrize("shape", [(2, 3, 3, 7), (1, 4, 5, 96)])
def test_lrn(every_set, shape, size, per_size, dtype):
    x, dy = normal(shape, dtype), normal(shape, dtype, seed=1)
    expected, sums = reference.lrn_forward(x, size, 0.3, 0.75, 1.5, per_size)
    y, s = every_set.lrn_forward(x, size, 0.3, 0.75, 1.5, per_size)
    close(every_set.host(y), expected, dtype)
    close(every_set.host(s), sums, dtype)
    close(every_set.host(every_set.lrn_backward(dy, x, s, size, 0.3, 0.75, per_size)),
          reference.lrn_backward(dy, x, sums, size, 0.3, 0.75, per_size), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rectify", (False, True))
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (3, 14, 14, 37)])
def test_batch_norm_in_training(every_set, shape, rectify, dtype):
    x, dy = normal(shape, dtype) + 3, normal(shape, dtype, seed=1)
    scale, shift = (normal(shape[3], dtype, seed) for seed in (2, 3))
    exact = [a.astype(float) for a in (x, scale, shift)]
    y, mean, var, mask = every_set.batch_norm_forward(x, scale, shift, 0.1, rectify)
    y0, mean0, var0, mask0 = reference.batch_norm_forward(*exact, 0.1, rectify)
    for got, expected in ((y, y0), (mean, mean0), (var, var0)):
        close(every_set.host(got), expected, dtype)
    assert (mask is None) == (mask0 is None)
    if rectify:
        mask0 = every_set.host(every_set.unpack_mask(mask, shape))     # a value within rounding of 0 may go either way
    back = reference.batch_norm_backward(dy.astype(float), exact[0], exact[1], mean0, var0, 0.1, mask0)
    for got, expected in zip(every_set.batch_norm_backward(dy, x, scale, mean, var, 0.1, mask), back):
        close(every_set.host(got), expected, dtype)


# ---------------------------------------------------------------------------------------------------- matrix products


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("N, C, K", [
    (1, 30, 70),        # one picture: a flat tile
    (3, 1100, 5),       # a depth of three slices, and a rest
    (9, 17, 70),        # more rows than a flat tile, less than a tile
    (70, 40, 66),       # two tiles along both sides
])
def test_linear(every_set, N, C, K, dtype):
    x, w, b, dy = (integers(shape, dtype, seed) for seed, shape in enumerate([(N, C), (C, K), (K,), (N, K)]))
    host = every_set.host
    np.testing.assert_array_equal(host(every_set.linear_forward(x, w, b)), x @ w + b)
    np.testing.assert_array_equal(host(every_set.linear_forward(x, w, None)), x @ w)
    np.testing.assert_array_equal(host(every_set.linear_backward_input(dy, w)), dy @ w.T)
    np.testing.assert_array_equal(host(every_set.linear_backward_weight(dy, x)), x.T @ dy)


def test_a_row_has_the_same_bits_alone_and_among_others(every_set):
    if every_set._set is reference:
        pytest.skip("NumPy leaves the order of its sums to BLAS")
    x, w, b = normal((70, 1100), "float32"), normal((1100, 40), "float32", 1), normal(40, "float32", 2)
    whole = every_set.host(every_set.linear_forward(x, w, b))
    for row in (0, 69):
        assert every_set.host(every_set.linear_forward(x[row:row + 1], w, b)).tobytes() == whole[row:row + 1].tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 30, 20, 70), (2, 3, 3, 130)])
def test_gram(every_set, shape, dtype):
    x = integers(shape, dtype)
    rows = x.reshape(shape[0], -1, shape[3])
    np.testing.assert_array_equal(every_set.host(every_set.gram(x)), rows.transpose(0, 2, 1) @ rows)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", (1, 2))
@pytest.mark.parametrize("shape, out", [((2, 5, 7, 3), 4), ((1, 40, 33, 3), 50), ((1, 3, 4, 40), 9)])
def test_axis_matmul(every_set, shape, out, axis, dtype):
    x, size = integers(shape, dtype), shape[axis]
    near = np.abs(np.arange(out)[:, None] * size / out - np.arange(size)) < 4      # a band, as resizing has one
    m = integers((out, size), dtype, seed=1) * near
    m[2] = 0                                                                       # a row of nothing but zeros
    expected = np.einsum("ih,nhwc->niwc" if axis == 1 else "jw,nhwc->nhjc", m, x)
    np.testing.assert_array_equal(every_set.host(every_set.axis_matmul(x, m, axis)), expected)


@pytest.mark.parametrize("dtype", ("float16", *FLOATS))
@pytest.mark.parametrize("N, P, C, rows", [(2, 12, 3, 7), (1, 30, 37, 50), (0, 5, 3, 4), (1, 4, 2, 3)])
def test_sparse_rows(every_set, N, P, C, rows, dtype):
    if dtype == "float16" and every_set._set is not gpu:
        pytest.skip("half precision is the GPU's")
    random, x = np.random.default_rng(4), integers((N, P, C), dtype)
    dense = integers((rows, P), "float64", 5) * (random.random((rows, P)) < (0 if P == 4 else 0.3))     # or nothing
    dense[1] = 0
    row, cells = np.nonzero(dense)
    starts, weights = np.searchsorted(row, np.arange(rows + 1)).astype(np.int32), dense[row, cells]
    kernel = getattr(every_set._set, "sparse_rows")             # noqa: B009  (the matrix stays on the host)
    y = every_set.host(kernel(every_set._move(x), starts, cells.astype(np.int32), weights))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.einsum("rp,npc->nrc", dense, x.astype(float)))


def test_a_sparse_matrix_that_reads_outside_is_refused():
    x, whole = np.ones((1, 4, 2), np.float32), (np.array([0, 1, 2]), np.array([0, 3]), np.ones(2))
    with gpu.launch.through(Shim()):
        for which, other, says in ((0, np.array([0, 1, 3]), "do not belong"), (1, np.array([-1, 3]), "cells -1 to 3"),
                                   (1, np.array([0, 4]), "cells 0 to 4 must be"), (2, np.ones(3), "3 weights")):
            wrong = list(whole)
            wrong[which] = other
            with pytest.raises(ValueError, match=f"sparse_rows: .*{says}"):
                gpu.sparse_rows(x, *wrong)
