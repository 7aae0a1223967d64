"""Saliency, unit gradient, deconvnet, guided backprop and their comparison, on networks solved by hand."""
import json

import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.techniques.compare_rules import compare_rules
from minivis.techniques.deconvnet import deconvnet
from minivis.techniques.guided_backprop import guided_backprop
from minivis.techniques.saliency import saliency
from minivis.techniques.unit_gradient import unit_gradient


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_saliency_of_a_linear_network_is_its_weights_in_rgb_order(linear_net, picture, channels):
    net, w = linear_net(channels)
    for index in range(3):
        result = saliency(net, picture, target=index, reduce="none")
        assert np.allclose(result.values, w[:, :, :, index], rtol=0, atol=1e-12)
        score = (w[:, :, :, index] * picture / 255).sum() + index
        assert result.score == pytest.approx(score, abs=1e-9) and result.target["index"] == index


def test_the_five_ways_to_reduce_colours(linear_net, picture):
    net, w = linear_net()
    w = w[:, :, :, 1]
    wanted = {"max": np.abs(w).max(2), "mean": np.abs(w).mean(2), "l2": np.sqrt((w ** 2).sum(2)),
              "sum": w.sum(2), "none": w}
    for reduce, values in wanted.items():
        result = saliency(net, picture, target="dog", reduce=reduce)
        assert np.allclose(result.values, values, atol=1e-12), reduce
        assert np.allclose(result.gradient, w, atol=1e-12)
        assert result.signed == (reduce in ("sum", "none"))


def test_prob_and_logprob_have_the_derivatives_of_the_softmax(linear_net, picture):
    net, w = linear_net()
    w = w / 10                                      # so that no class takes all
    net = net.with_weights({"scores/weight": w.reshape(-1, 3)})
    logits = (w * picture[..., None] / 255).sum(axis=(0, 1, 2)) + np.arange(3)
    p = np.exp(logits) / np.exp(logits).sum()
    mean = (w * p).sum(axis=3)
    for index in range(3):
        result = saliency(net, picture, target=index, score="prob", reduce="none")
        assert result.score == pytest.approx(p[index]) and result.score_kind == "prob"
        assert np.allclose(result.values, p[index] * (w[:, :, :, index] - mean), atol=1e-12)
        result = saliency(net, picture, target=index, score="logprob", reduce="none")
        assert np.allclose(result.values, w[:, :, :, index] - mean, atol=1e-12)


def test_without_a_target_the_first_choice_is_explained(conv_net, picture):
    net = conv_net()
    for technique in (saliency, guided_backprop, deconvnet):
        result = technique(net, picture)
        best = int(net(net.preprocess(picture))["scores"].numpy().argmax())
        assert result.target == {"index": best, "wnid": net.labels[best][0], "label": net.labels[best][1]}


def test_where_every_relu_is_on_and_no_signal_is_negative_all_rules_agree(conv_net, picture):
    """All weights positive: no ReLU is off, and no gradient below 0 meets one."""
    maps = [result.values for result in compare_rules(conv_net(positive=True), picture).results]
    assert maps[0].any()
    assert np.array_equal(maps[0], maps[1]) and np.array_equal(maps[0], maps[2])


def test_where_every_relu_is_on_deconvnet_is_guided_backprop(conv_net, picture):
    net = conv_net(bias=50.0)
    guided, deconv = guided_backprop(net, picture).values, deconvnet(net, picture).values
    assert guided.any() and np.array_equal(guided, deconv)
    assert not np.allclose(guided, saliency(net, picture, reduce="none").values)


def test_the_three_maps_differ_in_general(conv_net, picture):
    """Of the strongest unit: its own ReLU is on, and below it all three rules have something to decide."""
    a, b, c = (result.values for result in compare_rules(conv_net(), picture, unit="conv2").results)
    assert a.any() and b.any() and c.any()
    assert not np.allclose(a, b) and not np.allclose(b, c) and not np.allclose(a, c)


@pytest.mark.parametrize("technique", [saliency, guided_backprop, deconvnet])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_maps_are_in_rgb_order_whatever_order_the_network_eats(conv_net, picture, technique, channels):
    net, options = conv_net(channels), {"reduce": "none"} if technique is saliency else {"unit": "conv2"}
    turned = conv_net("RGB" if channels == "BGR" else "BGR")       # the same weights, eaten the other way round ...
    turned = turned.with_weights({"conv1/weight": net.weights["conv1/weight"].data[:, :, ::-1].copy()})
    one, other = (technique(n, picture, **options).values for n in (net, turned))
    assert one.any() and np.allclose(one, other, atol=1e-14)


def test_one_unit_its_channel_s_strongest_and_centre_and_all(conv_net, picture):
    net = conv_net()
    a = net(net.preprocess(picture), layers="conv1")["conv1"].numpy()[0, :, :, 2]
    row, column = (int(v) for v in np.unravel_index(a.argmax(), a.shape))
    named = unit_gradient(net, picture, f"conv1:2@{row},{column}")
    strongest = unit_gradient(net, picture, "conv1:2")
    assert np.array_equal(named.values, strongest.values) and strongest.target["position"] == [row, column]
    assert strongest.score == a.max() and strongest.score_kind == "activation"
    w = net.weights["conv1/weight"].data[:, :, :, 2]
    centre = unit_gradient(net, picture, "conv1:2", positions="centre").values
    assert np.array_equal(centre[5:8, 4:7], w) and np.count_nonzero(centre) == w.size      # unit (6, 5), padding 1
    everything = unit_gradient(net, picture, "conv1:2", positions="all")
    assert np.allclose(everything.values[2:-2, 2:-2], w.sum(axis=(0, 1)), atol=1e-12)
    assert everything.score == pytest.approx(a.sum())


def test_a_layer_alone_means_its_strongest_unit(conv_net, picture):
    net = conv_net()
    a = net(net.preprocess(picture), layers="relu1")["relu1"].numpy()[0]
    target = unit_gradient(net, picture, "relu1").target
    assert a[(*target["position"], target["channel"])] == a.max()


def test_a_unit_of_a_dense_layer_has_no_position(linear_net, picture):
    net, w = linear_net()
    result = unit_gradient(net, picture, "scores:2")
    assert np.allclose(result.values, w[:, :, :, 2], atol=1e-12) and "position" not in result.target


def test_adding_the_gradient_raises_the_unit_as_predicted(linear_net, conv_net, picture):
    """E5: the note states the measured and the predicted change; on a linear unit they are equal."""
    for net, unit in ((linear_net()[0], "scores:1"), (conv_net(), "conv1:3"), (conv_net(), "relu2")):
        note = unit_gradient(net, picture, unit, check=2.0).notes[0]
        measured, predicted = (float(part.split()[0].rstrip(".;")) for part in (
            note.split("changes the unit by ")[1], note.split("predicts ")[1]))
        assert predicted > 0 and measured == pytest.approx(predicted, rel=2e-3 if unit != "relu2" else 0.2), note
        assert "2 grey levels" in note
    assert not unit_gradient(conv_net(), picture, "conv1:3", check=0).notes
    assert not unit_gradient(conv_net(), picture, "conv1:3", rule="guided").notes


def test_an_all_zero_map_says_why(conv_net, picture, tmp_path):
    net = conv_net(bias=-100.0)                                    # every ReLU is off
    for result in (saliency(net, picture), guided_backprop(net, picture), deconvnet(net, picture, unit="relu2"),
                   unit_gradient(net, picture, "relu2")):
        assert not result.values.any() or result.recipe["technique"] == "deconvnet"
    for result in (saliency(net, picture), guided_backprop(net, picture), unit_gradient(net, picture, "relu2")):
        assert any("all zero" in note and "exactly 0" in note for note in result.notes), result.notes
        assert result.to_dict()["problem"] == "the map is zero everywhere"
        result.save(tmp_path / "zero.png")
    assert not any("all zero" in note for note in saliency(conv_net(), picture).notes)


def test_a_class_and_a_unit_at_once_are_refused(conv_net, picture):
    for technique in (guided_backprop, deconvnet, compare_rules):
        with pytest.raises(MinivisError, match="not both"):
            technique(conv_net(), picture, target=1, unit="conv1:0")


@pytest.mark.parametrize("unit, reason", [("conv1:5", "0 to 4"), ("conv1:0@12,0", "12 rows"), ("conv3:0", "conv3"),
                                          ("scores:1@0,0", "no row"), ("conv1:x", "LAYER:CHANNEL")])
def test_units_that_are_not_there_are_refused(conv_net, picture, unit, reason):
    with pytest.raises(MinivisError, match=reason):
        unit_gradient(conv_net(), picture, unit)


def test_recipes_name_technique_options_and_network(conv_net, picture):
    net = conv_net()
    result = unit_gradient(net, picture, "conv1:3", positions="all", check=0.5)
    recipe = json.loads(json.dumps(result.recipe))
    assert recipe["technique"] == "unit_gradient" and recipe["precision"] == "float64"
    assert recipe["options"] == {"unit": "conv1:3", "positions": "all", "rule": "plain", "check": 0.5}
    assert recipe["network"]["weights"] == net.weights_hash()
