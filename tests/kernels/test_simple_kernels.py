"""Pooling, ReLU, normalisation and resampling against the definition, at random shapes and layouts."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.kernels import cpu, reference
from minivis.kernels.cpu import max_pooling, threads
from minivis.kernels.cpu.decisions import Decisions

FLOATS = st.sampled_from([np.float32, np.float64])
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 3, 7, 16, 37]))
MANY = settings(max_examples=60, deadline=None, derandomize=True)


def integers(seed, shape, dtype, low=-4, high=5):
    """Small whole numbers: every sum of them is exact, so results must agree bit by bit; and ties are frequent."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def strided(x):
    """The same numbers in another memory layout."""
    wide = np.zeros((*x.shape[:3], x.shape[3] + 2), x.dtype)[..., 1:-1]
    wide = wide.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)
    wide[...] = x
    return wide


@st.composite
def pools(draw):
    shape = draw(SHAPES)
    size = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    pad = tuple(draw(st.integers(0, size[a // 2] - 1)) for a in range(4))
    size = tuple(min(k, shape[1 + a] + pad[2 * a] + pad[2 * a + 1]) for a, k in enumerate(size))
    return shape, (size, stride, pad, draw(st.booleans()))


@given(pools(), FLOATS, st.integers(0, 99))
@MANY
def test_max_pool_equals_the_definition_bit_by_bit(pool, dtype, seed):
    shape, how = pool
    x = integers(seed, shape, dtype)
    expected, where = reference.max_pool_forward(x, *how)
    y, switches = cpu.max_pool_forward(strided(x), *how)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(cpu.unpack_switch(switches, y.shape), where)
    assert switches.nbytes == y.size and y.dtype == dtype
    dy = integers(seed + 1, y.shape, dtype)
    np.testing.assert_array_equal(cpu.max_pool_backward(strided(dy), switches, shape, *how),
                                  reference.max_pool_backward(dy, where, shape, *how))


@pytest.mark.parametrize("C", [3, 20])
def test_a_window_of_padding_alone_gives_minus_infinity_and_takes_no_gradient(C):
    x, how = integers(0, (1, 3, 4, C), np.float32), ((2, 2), (2, 2), (2, 0, 2, 1), False)
    y, switches = cpu.max_pool_forward(x, *how)
    assert np.isneginf(y[:, 0]).all() and np.array_equal(y, reference.max_pool_forward(x, *how)[0])
    dy = integers(1, y.shape, np.float32)
    _, where = reference.max_pool_forward(x, *how)
    np.testing.assert_array_equal(cpu.max_pool_backward(dy, switches, x.shape, *how),
                                  reference.max_pool_backward(dy, where, x.shape, *how))


@pytest.mark.parametrize("rule", ["plain", "guided", "deconv"])
@pytest.mark.parametrize("C", [5, 16, 24, 37])
def test_max_pool_backward_through_a_relu_below_is_that_and_then_the_rule(rule, C):
    before, dy = integers(0, (2, 9, 7, C), np.float32), integers(1, (2, 4, 3, C), np.float32)
    relu, how = Decisions(before.shape, "bits"), ((3, 3), (2, 2), (0, 0, 0, 0), False)
    relu.record(before)
    _, switches = cpu.max_pool_forward(before, *how)
    expected = cpu.max_pool_backward(dy, switches, before.shape, *how)
    relu.pull(expected, rule, expected)
    fused = max_pooling.max_backward(dy, switches, before.shape, *how, below=relu, rule=rule)
    np.testing.assert_array_equal(fused, expected)


def test_max_pool_windows_of_more_than_127_cells_have_wider_switches():
    x = integers(0, (1, 20, 21, 3), np.float32, -50, 50)
    how = ((12, 13), (3, 2), (3, 4, 5, 2), False)
    y, switches = cpu.max_pool_forward(x, *how)
    expected, where = reference.max_pool_forward(x, *how)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(cpu.unpack_switch(switches, y.shape), where)
    np.testing.assert_array_equal(cpu.max_pool_backward(y, switches, x.shape, *how),
                                  reference.max_pool_backward(y, where, x.shape, *how))


@given(pools(), FLOATS, st.booleans(), st.integers(0, 99))
@MANY
def test_avg_pool_equals_the_definition_and_its_transpose_is_adjoint(pool, dtype, count_pad, seed):
    shape, how = pool
    x = integers(seed, shape, dtype)
    with np.errstate(invalid="ignore"):
        expected = reference.avg_pool_forward(x, *how, count_pad)
        y = cpu.avg_pool_forward(strided(x), *how, count_pad)
    np.testing.assert_array_equal(y, expected)
    if np.isfinite(y).all():
        dy = integers(seed + 1, y.shape, dtype)
        dx = cpu.avg_pool_backward(strided(dy), shape, *how, count_pad)
        np.testing.assert_allclose(dx, reference.avg_pool_backward(dy, shape, *how, count_pad), atol=1e-5)
        assert np.vdot(y, dy) == pytest.approx(np.vdot(x, dx), abs=1e-3)


@given(SHAPES, FLOATS, st.integers(0, 99))
@MANY
def test_relu_and_its_three_ways_back_equal_the_definition(shape, dtype, seed):
    x, dy = integers(seed, shape, dtype), integers(seed + 1, shape, dtype)
    y, bits = cpu.relu_forward(strided(x))
    expected, mask = reference.relu_forward(x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(cpu.unpack_mask(bits, shape), mask)
    assert bits.nbytes == -(-x.size // 8)
    np.testing.assert_array_equal(cpu.relu_backward(strided(dy), bits), reference.relu_backward(dy, mask))
    np.testing.assert_array_equal(cpu.guided_relu_backward(dy, bits), reference.guided_relu_backward(dy, mask))
    np.testing.assert_array_equal(cpu.deconv_relu_backward(dy), reference.deconv_relu_backward(dy))


def test_relu_keeps_nan_and_refuses_a_mask_of_another_size():
    y, bits = cpu.relu_forward(np.full((1, 1, 5, 7), np.nan, np.float32))
    assert np.isnan(y).all() and not cpu.unpack_mask(bits, y.shape).any()
    with pytest.raises(ValueError, match="99"):
        cpu.relu_backward(np.zeros((1, 1, 9, 11), np.float32), bits)


@given(SHAPES, FLOATS, st.integers(1, 6), st.sampled_from([0.75, 0.5, 1.3]), st.booleans(), st.integers(0, 99))
@MANY
def test_lrn_equals_the_definition(shape, dtype, size, beta, per_size, seed):
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    y, s = cpu.lrn_forward(strided(x), size, 0.3, beta, 2.0, per_size)
    expected, t = reference.lrn_forward(x, size, 0.3, beta, 2.0, per_size)
    close = {"rtol": 0, "atol": (2e-6 if dtype == np.float32 else 1e-14) * (1 + abs(x).max())}
    np.testing.assert_allclose(y, expected, **close)
    dx = cpu.lrn_backward(strided(dy), x, s, size, 0.3, beta, per_size)
    np.testing.assert_allclose(dx, reference.lrn_backward(dy, x, t, size, 0.3, beta, per_size), **close)
    assert dx.dtype == y.dtype == dtype


@given(SHAPES, FLOATS, st.booleans(), st.sampled_from([0, 300]), st.integers(0, 99))
@MANY
def test_batch_norm_in_training_equals_the_definition_wherever_the_values_lie(shape, dtype, rectify, far, seed):
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_normal(shape) + far).astype(dtype), rng.standard_normal(shape).astype(dtype)
    scale, shift = rng.standard_normal((2, shape[-1])).astype(dtype)
    exact = reference.batch_norm_forward(x.astype(float), scale.astype(float), shift.astype(float), 0.1, rectify)
    y, mean, var, mask = cpu.batch_norm_forward(strided(x), scale, shift, 0.1, rectify)
    assert y.dtype == dtype and (mask is None) == (not rectify)
    close = {"rtol": 0, "atol": (2e-5 if dtype == np.float32 else 1e-12) * (1 + far)}
    for got, expected in zip((y, mean, var), exact):
        np.testing.assert_allclose(got, expected, **close)
    bools = cpu.unpack_mask(mask, shape).astype(bool) if rectify else None
    back = cpu.batch_norm_backward(strided(dy), x, scale, mean, var, 0.1, mask)
    for got, expected in zip(back, reference.batch_norm_backward(dy.astype(float), x.astype(float), scale, mean, var,
                                                                 0.1, bools)):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=(1e-4 if dtype == np.float32 else 1e-11) * (1 + far))


@given(SHAPES, FLOATS, st.integers(1, 30), st.sampled_from([1, 2]), st.integers(0, 9), st.integers(0, 99))
@MANY
def test_axis_matmul_equals_the_definition_for_banded_and_full_matrices(shape, dtype, rows, axis, band, seed):
    x = integers(seed, shape, dtype)
    m = integers(seed + 1, (rows, shape[axis]), dtype)
    distance = abs(np.arange(rows)[:, None] * shape[axis] / rows - np.arange(shape[axis]))
    m[distance > band] = 0
    np.testing.assert_array_equal(cpu.axis_matmul(strided(x), m, axis), reference.axis_matmul(x, m, axis))


def test_axis_matmul_of_a_matrix_that_does_not_fit_says_so():
    with pytest.raises(ValueError, match=r"\(4, 5\).*axis 1"):
        cpu.axis_matmul(np.zeros((1, 6, 5, 3), np.float32), np.zeros((4, 5)), 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads_and_any_batch(dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 33, 34, 19)).astype(dtype)
    m = rng.standard_normal((21, 34)).astype(dtype)
    how = ((3, 3), (2, 2), (1, 0, 1, 0), True)

    def everything(x):
        y, switches = cpu.max_pool_forward(x, *how)
        normal, s = cpu.lrn_forward(x, 5, 0.1, 0.75, 1.0, True)
        return (cpu.max_pool_backward(y, switches, x.shape, *how), cpu.avg_pool_forward(x, *how, False),
                cpu.lrn_backward(normal, x, s, 5, 0.1, 0.75, True), cpu.axis_matmul(x, m, 2),
                cpu.axis_matmul(x[..., :3], m, 2), cpu.axis_matmul(x, m[:, :33], 1))

    try:
        threads.set_threads(1)
        expected = everything(x)
        for n in (2, 3):
            threads.set_threads(n)
            for a, b in zip(everything(x), expected):
                assert a.tobytes() == b.tobytes()
        for i in range(5):
            for a, b in zip(everything(x[i:i + 1]), expected):
                assert a.tobytes() == b[i:i + 1].tobytes()
    finally:
        threads.set_threads(None)


def test_other_kinds_of_numbers_run_as_in_numpy(fast):
    x = integers(0, (1, 4, 4, 3), np.float16)
    y, _ = fast.relu_forward(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    y, switches = fast.max_pool_forward(x, (2, 2), (2, 2), (0, 0, 0, 0), False)
    _, where = reference.max_pool_forward(x, (2, 2), (2, 2), (0, 0, 0, 0), False)
    np.testing.assert_array_equal(fast.unpack_switch(switches, y.shape), where)
