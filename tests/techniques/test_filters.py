"""Filters: the weights as they are, their order and noise; and the dot product of a filter with a patch."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.network import Network
from minivis.preprocessing import Preprocessing
from minivis.techniques.filters import filters, spectral_spread


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_first_layer_filters_come_in_rgb_order(conv_net, channels):
    net = conv_net(channels)
    w = net.weights["conv1/weight"].numpy()
    result = filters(net)
    assert result.layer == "conv1" and result.colours
    assert np.array_equal(result.values, w[:, :, ::-1] if channels == "BGR" else w)


def test_higher_layers_come_as_they_are_with_a_warning(conv_net):
    net = conv_net("BGR")
    result = filters(net, "conv2")
    assert np.array_equal(result.values, net.weights["conv2/weight"].numpy()) and not result.colours
    assert any("not colours" in note for note in result.notes)
    assert not any("not colours" in note for note in filters(net).notes)


def test_sorting_orders_what_is_drawn_and_leaves_the_values(conv_net):
    net = conv_net()
    plain = filters(net)
    assert plain.order.tolist() == [0, 1, 2, 3, 4]
    norms = np.linalg.norm(plain.values.reshape(-1, 5), axis=0)
    by_norm, by_noise = filters(net, sort="norm"), filters(net, sort="noise")
    assert np.allclose(plain.norm, norms) and (np.diff(norms[by_norm.order]) <= 0).all()
    assert (np.diff(by_noise.noise[by_noise.order]) <= 0).all() and sorted(by_noise.order) == [0, 1, 2, 3, 4]
    for result in (by_norm, by_noise):
        assert np.array_equal(result.values, plain.values)
        assert not np.array_equal(result.picture(), plain.picture())


def waves(side=7):
    """One filter each: constant, blob, fine stripes, coarse stripes, checkerboard; all three colours alike."""
    y, x = np.mgrid[:side, :side] - side // 2
    shapes = [np.ones((side, side)), np.exp(-(x ** 2 + y ** 2) / 8), np.sin(2 * np.pi * x / 2.4) * np.exp(-y ** 2 / 6),
              np.sin(2 * np.pi * x / 7), (-1.0) ** (x + y)]
    return np.stack(shapes, axis=2)[:, :, None].repeat(3, axis=2)


def test_noise_spreads_over_all_frequencies_and_trained_shapes_do_not():
    random = np.random.RandomState(0).standard_normal((7, 7, 3, 1000))
    noisy, shaped = spectral_spread(random), spectral_spread(waves())
    assert abs(np.median(noisy) - 0.75) < 0.03 and noisy.min() > 0.5        # C / (C + 1) for C = 3 channels
    assert shaped.max() < 0.3, shaped
    assert spectral_spread(waves())[0] == pytest.approx(1 / 49)             # a single frequency, zero


def test_the_spread_ignores_scale_and_is_undefined_for_1x1_and_0_for_nothing():
    w = waves()
    assert np.allclose(spectral_spread(w), spectral_spread(-7 * w))
    assert np.isnan(spectral_spread(np.ones((1, 1, 8, 4)))).all()
    assert spectral_spread(np.zeros((3, 3, 3, 2))).tolist() == [0, 0]


def first_layer(w):
    layers = [Layer("input", "input", shape=[None, None, 3]),
              Layer("conv1", "conv", filters=w.shape[3], kernel=list(w.shape[:2]), bias=False)]
    return Network(layers, {"conv1/weight": w}, preprocessing=Preprocessing(range=1), precision="float64")


def test_a_first_layer_of_random_numbers_is_called_noisy_and_the_threshold_is_an_option():
    random = np.random.RandomState(0).standard_normal((7, 7, 3, 20))
    assert "20 of 20 filters are noisy" in filters(first_layer(random)).notes[0]
    assert "too short" in filters(first_layer(random)).notes[0]
    assert "0 of 5 filters are noisy" in filters(first_layer(waves())).notes[0]
    assert "0 of 20 filters" in filters(first_layer(random), noisy=0.99).notes[0]


def test_dead_filters_are_named():
    w = waves()
    w[..., 3] = 0
    assert any("1 filter(s) are all but zero (3)" in note for note in filters(first_layer(w)).notes)


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_the_response_is_filter_times_patch_plus_bias_everywhere(conv_net, picture, channels, layer):
    net = conv_net(channels, bias=-0.3)
    result = filters(net, layer, picture=picture, channel=1, at="2,1")
    a = net(net.preprocess(picture), layers=layer)[layer].numpy()[0, :, :, 1]
    assert np.array_equal(result.response, a)
    by_name = {place["name"]: place for place in result.places}
    assert set(by_name) == {"chosen", "strongest", "most negative"}
    assert (by_name["chosen"]["row"], by_name["chosen"]["column"]) == (2, 1)
    assert by_name["strongest"]["value"] == a.max() and by_name["most negative"]["value"] == a.min() < 0
    for place in result.places:
        assert place["value"] == a[place["row"], place["column"]]
        assert place["dot"] + place["bias"] == pytest.approx(place["value"], abs=1e-12) and place["bias"] == -0.3
        assert np.allclose(place["product"], result.values * place["patch"])
        assert place["product"].sum() == pytest.approx(place["dot"])


def test_the_patch_of_a_first_layer_is_what_the_picture_shows_there(conv_net, picture):
    result = filters(conv_net("BGR"), picture=picture, channel=0, at="4,5")
    place = result.places[0]
    assert np.allclose(place["patch"], picture[3:6, 4:7] / 255)         # padding 1: the unit's centre is (4, 5)
    assert tuple(place["box"]) == (3, 4, 6, 7)
    corner = filters(conv_net("BGR"), picture=picture, channel=0, at="0,0").places[0]
    assert not corner["patch"][0].any() and np.allclose(corner["patch"][1:, 1:], picture[:2, :2] / 255)


def test_groups_stride_and_dilation_meet_the_right_patch(picture):
    random = np.random.RandomState(2)
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=4, kernel=1),
              Layer("conv2", "conv", filters=6, kernel=[3, 2], stride=2, dilation=2, groups=2, pad=[1, 2, 0, 3])]
    weights = {"conv1/weight": random.standard_normal((1, 1, 3, 4)), "conv1/bias": random.standard_normal(4),
               "conv2/weight": random.standard_normal((3, 2, 2, 6)), "conv2/bias": random.standard_normal(6)}
    net = Network(layers, weights, preprocessing=Preprocessing(range=1), precision="float64")
    for channel in (0, 2, 3, 5):
        for place in filters(net, "conv2", picture=picture, channel=channel, at="4,3").places:
            assert place["dot"] + place["bias"] == pytest.approx(place["value"], abs=1e-12)


def test_a_match_that_is_not_negative_is_not_called_so(conv_net, picture):
    names = [place["name"] for place in filters(conv_net(bias=50.0), picture=picture, channel=0).places]
    assert names == ["strongest", "weakest"]


def test_without_a_channel_the_strongest_response_of_either_sign_is_taken(conv_net, picture):
    net = conv_net()
    a = net(net.preprocess(picture), layers="conv1")["conv1"].numpy()[0]
    assert filters(net, picture=picture).channel == np.abs(a).max(axis=(0, 1)).argmax()


@pytest.mark.parametrize("options, reason", [
    ({"layer": "relu1"}, "relu layer; convolutions are conv1, conv2"), ({"layer": "conv9"}, "conv9"),
    ({"channel": 3}, "give a picture"), ({"picture": 1, "channel": 5}, "0 to 4"),
    ({"picture": 1, "at": "99,0"}, "12 rows"),
    ({"picture": 1, "at": "1"}, "ROW,COLUMN"), ({"picture": 1, "channel": -1}, "0 to 4"),
])
def test_what_cannot_be_shown_is_refused(conv_net, picture, options, reason):
    if "picture" in options:
        options = options | {"picture": picture}
    with pytest.raises(MinivisError, match=reason):
        filters(conv_net(), **options)


@pytest.mark.parametrize("options", [{}, {"scaling": "layer"}, {"scaling": "minmax"}, {"layer": "conv2"}, {"limit": 2},
                                     {"layer": "conv2", "scaling": "minmax", "inputs": 2, "sort": "norm"}])
def test_each_way_to_draw_gives_another_figure_of_the_same_numbers(conv_net, options):
    net = conv_net()
    result = filters(net, **options)
    assert np.ptp(result.picture()) > 100
    if options:
        assert not np.array_equal(result.picture(), filters(net).picture())
