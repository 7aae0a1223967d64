"""Activations: what layers compute, in full; one channel over the picture; the whole network in one table."""
import json

import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.results import Activations
from minivis.techniques.activations import activations
from minivis.tensor import Tensor, gradient


def values(net, picture, *layers):
    return {name: t.numpy()[0] for name, t in net(net.preprocess(picture), layers=list(layers)).items()}


def test_the_grid_holds_what_the_layers_compute(conv_net, picture):
    net = conv_net()
    result = activations(net, picture, layers=["conv1", "pool1", "scores"])
    wanted = values(net, picture, "conv1", "pool1", "scores")
    assert list(result.layers) == ["conv1", "pool1", "scores"]
    for name, a in wanted.items():
        assert np.array_equal(result.layers[name], a.reshape(result.layers[name].shape)) and a.any()
    rows = {row["name"]: row for row in result.to_dict()["layers"]}
    assert rows["conv1"]["least"] == wanted["conv1"].min() < 0
    assert rows["pool1"]["zero_share"] == np.mean(wanted["pool1"] == 0)


def test_by_default_the_last_layer_that_has_positions_is_shown(conv_net, linear_net, picture):
    assert list(activations(conv_net(), picture).layers) == ["relu2"]       # its average is what the class scores are
    assert list(activations(linear_net()[0], picture).layers) == ["input"]


def test_sorting_scaling_gamma_and_limit_change_the_figure_and_not_the_numbers(conv_net, picture):
    net = conv_net()
    plain = activations(net, picture, layers=["relu1"])
    a, figure = plain.layers["relu1"], plain.picture()
    for options in ({"sort": "max"}, {"sort": "mean"}, {"scaling": "layer"}, {"gamma": 0.5}, {"limit": 2},
                    {"scaling": "layer", "gamma": 0.5}):
        other = activations(net, picture, layers=["relu1"], **options)
        assert np.array_equal(other.layers["relu1"], a)
        assert not np.array_equal(other.picture(), figure), options
    order = activations(net, picture, layers=["relu1"], sort="max").order(a)
    assert (np.diff(a.max(axis=(0, 1))[order]) <= 0).all()
    order = activations(net, picture, layers=["relu1"], sort="mean").order(a)
    assert (np.diff(a.mean(axis=(0, 1))[order]) <= 0).all()


def test_gamma_below_one_lifts_weak_values_and_keeps_zero_and_the_largest():
    ramp = np.linspace(0, 1, 16).reshape(4, 4, 1)
    plain, lifted = (Activations({"a": ramp}, gamma=g).main_panel().picture.astype(int).sum(axis=2) for g in (1.0, 0.4))
    assert (lifted >= plain).all() and (lifted > plain).any()
    assert lifted.max() == plain.max() and lifted.min() == plain.min()


def test_a_channel_over_the_picture_keeps_its_values_at_the_units_places(conv_net, picture):
    net = conv_net()
    result = activations(net, picture, unit="pool1:3")
    a = values(net, picture, "pool1")["pool1"][:, :, 3]
    assert np.array_equal(result.raw, a) and result.values.shape == (12, 10)
    assert result.centres[0].tolist() == [0.5 + 2 * i for i in range(6)]    # 3x3 with padding 1, then 2x2
    between = 0.75 * 0.75 * a[1:, 1:] + 0.75 * 0.25 * (a[1:, :-1] + a[:-1, 1:]) + 0.25 * 0.25 * a[:-1, :-1]
    assert np.allclose(result.values[0::2, 0::2][1:, 1:], between, atol=1e-12)
    nearest = activations(net, picture, unit="pool1:3", interpolation="nearest")
    assert np.array_equal(nearest.values, a.repeat(2, 0).repeat(2, 1)) and result.score == a.max()
    faint = activations(net, picture, unit="pool1:3", alpha=0.2)
    assert np.array_equal(faint.values, result.values) and not np.array_equal(faint.picture(), result.picture())


def test_a_layer_alone_means_its_strongest_channel(conv_net, picture):
    net = conv_net()
    a = values(net, picture, "conv1")["conv1"]
    assert activations(net, picture, unit="conv1").target["channel"] == a.max(axis=(0, 1)).argmax()


def test_everything_holds_activation_gradient_and_weights_of_every_layer(conv_net, picture):
    net = conv_net()
    result = activations(net, picture, everything=True, target="dog")
    assert [row["name"] for row in result.rows] == ["relu1", "pool1", "relu2", "scores"]
    x = Tensor(net.preprocess(picture), needs_grad=True)
    tensors = net(x, layers=net.table.names)
    for row in result.rows:
        g = gradient(tensors["scores"], tensors[row["name"]], seed=np.array([[0.0, 1, 0]]))
        assert np.array_equal(row["activation"], tensors[row["name"]].numpy()[0])
        assert np.array_equal(row["gradient"], g[0]) and g.any()
    assert [row["weights_of"] for row in result.rows] == ["conv1", None, "conv2", None]
    assert result.score == tensors["scores"].data[0, 1] and result.target["label"] == "dog"


def test_the_table_of_everything_is_json_with_statistics_in_float64(conv_net, picture):
    result = activations(conv_net(precision="float32"), picture, everything=True)
    table = json.loads(json.dumps(result.to_dict(), allow_nan=False))["layers"]
    for row, kept in zip(table, result.rows, strict=True):
        for what in ("activation", "gradient"):
            a = kept[what].astype(np.float64)
            assert row[what] == pytest.approx({"least": a.min(), "mean": a.mean(), "largest": a.max(), "std": a.std(),
                                               "zero_share": np.mean(a == 0)}, rel=1e-6, abs=1e-12)
        assert (row["weights"] is None) == (kept["weights"] is None)


def test_everything_of_named_layers_and_of_a_dead_network(conv_net, picture):
    result = activations(conv_net(), picture, everything=True, layers=["conv1", "scores"])
    assert [row["name"] for row in result.rows] == ["conv1", "scores"]
    dead = activations(conv_net(bias=-100.0), picture, everything=True)
    assert any("No gradient reaches relu1, pool1:" in note for note in dead.notes) and dead.picture().any()
    assert not result.notes


@pytest.mark.parametrize("options, reason", [
    ({"unit": "conv1:0", "layers": ["conv1"]}, "one of"), ({"unit": "conv1:0", "everything": True}, "one of"),
    ({"target": 1}, "everything"), ({"gamma": 0.0}, "gamma"), ({"alpha": 2.0}, "alpha"), ({"limit": 0}, "limit"),
    ({"layers": ["conv7"]}, "conv7"), ({"unit": "scores:0"}, "no positions"), ({"unit": "conv1:0@1,1"}, "position"),
    ({"everything": True, "target": "fish"}, "fish"),
])
def test_what_cannot_be_shown_is_refused(conv_net, picture, options, reason):
    with pytest.raises(MinivisError, match=reason):
        activations(conv_net(), picture, **options)
