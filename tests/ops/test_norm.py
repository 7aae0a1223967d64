"""Normalisation: what each makes zero and one, both meanings of LRN's alpha, statistics as values."""
import numpy as np
import pytest

from minivis import ops
from minivis.tensor import Tensor, gradient

pytestmark = pytest.mark.usefixtures("each_kernel_set")
SCALE, SHIFT = np.array([2.0, -1.0, 0.5]), np.array([1.0, 0.0, -3.0])


@pytest.fixture
def x(rng):
    return rng.standard_normal((4, 5, 6, 3)) * [1, 10, 0.1] + [0, 5, -2]


def test_instance_norm_makes_every_picture_and_channel_0_and_1(x):
    y = ops.instance_norm(x, eps=0).data
    np.testing.assert_allclose(y.mean(axis=(1, 2)), 0, atol=1e-13)
    np.testing.assert_allclose(y.var(axis=(1, 2)), 1, rtol=1e-12)
    np.testing.assert_allclose(ops.instance_norm(x, SCALE, SHIFT, eps=0).data, y * SCALE + SHIFT, rtol=1e-14)


def test_batch_norm_in_training_makes_every_channel_0_and_1_and_returns_what_it_measured(x):
    y, mean, var = ops.batch_norm_train(x, eps=0)
    np.testing.assert_allclose(y.data.mean(axis=(0, 1, 2)), 0, atol=1e-13)
    np.testing.assert_allclose(y.data.var(axis=(0, 1, 2)), 1, rtol=1e-12)
    np.testing.assert_allclose(mean, x.mean(axis=(0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(var, x.var(axis=(0, 1, 2)), rtol=1e-13)         # biased
    assert mean.shape == var.shape == (3,)


def test_batch_norm_with_the_batchs_own_statistics_equals_training(x):
    y, mean, var = ops.batch_norm_train(x, SCALE, SHIFT)
    np.testing.assert_allclose(ops.batch_norm(x, SCALE, SHIFT, mean, var).data, y.data, rtol=1e-11, atol=1e-12)


def test_a_normalised_sum_has_no_gradient(x):
    """Adding a constant, or scaling, changes nothing after instance norm: the gradient is orthogonal to both."""
    t = Tensor(x, needs_grad=True)
    dx = gradient(ops.instance_norm(t, eps=0), t, seed=np.random.default_rng(1).standard_normal(x.shape))
    assert np.abs(dx).max() > 0.01
    np.testing.assert_allclose(dx.sum(axis=(1, 2)), 0, atol=1e-11)
    np.testing.assert_allclose((dx * x).sum(axis=(1, 2)), 0, atol=1e-11)


def test_eps_stands_under_the_root():
    x = np.array([-1.0, 1.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(ops.instance_norm(x, eps=3.0).data, x / 2)
    np.testing.assert_allclose(ops.batch_norm(x, *np.ones((4, 1)), eps=3.0).data, (x - 1) / 2 + 1)


def test_a_constant_picture_becomes_the_shift_not_nan():
    x = np.full((1, 3, 3, 3), 7.0, np.float32)
    np.testing.assert_array_equal(ops.instance_norm(x, SCALE.astype("f4"), SHIFT.astype("f4")).data[0, 0, 0], SHIFT)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("per_size", [True, False])
def test_lrn_equals_its_definition(rng, size, per_size):
    x, (alpha, beta, k) = rng.standard_normal((2, 3, 2, 6)), (0.3, 0.75, 2.0)
    expected = np.empty_like(x)
    for c in range(6):
        window = x[..., max(0, c - size // 2):c + (size - 1) // 2 + 1]
        expected[..., c] = x[..., c] / (k + (alpha / size if per_size else alpha) * (window**2).sum(axis=-1)) ** beta
    np.testing.assert_allclose(ops.lrn(x, size, alpha, beta, k, per_size).data, expected, rtol=1e-13)


def test_lrns_two_alphas_differ_by_the_size(rng):
    x = rng.standard_normal((1, 2, 2, 7))
    divided, plain = ops.lrn(x, 5, 0.5, per_size=True), ops.lrn(x, 5, 0.1, per_size=False)
    np.testing.assert_allclose(divided.data, plain.data, rtol=1e-14)


def test_scale_works_per_channel_on_maps_and_vectors(x):
    np.testing.assert_array_equal(ops.scale(x, SCALE, SHIFT).data, x * SCALE + SHIFT)
    np.testing.assert_array_equal(ops.scale(x[:, 0, 0], SCALE).data, x[:, 0, 0] * SCALE)


@pytest.mark.parametrize("f", [
    lambda x, v: ops.instance_norm(x, v, v), lambda x, v: ops.batch_norm_train(x, v, v), ops.scale,
    lambda x, v: ops.batch_norm(x, SCALE, SHIFT, v, SCALE),
])
def test_a_wrong_number_of_channels_names_both_shapes(x, f):
    with pytest.raises(ValueError, match=r"\(4,\) .* channel of x \(4, 5, 6, 3\)"):
        f(x, np.ones(4))


def test_instance_norm_and_lrn_want_pictures():
    for f in (ops.instance_norm, ops.lrn):
        with pytest.raises(ValueError, match=r"x \(2, 3\) must be \(N, H, W, C\)"):
            f(np.ones((2, 3)))
    with pytest.raises(ValueError, match="size 0"):
        ops.lrn(np.ones((1, 1, 1, 1)), size=0)


def test_frozen_normalisation_keeps_no_activation(x):
    t = Tensor(x, needs_grad=True)
    assert ops.batch_norm(t, SCALE, SHIFT, SHIFT, SCALE**2).op.normal is None
    assert ops.scale(t, SCALE).op.x is None


@pytest.mark.parametrize("op", [ops.instance_norm, lambda x: ops.batch_norm_train(x)[0]])
def test_means_of_large_float32_pictures_are_as_good_as_float64s(op):
    """400 x 500 positions far from zero: summed one after the other in float32 they would be off by 1e-4."""
    x = (10 + np.random.default_rng(0).standard_normal((1, 400, 500, 2))).astype(np.float32)
    np.testing.assert_allclose(op(x).data, op(x.astype(np.float64)).data, atol=1e-5)
