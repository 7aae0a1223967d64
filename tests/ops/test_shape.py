"""Moving values: forward equals NumPy, backward is the transpose, <f(x), g> = <x, f_T(g)>, exactly on whole numbers."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minivis import ops
from minivis.ops.shape import add_in_turns
from minivis.tensor import Tensor, gradient


def whole(*shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


def assert_transposed(f, x):
    """f is linear and only moves values, so these sums are exact."""
    t = Tensor(x, needs_grad=True)
    y = f(t)
    g = whole(*y.shape, seed=1)
    dx = gradient(y, t, seed=g)
    assert dx.shape == x.shape
    assert np.sum(y.data * g) == np.sum(x * dx)


@given(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), st.data())
@settings(max_examples=100, deadline=None)
def test_any_index_equals_numpy_and_its_transpose(shape, data):
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True)
                      | hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4)))
    x = whole(*shape)
    np.testing.assert_array_equal(Tensor(x)[index].data, x[index])
    assert_transposed(lambda t: t[index], x)


def test_a_boolean_index_picks_where_it_is_true():
    x = whole(3, 4)
    np.testing.assert_array_equal(Tensor(x)[x > 0].data, x[x > 0])
    assert_transposed(lambda t: t[x > 0], x)


def test_a_slice_is_a_copy_so_the_activation_may_go():
    x = whole(3, 4)
    y = Tensor(x)[:, 1:3]
    assert not np.shares_memory(y.data, x)


def test_an_index_out_of_range_names_the_shape():
    with pytest.raises(IndexError, match=r"\(2, 3\)"):
        Tensor(whole(2, 3))[5]


@given(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), st.data())
@settings(max_examples=60, deadline=None)
def test_adding_in_turns_equals_adding_one_by_one(shape, data):
    """The way without np.add.at, which GPUs take."""
    index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=6)))
    dy = np.random.default_rng(0).standard_normal(np.zeros(shape)[index].shape)
    one, other = np.zeros(shape), np.zeros(shape)
    np.add.at(one, index, dy)
    add_in_turns(other, index, dy)
    np.testing.assert_array_equal(other, one)       # the same order, so the same bits


@pytest.mark.parametrize("mode, numpys", [("zero", "constant"), ("reflect", "reflect"), ("edge", "edge")])
@pytest.mark.parametrize("pad", [(0, 0, 0, 0), (1, 2, 3, 1), (0, 3, 2, 0), (3, 3, 4, 4)])
def test_padding_equals_numpy_and_its_transpose(mode, numpys, pad):
    x = whole(2, 4, 5, 3)
    expected = np.pad(x, ((0, 0), pad[:2], pad[2:], (0, 0)), mode=numpys)
    np.testing.assert_array_equal(ops.pad(x, pad, mode).data, expected)
    assert_transposed(lambda t: ops.pad(t, pad, mode), x)


def test_padding_with_a_value_and_its_errors():
    x = whole(1, 2, 2, 1)
    assert ops.pad(x, 1, value=7).data[0, 0, 0, 0] == 7
    with pytest.raises(ValueError, match="too small to be mirrored"):
        ops.pad(x, 2, "reflect")
    with pytest.raises(ValueError, match="mode 'wrap'"):
        ops.pad(x, 1, "wrap")
    with pytest.raises(ValueError, match="'same'"):
        ops.pad(x, "same")
    with pytest.raises(ValueError, match=r"\(2, 2\) must be \(N, H, W, C\)"):
        ops.pad(np.ones((2, 2)), 1)


@pytest.mark.parametrize("shift, axis", [(1, 2), ((2, -3), (1, 2)), ((0, 9), (1, 2))])
def test_rolling_back_undoes_rolling(shift, axis):
    x = whole(2, 4, 5, 3)
    rolled = ops.roll(x, shift, axis)
    np.testing.assert_array_equal(rolled.data, np.roll(x, shift, axis))
    assert_transposed(lambda t: ops.roll(t, shift, axis), x)
    with pytest.raises(ValueError, match="one shift per axis"):
        ops.roll(x, (1, 2), 1)


@pytest.mark.parametrize("axis", [1, 2, (1, 2)])
def test_flipping_twice_is_nothing(axis):
    x = whole(2, 4, 5, 3)
    np.testing.assert_array_equal(ops.flip(x, axis).data, np.flip(x, axis))
    np.testing.assert_array_equal(ops.flip(ops.flip(x, axis), axis).data, x)
    assert_transposed(lambda t: ops.flip(t, axis), x)


def test_flatten_orders():
    x = whole(2, 4, 5, 3)
    np.testing.assert_array_equal(ops.flatten(x).data, x.reshape(2, 60))
    np.testing.assert_array_equal(ops.flatten(x, "chw").data, x.transpose(0, 3, 1, 2).reshape(2, 60))
    assert_transposed(lambda t: ops.flatten(t, "chw"), x)
    with pytest.raises(ValueError, match="order 'whc'"):
        ops.flatten(x, "whc")


@pytest.mark.parametrize("axis, other", [(-1, (2, 3, 1)), (0, (5, 3, 4)), (1, (2, 2, 4))])
def test_concatenated_parts_get_their_own_gradients(axis, other):
    a, b = Tensor(whole(2, 3, 4), needs_grad=True), Tensor(whole(*other), needs_grad=True)
    y = ops.concatenate([a, b, a], axis)
    np.testing.assert_array_equal(y.data, np.concatenate([a.data, b.data, a.data], axis))
    g = whole(*y.shape, seed=2)
    da, db = gradient(y, [a, b], seed=g)
    assert np.sum(g * y.data) == np.sum(da * a.data) + np.sum(db * b.data)


def test_shapes_that_do_not_fit_are_named():
    x = whole(2, 3)
    with pytest.raises(ValueError, match=r"reshape: x \(2, 3\) has 6 values, which do not fit into \(4,\)"):
        ops.reshape(x, 4)
    with pytest.raises(ValueError, match="do not fit"):
        ops.reshape(x, 4, -1)
    with pytest.raises(ValueError, match="do not fit"):
        ops.reshape(x, -1, -1)
    with pytest.raises(ValueError, match=r"\(2, 3\), \(3, 3\) may differ along axis -1 only"):
        ops.concatenate([x, whole(3, 3)])
    with pytest.raises(ValueError, match="name each axis"):
        ops.transpose(x, (0, 0))
