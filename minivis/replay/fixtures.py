"""The numbers that Captum's and PAIR's own unit tests expect, for networks of a few weights.

Captum's tests allow 0.01; here the printed digits are asked for. What its tests expect of rules that minivis does not
have (IdentityRule), of pooling along features or in three dimensions and of futures is left out.
"""
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..layers import Layer
from ..network import Network
from ..ops.resample import resize_matrix
from ..relevance import lrp
from ..techniques.cams import weighted
from ..techniques.kernel_shap import coalitions, shapley_fit
from ..techniques.occlusion import hide_and_score, spread, window_starts
from ..tensor import Tensor, gradient

CAPTUM, PAIR = "captum 0.9, tests/attr", "PAIR saliency, tests"


class Fixture(NamedTuple):
    network: str
    what: str
    tool: str
    compute: Callable
    wanted: np.ndarray
    allowed: float = 1e-9


FIXTURES = []


def fixture(network, what, wanted, *arguments, tool=CAPTUM, allowed=1e-9):
    """Add a Fixture that calls the function below with these arguments."""
    def keep(function):
        FIXTURES.append(Fixture(network, what, tool, lambda: function(*arguments), np.asarray(wanted, float), allowed))
        return function
    return keep


# ------------------------------------------------------------------------------------------------ a convolution of ones

X = np.arange(16.0).reshape(1, 4, 4, 1)


def one_convolution():
    """A convolution of ones 3x3, 1 -> 2 channels, bias -50 and -75; ReLU; a dense row (1 1 1 1 1 -1 -1 -1) after a
    flatten in channel order; ReLU."""
    layers = [Layer("input", "input", shape=[4, 4, 1]), Layer("conv1", "conv", filters=2, kernel=3),
              Layer("relu1", "relu"), Layer("flat", "flatten", order="chw"), Layer("fc1", "linear", outputs=1),
              Layer("relu2", "relu")]
    weights = {"conv1/weight": np.ones((3, 3, 1, 2)), "conv1/bias": np.array([-50.0, -75.0]),
               "fc1/weight": np.array([[1.0]] * 5 + [[-1.0]] * 3), "fc1/bias": np.zeros(1)}
    return Network(layers, weights, "relu2", precision="float64")


def seen_at(layer):
    """(activations, gradient) of a layer, each (h, w, K), for the input 0 .. 15."""
    values = one_convolution()(Tensor(X, needs_grad=True), layers=[layer, "relu2"])
    return values[layer].data[0], gradient(values["relu2"], values[layer])[0]


@fixture("one convolution", "relu1", [0, 4, 31, 40, 0, 0, 6, 15], "relu1")
@fixture("one convolution", "output", [54], "relu2")
def _activations(layer):
    value = one_convolution()(X, layers=[layer])[layer].numpy()[0]
    return np.moveaxis(value, 2, 0).ravel() if value.ndim == 3 else value


@fixture("one convolution", "gradient", [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]], "plain")
@fixture("one convolution", "guided_backprop", [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]], "guided")
@fixture("one convolution", "deconvnet", [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]], "deconv")
def _rule(rule):
    x = Tensor(X, needs_grad=True)
    return gradient(one_convolution()(x)["relu2"], x, rules=rule)[0, :, :, 0]


@fixture("one convolution", "gradcam conv1", [[11.25, 13.5], [20.25, 22.5]], "conv1")
@fixture("one convolution", "gradcam relu1", [[0, 4], [28, 32.5]], "relu1")
def _gradcam(layer):
    a, g = seen_at(layer)
    return weighted(a, g.mean(axis=(0, 1)))


@fixture("one convolution", "gradcam conv1, channel by channel",
         [[[-3.75, 3], [23.25, 30]], [[15, 10.5], [-3, -7.5]]])
def _gradcam_channels():
    a, g = seen_at("conv1")
    return np.moveaxis(a * g.mean(axis=(0, 1)), 2, 0)


@fixture("one convolution", "guided_gradcam relu1",
         [[0, 0, 4, 4], [0, 0, 12, 8], [28, 84, 97.5, 65], [28, 56, 65, 32.5]])
def _guided_gradcam():
    enlarge = resize_matrix(2, 4, "nearest", "half_pixel", antialias=False)
    return _rule("guided") * (enlarge @ np.maximum(_gradcam("relu1"), 0) @ enlarge.T)


@fixture("one convolution", "lrp", [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]])
def _lrp():
    rules = {name: lrp.epsilon(1e-12) for name in ("conv1", "fc1")} | dict.fromkeys(("relu1", "relu2"), lrp.passed_relu)
    return relevance(one_convolution(), X, rules)[0, :, :, 0]


def relevance(net, x, rules, index=None):
    """Relevance of the inputs x (1, H, W, C), beginning with the output's value, of one unit if `index` is given."""
    x = Tensor(np.asarray(x, np.float64), needs_grad=True)
    y = net(x, keep="inputs")[net.output_layer]
    seed = y.data.copy() if index is None else np.eye(y.shape[1])[[index]] * y.data
    return gradient(y, x, rules=rules, seed=seed)


# ------------------------------------------------------------------------------------------------------------ occlusion

def slid(net, x, background, size, stride, mean):
    """Occlusion of one output: clean minus hidden, spread to pixels."""
    scores = hide_and_score(net, x, background, size, stride)[:, :, 0]
    change = net(x)[net.logits_layer].numpy()[0, 0] - scores
    places = tuple(window_starts(x.shape[1 + a], size[a], stride[a]) for a in (0, 1))
    return spread(change, places, size, x.shape[1:3], mean)


@fixture("one convolution", "occlusion, first of two inputs", [[17] * 4, [17] * 4, [64, 65.5, 65.5, 67],
                                                               [64, 65.5, 65.5, 67]], 0)
@fixture("one convolution", "occlusion, second of two inputs", [[3] * 4, [3] * 4, [3] * 4, [0] * 4], 1)
def _occlusion(which):
    """The net sees x + x2; hiding a window of one (fill 0) leaves the other there. Mean over covering windows."""
    x2 = np.ones_like(X)
    background, size, stride = ((x2, (2, 3), (2, 1)), (X, (1, 2), (1, 2)))[which]
    return slid(one_convolution(), X + x2, background, size, stride, mean=True)


@fixture("a sum", "occlusion summed over windows", [[3, 6, 6, 3, 0], [6, 15, 18, 12, 3], [6, 18, 24, 18, 6],
                                                    [3, 12, 18, 15, 6], [0, 3, 6, 6, 3]], tool=PAIR)
def _summed():
    """f = 3 * sum of the input, ones at (1, 1) and (3, 3), windows of 3 at every place."""
    layers = [Layer("input", "input", shape=[5, 5, 1]), Layer("flat", "flatten"), Layer("f", "linear", outputs=1)]
    net = Network(layers, {"f/weight": np.full((25, 1), 3.0), "f/bias": np.zeros(1)}, "f", precision="float64")
    x = np.zeros((1, 5, 5, 1))
    x[0, 1, 1] = x[0, 3, 3] = 1
    return slid(net, x, x * 0, (3, 3), (1, 1), mean=False)


# ------------------------------------------------------------------------------------------- relevance in dense layers

def two_dense(first=2.0, kind="relu", below=2.0, above=3.0):
    """3 -> 3 -> 1 without biases: weights `below` (the very first of them `first`), a nonlinearity, weights `above`."""
    layers = [Layer("input", "input", shape=[1, 1, 3]), Layer("flat", "flatten"), Layer("fc1", "linear", outputs=3),
              Layer("between", kind), Layer("fc2", "linear", outputs=1)]
    w = np.full((3, 3), below)
    w[0, 0] = first
    return Network(layers, {"fc1/weight": w, "fc1/bias": np.zeros(3), "fc2/weight": np.full((3, 1), above),
                            "fc2/bias": np.zeros(1)}, "fc2", precision="float64")


TINY = 1e-12
EPSILON, ALPHA1 = lrp.epsilon(TINY), lrp.alpha_beta(1.0, 0.0, TINY)


@fixture("two dense layers", "lrp epsilon", [18, 36, 54], 2.0, EPSILON, EPSILON)
@fixture("two dense layers", "lrp epsilon, thrice the input", [54, 108, 162], 2.0, EPSILON, EPSILON, 3.0)
@fixture("two dense layers", "lrp gamma 1 below gamma 0.25", [28 / 3, 104 / 3, 52], -2.0, lrp.gamma(1.0, TINY),
         lrp.gamma(0.25, TINY))
@fixture("two dense layers", "lrp alpha 1 beta 0", [12, 33.6, 50.4], -2.0, ALPHA1, ALPHA1)
def _two_dense(first, below, above, times=1.0):
    rules = {"fc1": below, "fc2": above, "between": lrp.passed_relu}
    return relevance(two_dense(first), times * np.array([[[[1.0, 2, 3]]]]), rules).ravel()


@fixture("two dense layers", "lrp through tanh", [0.0269, 0.0537, 0.0806], allowed=1e-3)
def _tanh():
    rules = {"fc1": EPSILON, "fc2": EPSILON, "between": lrp.passed}
    return relevance(two_dense(0.1, "tanh", 0.1, 0.1), [[[[1.0, 2, 3]]]], rules).ravel()


@fixture("two dense layers", "lrp epsilon is input x gradient", [18, 36, 54])
def _input_x_gradient():
    x = Tensor(np.array([[[[1.0, 2, 3]]]]), needs_grad=True)
    return (x.data * gradient(two_dense()(x)["fc2"], x)).ravel()


@fixture("a sum with a skip connection", "lrp", [10, 18])
def _skip():
    """x + W x, all weights 5, input (2, 3), the second output: a dense layer is a 1x1 convolution here."""
    layers = [Layer("input", "input", shape=[1, 1, 2]), Layer("fc", "conv", filters=2, kernel=1),
              Layer("sum", "add", ["fc", "input"]), Layer("flat", "flatten")]
    net = Network(layers, {"fc/weight": np.full((1, 1, 2, 2), 5.0), "fc/bias": np.zeros(2)}, "flat",
                  precision="float64")
    return relevance(net, [[[[2.0, 3]]]], {"fc": EPSILON, "sum": lrp.fixed("add", TINY)}, index=1).ravel()


@fixture("max pooling", "lrp", [0, 0, 0, 6])
def _pooled():
    layers = [Layer("input", "input", shape=[2, 2, 1]), Layer("pool", "max_pool", kernel=2), Layer("flat", "flatten")]
    return relevance(Network(layers, {}, "flat", precision="float64"), [[[[1.0], [2]], [[5], [6]]]], "plain").ravel()


# ------------------------------------------------------------------------------------------------------- Shapley values

def several_layers():
    """3 -> 4 -> 2: weights 1, biases (-10, 1, 1, 1), ReLU, weights 1, biases (-1, 1)."""
    layers = [Layer("input", "input", shape=[1, 1, 3]), Layer("flat", "flatten"), Layer("fc1", "linear", outputs=4),
              Layer("relu", "relu"), Layer("fc2", "linear", outputs=2)]
    return Network(layers, {"fc1/weight": np.ones((3, 4)), "fc1/bias": np.array([-10.0, 1, 1, 1]),
                            "fc2/weight": np.ones((4, 2)), "fc2/bias": np.array([-1.0, 1])}, "fc2", precision="float64")


@fixture("several dense layers", "shapley", [230 / 3, 590 / 3, 350 / 3], [20, 50, 30])
@fixture("several dense layers", "shapley of two features", [275, 275, 115], [20, 50, 30], [0, 0, 1])
@fixture("several dense layers", "shapley, baseline 4", [248, 248, 104], [20, 50, 30], [0, 0, 1], 4.0)
@fixture("several dense layers", "shapley of a small input", [7, 32.5, 10.5], [2, 10, 3])
@fixture("several dense layers", "shapley of a small input's features", [39.5, 39.5, 10.5], [2, 10, 3], [0, 0, 1])
@fixture("several dense layers", "shapley of other features", [275, 275, 115], [20, 50, 30], [1, 1, 0])
def _shapley(x, features=(0, 1, 2), baseline=0.0):
    """Kernel SHAP of all coalitions, whose solution is exact."""
    net, features = several_layers(), np.asarray(features)
    K = features.max() + 1
    z, weight = coalitions(K, 2 ** K, 0)
    rows = np.concatenate([z, np.ones((1, K), int), np.zeros((1, K), int)])[:, features]
    y = net(np.where(rows, np.asarray(x, np.float64), baseline)[:, None, None])["fc2"].numpy()[:, 0]
    return shapley_fit(z, y[:-2], weight, *y[-2:])[features]


@fixture("several dense layers", "lrp", [16, 32, 48])
def _lrp_several():
    """Captum's net adds two inputs, (1, 2, 3) and (3, 6, 9); each is given what their sum gets."""
    rules = {"fc1": EPSILON, "fc2": EPSILON, "relu": lrp.passed_relu}
    return relevance(several_layers(), [[[[4.0, 8, 12]]]], rules, index=0).ravel()
