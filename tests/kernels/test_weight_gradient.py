"""Weight gradients, Gram matrices and linear layers against the definition."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.kernels import cpu, reference
from minivis.kernels.cpu import threads, winograd_weight

from .test_convolution import convolutions, integers, strided

MANY = settings(max_examples=100, deadline=None, derandomize=True)
FLOATS = st.sampled_from([np.float32, np.float64])


@given(convolutions(), FLOATS, st.integers(0, 99))
@MANY
def test_weight_gradient_equals_the_definition_bit_by_bit(convolution, dtype, seed):
    x_shape, w_shape, geometry = convolution
    x = integers(seed, x_shape, dtype)
    dy = integers(seed + 1, reference.conv2d_forward(x, np.zeros(w_shape, dtype), None, **geometry).shape, dtype)
    dw = cpu.conv2d_backward_weight(strided(dy), strided(x), w_shape, **geometry, precision="float32-direct")
    np.testing.assert_array_equal(dw, reference.conv2d_backward_weight(dy, x, w_shape, **geometry))
    assert dw.dtype == dtype


@pytest.mark.parametrize("x_shape, w_shape, stride, pad, groups", [
    ((40, 12, 12, 48), (3, 3, 48, 64), 1, 1, 1),        # small maps: several pictures at a time, many chunks
    ((2, 20, 700, 3), (3, 3, 3, 16), 1, 1, 1),          # wide: units of part of a row
    ((3, 30, 31, 40), (5, 5, 1, 40), 2, 2, 40),         # depthwise
    ((2, 33, 33, 3), (7, 7, 3, 20), 2, 0, 1),
    ((1, 8, 8, 300), (1, 1, 300, 96), 1, 0, 1),
], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weight_gradient_of_known_layers_equals_the_definition(fast, x_shape, w_shape, stride, pad, groups, dtype):
    how = ((stride, stride), (pad,) * 4, (1, 1), groups)
    x = integers(0, x_shape, dtype)
    dy = integers(1, reference.conv2d_forward(x, np.zeros(w_shape, dtype), None, *how).shape, dtype)
    np.testing.assert_array_equal(fast.conv2d_backward_weight(dy, x, w_shape, *how, precision="float32-direct"),
                                  reference.conv2d_backward_weight(dy, x, w_shape, *how))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from([2, 4]), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20), st.integers(1, 140),
       st.integers(1, 140), st.tuples(*[st.integers(0, 2)] * 4), st.integers(0, 99))
def test_winograd_weight_gradient_equals_the_definition(m, N, H, W, C, K, pad, seed):
    OH, OW = H + pad[0] + pad[1] - 2, W + pad[2] + pad[3] - 2
    if min(OH, OW) < 1 or N * H * W * C * K > 1 << 22:
        return
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_normal(shape, np.float32) for shape in ((N, H, W, C), (N, OH, OW, K)))
    dw = np.full((3, 3, C, K), np.nan, np.float32)
    winograd_weight.weight_gradient(x, dy, dw, m, (pad[0], pad[2]))
    true = reference.conv2d_backward_weight(dy.astype(float), x.astype(float), (3, 3, C, K), (1, 1), pad, (1, 1), 1)
    assert np.abs(dw - true).max() <= 1e-5 * max(np.abs(true).max(), np.sqrt(N * OH * OW))


def test_winograd_weight_gradient_is_the_adjoint_of_the_convolution():
    """<conv(x, w), dy> = <w, dw>, over several chunks of tiles and blocks of channels."""
    rng = np.random.default_rng(0)
    shapes = (20, 14, 15, 80), (3, 3, 80, 90), (20, 14, 15, 90)
    x, w, dy = (rng.standard_normal(shape, np.float32) for shape in shapes)
    how = {"stride": (1, 1), "pad": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    dw = cpu.conv2d_backward_weight(dy, x, w.shape, **how)
    y = cpu.conv2d_forward(x.astype(float), w.astype(float), None, **how)
    assert abs(np.vdot(y, dy) - np.vdot(w, dw)) <= 1e-6 * np.linalg.norm(y) * np.linalg.norm(dy)


@given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 16, 50]), FLOATS)
@MANY
def test_gram_equals_the_definition_bit_by_bit(N, H, W, C, dtype):
    x = integers(0, (N, H, W, C), dtype)
    np.testing.assert_array_equal(cpu.gram(strided(x)), reference.gram(x))


@given(st.sampled_from([1, 2, 4, 5, 15, 40]), st.integers(1, 70), st.sampled_from([1, 3, 15, 16, 31, 48, 100, 1000]),
       FLOATS, st.booleans())
@MANY
def test_linear_layers_equal_the_definition_bit_by_bit(N, C, K, dtype, biased):
    x, w, dy = integers(0, (N, C), dtype), integers(1, (C, K), dtype), integers(2, (N, K), dtype)
    b = integers(3, (K,), dtype) if biased else None
    np.testing.assert_array_equal(cpu.linear_forward(x[:, ::-1], w, b), reference.linear_forward(x[:, ::-1], w, b))
    np.testing.assert_array_equal(cpu.linear_backward_input(dy, w), reference.linear_backward_input(dy, w))
    np.testing.assert_array_equal(cpu.linear_backward_weight(dy, x), reference.linear_backward_weight(dy, x))


@pytest.mark.skipif(cpu._plain_only, reason="of the compiled kernels")
def test_linear_layers_that_do_not_fit_say_so():
    x, w = np.zeros((2, 5), np.float32), np.zeros((6, 7), np.float32)
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(6, 7\)"):
        cpu.linear_forward(x, w, None)
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(6, 7\)"):
        cpu.linear_backward_input(x, w)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_of_a_linear_layer_has_the_same_bits_alone_and_among_others(dtype):
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape).astype(dtype) for shape in ((20, 777), (777, 999), (20, 999)))
    y, dx = cpu.linear_forward(x, w, w[0]), cpu.linear_backward_input(dy, w)
    for part in (slice(0, 1), slice(3, 7), slice(5, 20)):
        assert cpu.linear_forward(x[part], w, w[0]).tobytes() == y[part].tobytes()
        assert cpu.linear_backward_input(dy[part], w).tobytes() == dx[part].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((9, 17, 18, 30)).astype(dtype), rng.standard_normal((9, 17, 18, 70)).astype(dtype)
    a, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((7, 500), (500, 300), (7, 300)))

    def everything():
        return (cpu.conv2d_backward_weight(dy, x, (3, 3, 30, 70), (1, 1), (1, 1, 1, 1), (1, 1), 1),
                cpu.conv2d_backward_weight(dy, x, (3, 3, 30, 70), (1, 1), (1, 1, 1, 1), (1, 1), 1, "float32-direct"),
                cpu.conv2d_backward_weight(x, x, (3, 3, 1, 30), (1, 1), (1, 1, 1, 1), (1, 1), 30), cpu.gram(x),
                cpu.linear_forward(a, w, None), cpu.linear_backward_input(b, w), cpu.linear_backward_weight(b, a))

    try:
        threads.set_threads(1)
        expected = everything()
        for n in (2, 3, 5):
            threads.set_threads(n)
            assert all(p.tobytes() == q.tobytes() for p, q in zip(everything(), expected))
    finally:
        threads.set_threads(None)
