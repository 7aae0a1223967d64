"""The normalised VGG: every filter's mean activation is 1, and the network computes what it did."""
import numpy as np
import pytest

from minivis.checkpoints.normalise import mean_activations, normalise
from minivis.errors import MinivisError
from minivis.layers import Layer, Table
from minivis.loading import random_weights
from minivis.network import Network


def network(rows, precision="float64"):
    weights = random_weights(rows, seed=2)
    rng = np.random.default_rng(1)
    for name, array in weights.items():
        if name.endswith("/bias"):
            array[...] = rng.uniform(0.05, 0.3, array.shape)      # so that no filter is dead
    logits = "fc8" if rows[-1].kind == "softmax" else None
    return Network(Table(rows), weights, logits_layer=logits, precision=precision)


@pytest.fixture
def pictures(rng):
    return [rng.random((2, 64, 64, 3)), rng.random((1, 64, 64, 3))]


def test_every_filter_has_mean_activation_one(narrow, pictures):
    before = network(narrow("vgg16"))
    relus = [row.name for row in before.table if row.kind == "relu" and len(before.shapes()[row.name]) == 3]
    active = {name: mean > 0 for name, mean in mean_activations(before, pictures, relus).items()}
    assert len(relus) == 13 and all(some.mean() > 0.8 for some in active.values())
    for name, mean in mean_activations(normalise(before, pictures), pictures, relus).items():
        np.testing.assert_allclose(mean, active[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("head", [True, False])
def test_logits_and_pooled_features_are_the_same_function(narrow, pictures, rng, head):
    before = network(narrow("vgg11", head))
    after = normalise(before, pictures)
    x = rng.random((1, 64, 64, 3))
    if head:
        old, new = before(x)["fc8"].data, after(x)["fc8"].data
    else:
        # without a head nothing undoes the last factors, which are those of the last layer's means
        means = mean_activations(before, pictures, ["relu5_2"])["relu5_2"]
        old, new = before(x)["pool5"].data / np.where(means > 0, means, 1), after(x)["pool5"].data
    assert np.abs(old).max() > 0
    np.testing.assert_allclose(new, old, rtol=0, atol=1e-9 * np.abs(old).max())
    assert np.abs(before.weights["conv3_1/weight"].data - after.weights["conv3_1/weight"].data).max() > 0.01


def test_a_filter_that_is_never_active_keeps_its_scale(narrow, pictures):
    rows = narrow("vgg11")
    weights = {name: array.copy() for name, array in random_weights(rows).items()}
    weights["conv1_1/weight"][..., 2], weights["conv1_1/bias"][2] = 0, -1
    net = normalise(Network(Table(rows), weights, "fc8", precision="float64"), pictures)
    assert net.weights["conv1_1/bias"].data[2] == -1
    assert all(np.isfinite(tensor.data).all() for tensor in net.weights.values())


def test_the_given_network_is_unchanged(narrow, pictures):
    net = network(narrow("vgg11"))
    before = {name: tensor.data.copy() for name, tensor in net.weights.items()}
    normalise(net, pictures)
    assert all((net.weights[name].data == array).all() for name, array in before.items())


@pytest.mark.parametrize("rows", [
    [Layer("a", "conv", filters=4, kernel=1), Layer("b", "relu"), Layer("c", "lrn")],
    [Layer("a", "conv", filters=4, kernel=1), Layer("b", "relu"), Layer("c", "add", ["b", "b"])],
    [Layer("a", "conv", filters=4, kernel=1), Layer("b", "tanh")],
    [Layer("a", "conv", filters=4, kernel=1), Layer("b", "relu"), Layer("c", "flatten", order="chw"),
     Layer("d", "linear", outputs=2)],
])
def test_networks_that_do_not_let_a_factor_through_are_refused(rows):
    rows = [Layer("input", "input", shape=[4, 4, 3]), *rows]
    with pytest.raises(MinivisError, match="normalised"):
        normalise(network(rows), [np.ones((1, 4, 4, 3))])


def test_no_picture_is_an_error(narrow):
    with pytest.raises(MinivisError, match="at least one picture"):
        normalise(network(narrow("vgg11")), [])
