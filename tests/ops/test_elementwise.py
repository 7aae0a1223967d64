"""Arithmetic: NumPy's values and types, numbers that stay weak, and the stated choice at every kink."""
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minivis import ops
from minivis.ops.elementwise import unbroadcast
from minivis.tensor import Tensor, gradient

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), needs_grad=True)


@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 0.5, np.float64(1.5), True])
def test_a_number_takes_the_type_of_the_tensor_from_either_side(op, dtype, number):
    x = leaf([1.5, 2.0, 3.0], dtype)
    for y, expected in ((op(x, number), op(x.data, float(number))), (op(number, x), op(float(number), x.data))):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.data, expected)
        assert gradient(y, x).dtype == dtype


@pytest.mark.parametrize("op", BINARY)
def test_an_array_on_the_left_leaves_the_work_to_the_tensor(op):
    a, x = np.array([1.0, 2.0]), leaf([3.0, 4.0])
    y = op(a, x)
    assert isinstance(y, Tensor)
    np.testing.assert_array_equal(y.data, op(a, x.data))
    assert isinstance(np.float64(2) * x, Tensor) and isinstance(np.ones((2, 2)) @ leaf(np.ones((2, 2))), Tensor)


def test_numpy_functions_do_not_swallow_tensors():
    with pytest.raises(TypeError):
        np.exp(leaf([1.0]))


def test_each_gradient_has_the_type_of_its_own_input():
    x, w = leaf([1.0, 2.0], np.float32), leaf([3.0, 4.0], np.float64)
    dx, dw = gradient(x * w, [x, w])
    assert (dx.dtype, dw.dtype) == (np.float32, np.float64)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4, min_side=1))
@settings(max_examples=60, deadline=None)
def test_unbroadcast_is_the_transpose_of_broadcasting(shapes):
    """<broadcast(a), g> = <a, unbroadcast(g)>, exactly on small whole numbers."""
    small, full = shapes.input_shapes[0], shapes.result_shape
    rng = np.random.default_rng(0)
    a, g = rng.integers(-5, 6, small).astype(float), rng.integers(-5, 6, full).astype(float)
    back = unbroadcast(g, small)
    assert back.shape == small
    assert np.sum(np.broadcast_to(a, full) * g) == np.sum(a * back)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=1), st.sampled_from(BINARY[:4]))
@settings(max_examples=60, deadline=None)
def test_values_equal_numpy_for_every_broadcast(shapes, op):
    rng = np.random.default_rng(1)
    a, b = (leaf(rng.random(s) + 1) for s in shapes.input_shapes)
    y = op(a, b)
    np.testing.assert_array_equal(y.data, op(a.data, b.data))
    assert [g.shape for g in gradient(y, [a, b])] == [a.shape, b.shape]


def test_shapes_that_do_not_broadcast_are_both_named():
    with pytest.raises(ValueError, match=r"multiply: shapes \(2, 3\) and \(4,\)"):
        leaf(np.ones((2, 3))) * np.ones(4)


# ---------------------------------------------------------------------------------------------------------- kinks


def test_abs_has_slope_0_at_0():
    x = leaf([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(gradient(abs(x), x), [-1, 0, 1])


def test_the_first_input_gets_a_tie():
    for f in (ops.maximum, ops.minimum):
        a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0])
        da, db = gradient(f(a, b), [a, b])
        np.testing.assert_array_equal(da, [1, 1])
        np.testing.assert_array_equal(db, [0, 0])


def test_clip_passes_the_gradient_inside_and_on_the_bounds():
    x = leaf([-1.5, -1.0, 0.0, 2.0, 2.5])
    y = ops.clip(x, -1, 2)
    np.testing.assert_array_equal(y.data, [-1, -1, 0, 2, 2])
    np.testing.assert_array_equal(gradient(y, x), [0, 1, 1, 1, 0])


def test_rounding_lets_the_gradient_pass():
    x = Tensor(np.array([-3.2, 0.4, 1.6, 254.7, 300.0]), needs_grad=True)
    y = ops.round_through(x, 0, 255)
    assert y.numpy().tolist() == [0, 0, 2, 255, 255]
    dy = np.arange(5.0)
    assert np.array_equal(gradient(y * dy, x), dy)


def test_clip_takes_bounds_per_channel():
    x = leaf(np.full((1, 2, 2, 3), 5.0), np.float32)
    y = ops.clip(x, high=np.array([4.0, 6.0, 5.0]))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data[0, 0, 0], [4, 5, 5])
    np.testing.assert_array_equal(gradient(y, x)[0, 0, 0], [0, 1, 1])
    with pytest.raises(ValueError, match="clip: the bounds"):
        ops.clip(x, high=np.zeros((7, 1, 2, 2, 3)))


def test_powers_have_derivatives_at_0():
    x = leaf([0.0, 0.0])
    np.testing.assert_array_equal(gradient(x ** 0, x), [0, 0])
    np.testing.assert_array_equal(gradient(x ** 1, x), [1, 1])
    np.testing.assert_array_equal(gradient(x ** 3, x), [0, 0])
    exponent = leaf([2.0, 3.0])
    np.testing.assert_array_equal(gradient(np.zeros(2) ** exponent, exponent), [0, 0])


def test_whole_powers_of_negative_numbers():
    x = leaf([-2.0, -3.0])
    np.testing.assert_array_equal((x ** 3).data, [-8, -27])
    np.testing.assert_allclose(gradient(x ** 3, x), [12, 27], rtol=1e-15)


@pytest.mark.filterwarnings("error")
def test_sigmoid_and_tanh_never_overflow():
    x = leaf([-1e4, -50.0, 0.0, 50.0, 1e4], np.float32)
    np.testing.assert_allclose(ops.sigmoid(x).data, [0, np.exp(-50), 0.5, 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(ops.tanh(x).data, [-1, -1, 0, 1, 1])
    assert np.isfinite(gradient(ops.sigmoid(x), x)).all()


# -------------------------------------------------------------------------------------------------------- dropout


def test_dropout_drops_and_scales_in_training_and_does_nothing_otherwise():
    x = leaf(np.ones((100, 100)), np.float32)
    assert np.array_equal(ops.dropout(x, 0.25).data, x.data)
    y = ops.dropout(x, 0.25, np.random.default_rng(0))
    assert y.dtype == np.float32
    assert set(np.unique(y.data)) == {0, np.float32(1 / 0.75)}
    assert abs((y.data == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(gradient(y, x), y.data)       # x is 1: the factors themselves
    np.testing.assert_array_equal(ops.dropout(x, 0.25, np.random.default_rng(0)).data, y.data)
    with pytest.raises(ValueError, match="rate 1"):
        ops.dropout(x, 1)


# -------------------------------------------------------------------------------------------------------- economy


@pytest.mark.parametrize("train_b", [False, True])
def test_a_product_keeps_only_what_a_gradient_will_read(train_b):
    a, b = leaf([1.0, 2.0]), Tensor(np.array([3.0, 4.0]), needs_grad=train_b)
    op = (a * b).op
    assert op.b is b.data
    assert (op.a is a.data) == train_b


def test_an_absolute_value_keeps_one_byte_per_value():
    assert abs(leaf(np.ones(100), np.float32)).op.sign.nbytes == 100
