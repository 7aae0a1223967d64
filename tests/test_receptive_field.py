"""Receptive fields, checked against what a network really depends on: the non-zero gradients of a net whose weights are
all positive, whose poolings are averages and whose input is positive, so that no two paths can cancel."""
from fractions import Fraction

import numpy as np
import pytest

from minivis import kernels
from minivis.architectures import table
from minivis.errors import MinivisError
from minivis.layers import Layer, Table
from minivis.network import Network
from minivis.preprocessing import Box
from minivis.receptive_field import field, nominal_box, pixels_seen, units_seeing
from minivis.shapes import weight_shapes
from minivis.tensor import Tensor, gradient


def positive_network(layers, size):
    table = Table([Layer("input", "input", shape=[*size, 1]), *layers])
    random = np.random.default_rng(0)
    return Network(table, {name: random.uniform(0.5, 1, shape) for name, shape in weight_shapes(table).items()},
                   precision="float64")


def dependence(net, layer, size):
    """Booleans (rows, columns of the layer, H, W): which unit's gradient is not zero at which pixel."""
    shape = net.shapes(size)[layer]
    rows, columns = shape[:2] if len(shape) == 3 else (1, 1)
    x = Tensor(np.ones((rows * columns, *size, 1)), needs_grad=True)      # one copy of the picture for every unit
    with kernels.using("reference"):
        y = net(x, layer)[layer]
        seed = np.zeros(y.shape)
        for i in range(rows * columns):
            seed.reshape(rows * columns, rows * columns, -1)[i, i] = 1
        dx = gradient(y, x, seed=seed)
    return (dx[..., 0] != 0).reshape(rows, columns, *size)


def box_of(mask):
    at = np.argwhere(mask)
    return None if len(at) == 0 else Box(*map(int, at.min(axis=0)), *(int(v) + 1 for v in at.max(axis=0)))


def conv(name, kernel, inputs=None, **how):
    return Layer(name, "conv", inputs, filters=2, kernel=kernel, **how)


NETS = {
    "3x3 convolutions with padding": [conv("a", 3, pad=1), Layer("b", "relu"), conv("y", 3, pad=1)],
    "stride and average pooling": [conv("a", 5, stride=2, pad=2), Layer("y", "avg_pool", kernel=3, stride=2)],
    "asymmetric padding": [conv("a", [2, 3], pad=[0, 1, 2, 0]), conv("y", 3, stride=2, pad=[2, 0, 0, 1])],
    "dilation": [conv("a", 3, dilation=[2, 3], pad=2), conv("y", 2, dilation=2)],
    "same padding": [conv("a", 4, stride=2, pad="same"), conv("y", [3, 2], stride=3, pad="same")],
    "ceil mode": [Layer("a", "avg_pool", kernel=3, stride=2, ceil=True), conv("y", 2, pad=1)],
    "a stride that skips pixels": [conv("a", 2, stride=3), conv("y", 3, pad=1)],
    "branches": [conv("a", 1), conv("b", 5, "a", pad=2), conv("c", [1, 7], "a", pad=[0, 0, 3, 3]),
                 Layer("y", "concat", ["b", "c", "a"])],
    "a sum with a strided short cut": [conv("a", 3, stride=2, pad=1), conv("b", 1, "input", stride=2),
                                       Layer("y", "add", ["a", "b"])],
    "transposed convolution": [conv("a", 3, stride=2, pad=1),
                               Layer("y", "conv_transpose", filters=2, kernel=3, stride=2, pad=1)],
    "wide transposed convolution": [Layer("y", "conv_transpose", filters=2, kernel=5, stride=2, pad="same")],
    "upsampling": [conv("a", 3, stride=2), Layer("u", "upsample", factor=2), conv("y", 3, pad=1)],
    "mirrored border": [Layer("p", "pad", pad=[2, 1, 3, 0], mode="reflect"), conv("y", 3, stride=2)],
    "repeated border": [Layer("p", "pad", pad=2, mode="edge"), conv("y", 3)],
    "a global average": [conv("a", 3, stride=2), Layer("y", "global_avg_pool")],
    "a dense layer": [conv("a", 2, stride=4), Layer("f", "flatten"), Layer("d", "linear", outputs=3),
                      Layer("y", "relu")],
    "local response normalisation": [conv("a", 3), Layer("n", "lrn", size=3), conv("y", 2)],
}


@pytest.mark.parametrize("name", NETS)
def test_units_see_exactly_the_pixels_their_gradient_reaches(name):
    size = (11, 12)
    net = positive_network(NETS[name], size)
    truth = dependence(net, "y", size)
    assert truth.any()
    for row, column in np.ndindex(truth.shape[:2]):
        assert pixels_seen(net, "y", row, column) == box_of(truth[row, column]), f"unit {row},{column}"
    for row, column in np.ndindex(size):
        assert units_seeing(net, "y", row, column) == box_of(truth[:, :, row, column]), f"pixel {row},{column}"


@pytest.mark.parametrize("name", [n for n in NETS if n not in ("a global average", "a dense layer", "mirrored border")])
def test_the_nominal_field_holds_the_exact_one_and_has_one_size(name):
    size = (11, 12)
    net = positive_network(NETS[name], size)
    seen = field(net, "y")
    height, width = net.shapes()["y"][:2]
    for row, column in np.ndindex(height, width):
        box, exact = nominal_box(net, "y", row, column), pixels_seen(net, "y", row, column)
        assert box.bottom - box.top <= seen.size[0] and box.right - box.left <= seen.size[1]
        if not any(layer.kind in ("upsample", "conv_transpose") for layer in net.table):
            assert box.top == seen.start[0] + row * seen.stride[0]
            assert box.left == seen.start[1] + column * seen.stride[1]
            assert (box.bottom - box.top, box.right - box.left) == seen.size
        if exact is not None and name != "repeated border":
            assert box.top <= exact.top and exact.bottom <= box.bottom
            assert box.left <= exact.left and exact.right <= box.right


@pytest.mark.parametrize("name, layer, size, stride, start", [
    ("vgg16", "conv1_1", 3, 1, -1), ("vgg16", "pool1", 6, 2, -2), ("vgg16", "conv3_1", 24, 4, -10),
    ("vgg16", "conv4_2", 76, 8, -34), ("vgg16", "conv5_3", 196, 16, -90), ("vgg16", "pool5", 212, 32, -90),
    ("alexnet_caffe", "conv1", 11, 4, 0), ("alexnet_caffe", "conv5", 163, 16, -64),
    ("alexnet_caffe", "pool5", 195, 32, -64),
    ("squeezenet1_0", "fire9", 155, 16, None),
])
def test_known_receptive_fields(name, layer, size, stride, start):
    fields = table(name, head=False)
    layers = Table(fields["layers"])
    net = Network(layers, {n: np.zeros(s, np.float32) for n, s in weight_shapes(layers).items()})
    seen = field(net, layer, 224)
    assert (seen.size, seen.stride) == ((size, size), (stride, stride))
    assert start is None or seen.start == (start, start)


def test_layers_that_enlarge_have_fractional_strides():
    net = positive_network([conv("a", 3, stride=2), Layer("u", "upsample", factor=4)], (11, 12))
    assert field(net, "u").stride == (Fraction(1, 2), Fraction(1, 2))
    assert field(net, "u").size == (3, 3)


def test_a_unit_outside_the_layer_is_one_clear_error():
    net = positive_network([conv("y", 3)], (11, 12))
    with pytest.raises(MinivisError, match="y has 9 rows and 10 columns here: there is no unit @9,0"):
        pixels_seen(net, "y", 9, 0)
    with pytest.raises(MinivisError, match="the input has 11 rows"):
        units_seeing(net, "y", 0, 12)
