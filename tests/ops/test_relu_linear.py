"""ReLU, leaky ReLU and the dense layer by hand; their rules are in tests/test_rules.py."""
import numpy as np
import pytest

from minivis import ops
from minivis.tensor import Tensor, gradient

pytestmark = pytest.mark.usefixtures("each_kernel_set")


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 5, 7), (1, 1, 1, 65)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_of_any_shape(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    t = Tensor(x, needs_grad=True)
    y = ops.relu(t)
    np.testing.assert_array_equal(y.data, np.where(x > 0, x, 0))
    np.testing.assert_array_equal(gradient(y, t), np.where(x > 0, 1, 0))
    np.testing.assert_array_equal(y.op.positive(), x > 0)
    assert y.dtype == dtype


def test_leaky_relu_has_its_slope_at_0_and_below():
    x = Tensor(np.array([-2.0, 0.0, 3.0], np.float32), needs_grad=True)
    y = ops.leaky_relu(x, 0.25)
    np.testing.assert_array_equal(y.data, [-0.5, 0, 3])
    np.testing.assert_array_equal(gradient(y, x), [0.25, 0.25, 1])
    assert y.dtype == np.float32


def test_linear_by_hand():
    x, w, b = (Tensor(np.array(v, float), needs_grad=True) for v in ([[1, 2]], [[1, 0, -1], [3, 1, 1]], [0, 10, 20]))
    y = ops.linear(x, w, b)
    np.testing.assert_array_equal(y.data, [[7, 12, 21]])
    dx, dw, db = gradient(y, [x, w, b], seed=[[1, 2, 3]])
    np.testing.assert_array_equal(dx, [[-2, 8]])
    np.testing.assert_array_equal(dw, [[1, 2, 3], [2, 4, 6]])
    np.testing.assert_array_equal(db, [1, 2, 3])


@pytest.mark.parametrize("shapes, words", [
    (((2, 3), (4, 5)), r"linear: x \(2, 3\) must be \(N, in\) and w \(4, 5\)"),
    (((2, 1, 3), (3, 5)), r"linear: x \(2, 1, 3\)"),
    (((2, 3), (3, 5), (4,)), r"b \(4,\) must have one number per column of w \(3, 5\)"),
])
def test_shapes_that_do_not_fit_are_both_named(shapes, words):
    with pytest.raises(ValueError, match=words):
        ops.linear(*(np.ones(s) for s in shapes))


def test_matmul_names_both_shapes():
    with pytest.raises(ValueError, match=r"a \(2, 3\) and b \(2, 3\) do not fit"):
        Tensor(np.ones((2, 3))) @ np.ones((2, 3))
    with pytest.raises(ValueError, match="do not fit"):
        ops.matmul(np.ones(3), np.ones((3, 3)))
