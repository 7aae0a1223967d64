"""Maps over the picture stand where their units look."""
import numpy as np
import pytest

from minivis.centres import centres, over_picture
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.network import Network
from minivis.preprocessing import Preprocessing


def net(*rows):
    layers = [Layer("input", "input", shape=[None, None, 1]), *rows]
    weights = {f"{row.name}/weight": np.ones((row["kernel"],) * 2 + (1, 1)) for row in rows if row.kind == "conv"}
    return Network(layers, weights, preprocessing=Preprocessing(), precision="float64")


def conv(name, kernel, stride=1, pad=0):
    return Layer(name, "conv", filters=1, kernel=kernel, stride=stride, pad=pad, bias=False)


@pytest.mark.parametrize("rows, first, step", [
    ([conv("a", 3, pad=1)], 0, 1),                                  # units stand on their pixels
    ([conv("a", 3)], 1, 1),                                         # without padding one pixel inside
    ([conv("a", 7, 2)], 3, 2),
    ([conv("a", 3, pad=1), Layer("b", "max_pool", kernel=2)], 0.5, 2),      # between two pixels
    ([conv("a", 7, 2), Layer("b", "max_pool", kernel=3, stride=2), conv("c", 3, pad=1)], 5, 4),
])
def test_a_unit_stands_in_the_middle_of_what_it_sees(rows, first, step):
    y, x = centres(net(*rows), rows[-1].name, (4, 3), (40, 30))
    assert y.tolist() == [first + step * i for i in range(4)] and x.tolist() == [first + step * i for i in range(3)]


def test_the_place_is_where_the_gradient_lies():
    """The centre of mass of a unit's gradient, with all weights equal, is the unit's place."""
    from minivis.tensor import Tensor, gradient
    n = net(conv("a", 5, 2), conv("b", 3, 2))
    x = Tensor(np.zeros((1, 41, 33, 1)), needs_grad=True)
    value = n(x, layers="b")["b"]
    for i, j in ((0, 0), (3, 2), (5, 6)):
        seed = np.zeros(value.shape)
        seed[0, i, j] = 1
        g = gradient(value, x, seed=seed)[0, :, :, 0]
        y, x_ = centres(n, "b", value.shape[1:3], (41, 33))
        assert (g.sum(1) @ np.arange(41)) / g.sum() == pytest.approx(y[i])
        assert (g.sum(0) @ np.arange(33)) / g.sum() == pytest.approx(x_[j])


def test_linear_maps_stay_linear_between_the_centres_and_hold_their_value_beyond():
    at = 3 + 2.0 * np.arange(5)
    full = over_picture(np.tile(at, (5, 1)), (at, at), (15, 15))
    assert np.allclose(full, np.clip(np.arange(15), 3, 11)[None, :])
    assert np.allclose(over_picture(np.full((5, 5), 7.0), (at, at), (15, 15)), 7)


def test_nearest_gives_values_of_the_map_only():
    at = 0.5 + 2.0 * np.arange(3)
    full = over_picture(np.arange(9.0).reshape(3, 3), (at, at), (6, 6), "nearest")
    assert np.array_equal(full, np.arange(9.0).reshape(3, 3).repeat(2, 0).repeat(2, 1))
    with pytest.raises(MinivisError, match="bicubic"):
        over_picture(np.ones((2, 2)), (at[:2], at[:2]), (4, 4), "bicubic")


def test_a_single_unit_fills_the_picture_and_a_global_one_has_no_place():
    assert np.all(over_picture(np.full((1, 1), 2.0), (np.array([4.0]), np.array([4.0])), (9, 9)) == 2)
    with pytest.raises(MinivisError, match="whole picture"):
        centres(net(conv("a", 3), Layer("mean", "global_avg_pool")), "mean", (1, 1), (9, 9))
