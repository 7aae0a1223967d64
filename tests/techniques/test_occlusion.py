"""Occlusion on networks solved by hand, and the windows' geometry."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.techniques.occlusion import FILLS, filled, hide_and_score, occlusion, spread, window_starts


def levels(picture):
    return picture / 255


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("fill", ["black", "white", "grey", "mean", "zero"])
def test_hiding_a_window_of_a_linear_network_takes_away_what_it_adds(linear_net, picture, channels, fill):
    """score - hidden = sum over the window of w * (x - filling)."""
    net, w = linear_net(channels)
    x = levels(picture)
    filling = {"black": 0, "white": 1, "grey": 128 / 255, "mean": x.mean(axis=(0, 1)), "zero": 0}[fill]
    result = occlusion(net, picture, targets=[2], size=4, stride=3, fill=fill)
    added = w[:, :, :, 2] * (x - filling)
    for i, top in enumerate(result.positions[0]):
        for j, left in enumerate(result.positions[1]):
            wanted = added[top:top + 4, left:left + 4].sum()
            assert result.changes()[i, j] == pytest.approx(wanted, abs=1e-9)
    assert np.ptp(result.changes()) > 1 and result.changes().min() < 0 < result.changes().max()     # signed


def test_windows_of_one_pixel_give_the_contribution_of_every_pixel(linear_net, picture):
    net, w = linear_net()
    for aggregate in ("mean", "sum", "none"):
        result = occlusion(net, picture, targets=["cat"], size=1, stride=1, fill="black", aggregate=aggregate)
        assert np.allclose(result.values, (w[:, :, :, 0] * levels(picture)).sum(axis=2), atol=1e-9)
        assert np.isclose(result.values.sum(), result.score - 0)               # black leaves the bias of class 0, 0


def test_aggregation_spreads_windows_to_pixels_by_mean_or_sum_or_not_at_all(linear_net, picture):
    net, _ = linear_net()
    runs = {a: occlusion(net, picture, targets=[1], size=5, stride=2, aggregate=a) for a in ("mean", "sum", "none")}
    changes, (tops, lefts) = runs["none"].values, runs["none"].positions
    assert changes.shape == (len(tops), len(lefts)) == (5, 4)
    for y, x in ((0, 0), (5, 5), (11, 9)):
        over = [changes[i, j] for i, top in enumerate(tops) for j, left in enumerate(lefts)
                if top <= y < top + 5 and left <= x < left + 5]
        assert runs["mean"].values[y, x] == pytest.approx(np.mean(over))
        assert runs["sum"].values[y, x] == pytest.approx(np.sum(over))


def test_one_pass_answers_for_several_classes(conv_net, picture):
    net = conv_net()
    together = occlusion(net, picture, targets=["cat", 1, "n03"], size=4, stride=4)
    assert [r.target["index"] for r in together.results] == [0, 1, 2]
    for result in together.results:
        alone = occlusion(net, picture, targets=[result.target["index"]], size=4, stride=4)
        assert np.array_equal(alone.values, result.values) and alone.score == result.score
        assert result.values.any() and result.scores.shape[2] == 3
    assert together.results[0].scores is together.results[1].scores


def test_probabilities_are_those_of_the_softmax_and_sum_to_one(conv_net, picture):
    result = occlusion(conv_net(), picture, size=4, stride=4, score="prob")
    assert np.allclose(result.scores.sum(axis=2), 1) and result.score_kind == "prob"
    logits = occlusion(conv_net(), picture, size=4, stride=4).scores
    e = np.exp(logits)
    assert np.allclose(result.scores, e / e.sum(axis=2, keepdims=True), atol=1e-12)
    logprob = occlusion(conv_net(), picture, size=4, stride=4, score="logprob").scores
    assert np.allclose(np.exp(logprob), result.scores, atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_memory_budget_never_changes_a_bit(conv_net, picture, precision):
    net = conv_net(precision=precision)
    runs = [occlusion(net, picture, size=3, stride=2, memory=memory) for memory in (1, "200kB", "1GB")]
    assert runs[0].values.any() and runs[0].values.dtype == np.dtype(precision)
    for run in runs[1:]:
        assert np.array_equal(run.scores, runs[0].scores) and np.array_equal(run.values, runs[0].values)


def test_a_small_budget_makes_small_batches(conv_net, picture, monkeypatch):
    net, seen = conv_net(), []
    monkeypatch.setattr(type(net), "__call__", lambda self, x, *a, call=type(net).__call__, **k: (
        seen.append(len(x.data if hasattr(x, "data") else x)), call(self, x, *a, **k))[1])
    occlusion(net, picture, size=3, stride=2, memory=1, method="naive")
    assert set(seen) == {1} and len(seen) == 1 + 6 * 5


def test_noise_is_the_same_for_a_seed_and_differs_between_seeds(conv_net, picture):
    net = conv_net()
    one, again, other = (occlusion(net, picture, size=4, stride=4, fill="noise", seed=s).values for s in (3, 3, 4))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_every_filling_is_a_whole_picture_in_network_units(conv_net, picture):
    net = conv_net()
    x = net.preprocess(picture)
    for fill in FILLS:
        y = filled(net, x, net.see(picture), fill, seed=0)
        assert y.shape == x.shape and y.dtype == x.dtype and y.min() >= 0 and y.max() <= 1
    with pytest.raises(MinivisError, match="no fill 'pink'"):
        filled(net, x, net.see(picture), "pink", 0)


@pytest.mark.parametrize("length, size, stride, starts", [
    (10, 3, 3, [0, 3, 6, 9]),       # the last window hangs over the edge
    (9, 3, 3, [0, 3, 6]),           # it fits exactly
    (5, 3, 1, [0, 1, 2]),
    (4, 9, 2, [0]),                 # the window is larger than the picture
    (10, 2, 5, [0, 5]),             # stride above size: gaps, the last at the edge
    (11, 2, 5, [0, 5, 10]),
])
def test_windows_go_on_until_the_far_edge_is_covered(length, size, stride, starts):
    got = window_starts(length, size, stride)
    assert got == starts
    assert got[-1] + max(size, stride) >= length


def test_pixels_between_windows_stay_zero():
    values = spread(np.ones((2, 2)), ([0, 4], [0, 4]), (2, 2), (6, 6), mean=True)
    assert values[:2, :2].all() and values[4:, 4:].all() and not values[2:4].any()


def test_the_clean_picture_is_what_nothing_hidden_gives(conv_net, picture):
    net = conv_net()
    x = net.preprocess(picture)
    scores = hide_and_score(net, x, x.copy(), (3, 3), (3, 3))
    clean = net(x)["scores"].numpy()[0]
    assert np.allclose(scores, clean, atol=1e-13) and clean.any()


@pytest.mark.parametrize("wrong", [{"size": 0}, {"stride": 0}, {"size": -3}, {"targets": [9]}, {"targets": ["fish"]}])
def test_impossible_windows_and_classes_are_refused(conv_net, picture, wrong):
    with pytest.raises(MinivisError):
        occlusion(conv_net(), picture, **wrong)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size, stride", [(3, 2), (5, 1), (1, 4), (11, 7)])
def test_incremental_and_naive_occlusion_are_equal(conv_net, picture, fill, size, stride):
    net = conv_net(bias=0.1)
    naive, fast = (occlusion(net, picture, size=size, stride=stride, fill=fill, value=40, method=method)
                   for method in ("naive", "incremental"))
    assert np.ptp(naive.scores) > 0
    assert np.abs(naive.scores - fast.scores).max() < 1e-12
    assert np.abs(naive.values - fast.values).max() < 1e-12
