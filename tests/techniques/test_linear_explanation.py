"""On a linear network the prediction is exact; elsewhere it holds for small steps."""
import numpy as np

from minivis.results import LinearExplanation
from minivis.techniques.linear_explanation import linear_explanation


def test_on_a_linear_net_prediction_and_measurement_are_equal(linear_net, picture):
    net, w = linear_net("BGR")
    r = linear_explanation(net, picture)
    t = r.table
    assert isinstance(r, LinearExplanation) and np.allclose(t["predicted"], t["measured"], atol=1e-9)
    size = np.abs(w[..., r.other] - w[..., r.first]).sum() / 255
    assert np.allclose(t["predicted"], np.array(t["epsilon"]) * size) and max(t["predicted"]) > 1
    assert np.allclose(r.gradient, w[..., r.other] - w[..., r.first])


def test_the_logits_along_the_way_are_told_and_drawn(conv_net, picture):
    net = conv_net()
    r = linear_explanation(net, picture, epsilons=[4.0, -4.0, 0.0], sizes=[12, 24])
    assert r.table["epsilon"] == [-4.0, 0.0, 4.0] and r.logits.shape == (3, 3)
    assert np.allclose(r.logits[:, r.first], r.table["first"]) and np.allclose(r.logits[:, r.other], r.table["other"])
    assert list(r.named)[:2] == [r.first, r.other] and r.named[r.other] in r.panels()[4].caption
    assert len(r.panels()) == 6 and r.picture().ndim == 3


def test_a_small_step_is_predicted_and_a_large_one_is_not(conv_net, picture):
    r = linear_explanation(conv_net(), picture, epsilons=[0.01, 200.0])
    (small, large), (a, b) = r.table["predicted"], r.table["measured"]
    assert small > 0 and np.isclose(small, a, rtol=0.05) and abs(large - b) > 0.1 * large
    assert r.arrays()["fooling"].shape == r.original.shape and r.picture().shape[2] == 3


def test_the_slope_of_a_mean_does_not_grow_with_the_size_and_the_slope_of_a_sum_does(conv_net, picture):
    rows = linear_explanation(conv_net(), picture, epsilons=[1.0], sizes=[12, 24, 48]).growth
    assert [r["inputs"] for r in rows] == [3 * 144, 3 * 576, 3 * 2304]
    assert all(0.3 < r["slope"] / rows[0]["slope"] < 3 for r in rows)       # scores here are means over places
    assert all(np.isclose(r["mean"] * r["inputs"], r["slope"]) for r in rows)


def test_a_network_agrees_with_itself_and_a_stranger_hardly(conv_net, picture):
    same, stranger = conv_net(), conv_net(seed=8)
    rows = linear_explanation(same, picture, others=[same, stranger]).transfer
    assert np.isclose(rows[0]["cosine"], 1) and abs(rows[1]["cosine"]) < 0.9
    assert rows[0]["fooled"] == (rows[0]["before"]["index"] != rows[0]["after"]["index"])
