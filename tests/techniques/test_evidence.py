"""Measures of maps: by definition, on networks solved by hand, and in the order that good and bad maps must take."""
import json

import numpy as np
import pytest

from minivis import evidence
from minivis.commands.compare import examine
from minivis.errors import MinivisError
from minivis.evidence.curves import blurred
from minivis.techniques.hiding import hiding
from minivis.techniques.saliency import saliency


@pytest.fixture
def linear(linear_net, picture):
    """(hiding, contributions (H, W)) of a class of a linear network, hidden pixels black, which is its zero."""
    net, w = linear_net()
    h = hiding(net, picture, "black", target=1)
    return h, (w[:, :, :, 1] * h.x[0]).sum(axis=2)


def test_deletion_of_a_linear_network_takes_contributions_away_in_their_order(linear):
    h, values = linear
    scores, area = evidence.deletion(h, values, step=7)
    left = h.start.value - np.cumsum(np.sort(values, axis=None)[::-1])
    wanted = [h.start.value, *(left[min(i, 120) - 1] for i in range(7, 127, 7))]
    assert np.allclose(scores, wanted) and np.isclose(area, np.trapezoid(wanted, dx=1 / (len(wanted) - 1)))


def test_the_true_contributions_are_deleted_best_and_their_reverse_worst(linear):
    h, values = linear
    areas = [evidence.deletion(h, m, step=5)[1] for m in (values, evidence.random_map((12, 10)), -values)]
    assert areas == sorted(areas) and areas[0] < areas[1] < areas[2]


def test_insertion_begins_blurred_and_ends_with_the_picture(linear):
    h, values = linear
    scores, area = evidence.insertion(h, values, step=30)
    assert len(scores) == 5 and np.isclose(scores[-1], h.start.value)
    w = h.net.weights["scores/weight"].numpy()[:, 1]
    assert np.isclose(scores[0], blurred(h.x).reshape(-1) @ w + 1)
    assert np.isclose(area, (scores[0] / 2 + scores[1:-1].sum() + scores[-1] / 2) / 4)


def test_the_blur_is_the_sum_over_an_11_by_11_bell():
    x = np.zeros((1, 30, 31, 1))
    x[0, 14, 16] = 1
    y = blurred(x)[0, :, :, 0]
    assert np.isclose(y.sum(), 1) and np.count_nonzero(y) == 121 and np.allclose(y, y[:29][::-1].tolist() + [[0] * 31])


def test_the_area_under_a_straight_line_is_its_mean():
    assert np.isclose(evidence.auc(np.linspace(2, 4, 9)), 3)


def test_ranking_takes_colours_together_and_ties_in_order():
    assert list(evidence.ranking(np.array([[1.0, 3], [3, 2]]))) == [1, 2, 3, 0]
    assert list(evidence.ranking(np.array([[[1.0, 1, 1], [-4, 0, 0]]]))) == [1, 0]


def test_imputed_pixels_are_the_weighted_means_of_their_neighbours(rng):
    x, removed = rng.standard_normal((9, 8, 3)), rng.random((9, 8)) < 0.6
    removed[0, 0] = removed[8, 7] = True
    y = evidence.impute(x, removed, seed=0)
    clean = y.copy()
    clean[removed] -= np.random.default_rng([0, 5]).standard_normal((removed.sum(), 3)) * 0.01 * x.std()
    assert np.array_equal(y[~removed], x[~removed])
    for row, column in np.argwhere(removed):
        total = weights = 0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy or dx) and 0 <= row + dy < 9 and 0 <= column + dx < 8:
                    weight = 1 / 12 if dy and dx else 1 / 6
                    total, weights = total + weight * clean[row + dy, column + dx], weights + weight
        assert np.allclose(clean[row, column], total / weights)


def test_road_is_above_zero_for_the_true_map_and_opposite_for_its_reverse(linear):
    h, values = linear
    good, bad = evidence.road(h, values), evidence.road(h, -values)
    assert good > 0 > bad


@pytest.mark.parametrize("at, hit", [((3, 3), True), ((3, 6), True), ((3, 9), False), ((8, 3), False)])
def test_pointing_game_allows_the_tolerance(at, hit):
    values, region = np.zeros((12, 10)), np.zeros((12, 10), bool)
    values[at] = 1
    region[2:5, 2:5] = True
    assert evidence.pointing_game(values, region, tolerance=2) is hit
    assert evidence.pointing_game(values, np.zeros((12, 10), bool)) is False


def test_infidelity_of_the_true_contributions_is_zero_and_of_zeros_is_one(linear):
    h, values = linear
    assert evidence.infidelity_of(h, values) < 1e-20 and evidence.infidelity_of(h, 3 * values) < 1e-20
    assert evidence.infidelity_of(h, np.zeros_like(values)) == 1
    assert 0.01 < evidence.infidelity_of(h, evidence.random_map((12, 10))) <= 1
    assert evidence.infidelity([1, 2], [3, 2], scaled=False) == 2


def test_sensitivity_is_the_largest_relative_change(picture):
    changes = []

    def explain(moved):
        changes.append(np.abs(moved.astype(int) - picture).max())
        return moved.astype(float)
    got = evidence.sensitivity(explain, picture, picture.astype(float), radius=4, samples=3)
    assert max(changes) == 4 and 0 < got < 0.1
    assert evidence.sensitivity(lambda p: np.ones(3), picture, np.ones(3)) == 0


def test_similarity_of_equal_opposite_and_unlike_maps(rng):
    a, b = rng.random((30, 40)), rng.random((30, 40))
    assert np.isclose(evidence.ssim(a, 3 * a + 1), 1) and evidence.ssim(a, b) < 0.3 and evidence.ssim(a, -a) < 0
    assert np.isclose(evidence.rank_correlation(a, np.exp(a)), 1)
    assert np.isclose(evidence.rank_correlation(a, -a), -1) and abs(evidence.rank_correlation(a, b)) < 0.1
    assert np.isnan(evidence.rank_correlation(a, np.zeros_like(a)))


def test_randomising_goes_from_the_top_and_leaves_the_network_alone(conv_net):
    net = conv_net()
    before = net.weights_hash()
    one, lowest = evidence.randomised(net, 1)
    assert lowest == "conv2" and np.array_equal(one.weights["conv1/weight"].data, net.weights["conv1/weight"].data)
    both, lowest = evidence.randomised(net, 2)
    assert lowest == "conv1" and not np.array_equal(both.weights["conv1/weight"].data, net.weights["conv1/weight"].data)
    assert np.array_equal(both.weights["conv2/weight"].data, one.weights["conv2/weight"].data)
    assert net.weights_hash() == before


def test_an_edge_detector_stays_the_same_under_randomisation_and_saliency_does_not(conv_net, picture):
    from minivis.techniques.saliency import saliency
    net = conv_net(bias=0.1)
    edges = evidence.edge_map(picture)
    assert all(rank > 0.999 for *_, rank in evidence.cascade(lambda _: edges, net, edges))
    values = saliency(net, picture, target=0).values
    rows = evidence.cascade(lambda other: saliency(other, picture, target=0).values, net, values, seed=6)
    assert [row[0] for row in rows] == ["conv2", "conv1"] and rows[-1][2] < 0.6


def test_compare_gives_a_row_of_numbers_for_each_technique_and_both_baselines(conv_net, picture):
    result, table = examine(conv_net(bias=0.1), picture, ["saliency", "occlusion", "guided-backprop".replace("-", "_")],
                            target=1, shifts=2)
    assert table["technique"] == ["saliency", "occlusion", "guided_backprop", "(random)", "(edges)"]
    assert len(result.results) == 5 and result.picture().ndim == 3
    for column in ("deletion", "insertion", "road", "infidelity"):
        assert all(isinstance(value, float) for value in table[column])
    assert all(value > 0 for value in table["sensitivity"][:3]) and table["randomised"][3] is None
    assert table["like edges"][4] == 1 and any("guided_backprop: " in note for note in result.notes)


def test_compare_plays_the_pointing_game_on_a_mask(conv_net, picture, monkeypatch):
    monkeypatch.setattr(evidence, "pointing_game", lambda v, region, play=evidence.pointing_game: play(v, region, 0))
    net = conv_net(bias=0.1)
    largest = np.unravel_index(saliency(net, picture).values.argmax(), picture.shape[:2])
    mask = np.zeros(picture.shape[:2], bool)
    mask[largest] = True
    for region, said in ((mask, "hit"), (~mask, "miss")):
        _, table = examine(net, picture, ["saliency"], mask=region)
        assert table["pointing"][0] == said and len(table["pointing"]) == 3
    with pytest.raises(MinivisError, match="same size"):
        examine(net, picture, ["saliency"], mask=mask[:5])
    with pytest.raises(MinivisError, match="no white pixel"):
        examine(net, picture, ["saliency"], mask=mask & False)


@pytest.mark.parametrize("names, message", [
    ([], "at least one"), (["filters"], "does not explain a class"), (["nothing"], "no technique 'nothing'")])
def test_compare_refuses_what_it_cannot_compare(conv_net, picture, names, message):
    with pytest.raises((MinivisError, KeyError), match=message):
        examine(conv_net(), picture, names)


def test_the_command_writes_one_figure_and_gives_one_table(conv_net, picture, tmp_path):
    from minivis.commands.compare import compare
    from minivis.image import read_text, save
    save(picture, tmp_path / "bird.png")
    figure = str(tmp_path / "out.png")
    report = compare(conv_net(bias=0.1), str(tmp_path / "bird.png"), techniques="saliency, occlusion", out=figure)
    assert [row["technique"] for row in report.rows()] == ["saliency", "occlusion", "(random)", "(edges)"]
    assert json.loads(read_text(figure)["minivis"])["technique"] == "compare"
    assert report.notes[-1] == f"wrote {figure}"
    assert "insertion" in report.text()
