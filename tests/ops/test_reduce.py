"""Reductions equal NumPy's; a gradient is spread over, or handed to, exactly the values it came from."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minivis import ops
from minivis.tensor import Tensor, gradient

PAIRS = [(ops.sum, np.sum), (ops.mean, np.mean), (ops.max, np.max), (ops.min, np.min), (ops.variance, np.var)]


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), needs_grad=True)


@st.composite
def shapes_and_axes(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1) | hnp.valid_tuple_axes(len(shape), min_size=1))
    return shape, axis


@pytest.mark.parametrize("ours, numpys", PAIRS, ids=lambda f: f.__name__)
@given(shapes_and_axes(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_values_and_shapes_equal_numpy(ours, numpys, shape_and_axis, keepdims):
    shape, axis = shape_and_axis
    x = leaf(np.random.default_rng(0).standard_normal(shape))
    y = ours(x, axis, keepdims)
    expected = numpys(x.data, axis=axis, keepdims=keepdims)
    assert y.shape == expected.shape and isinstance(y.data, np.ndarray)
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-15)
    assert gradient(y, x).shape == shape


@pytest.mark.parametrize("f", [ops.max, ops.min])
@given(shapes_and_axes())
@settings(max_examples=40, deadline=None)
def test_of_equal_extremes_the_first_gets_the_whole_gradient(f, shape_and_axis):
    shape, axis = shape_and_axis
    x = leaf(np.random.default_rng(0).integers(0, 2, shape))        # many ties
    y = f(x, axis, keepdims=True)
    seed = 1 + np.arange(y.size, dtype=float).reshape(y.shape)
    dx = gradient(y, x, seed=seed)
    np.testing.assert_array_equal(dx.sum(axis=axis, keepdims=True), seed)       # handed on whole
    axes = tuple(range(x.ndim)) if axis is None else np.atleast_1d(axis) % x.ndim
    order = [a for a in range(x.ndim) if a not in axes] + sorted(axes)
    rows = x.data.transpose(order).reshape(y.size, -1)
    first = (rows.argmax if f is ops.max else rows.argmin)(axis=1)
    np.testing.assert_array_equal(dx.transpose(order).reshape(y.size, -1).argmax(axis=1), first)


def test_a_score_is_a_0_dimensional_array_not_a_scalar():
    y = leaf(np.ones((2, 3)), np.float32).sum()
    assert isinstance(y.data, np.ndarray) and y.shape == () and y.dtype == np.float32


def test_the_variance_of_a_constant_is_exactly_0():
    x = leaf(np.full((4, 5), 0.1), np.float32)
    np.testing.assert_allclose(ops.variance(x, 1).data, 0, atol=1e-15)


def test_the_variance_of_numbers_far_from_0_keeps_its_digits():
    x = leaf(1e8 + np.array([0.0, 1.0, 2.0]))
    assert float(ops.variance(x).data) == pytest.approx(2 / 3, rel=1e-9)


@pytest.mark.parametrize("axis, words", [(3, "axis 3"), ((0, 0), "twice"), ((0, -2), "twice")])
def test_an_axis_that_is_not_there_is_an_error(axis, words):
    with pytest.raises(ValueError, match=words):
        ops.sum(leaf(np.ones((2, 3))), axis)


def test_reducing_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"max: x \(0, 3\) has no values"):
        ops.max(leaf(np.ones((0, 3))), 0)
