"""Sliding a receptive field: the numbers are the unit's activations, the patches what it sees."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.network import Network
from minivis.techniques.slide import slide


def test_every_number_is_the_network_run_on_that_patch_alone(picture):
    """Without padding: cut out the field's pixels, run the network on nothing else, and get the same number."""
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=4, kernel=3),
              Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2),
              Layer("conv2", "conv", filters=3, kernel=3)]
    prep = {"channels": "BGR", "range": 255, "mean": [100, 100, 100], "std": [60, 60, 60]}
    net = Network(layers, random_weights(layers), preprocessing=prep, precision="float64")
    result = slide(net, picture, "conv2:2", top=6)
    assert result.values.shape == (3, 2) and result.values.any() and tuple(result.size) == (8, 8)
    values = [patch["value"] for patch in result.patches]
    assert values == sorted(values, reverse=True) and len(values) == 6
    for patch in result.patches:
        alone = net(net.preprocess(patch["picture"]), layers=["conv2"])["conv2"].numpy()
        assert alone.shape == (1, 1, 1, 3) and alone[0, 0, 0, 2] == pytest.approx(patch["value"], abs=1e-12)
        assert result.values[patch["row"], patch["column"]] == patch["value"]
    assert result.centres[0].tolist() == [3.5, 5.5, 7.5]


def test_stride_and_the_strongest_channel(conv_net, picture):
    net = conv_net(bias=0.1)
    a = net(net.preprocess(picture), layers=["relu1"])["relu1"].numpy()[0]
    result = slide(net, picture, "relu1", stride=3)
    assert result.channel == a.max(axis=(0, 1)).argmax()
    assert np.array_equal(result.values, a[::3, ::3, result.channel])
    assert result.rows.tolist() == [0, 3, 6, 9] and result.centres[1].tolist() == [0, 3, 6, 9]


def test_patches_at_the_border_show_padding_white(conv_net):
    net = conv_net(positive=True)
    picture = np.zeros((12, 10, 3), np.uint8)
    picture[0, 0] = 255
    best = slide(net, picture, "conv1:0").patches[0]
    assert best["box"][2] - best["box"][0] == 3 and best["picture"].shape == (3, 3, 3)
    corner = next(p for p in slide(net, picture, "conv1:0", top=120).patches if (p["row"], p["column"]) == (0, 0))
    assert (corner["picture"][0] == 255).all() and (corner["picture"][:, 0] == 255).all()
    assert (corner["picture"][1, 1] == 255).all() and not corner["picture"][2, 1:].any()


def test_what_cannot_be_slid(conv_net, picture):
    for unit, words in (("scores:1", "whole picture"), ("relu1:0@1,2", "one place")):
        with pytest.raises(MinivisError, match=words):
            slide(conv_net(), picture, unit)
    with pytest.raises(MinivisError, match="stride 0"):
        slide(conv_net(), picture, "relu1:0", stride=0)
