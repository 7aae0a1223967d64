"""iNNvestigate's reference files (Gradient, GuidedBackprop, Deconvnet, InputTimesGradient, IntegratedGradients): one
layer each, eight pictures, to 1e-6. tools/check_innvestigate.py compares the rules of relevance with the others.

The target is the largest output. The two ReLU rules start there with the output's value, plain gradients with 1.
"""
import h5py
import numpy as np
import pytest

from minivis.layers import Layer
from minivis.network import Network
from minivis.tensor import Tensor, gradient

pytestmark = pytest.mark.data
CONV = {"kernel": 3, "filters": 5}
# case: layers between the input and the flatten
CASES = {
    "Dense": [Layer("conv", "conv", filters=5, kernel=1)],              # a dense layer on the last axis is a 1x1 one
    "Dense_relu": [Layer("conv", "conv", filters=5, kernel=1), Layer("relu", "relu")],
    "Conv2D": [Layer("conv", "conv", **CONV)],
    "Conv2D_relu": [Layer("conv", "conv", **CONV), Layer("relu", "relu")],
    "AveragePooling2D": [Layer("pool", "avg_pool", kernel=2)],
    "MaxPooling2D": [Layer("pool", "max_pool", kernel=2)],
}
FILES = {"Gradient": "plain", "GuidedBackprop": "guided", "Deconvnet": "deconv"}


@pytest.fixture(params=FILES)
def file(request, data_folder):
    with h5py.File(data_folder / "innvestigate" / f"{request.param}.hdf5") as f:
        yield f, FILES[request.param]


@pytest.mark.parametrize("case", CASES)
def test_output_and_attribution(file, case, each_kernel_set):
    f, rule = file
    group, x = f[case], f["input"][()].astype(np.float64)
    net = network(case, group)
    t = Tensor(x, needs_grad=True)
    y = net(t)["flat"]
    assert np.abs(y.numpy() - group["output"][()]).max() <= 1e-6
    rows, best = np.arange(len(x)), y.numpy().argmax(axis=1)
    seed = np.zeros(y.shape)
    seed[rows, best] = 1 if rule == "plain" else y.numpy()[rows, best]
    got, wanted = gradient(y, t, rules=rule, seed=seed), group["attribution"][()]
    assert np.any(wanted) and np.abs(got - wanted).max() <= 1e-6


def network(case, group):
    layers = [Layer("input", "input", shape=[10, 10, 3]), *CASES[case], Layer("flat", "flatten")]
    weights = {}
    if len(group["weights"]):
        w = group["weights/0"][()].astype(np.float64)
        weights = {"conv/weight": w if w.ndim == 4 else w[None, None], "conv/bias": group["weights/1"][()].astype("f8")}
    return Network(layers, weights, "flat", precision="float64")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["InputTimesGradient", "IntegratedGradients"])
def test_input_times_gradient_at_one_place_or_all_along(data_folder, case, name):
    """Integrated gradients: 64 places from zero on, left Riemann sum. Without biases the largest output is the same at
    all of them."""
    with h5py.File(data_folder / "innvestigate" / f"{name}.hdf5") as f:
        net, x, wanted = network(case, f[case]), f["input"][()].astype(np.float64), f[case]["attribution"][()]
    largest = net(x)["flat"].numpy()
    seed = np.eye(largest.shape[1])[largest.argmax(axis=1)]
    got = 0
    places = [1.0] if name == "InputTimesGradient" else np.arange(64) / 64
    for place in places:
        t = Tensor(place * x, needs_grad=True)
        got = got + x * gradient(net(t)["flat"], t, seed=seed) / len(places)
    assert np.any(wanted) and np.abs(got - wanted).max() <= 1e-6
