"""Perturbation techniques: exact on networks solved by hand, their estimators by definition."""
import itertools
import math

import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.techniques.counter_evidence import counter_evidence
from minivis.techniques.extremal_perturbation import blurred, extremal_perturbation, ladder_of, masked_gradient
from minivis.techniques.feature_ablation import feature_ablation
from minivis.techniques.grabcut import grabcut, seeds_of
from minivis.techniques.hiding import hiding, segments_of
from minivis.techniques.kernel_shap import coalitions, kernel_shap, shapley_fit
from minivis.techniques.lime import fit, lime, similarity
from minivis.techniques.occlusion import occlusion
from minivis.techniques.rise import Masks, bilinear, rise
from minivis.techniques.soft_masks import Enlarged, Spots, area_gradient, variation_gradient


def contributions(net, w, picture, target, segments, compactness=10.0, fill="black"):
    """Of each superpixel of a linear network: sum of w (x - filling); (labels, values)."""
    h = hiding(net, picture, fill, target=target)
    labels, K = segments_of(h.seen, segments, compactness)
    x, ground = (net.to_rgb(a[0]) for a in (h.x, h.background))
    per_pixel = (w[:, :, :, target] * (x - ground)).sum(axis=2)
    return labels, np.bincount(labels.reshape(-1), per_pixel.reshape(-1), minlength=K)


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("technique, options, tolerance", [
    (feature_ablation, {}, 1e-12),
    (kernel_shap, {"samples": 60}, 1e-9),
    (lime, {"samples": 60, "score": "logit", "ridge": 0.0}, 1e-9),
])
def test_superpixels_of_a_linear_network_get_what_they_add(linear_net, picture, channels, technique, options,
                                                           tolerance):
    net, w = linear_net(channels)
    labels, wanted = contributions(net, w, picture, 1, 6)
    result = technique(net, picture, target=1, segments=6, fill="black", **options)
    assert result.values.shape == labels.shape and np.ptp(wanted) > 0.1
    assert np.abs(result.values - wanted[labels]).max() < tolerance * np.abs(wanted).max()


def test_kernel_shap_of_all_coalitions_is_the_shapley_value(conv_net, picture):
    net = conv_net(bias=0.1)
    h = hiding(net, picture, "mean", target=0)
    labels, K = segments_of(h.seen, 4)
    assert 3 <= K <= 6

    def score(shown):
        return h.scores(lambda i: np.isin(labels, shown).astype(float), 1)[0]
    value = {shown: score(shown) for n in range(K + 1) for shown in itertools.combinations(range(K), n)}
    phi = np.zeros(K)
    for shown, v in value.items():
        for k in set(range(K)) - set(shown):
            share = math.factorial(len(shown)) * math.factorial(K - 1 - len(shown)) / math.factorial(K)
            phi[k] += share * (value[tuple(sorted((*shown, k)))] - v)
    result = kernel_shap(net, picture, target=0, segments=4, samples=2 ** K)
    assert np.abs(result.values - phi[labels]).max() < 1e-9 * np.abs(phi).max() and np.ptp(phi) > 0
    assert abs(result.gap) < 1e-12


def test_drawn_coalitions_come_in_pairs_of_the_kernels_sizes():
    z, weight = coalitions(30, 2000, seed=0)
    assert z.shape == (2000, 30) and (z[::2] + z[1::2] == 1).all() and (weight == 1).all()
    size = z.sum(axis=1)
    chance = 1 / (np.arange(1, 30) * np.arange(29, 0, -1))
    chance /= chance.sum()
    assert abs((size == 1).mean() - chance[0]) < 0.03 and size.min() == 1 and size.max() == 29


def test_shapley_fit_of_one_player_is_everything():
    assert shapley_fit(np.zeros((0, 1), int), np.zeros(0), np.zeros(0), 5.0, 2.0) == [3.0]


def test_lime_is_weighted_ridge_regression(rng):
    from sklearn.linear_model import Ridge
    z = rng.integers(0, 2, (40, 6))
    y = z @ rng.standard_normal(6) + rng.standard_normal(40)
    distance = [1 - row.sum() / (np.linalg.norm(row) * np.sqrt(6)) if row.any() else 1.0 for row in z]
    weight = np.sqrt(np.exp(-np.square(distance) / 0.25 ** 2))
    assert np.allclose(similarity(z, 0.25), weight)
    w, intercept, explained = fit(z, y, weight, 0.7)
    model = Ridge(alpha=0.7).fit(z, y, weight)
    assert np.allclose(w, model.coef_, atol=1e-12) and np.isclose(intercept, model.intercept_)
    assert np.isclose(explained, model.score(z, y, weight))


def test_rise_is_the_mean_of_masks_weighted_by_their_scores(conv_net, picture):
    net = conv_net(bias=0.1)
    result = rise(net, picture, target=1, samples=9, cells=3, keep=0.4, score="prob", seed=3)
    masks = Masks((12, 10), 3, 0.4, 3)
    x = net.preprocess(picture)[0]
    total = np.zeros((12, 10))
    for i in range(9):
        logits = net((x * masks(i)[:, :, None])[None])["scores"].numpy()[0]
        total += np.exp(logits[1]) / np.exp(logits).sum() * masks(i)
    assert np.allclose(result.values, total / 9 / 0.4, rtol=1e-12) and np.ptp(total) > 0


def test_rise_does_not_depend_on_the_batch(conv_net, picture):
    net = conv_net(precision="float32")
    one, all_at_once = (rise(net, picture, samples=20, cells=3, memory=memory).values for memory in (1, "1GB"))
    assert np.array_equal(one, all_at_once) and np.ptp(one) > 0


def test_masks_are_open_with_the_probability_asked_for():
    masks = Masks((30, 41), 5, 0.3, seed=0)
    many = np.stack([masks(i) for i in range(300)])
    assert many.shape == (300, 30, 41) and many.min() >= 0 and many.max() <= 1
    assert np.abs(many.mean(axis=0) - 0.3).max() < 0.1
    assert np.array_equal(masks(7), many[7]) and not np.array_equal(many[0], many[1])


def test_bilinear_enlarging_equals_pillows():
    from PIL import Image
    values = np.random.RandomState(0).rand(5, 4).astype(np.float32)
    wanted = np.asarray(Image.fromarray(values).resize((19, 23), Image.Resampling.BILINEAR))
    assert np.allclose(bilinear(5, 23) @ values @ bilinear(4, 19).T, wanted, atol=1e-6)
    assert (bilinear(1, 4) == 1).all()


def test_counter_evidence_hides_what_lowers_the_class(linear_net, picture):
    """Of a linear network windows act alone, so the greedy choice is the best: the windows in order of their rise."""
    net, _ = linear_net()
    result = counter_evidence(net, picture, target=2, size=4, stride=4, count=3, fill="black")
    rises = np.sort((result.scores[:, :, 2] - result.clean[2]).reshape(-1))[::-1]
    assert rises[2] > 0
    assert f"{result.clean[2] + rises[:3].sum():.4g}" in result.notes[3]
    assert (result.values <= 0).all() and np.isclose(result.values.min(), -rises[0])


def test_counter_evidence_hides_no_window_twice_and_says_its_path(linear_net, picture):
    net, _ = linear_net()
    result = counter_evidence(net, picture, target=2, size=4, stride=4, count=12, fill="black")
    boxes = [step["box"] for step in result.to_dict()["hidden"]]
    scores = result.path_scores()[:, 2]
    assert 0 < len(boxes) < 12 and len({tuple(box) for box in boxes}) == len(boxes)
    assert (np.diff(scores) > 0).all() and scores[0] == result.score
    assert result.arrays()["path_scores"].shape == (len(boxes) + 1, 3)


def test_counter_evidence_says_when_there_is_none(conv_net, picture):
    net = conv_net(positive=True)       # every bit of light raises every class
    result = counter_evidence(net, picture, target=0, size=4, stride=4, fill="black")
    assert "nothing of this size speaks against it" in result.notes[1]


@pytest.mark.parametrize("mask", [Enlarged((23, 19), 5), Spots((23, 19), 5, 8.0)])
def test_the_masks_way_back_is_its_derivative(rng, mask):
    p, g = rng.random(mask.shape), rng.standard_normal(mask.shape)
    dm = rng.standard_normal(mask(p).shape)
    numeric = ((mask(p + 1e-6 * g) - mask(p - 1e-6 * g)) * dm).sum() / 2e-6
    mask(p)
    assert np.isclose((mask.back(dm) * g).sum(), numeric, rtol=1e-6) and abs(numeric) > 0.01


def test_a_spot_is_round_and_lies_where_its_point_is():
    mask = Spots((29, 36), 7, 10.0)
    p = np.zeros(mask.shape)
    p[2, 3] = 1                 # pixel (14, 21)
    m = mask.inside(mask(p))
    y, x = np.mgrid[:29, :36]
    away = np.hypot(y - 14, x - 21)
    assert m.shape == (29, 36) and np.isclose(m[14, 21], m.max())          # within half its width it is flat
    assert m[away <= 5].min() > 0.999 and m[away > 5].max() < m[14, 21]
    assert np.allclose(m[14, 12:22], m[14, 21:31][::-1]) and m[0, 0] < 1e-3


def test_the_other_gradients_of_the_mask_are_derivatives(conv_net, picture, rng):
    h = hiding(conv_net(bias=0.1), picture, "blur", target=0)
    m, g = rng.random((12, 10)), rng.standard_normal((12, 10))
    step = 1e-7 * g

    def slope(f):
        return (f(m + step) - f(m - step)) / 2e-7

    def area(m):
        wanted = np.repeat([0, 1], [int(0.7 * m.size), m.size - int(0.7 * m.size)])
        return -np.mean((np.sort(m, axis=None) - wanted) ** 2)

    def variation(m):
        return -sum((np.abs(np.diff(m, axis=a)) ** 3).sum() for a in (0, 1))
    assert np.isclose((area_gradient(m, 0.3) * g).sum(), slope(area), rtol=1e-5)
    assert np.isclose((variation_gradient(m) * g).sum(), slope(variation), rtol=1e-5)
    for ladder in (ladder_of(h), blurred(h.x, 4, 3.0)):
        for mirrored in (False, True):
            shown = slope(lambda m: masked_gradient(h, ladder, m, mirrored)[0])      # noqa: B023
            got = (masked_gradient(h, ladder, m, mirrored)[1] * g).sum()
            assert np.isclose(got, shown, rtol=1e-4) and abs(shown) > 1e-6


def test_the_ladder_goes_from_the_blurred_picture_to_the_sharp_one(conv_net, picture):
    h = hiding(conv_net(), picture, "zero", target=0)
    ladder = blurred(h.x, 5, 4.0)
    rough = [np.abs(np.diff(step, axis=1)).mean() for step in ladder]
    assert len(ladder) == 5 and np.array_equal(ladder[-1], h.x) and rough == sorted(rough)
    ones = np.ones(h.x.shape[1:3])
    assert masked_gradient(h, ladder, ones)[0] == pytest.approx(h.start.value)


def test_the_area_prefers_no_place_of_an_even_mask():
    m = np.full((23, 19), 0.5)
    assert np.allclose(area_gradient(m, 0.2), -2 * (m - 0.2) / m.size, atol=1e-5)


@pytest.mark.parametrize("variant", ["preserve", "delete", "dual"])
def test_extremal_perturbation_finds_the_area_that_holds_the_score(linear_net, picture, variant):
    net = linear_net()[0].with_weights({"scores/weight": spot_weights()})
    result = extremal_perturbation(net, picture, target=0, variant=variant, area=0.2, steps=300, rate=0.05, smooth=2.0,
                                   cell=2, fill="black", area_weight=100.0, flip=False)
    outside = result.values.copy()
    outside[:8, :8] = 0
    assert result.values[2:6, 2:6].mean() > 0.8 > 0.2 > outside.mean()
    words = {"preserve": "it alone shown", "delete": "it hidden", "dual": "it hidden"}[variant]
    assert words in result.notes[0] and f"{variant}, 300 steps" in result.notes[0]


def test_a_meaningful_perturbation_hides_what_holds_the_score(linear_net, picture):
    net = linear_net()[0].with_weights({"scores/weight": spot_weights()})
    hidden = extremal_perturbation(net, picture, target=0, variant="meaningful", steps=150, rate=0.05, cell=2,
                                   fill="black", variation=0.0, jitter=0)
    assert hidden.values[2:6, 2:6].mean() > 0.8 > 0.3 > hidden.values[8:].mean()


def test_the_papers_steps_are_the_default(conv_net, picture, monkeypatch):
    from minivis.techniques import extremal_perturbation as module
    monkeypatch.setattr(module, "STEPS", {"extremal": (3, 0.01), "meaningful": (2, 0.1)})
    for variant, steps in (("preserve", 3), ("meaningful", 2)):
        result = extremal_perturbation(conv_net(bias=0.1), picture, variant=variant, cell=4, smooth=3.0)
        assert f"{steps} steps" in result.notes[0] and result.recipe["options"]["steps"] == steps


def spot_weights():
    w = np.zeros((12, 10, 3, 3))
    w[2:6, 2:6, :, 0] = 1
    return w.reshape(-1, 3)


def test_grabcut_seeds_are_the_quantiles_of_the_saliency(linear_net, picture, rng):
    saliency = rng.random((20, 30))
    seeds = seeds_of(saliency, 0.95, 0.3)
    assert (seeds == 1).sum() == 30 and (seeds == 0).sum() == 180
    net, _ = linear_net()
    result = grabcut(net, picture, target=0)
    assert result.values[result.seeds == 1].all() and not result.values[result.seeds == 0].any()
    assert result.picture().ndim == 3 and {"saliency", "seeds"} <= set(result.arrays())


@pytest.mark.parametrize("technique, options", [
    (rise, {"samples": 0}), (rise, {"keep": 0.0}), (lime, {"samples": 1}), (kernel_shap, {"samples": 1}),
    (counter_evidence, {"count": 0}), (extremal_perturbation, {"area": 1.0}), (feature_ablation, {"segments": 0}),
    (grabcut, {"object_quantile": 0.2}), (occlusion, {"fill": "value", "value": 300}),
])
def test_impossible_options_are_one_clear_error(linear_net, picture, technique, options):
    with pytest.raises(MinivisError) as error:
        technique(linear_net()[0], picture, **options)
    assert "\n" not in str(error.value) and any(f"{v}" in str(error.value) for v in options.values())


@pytest.mark.parametrize("technique, options", [
    (rise, {"samples": 40, "cells": 3}), (lime, {"samples": 40, "segments": 6}),
    (kernel_shap, {"samples": 20, "segments": 6})])
def test_the_number_of_samples_does_not_change_the_largest_batch(conv_net, picture, monkeypatch, technique, options):
    net, largest = conv_net(bias=0.1), []

    def call(self, x, *rest, run=type(net).__call__, **more):
        largest[-1] = max(largest[-1], len(x))
        return run(self, x, *rest, **more)
    monkeypatch.setattr(type(net), "__call__", call)
    memory = 5 * net.bytes_needed((1, 12, 10, 3), ["scores"])
    for samples in (options["samples"], 3 * options["samples"]):
        largest.append(0)
        technique(net, picture, memory=memory, **options | {"samples": samples})
    assert 1 < largest[1] <= 5 and largest[1] == largest[0]
