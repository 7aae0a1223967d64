"""Networks that redraw pictures: sizes, mixtures of styles, and the statistics of any style."""
import numpy as np
import pytest

from minivis import ops
from minivis.checkpoints.minivis_hdf5 import read, write
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.network import Network
from minivis.style_networks import (
    adain_network,
    blended,
    encoded_layer,
    grown_from,
    in_style_of,
    statistics,
    style_names,
    style_network,
    styles_of,
    takes_any_style,
    transformer,
)


def many(styles=3, seed=0):
    net = style_network(transformer(3, 1, styles), seed, labels=[["", f"style {n}"] for n in range(styles)])
    rng = np.random.default_rng(1)
    return net.with_weights({name: rng.uniform(0.5, 1.5, t.shape).astype(np.float32)
                             for name, t in net.weights.items() if t.ndim == 2})


def test_a_transformer_gives_grey_levels_of_the_same_size(picture):
    net = style_network(transformer(4, 2))
    made = net(net.preprocess(picture))["picture"].data
    assert made.shape == (1, *picture.shape) and made.min() >= 0 and made.max() <= 255 and made.std() > 1
    assert abs(made.mean() - 127.5) < 60            # it begins grey
    assert net.logits_layer is None and styles_of(net) == 1


def test_a_share_of_one_is_that_style_and_all_its_numbers(picture):
    net = many()
    assert styles_of(net) == 3 and style_names(net) == ["style 0", "style 1", "style 2"]
    x = net.preprocess(picture)
    alone = [blended(net, np.eye(3)[s]) for s in range(3)]
    pictures = [one(x)["picture"].data for one in alone]
    assert styles_of(alone[0]) == 1 and np.abs(pictures[0] - pictures[1]).max() > 1
    assert np.array_equal(net(x)["picture"].data, pictures[0])              # unmixed it is its first style
    norm = "conv1_norm/scale"
    rows = net.weights[norm].data
    assert np.array_equal(alone[2].weights[norm].data, rows[2])
    half = blended(net, [1, 1, 0]).weights[norm].data
    assert np.allclose(half, (rows[0] + rows[1]) / 2, rtol=1e-6)


@pytest.mark.parametrize("shares", [[1, 0], [0, 0, 0], [1, -1, 1], [np.nan, 0, 1]])
def test_shares_that_cannot_be_are_one_clear_error(shares):
    with pytest.raises(MinivisError, match="has 3 styles: give 3 shares"):
        blended(many(), shares)


def test_many_styles_survive_a_file(tmp_path, picture):
    net = many()
    write(net, tmp_path / "many.h5", "float32")
    again = read(tmp_path / "many.h5")
    assert style_names(again) == style_names(net)
    x = net.preprocess(picture)
    for shares in ([0, 1, 0], [1, 2, 3]):
        assert np.array_equal(blended(again, shares)(x)["picture"].data, blended(net, shares)(x)["picture"].data)


@pytest.fixture(scope="module")
def encoder():
    layers = [Layer("input", "input", shape=[32, 32, 3]), Layer("conv1", "conv", filters=8, kernel=3, pad=1),
              Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2),
              Layer("conv2", "conv", filters=40, kernel=3, pad=1), Layer("relu2", "relu"),
              Layer("flatten", "flatten"), Layer("fc", "linear", outputs=3)]
    return Network(layers, random_weights(layers), "fc", precision="float32", name="small", preprocessing={
        "channels": "BGR", "range": 1, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]})


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[:24, :32]
    return np.stack([8 * x, 10 * y, 255 - 7 * x], -1).astype(np.uint8)


def test_adain_gives_the_contents_features_the_styles_mean_and_deviation(encoder, picture):
    """Equation 8 of Huang and Belongie: AdaIN(x, y) = sigma(y) (x - mu(x)) / sigma(x) + mu(y)."""
    net = adain_network(encoder, "relu2")
    assert takes_any_style(net) and encoded_layer(net) == "relu2"
    style = np.random.default_rng(3).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    painted = in_style_of(net, [style], [1.0])
    x = net.preprocess(picture)
    content = encoder(encoder.preprocessing.normalize(picture, np.float32)[None], layers=["relu2"])["relu2"].data
    other = encoder(encoder.preprocessing.normalize(style, np.float32)[None], layers=["relu2"])["relu2"].data
    (m, d), (n, e) = statistics(content), statistics(other)
    values = painted(x, layers=["relu2", "adain", "picture"])
    assert np.array_equal(values["relu2"].data, content)                    # the encoder is the network's own
    wanted = e * (content - m) / d + n
    assert np.abs(values["adain"].data - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert values["picture"].shape == (1, *picture.shape)


def test_strength_zero_gives_the_contents_own_statistics_and_blends_are_linear(encoder, picture):
    net = adain_network(encoder, "relu2")
    styles = [np.random.default_rng(s).integers(0, 256, (32, 32, 3), dtype=np.uint8) // (s + 1) for s in (0, 1)]
    own = in_style_of(net, styles, [0.5, 0.5], picture, strength=0.0)
    features = net(net.preprocess(picture), layers=["relu2"])["relu2"].data
    assert np.allclose(own.weights["adain/shift"].data, statistics(features)[0], rtol=1e-5)
    mixed, *alone = (in_style_of(net, styles, shares) for shares in ([0.25, 0.75], [1, 0], [0, 1]))
    for part in ("scale", "shift"):
        a, b = (one.weights[f"adain/{part}"].data for one in alone)
        assert np.abs(a - b).max() > 0 and np.allclose(mixed.weights[f"adain/{part}"].data, 0.25 * a + 0.75 * b)


def test_a_network_grows_from_one_with_other_styles(picture):
    old = many(2)
    x = old.preprocess(picture)
    for styles in (1, 3):
        new = grown_from(old, style_network(transformer(3, 1, styles), seed=5))
        made = [blended(new, np.eye(styles)[s])(x)["picture"].data for s in range(styles)]
        assert all(np.array_equal(m, old(x)["picture"].data) for m in made)
    with pytest.raises(MinivisError, match="of the same width"):
        grown_from(old, style_network(transformer(4, 1)))
    with pytest.raises(MinivisError, match="of the same blocks"):
        grown_from(old, style_network(transformer(3, 2)))


def test_a_layer_without_positions_has_no_decoder(encoder):
    with pytest.raises(MinivisError, match="no positions"):
        adain_network(encoder, "fc")


def test_mirrored_borders_know_no_zero(picture):
    """A picture of one colour stays of one colour up to the border: zeros around it would show."""
    net = style_network(transformer(3, 1))
    flat = np.full((32, 32, 3), 90, np.uint8)
    made = net(net.preprocess(flat))["picture"].data
    assert np.ptp(made.reshape(-1, 3), axis=0).max() < 1e-2
    zero = ops.conv2d(net.preprocess(flat), net.weights["conv1/weight"].data, pad=4).data
    assert np.ptp(zero.reshape(-1, 3), axis=0).max() > 1e-2
