"""A unit computed from its receptive field alone is the unit, and its gradient is the gradient, at borders too."""
import numpy as np
import pytest

from minivis import golden
from minivis.sparse import UnitField, field_if_smaller, pixels_of
from minivis.techniques.unit_gradient import unit_gradient
from minivis.tensor import Tensor, gradient

SIZE = (22, 24)


@pytest.mark.parametrize("name", ["fire", "vgg", "odd"])
@pytest.mark.parametrize("rule", ["plain", "guided"])
def test_value_and_gradient_equal_those_of_the_whole_picture(name, rule):
    net = golden.network(golden.load(name)[0])
    x = np.random.RandomState(3).standard_normal((1, *SIZE, 3))
    compared = 0
    for layer, shape in net.shapes(SIZE).items():
        if len(shape) != 3 or layer == "input":
            continue
        whole = Tensor(x, needs_grad=True)
        y = net(whole, layers=[layer])[layer]
        for row, column in {(0, 0), (0, shape[1] - 1), (shape[0] - 1, shape[1] // 2), (shape[0] // 2, shape[1] // 2)}:
            field = UnitField(net, layer, row, column, SIZE)
            if field.box is None:
                continue
            pixels = pixels_of(field, x)
            unit = field.of(pixels)
            assert np.allclose(unit.data[0, 0, 0], y.data[0, row, column], rtol=0, atol=1e-12)
            seed = np.zeros(y.shape)
            seed[0, row, column] = 1 + np.arange(shape[2])
            wanted = gradient(y, whole, seed=seed, rules=rule)
            got = np.zeros_like(x)
            got[:, field.box.top:field.box.bottom, field.box.left:field.box.right] = gradient(
                unit, pixels, seed=seed[:, row:row + 1, column:column + 1], rules=rule)
            assert np.abs(got - wanted).max() <= 1e-12 * max(np.abs(wanted).max(), 1)
            compared += bool(wanted.any())
    assert compared > 20


def test_a_unit_of_a_low_layer_reads_a_small_part_of_the_picture(monkeypatch):
    """unit_gradient at a named place runs no layer on the whole picture."""
    about, arrays = golden.load("vgg")
    net = golden.network(about)
    wanted = unit_gradient(net, arrays["picture"], "conv1_2:1@10,11", check=0).values
    assert field_if_smaller(net, "conv1_2", 10, 11, SIZE).share < 0.1
    monkeypatch.setattr(type(net), "__call__", None)
    got = unit_gradient(net, arrays["picture"], "conv1_2:1@10,11", check=0)
    assert got.values.any() and np.array_equal(got.values, wanted)
    assert np.count_nonzero(got.values.any(axis=2)) <= 25 and got.target["position"] == [10, 11]


def test_what_sees_everything_has_no_box():
    net = golden.network(golden.load("vgg")[0])
    assert UnitField(net, "fc1", 0, 0, SIZE).box is None
    assert field_if_smaller(net, "pool2", 2, 2, SIZE, share=0.2) is None
