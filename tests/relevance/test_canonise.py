"""Folding a normalisation into the layer before changes nothing but where relevance goes."""
import numpy as np
import pytest

from minivis.layers import Layer, Table
from minivis.network import Network
from minivis.preprocessing import Preprocessing
from minivis.relevance.canonise import canonised
from minivis.shapes import weight_shapes
from minivis.techniques.deeplift import deeplift
from minivis.techniques.excitation_backprop import excitation_backprop
from minivis.techniques.lrp import lrp

PICTURE = np.random.RandomState(5).randint(0, 256, (12, 10, 3)).astype(np.uint8)


def network(*middle, seed=0):
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=5, kernel=3, bias=False),
              *middle, Layer("relu1", "relu"), Layer("conv2", "conv", filters=4, kernel=3),
              Layer("norm2", "batch_norm", eps=0.3, affine=False), Layer("relu2", "relu"),
              Layer("scores", "global_avg_pool")]
    random, weights = np.random.RandomState(seed), {}
    for name, shape in weight_shapes(Table(layers)).items():
        weights[name] = random.standard_normal(shape)
        if name.endswith("/var"):
            weights[name] **= 2
    return Network(layers, weights, "scores", precision="float64", preprocessing=Preprocessing(size=(12, 10), range=1))


NORM = Layer("norm1", "batch_norm", eps=0.2)
SCALE = Layer("scale1", "scale", per_channel=True)
HALF = Layer("half", "scale", factor=-0.5, offset=0.1)


@pytest.mark.parametrize("middle, folded", [
    ([NORM], {"norm1": "conv1"}), ([NORM, SCALE, HALF], dict.fromkeys(("norm1", "scale1", "half"), "conv1")), ([], {})])
def test_the_folded_network_is_the_same_function(middle, folded):
    net = network(*middle)
    other, into = canonised(net, "scores")
    assert into == {**folded, "norm2": "conv2"} and other.table.names == net.table.names
    x = net.preprocess(PICTURE)
    for layer in ("relu1", "scores"):
        wanted = net(x, layers=[layer])[layer].numpy()
        assert np.any(wanted) and np.abs(other(x, layers=[layer])[layer].numpy() - wanted).max() < 1e-12


def test_what_cannot_be_folded_stays():
    after_relu = network(Layer("relu0", "relu"), NORM)
    assert canonised(after_relu, "scores")[1] == {"norm2": "conv2"}
    read_twice = network(NORM, Layer("sum", "add", inputs=["conv1", "norm1"]))
    assert canonised(read_twice, "scores")[1] == {"norm2": "conv2"}
    net = network(NORM)
    assert canonised(net, "conv1") == (net, {}) and canonised(net, "relu1")[1] == {"norm1": "conv1"}


@pytest.mark.parametrize("preset", ["epsilon", "alpha2_beta1", "epsilon_gamma_box", "deep_taylor"])
def test_relevance_is_that_of_the_network_folded_by_hand(preset):
    net = network(NORM)
    weights = net.weights.arrays()
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=5, kernel=3),
              Layer("relu1", "relu"), Layer("conv2", "conv", filters=4, kernel=3), Layer("relu2", "relu"),
              Layer("scores", "global_avg_pool")]
    s1 = weights["norm1/scale"] / np.sqrt(weights["norm1/var"] + 0.2)
    s2 = 1 / np.sqrt(weights["norm2/var"] + 0.3)
    by_hand = Network(layers, {
        "conv1/weight": weights["conv1/weight"] * s1, "conv1/bias": weights["norm1/shift"] - weights["norm1/mean"] * s1,
        "conv2/weight": weights["conv2/weight"] * s2,
        "conv2/bias": (weights["conv2/bias"] - weights["norm2/mean"]) * s2,
    }, "scores", precision="float64", preprocessing=net.preprocessing)
    assert (s1 < 0).any() and (s1 > 0).any()        # signs that are turned round are what folding is for
    for technique, options in ((lrp, {"preset": preset}), (excitation_backprop, {"layer": "conv1"}), (deeplift, {})):
        got, wanted = (technique(n, PICTURE, **options).values for n in (net, by_hand))
        assert np.any(wanted) and np.abs(got - wanted).max() <= 1e-9 * np.abs(wanted).max(), technique.__name__


def test_the_result_says_what_was_folded_and_what_was_passed():
    notes = " ".join(lrp(network(NORM, Layer("lrn", "lrn")), PICTURE).notes)
    assert "Folded into the layer before: norm1, norm2." in notes and "Handed on unchanged by lrn:" in notes
