"""Convolution of every kind, forward and back, against the definition at random shapes, geometries and layouts."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.kernels import cpu, reference
from minivis.kernels.cpu import threads

MANY = settings(max_examples=150, deadline=None, derandomize=True)
FLOATS = st.sampled_from([np.float32, np.float64])


def integers(seed, shape, dtype):
    """Small whole numbers: every sum of them is exact, so results must agree bit by bit."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def strided(x):
    """The same numbers in another memory layout."""
    wide = np.zeros((*x.shape[:3], x.shape[3] + 1), x.dtype)[..., :-1]
    wide[...] = x
    return wide


@st.composite
def convolutions(draw, kernel=st.integers(1, 5), stride=st.integers(1, 4)):
    """x shape, w shape, geometry: any that leaves at least one output."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 17]))
    c, k = draw(st.sampled_from([1, 2, 3, 5, 16, 33])), draw(st.sampled_from([1, 1, 3, 7, 16, 17, 40]))
    size = (draw(kernel), draw(kernel))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    pad = tuple(draw(st.integers(0, 4)) for _ in range(4))
    sides = [max(1, dilation[a] * (size[a] - 1) + 1 - pad[2 * a] - pad[2 * a + 1]) + draw(st.integers(0, 25))
             for a in (0, 1)]
    geometry = {"stride": (draw(stride), draw(stride)), "pad": pad, "dilation": dilation, "groups": groups}
    return (draw(st.integers(1, 3)), *sides, c * groups), (*size, c, k * groups), geometry


@given(convolutions(), FLOATS, st.booleans(), st.integers(0, 99))
@MANY
def test_forward_equals_the_definition_bit_by_bit(convolution, dtype, biased, seed):
    x_shape, w_shape, geometry = convolution
    x, w = integers(seed, x_shape, dtype), integers(seed + 1, w_shape, dtype)
    b = integers(seed + 2, w_shape[3:], dtype) if biased else None
    y = cpu.conv2d_forward(strided(x), w, b, **geometry, precision="float32-direct")
    np.testing.assert_array_equal(y, reference.conv2d_forward(x, w, b, **geometry))
    assert y.dtype == dtype and y.flags.c_contiguous


@given(convolutions(), FLOATS, st.integers(0, 99))
@MANY
def test_input_gradient_equals_the_definition_bit_by_bit(convolution, dtype, seed):
    x_shape, w_shape, geometry = convolution
    w = integers(seed, w_shape, dtype)
    y = reference.conv2d_forward(np.zeros(x_shape, dtype), w, None, **geometry)
    dy = integers(seed + 1, y.shape, dtype)
    dx = cpu.conv2d_backward_input(strided(dy), w, x_shape, **geometry, precision="float32-direct")
    np.testing.assert_array_equal(dx, reference.conv2d_backward_input(dy, w, x_shape, **geometry))
    assert dx.dtype == dtype and dx.flags.c_contiguous


@pytest.mark.parametrize("x_shape, w_shape, stride, pad, groups", [
    ((1, 45, 47, 3), (7, 7, 3, 96), 2, 0, 1),           # SqueezeNet's first layer
    ((1, 63, 60, 3), (11, 11, 3, 64), 4, 2, 1),         # AlexNet's
    ((2, 40, 131, 32), (9, 9, 32, 3), 1, 4, 1),         # the last of a style network
    ((1, 30, 70, 48), (3, 3, 48, 40), 2, 1, 1),
    ((1, 33, 34, 40), (3, 3, 1, 40), 1, 1, 40),         # depthwise
    ((1, 33, 34, 40), (5, 5, 1, 40), 2, 2, 40),
    ((1, 20, 300, 64), (1, 1, 64, 70), 1, 0, 1),
    ((1, 21, 30, 64), (1, 1, 64, 32), 2, 0, 1),
    ((1, 5, 700, 8), (3, 3, 8, 16), 1, 1, 1),           # wide: several tiles across
], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_of_known_networks_equal_the_definition(fast, x_shape, w_shape, stride, pad, groups, dtype):
    x, w = integers(0, x_shape, dtype), integers(1, w_shape, dtype)
    geometry = {"stride": (stride, stride), "pad": (pad,) * 4, "dilation": (1, 1), "groups": groups}
    y = reference.conv2d_forward(x, w, None, **geometry)
    np.testing.assert_array_equal(fast.conv2d_forward(x, w, None, **geometry, precision="float32-direct"), y)
    dy = integers(2, y.shape, dtype)
    np.testing.assert_array_equal(fast.conv2d_backward_input(dy, w, x_shape, **geometry, precision="float32-direct"),
                                  reference.conv2d_backward_input(dy, w, x_shape, **geometry))


@pytest.mark.parametrize("stride, groups", [(1, 1), (2, 1), (1, 3), (1, 36)])
def test_same_bits_for_any_number_of_threads_and_any_batch(stride, groups):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 29, 31, 36)).astype(np.float32)
    w = rng.standard_normal((3, 3, 36 // groups, 108)).astype(np.float32)
    geometry = {"stride": (stride, stride), "pad": (1, 1, 0, 2), "dilation": (1, 1), "groups": groups}

    def both(x):
        y = cpu.conv2d_forward(x, w, None, **geometry)
        return y, cpu.conv2d_backward_input(y, w, x.shape, **geometry)

    try:
        threads.set_threads(1)
        y, dx = both(x)
        for n in (2, 3, 5):
            threads.set_threads(n)
            assert all(a.tobytes() == b.tobytes() for a, b in zip(both(x), (y, dx)))
            assert all(a.tobytes() == b[2:3].tobytes() for a, b in zip(both(x[2:3]), (y, dx)))
    finally:
        threads.set_threads(None)


@given(convolutions(), st.integers(0, 99))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_forward_and_input_gradient_are_adjoint(convolution, seed):
    x_shape, w_shape, geometry = convolution
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    y = cpu.conv2d_forward(x, w, None, **geometry)
    dy = rng.standard_normal(y.shape)
    dx = cpu.conv2d_backward_input(dy, w, x_shape, **geometry)
    assert np.vdot(y, dy) == pytest.approx(np.vdot(x, dx), rel=1e-9, abs=1e-9)


def test_transposed_weights_need_not_be_contiguous():
    rng = np.random.default_rng(0)
    w = rng.integers(-3, 4, (3, 3, 40, 24)).astype(np.float32).swapaxes(2, 3)
    x = integers(1, (1, 9, 9, 24), np.float32)
    how = ((2, 2), (1, 1, 1, 1), (1, 1), 1)
    y = cpu.conv2d_forward(x, w, None, *how)
    np.testing.assert_array_equal(y, reference.conv2d_forward(x, w, None, *how))
    np.testing.assert_array_equal(cpu.conv2d_backward_input(y, w, x.shape, *how),
                                  reference.conv2d_backward_input(y, w, x.shape, *how))
