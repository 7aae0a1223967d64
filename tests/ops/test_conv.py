"""Convolution as an op: geometry as people write it, the adjoint pair, and errors that name both shapes.

What the kernels compute is checked in tests/kernels; here it is what the ops make of it.
"""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis import kernels, ops
from minivis.ops.geometry import padding, pair
from minivis.tensor import Tensor, gradient


def whole(*shape, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


def by_definition(x, w, b, stride, pad, dilation, groups):
    """The formula of ops/conv.py, one output value at a time."""
    N, C = x.shape[0], x.shape[3]
    kh, kw, _, K = w.shape
    p = np.pad(x, ((0, 0), pad[:2], pad[2:], (0, 0)))
    OH = (p.shape[1] - dilation * (kh - 1) - 1) // stride + 1
    OW = (p.shape[2] - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((N, OH, OW, K))
    for n, i, j, k in np.ndindex(*y.shape):
        g = k // (K // groups)
        channels = slice(g * C // groups, (g + 1) * C // groups)
        seen = p[n, i * stride:i * stride + dilation * (kh - 1) + 1:dilation,
                 j * stride:j * stride + dilation * (kw - 1) + 1:dilation, channels]
        y[n, i, j, k] = (seen * w[..., k]).sum() + b[k]
    return y


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3),
       st.tuples(*[st.integers(0, 3)] * 4))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_convolution_equals_its_formula_bit_for_bit_on_whole_numbers(name, kh, kw, stride, dilation, groups, pad):
    x, w, b = whole(2, 6, 7, 2 * groups), whole(kh, kw, 2, 3 * groups, seed=1), whole(3 * groups, seed=2)
    with kernels.using(name):
        y = ops.conv2d(x, w, b, stride=stride, pad=pad, dilation=dilation, groups=groups)
    np.testing.assert_array_equal(y.data, by_definition(x, w, b, stride, pad, dilation, groups))


@pytest.mark.usefixtures("each_kernel_set")
@pytest.mark.parametrize("stride, pad, groups", [(1, 0, 1), (2, 1, 1), ((2, 1), (0, 2, 1, 1), 1), (3, "same", 2)])
def test_a_transposed_convolution_is_the_transpose_of_the_convolution(stride, pad, groups):
    """<conv(x), y> = <x, conv_T(y)>, exactly on whole numbers; conv_T has the roles of C and K swapped."""
    x, w = whole(2, 6, 6, 4), whole(3, 2, 4 // groups, 6, seed=1)
    y = ops.conv2d(x, w, stride=stride, pad=pad, groups=groups).data
    g = whole(*y.shape, seed=2)
    t = Tensor(x, needs_grad=True)
    dx = gradient(ops.conv2d(t, w, stride=stride, pad=pad, groups=groups), t, seed=g)
    assert np.sum(y * g) == np.sum(x * dx)
    steps = pair(stride, "stride")
    spare = [0, 0] if pad == "same" else [
        (6 + sum(padding(pad, x.shape, (3, 2), steps)[2 * a:2 * a + 2]) - w.shape[a]) % steps[a] for a in (0, 1)]
    back = ops.conv_transpose2d(g, w.swapaxes(2, 3), stride=stride, pad=pad, output_pad=tuple(spare), groups=groups)
    np.testing.assert_array_equal(back.data, dx)


@pytest.mark.parametrize("size, stride, k, expected", [
    (5, 1, 3, (1, 1)), (5, 2, 3, (1, 1)), (6, 2, 3, (0, 1)), (6, 3, 2, (0, 0)), (7, 2, 4, (1, 2)), (1, 1, 5, (2, 2)),
])
def test_same_padding_is_tensorflows(size, stride, k, expected):
    assert padding("same", (1, size, size, 1), (k, k), (stride, stride)) == expected * 2
    y = ops.conv2d(np.ones((1, size, size, 1)), np.ones((k, k, 1, 1)), stride=stride, pad="same")
    assert y.shape[1:3] == (-(-size // stride),) * 2


@pytest.mark.parametrize("k, stride", [(3, 2), (2, 3), (4, 2), (1, 1), (1, 4)])
def test_same_padding_of_a_transposed_convolution_multiplies_the_size_by_the_stride(k, stride):
    x = Tensor(whole(1, 3, 5, 2), needs_grad=True)
    y = ops.conv_transpose2d(x, whole(k, k, 2, 3), stride=stride, pad="same")
    assert y.shape == (1, 3 * stride, 5 * stride, 3)
    assert gradient(y, x).shape == x.shape


def test_what_is_wrong_is_named_with_both_shapes():
    x, w = np.ones((1, 5, 5, 3)), np.ones((3, 3, 4, 6))
    for arguments, words in [
        ((x, w), r"x \(1, 5, 5, 3\) has 3 channels, w \(3, 3, 4, 6\) in 1 group\(s\) wants 4"),
        ((x[0], w), r"x \(5, 5, 3\) must be \(N, H, W, C\)"),
        ((x, w[0]), r"w \(3, 4, 6\) must be"),
        ((x, w[:, :, :3], np.ones(5)), r"b \(5,\) must have one number per filter"),
        ((x[:, :2], w[:, :, :3]), "padded it is 2 high, the filter 3"),
        ((x[:, :, :2], w[:, :, :3]), "padded it is 2 wide, the filter 3"),
    ]:
        with pytest.raises(ValueError, match=words):
            ops.conv2d(*arguments)
    with pytest.raises(ValueError, match=r"x \(1, 5, 5, 3\) has C = 3, w \(3, 3, 4, 6\) must be"):
        ops.conv_transpose2d(x, w)
    with pytest.raises(ValueError, match=r"b \(3,\) must have one number per output channel, 6"):
        ops.conv_transpose2d(x, w[:, :, :3], np.ones(3))
    with pytest.raises(ValueError, match="output_pad 2 must be"):
        ops.conv_transpose2d(x, w[:, :, :3], stride=2, output_pad=2)


@pytest.mark.parametrize("how, words", [
    ({"stride": 0}, "stride must be a positive integer"),
    ({"pad": -1}, "pad must be"), ({"pad": (1, 2)}, "pad must be"),
    ({"pad": "valid"}, "'valid'"), ({"dilation": (1, 2, 3)}, "dilation must be"),
])
def test_impossible_geometry_is_named(how, words):
    with pytest.raises(ValueError, match=words):
        ops.conv2d(np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1)), **how)
