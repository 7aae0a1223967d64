"""Convolution and chains, one body for every kernel set: reference, CPU, the CUDA source through g++, and a GPU."""
import numpy as np
import pytest

from minivis.kernels import reference
from minivis.kernels.chain import Step

CASES = [   # x, filter (kh, kw), K, stride, pad, dilation, groups
    ((1, 1, 1, 1), (1, 1), 1, (1, 1), (0, 0, 0, 0), (1, 1), 1),             # a single product
    ((1, 7, 6, 3), (3, 3), 16, (1, 1), (1, 1, 1, 1), (1, 1), 1),            # a picture
    ((2, 9, 7, 13), (3, 3), 17, (1, 1), (1, 1, 1, 1), (1, 1), 1),           # odd everything; Winograd where allowed
    ((1, 9, 10, 12), (3, 3), 21, (1, 1), (0, 2, 1, 0), (1, 1), 1),          # uneven padding, too much of it below
    ((1, 8, 9, 20), (3, 2), 33, (2, 1), (1, 0, 0, 2), (1, 2), 1),           # strides and dilation
    ((1, 9, 9, 6), (2, 2), 5, (3, 4), (0, 0, 0, 0), (1, 1), 1),             # cells that no window reads
    ((1, 7, 8, 8), (3, 3), 12, (2, 2), (1, 1, 1, 1), (2, 1), 4),            # groups
    ((2, 5, 5, 40), (1, 1), 70, (1, 1), (0, 0, 0, 0), (1, 1), 1),           # pixel by pixel; more than one tile
]


def integers(rng, shape, dtype):
    return rng.integers(-3, 4, shape).astype(dtype)


@pytest.mark.parametrize("dtype, precision", [("float32", "float32-direct"), ("float64", "float64")])
@pytest.mark.parametrize("x_shape, size, K, stride, pad, dilation, groups", CASES)
def test_convolution_of_whole_numbers_is_exact(every_set, x_shape, size, K, stride, pad, dilation, groups, dtype,
                                               precision):
    rng = np.random.default_rng(0)
    geometry = (stride, pad, dilation, groups)
    x, w = integers(rng, x_shape, dtype), integers(rng, (*size, x_shape[3] // groups, K), dtype)
    b = integers(rng, K, dtype)
    y = reference.conv2d_forward(x, w, b, *geometry)
    dy = integers(rng, y.shape, dtype)
    host = every_set.host
    np.testing.assert_array_equal(host(every_set.conv2d_forward(x, w, b, *geometry, precision)), y)
    np.testing.assert_array_equal(host(every_set.conv2d_backward_input(dy, w, x_shape, *geometry, precision)),
                                  reference.conv2d_backward_input(dy, w, x_shape, *geometry))
    np.testing.assert_array_equal(host(every_set.conv2d_backward_weight(dy, x, w.shape, *geometry, precision)),
                                  reference.conv2d_backward_weight(dy, x, w.shape, *geometry))


@pytest.mark.parametrize("x_shape, size, K, stride, pad, dilation, groups", CASES[2:4])
def test_winograd_is_within_float32(every_set, x_shape, size, K, stride, pad, dilation, groups):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(x_shape), rng.standard_normal((*size, x_shape[3] // groups, K))
    y = reference.conv2d_forward(x, w, None, stride, pad, dilation, groups)
    dy = rng.standard_normal(y.shape)
    dx = reference.conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups)
    x, w, dy = (a.astype(np.float32) for a in (x, w, dy))
    for got, true in ((every_set.conv2d_forward(x, w, None, stride, pad, dilation, groups), y),
                      (every_set.conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups), dx)):
        assert np.abs(every_set.host(got) - true).max() <= 1e-5 * np.abs(true).max()


def test_strided_input_is_read_as_it_stands(every_set):
    rng = np.random.default_rng(2)
    wide = integers(rng, (1, 12, 6, 5), "float32")
    w = integers(rng, (3, 3, 5, 6), "float32")
    geometry = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
    np.testing.assert_array_equal(
        every_set.host(every_set.conv2d_forward(wide[:, ::2], w, None, *geometry, "float32-direct")),
        reference.conv2d_forward(np.ascontiguousarray(wide[:, ::2]), w, None, *geometry))


@pytest.mark.parametrize("rule", ["plain", "guided", "deconv"])
def test_chain_of_whole_numbers_is_exact(every_set, rule):
    rng = np.random.default_rng(3)
    conv = {"stride": (1, 1), "pad": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    pool = {"size": (2, 2), "stride": (2, 2), "pad": (0, 0, 0, 0), "ceil": False}
    steps = [Step("conv", conv), Step("relu", {}), Step("conv", conv), Step("relu", {}), Step("max_pool", pool),
             Step("conv", conv | {"stride": (2, 1)}), Step("relu", {})]
    sizes = {0: (3, 3, 3, 7), 2: (3, 3, 7, 34), 5: (3, 3, 34, 6)}
    weights = [(integers(rng, sizes[i], "float32"), integers(rng, sizes[i][3], "float32")) if i in sizes else None
               for i in range(len(steps))]
    x = integers(rng, (1, 7, 6, 3), "float32")
    true, saved_true = reference.chain_forward(x, steps, weights, True)
    y, saved = every_set.chain_forward(x, steps, weights, True, "float32-direct")
    np.testing.assert_array_equal(every_set.host(y), true)
    dy = integers(rng, true.shape, "float32")
    rules = [rule if step.kind == "relu" else None for step in steps]
    dx = reference.chain_backward_input(dy, saved_true, rules)
    assert np.abs(dx).max() > 0
    np.testing.assert_array_equal(every_set.host(every_set.chain_backward_input(dy, saved, rules)), dx)
