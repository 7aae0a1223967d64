"""Attribution techniques give what Captum, zennit, pytorch-grad-cam and PyTorch give, in float64, on networks drawn
from a seed (tools/golden_attribution.py)."""
import importlib

import numpy as np
import pytest

from minivis import golden
from minivis.techniques.cams import view
from minivis.techniques.common import begin, look
from minivis.techniques.eigencam import principal
from minivis.techniques.excitation_backprop import probabilities
from minivis.techniques.gradcam_plus_plus import plus_plus_weights
from minivis.techniques.xgradcam import x_weights
from minivis.tensor import Tensor


class Case:
    def __init__(self, name):
        self.about, self.wanted = golden.load(f"attribution/{name}")
        about, arrays = golden.load(name)
        self.net, self.picture = golden.network(about), arrays["picture"]
        self.layer = self.about["layer"]

    def run(self, technique, **options):
        function = getattr(importlib.import_module(f"minivis.techniques.{technique}"), technique)
        return function(self.net, self.picture, **options)

    def in_rgb(self, key):
        return self.net.to_rgb(self.wanted[key])


@pytest.fixture(params=["fire", "vgg", "normed"], scope="module")
def case(request):
    return Case(request.param)


def equal(got, wanted, tolerance=1e-9):
    assert np.any(wanted), "a comparison of zeros proves nothing"
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


def test_input_x_gradient_is_captums(case):
    equal(case.run("input_x_gradient", reduce="none").values, case.in_rgb("input_x_gradient"))


@pytest.mark.parametrize("method", ["gausslegendre", "left", "right", "midpoint", "trapezoid"])
def test_integrated_gradients_are_captums(case, method):
    result = case.run("integrated_gradients", steps=case.about["steps"], method=method, baseline="black", reduce="none")
    equal(result.values, case.in_rgb(f"integrated_gradients_{method}"), 1e-6)      # Captum's weights are float32
    if method == "gausslegendre":
        equal(result.values, case.in_rgb("integrated_gradients"))


def test_deeplift_is_the_rescale_rule_and_captums_below_poolings(case):
    equal(case.run("deeplift", baseline="black", reduce="none").values, case.in_rgb("deeplift"))
    result = case.run("deeplift", baseline="black", reduce="none", unit=case.about["deeplift_unit"])
    equal(result.values, case.in_rgb("deeplift_unit"))


@pytest.mark.parametrize("preset", ["epsilon", "gamma", "z_plus", "alpha2_beta1", "preset_a", "preset_b",
                                    "preset_a_flat", "preset_b_flat", "epsilon_gamma_box", "deep_taylor",
                                    "bounded_deep_taylor"])
def test_relevance_is_zennits(case, preset):
    equal(case.run("lrp", preset=preset, reduce="none").values, case.in_rgb(f"lrp_{preset}"))


def test_excitation_is_zennits_z_plus(case):
    net = case.net
    _, x = look(net, case.picture, needs_grad=True)
    start = begin(net, Tensor(x.data))
    P, _ = probabilities(net, x, start, case.about["bottom"])
    equal(P, case.wanted["excitation_backprop"])


def test_class_activation_maps_are_those_of_pytorch_grad_cam(case):
    v = view(case.net, case.picture, case.layer)
    equal((v.a * v.g.mean(axis=(0, 1))).sum(axis=2), case.wanted["gradcam"])
    equal((v.a * plus_plus_weights(v.a, v.g, 1e-6)).sum(axis=2), case.wanted["gradcam_plus_plus"])
    equal((v.a * x_weights(v.a, v.g, 1e-7)).sum(axis=2), case.wanted["xgradcam"])
    equal((v.a * np.maximum(v.g, 0)).sum(axis=2), case.wanted["layercam"])
    wanted = case.wanted["eigencam"]
    got = principal(v.a)
    equal(got, wanted * np.sign((got * wanted).sum()))


@pytest.mark.parametrize("technique", ["ablation_cam", "scorecam"])
def test_channels_weighed_by_forward_passes(case, technique):
    """Seen at the layer's own places: enlarged to as many pixels as there are, nearest keeps them all."""
    from minivis.ops.resample import resize_matrix
    got = case.run(technique, layer=case.layer, relu=False, upsample="corners").values
    small = case.wanted[technique]
    rows, columns = (resize_matrix(small.shape[a], got.shape[a], "bilinear", "corners") for a in (0, 1))
    equal(got, rows @ small @ columns.T)


@pytest.mark.parametrize("variant", ["mean", "squared", "variance"])
def test_smoothgrad_with_the_same_noise(case, variant):
    result = case.run("smoothgrad", samples=case.about["samples"], noise=case.about["noise"], variant=variant,
                      reduce="none")
    equal(result.values, case.in_rgb(f"smoothgrad_{variant}"))


def test_full_gradient_is_the_authors(case):
    result = case.run("full_gradient", upsample="corners")
    equal(result.values, case.wanted["full_gradient"])
    assert abs(result.gap) < 1e-9 * abs(result.score)
