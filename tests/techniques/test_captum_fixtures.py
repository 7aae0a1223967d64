"""Numbers from Captum's and PAIR's own unit tests: networks of a few weights, no file needed.

Captum's net: a convolution of ones 3x3, 1 -> 2 channels, bias -50 and -75; ReLU; a dense row (1 1 1 1 1 -1 -1 -1)
after a flatten in channel order; ReLU.
"""
import numpy as np
import pytest

from minivis.layers import Layer
from minivis.network import Network
from minivis.relevance import lrp
from minivis.techniques.occlusion import hide_and_score, spread, window_starts
from minivis.tensor import Tensor, gradient

X = np.arange(16.0).reshape(1, 4, 4, 1)
ROW = [[1.0]] * 5 + [[-1.0]] * 3


@pytest.fixture
def net():
    layers = [Layer("input", "input", shape=[4, 4, 1]), Layer("conv1", "conv", filters=2, kernel=3),
              Layer("relu1", "relu"), Layer("flat", "flatten", order="chw"), Layer("fc1", "linear", outputs=1),
              Layer("relu2", "relu")]
    weights = {"conv1/weight": np.ones((3, 3, 1, 2)), "conv1/bias": np.array([-50.0, -75.0]),
               "fc1/weight": np.array(ROW), "fc1/bias": np.zeros(1)}
    return Network(layers, weights, "relu2", precision="float64")


def test_activations(net):
    values = {name: t.numpy() for name, t in net(X, layers=["relu1", "relu2"]).items()}
    assert np.moveaxis(values["relu1"][0], 2, 0).ravel().tolist() == [0, 4, 31, 40, 0, 0, 6, 15]
    assert values["relu2"].tolist() == [[54]]


@pytest.mark.parametrize("rule, wanted", [
    ("plain", [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]),
    ("guided", [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]]),
    ("deconv", [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]]),
])
def test_three_rules(net, rule, wanted):
    x = Tensor(X, needs_grad=True)
    got = gradient(net(x)["relu2"], x, rules=rule)[0, :, :, 0]
    assert np.abs(got - wanted).max() <= 1e-6


def occluded(net, x, background, size, stride, mean):
    scores = hide_and_score(net, x, background, size, stride)[:, :, 0]
    change = net(x)[net.logits_layer].numpy()[0, 0] - scores
    places = tuple(window_starts(x.shape[1 + a], size[a], stride[a]) for a in (0, 1))
    return spread(change, places, size, x.shape[1:3], mean)


def test_occlusion_of_two_inputs_that_are_added(net):
    """The net sees x + x2; hiding a window of one (fill 0) leaves the other there. Mean over covering windows."""
    x2 = np.ones_like(X)
    first = occluded(net, X + x2, x2, (2, 3), (2, 1), mean=True)
    second = occluded(net, X + x2, X, (1, 2), (1, 2), mean=True)
    assert np.abs(first - [[17] * 4, [17] * 4, [64, 65.5, 65.5, 67], [64, 65.5, 65.5, 67]]).max() <= 1e-6
    assert np.abs(second - [[3] * 4, [3] * 4, [3] * 4, [0] * 4]).max() <= 1e-6


def test_occlusion_summed_over_covering_windows():
    """PAIR's test: f = 3 * sum of the input, ones at (1, 1) and (3, 3), windows of 3 at every place."""
    layers = [Layer("input", "input", shape=[5, 5, 1]), Layer("flat", "flatten"), Layer("f", "linear", outputs=1)]
    net = Network(layers, {"f/weight": np.full((25, 1), 3.0), "f/bias": np.zeros(1)}, "f", precision="float64")
    x = np.zeros((1, 5, 5, 1))
    x[0, 1, 1] = x[0, 3, 3] = 1
    wanted = [[3, 6, 6, 3, 0], [6, 15, 18, 12, 3], [6, 18, 24, 18, 6], [3, 12, 18, 15, 6], [0, 3, 6, 6, 3]]
    assert np.abs(occluded(net, x, x * 0, (3, 3), (1, 1), mean=False) - wanted).max() <= 1e-6


def relevance(net, x, rules):
    x = Tensor(np.asarray(x), needs_grad=True)
    y = net(x, keep="inputs")[net.output_layer]
    return gradient(y, x, rules=rules, seed=y.data)


@pytest.mark.parametrize("first, below, above, wanted", [
    (2, lrp.epsilon(1e-9), lrp.epsilon(1e-9), [18, 36, 54]),
    (-2, lrp.gamma(1.0, 1e-9), lrp.gamma(0.25, 1e-9), [28 / 3, 104 / 3, 52]),
    (-2, lrp.alpha_beta(1.0, 0.0, 1e-9), lrp.alpha_beta(1.0, 0.0, 1e-9), [12, 33.6, 50.4]),
])
def test_relevance_in_two_dense_layers(first, below, above, wanted):
    """Input 1, 2, 3; weights 2 (the first of them as given), ReLU, weights 3."""
    layers = [Layer("input", "input", shape=[1, 1, 3]), Layer("flat", "flatten"), Layer("fc1", "linear", outputs=3),
              Layer("relu", "relu"), Layer("fc2", "linear", outputs=1)]
    w = np.full((3, 3), 2.0)
    w[0, 0] = first
    net = Network(layers, {"fc1/weight": w, "fc1/bias": np.zeros(3), "fc2/weight": np.full((3, 1), 3.0),
                           "fc2/bias": np.zeros(1)}, "fc2", precision="float64")
    got = relevance(net, [[[[1.0, 2, 3]]]], {"fc1": below, "fc2": above, "relu": lrp.passed_relu})
    assert np.abs(got.ravel() - wanted).max() <= 1e-6


def test_relevance_of_the_convolutional_net(net):
    got = relevance(net, X, {name: lrp.epsilon(1e-9) for name in ("conv1", "fc1")}
                    | dict.fromkeys(("relu1", "relu2"), lrp.passed_relu))
    assert np.abs(got[0, :, :, 0] - [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]]).max() <= 1e-6


def test_relevance_goes_to_the_cell_that_is_the_maximum():
    layers = [Layer("input", "input", shape=[2, 2, 1]), Layer("pool", "max_pool", kernel=2), Layer("flat", "flatten")]
    net = Network(layers, {}, "flat", precision="float64")
    assert relevance(net, [[[[1.0], [2]], [[5], [6]]]], "plain").ravel().tolist() == [0, 0, 0, 6]
