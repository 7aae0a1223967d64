"""Gradients, relevance and class activation: Captum, zennit, pytorch-grad-cam, and published formulas in PyTorch.

Maps of pixels are stored with their colours in the network's own order; class activation maps at the layer's own
places, and are compared enlarged with corners aligned.
"""
import tempfile
from pathlib import Path

import numpy as np

from .. import image
from ..ops.resample import resize_matrix
from ..techniques import load
from ..techniques.cams import view, weighted
from ..techniques.common import begin, look
from ..techniques.excitation_backprop import probabilities
from ..techniques.gradcam_plus_plus import plus_plus_weights
from ..techniques.xgradcam import x_weights
from ..tensor import Tensor

# what pytorch-grad-cam adds to denominators; minivis replaces zeros
STABILIZED = {"gradcam_plus_plus": lambda a, g: plus_plus_weights(a, g, 1e-6),
              "xgradcam": lambda a, g: x_weights(a, g, 1e-7)}


def compute(net, picture, about, arrays, key):
    if key in STABILIZED:
        v = view(net, picture, about["layer"])
        return weighted(v.a, STABILIZED[key](v.a, v.g))
    if key in ("gradcam", "layercam", "scorecam", "ablation_cam", "eigencam"):
        got = load(key)(net, picture, layer=about["layer"], relu=False, upsample="corners").values
        got = at_places(got, arrays[key].shape)
        return got * np.sign((got * arrays[key]).sum()) if key == "eigencam" else got       # it has no sign of its own
    if key == "cam":
        return at_places(load(key)(net, picture, upsample="corners").values, arrays[key].shape)
    if key in PARTS:
        return PARTS[key](net, picture, about)
    name, options = technique(about, key)
    if name == "expected_gradients":
        values = expected_gradients(net, picture, arrays["baselines"], **options)
    else:
        values = None if name is None else load(name)(net, picture, **options).values
    return net.to_rgb(values) if name in IN_NETWORK_ORDER else values


IN_NETWORK_ORDER = ("input_x_gradient", "integrated_gradients", "deeplift", "lrp", "smoothgrad", "guided_gradcam",
                    "expected_gradients")


def technique(about, key):
    """(name, options) of the technique whose values an array holds; (None, {}) for what is no result."""
    kept = {"baseline": about["baseline"], "reduce": "none"}
    if key == "input_x_gradient":
        return key, {"reduce": "none"}
    if key.startswith("integrated_gradients"):
        name = "integrated_gradients"
        return name, kept | {"steps": about["steps"], "method": key[len(name) + 1:]}
    if key.startswith("deeplift"):
        return "deeplift", kept | ({"unit": about["deeplift_unit"]} if key.endswith("unit") else {})
    if key.startswith("lrp_"):
        return "lrp", {"preset": key[4:], "reduce": "none"}
    if key.startswith("smoothgrad_"):
        return "smoothgrad", {"samples": about["samples"], "noise": about["noise"], "variant": key[11:],
                              "reduce": "none"}
    if key.startswith("saliency_"):
        return "saliency", {"reduce": key[9:]}
    if key.startswith("guided_gradcam_"):
        return "guided_gradcam", {"layer": about["layer"], "upsample": key[15:]}
    if key == "full_gradient":
        return key, {"upsample": "corners"}
    if key == "expected_gradients":
        return key, {"samples": about["draws"], "reduce": "none"}
    return None, {}


def expected_gradients(net, picture, baselines, **options):
    """The technique with these pictures as its folder."""
    with tempfile.TemporaryDirectory() as folder:
        for i, other in enumerate(baselines):
            image.save(other, Path(folder) / f"{i:03}.png")
        return load("expected_gradients")(net, picture, folder, **options).values


def at_places(big, shape):
    """The map (h, w) that was enlarged to `big` with corners aligned."""
    rows, columns = (np.linalg.pinv(resize_matrix(shape[a], big.shape[a], "bilinear", "corners")) for a in (0, 1))
    return rows @ big @ columns.T


def _excitation(net, picture, about, contrastive=False):
    _, x = look(net, picture, needs_grad=True)
    P, Q = probabilities(net, x, begin(net, Tensor(x.data)), about["bottom"], contrastive)
    return P, Q


PARTS = {       # one layer's part of a map
    "excitation_backprop": lambda net, picture, about: _excitation(net, picture, about)[0],
    "excitation_against": lambda net, picture, about: _excitation(net, picture, about, True)[1],
    "activations": lambda net, picture, about: load("activations")(
        net, picture, layers=[about["layer"]]).layers[about["layer"]],
    "slide": lambda net, picture, about: load("slide")(net, picture, about["layer"]).values,
    "filter_response": lambda net, picture, about: load("filters")(
        net, about["first"], picture=picture, channel=about["channel"]).response,
}
