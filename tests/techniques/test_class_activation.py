"""Class activation maps: each layer runs once, whichever way the gradient reaches the map's layer."""
from collections import Counter

import numpy as np
import pytest

from minivis import golden, techniques
from minivis.techniques.cams import view
from minivis.techniques.common import top_layer
from minivis.tensor import Tensor, gradient

ONE_PASS = ("cam", "gradcam", "gradcam_plus_plus", "xgradcam", "layercam", "eigencam", "guided_gradcam",
            "full_gradient", "saliency", "guided_backprop", "deconvnet", "input_x_gradient", "lrp")


@pytest.mark.parametrize("name, unit", [(name, None) for name in ONE_PASS]
                         + [(name, "conv2:1") for name in ONE_PASS if name != "cam"])
def test_no_layer_is_computed_twice(conv_net, picture, monkeypatch, name, unit):
    net, ran = conv_net(bias=0.1), Counter()

    def call(self, x, layers=None, *, start=None, run=type(net).__call__, **more):
        names = [layers] if isinstance(layers, str) else list(layers or [self.output_layer])
        ran.update(set(self.table.needed(names, start)) - {start, "input"})
        return run(self, x, layers, start=start, **more)
    monkeypatch.setattr(type(net), "__call__", call)
    techniques.load(name)(net, picture, **({"unit": unit} if unit else {}))
    assert set(ran.values()) == {1} and top_layer(net, unit) in ran


@pytest.mark.parametrize("layer", ["expand1_relu", "expand3_relu", "fire"])
def test_a_layer_that_others_lead_around_has_the_gradient_of_the_whole_network(layer):
    about, arrays = golden.load("fire")
    net = golden.network(about)
    v = view(net, arrays["picture"], layer)
    values = net(Tensor(net.preprocess(arrays["picture"]), needs_grad=True), layers=[layer, net.logits_layer])
    wanted = gradient(values[net.logits_layer], values[layer], seed=v.start.seed)[0]
    assert np.any(wanted) and np.abs(v.g - wanted).max() <= 1e-12 * np.abs(wanted).max()
    assert np.array_equal(v.a, values[layer].numpy()[0])
