"""The networks that come with minivis: what they are, and that PyTorch computes the same from the same file."""
import json
import os

import numpy as np
import pytest

from minivis import golden, load_network
from minivis.loading import embedded, embedded_names
from minivis.training import accuracy
from minivis.training.digits import digits_data

MOST_BYTES = {"digits": 100_000, "minivgg": 8_000_000}
CLASSIFIERS = [name for name in embedded_names() if name in MOST_BYTES]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_pytorch_computes_the_same_logits_from_the_same_file(name):
    about, arrays = golden.load(f"shipped/{name}")
    exact = load_network(name, device="cpu", precision="float64")
    assert exact.weights_hash() == about["weights"], "run tools/golden_shipped.py: the file has changed"
    picture = golden.shipped_picture(exact)
    for net, tolerance in ((exact, 1e-12), (exact.with_precision("float32"), 1e-5)):
        logits = net(net.preprocess(picture, policy="none"))[net.logits_layer].data
        np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=tolerance * abs(arrays["logits"]).max())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_shipped_network_is_small_plain_and_says_how_it_came_about(name):
    net = load_network(name, device="cpu")
    assert os.path.getsize(embedded(name)) <= MOST_BYTES[name]
    assert {row.kind for row in net.table} <= {"input", "conv", "relu", "max_pool", "global_avg_pool", "linear",
                                                "softmax"}
    assert net.labels and net.has_preprocessing
    assert "top-1" in net.meta["accuracy"] and net.meta["date"] and "seed" in json.loads(net.meta["recipe"])


@pytest.mark.parametrize("side", [32, 64, 97])
@pytest.mark.parametrize("name", [n for n in CLASSIFIERS if n == "minivgg"])
def test_minivgg_takes_pictures_of_any_size_from_32_pixels_up(name, side):
    net = load_network(name, device="cpu")
    assert net(np.zeros((1, side, side + 3, 3), np.float32))["fc8"].shape == (1, 200)


def test_digits_is_as_good_as_it_says():
    net, held_out = load_network("digits", device="cpu"), digits_data()[1]
    share = accuracy(net, held_out)[0]
    assert share >= 0.98 and f"top-1 {share:.2%}" in net.meta["accuracy"]
