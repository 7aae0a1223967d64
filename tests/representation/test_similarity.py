"""Centred kernel alignment, concept directions and linear probes, on features whose answer is known."""
import numpy as np
import pytest
from scipy.stats import ortho_group

from minivis.errors import MinivisError
from minivis.representation import concepts, probes
from minivis.representation import similarity as s


def features(N=40, D=6, seed=0):
    return np.random.RandomState(seed).standard_normal((N, D))


def test_cka_does_not_see_rotation_scale_and_shift_but_sees_stretching():
    X = features()
    turned = X @ ortho_group.rvs(6, random_state=1) * 3 + 7
    assert s.linear_cka(X, turned) == pytest.approx(1)
    assert s.linear_cka(X, X * np.array([9, 1, 1, 1, 1, 1])) < 0.8


def test_cka_is_kornblith_s_ratio_of_frobenius_norms():
    X, Y = features(D=6), features(D=9, seed=1) + features(D=6)[:, [0, 1, 2, 3, 4, 5, 0, 1, 2]]
    x, y = X - X.mean(0), Y - Y.mean(0)
    wanted = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert 0.2 < wanted < 0.9 and s.linear_cka(X, Y) == pytest.approx(wanted)
    assert s.linear_cka(Y, X) == pytest.approx(wanted)


def test_unbiased_estimate_is_zero_on_average_for_independent_features_and_the_plain_one_is_not():
    plain, fair = [], []
    for i in range(60):
        K, L = s.gram(features(12, 50, 2 * i)), s.gram(features(12, 50, 2 * i + 1))
        plain.append(s.hsic(K, L) / np.sqrt(s.hsic(K, K) * s.hsic(L, L)))
        fair.append(s.unbiased_hsic(K, L) / np.sqrt(s.unbiased_hsic(K, K) * s.unbiased_hsic(L, L)))
    assert np.mean(plain) > 0.6
    assert abs(np.mean(fair)) < 4 * np.std(fair) / np.sqrt(60) < 0.1


def test_unbiased_hsic_equals_its_sum_over_distinct_indices():
    from itertools import permutations
    K, L = s.gram(features(7, 3)), s.gram(features(7, 2, 5))
    pairs = np.mean([K[i, j] * L[i, j] for i, j in permutations(range(7), 2)])
    quadruples = np.mean([K[i, j] * L[q, r] for i, j, q, r in permutations(range(7), 4)])
    triples = np.mean([K[i, j] * L[i, q] for i, j, q in permutations(range(7), 3)])
    assert s.unbiased_hsic(K, L) == pytest.approx(pairs + quadruples - 2 * triples)


def test_batches_average_to_the_cka_of_all_pictures():
    X = features(480, 5)
    Y = X @ features(5, 4, 1) + features(480, 4, 2)
    alignment = s.Alignment(2, 1)
    for i in range(0, 480, 24):
        alignment.add([s.gram(X[i:i + 24]), s.gram(Y[i:i + 24])], [s.gram(Y[i:i + 24])])
    assert alignment.batches == 20 and alignment.table[1, 0] == pytest.approx(1)
    assert alignment.table[0, 0] == pytest.approx(s.linear_cka(X, Y), abs=0.03)


def test_wide_float32_features_and_features_that_never_change():
    X = features(9, 9000).astype(np.float32)
    assert np.allclose(s.gram(X), X.astype(np.float64) @ X.T.astype(np.float64), rtol=1e-5, atol=1e-2)
    assert np.isnan(s.linear_cka(np.ones((5, 2)), features(5)))
    alignment = s.Alignment(1, 1)
    alignment.add([np.zeros((5, 5))], [s.gram(features(5))])
    assert np.isnan(alignment.table[0, 0])
    with pytest.raises(MinivisError, match="the same pictures: here are 4 and 5"):
        s.linear_cka(features(4), features(5))
    with pytest.raises(MinivisError, match="at least 4 pictures"):
        s.unbiased_hsic(np.eye(3), np.eye(3))


# concepts

def test_a_concept_vector_finds_the_direction_that_was_put_in():
    direction = np.zeros(500)
    direction[3] = 1
    noise = features(120, 500)
    found = concepts.concept_vector(noise[:60] + 6 * direction, noise[60:], np.random.default_rng(0))
    assert found.accuracy > 0.95 and np.linalg.norm(found.direction) == pytest.approx(1)
    assert found.direction[3] > 0.9 * np.abs(found.direction).max() and found.direction.argmax() == 3
    nothing = concepts.concept_vector(noise[:60], noise[60:], np.random.default_rng(0))
    assert 0.2 < nothing.accuracy < 0.8


def test_the_fit_in_the_space_of_the_pictures_is_the_fit_in_the_space_of_the_features():
    from sklearn.linear_model import LogisticRegression
    positive, negative = features(30, 5) + 1, features(30, 5, 1)
    found = concepts.concept_vector(positive, negative, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    held = np.concatenate([rng.permutation(30) < 10, rng.permutation(30) < 10])
    X = np.concatenate([positive, negative])
    X = X - X[~held].mean(0)
    X /= np.sqrt((X[~held] ** 2).sum(1).mean())
    model = LogisticRegression(C=1 / (concepts.STRENGTH * 40), max_iter=1000, tol=1e-8)
    w = model.fit(X[~held], np.repeat([1, 0], 20)).coef_[0]
    assert found.direction @ w / np.linalg.norm(w) > 0.9999


def test_tcav_score_counts_positive_derivatives_and_its_test_knows_chance():
    slopes = np.array([[1.0, 5], [2, -9], [-3, 9], [4, 0]])
    assert concepts.tcav_score(slopes, np.array([1.0, 0])) == 0.75
    random = np.random.RandomState(0)
    same, other = random.random_sample(12), random.random_sample(12)
    assert concepts.significance(same, other) > 0.05
    assert concepts.significance(same + 3, other) < 1e-6
    assert concepts.significance(same + 3, other, tests=5) == pytest.approx(5 * concepts.significance(same + 3, other))
    assert concepts.significance([1, 1], [1, 1]) == 1 and concepts.significance([1, 1], [0, 0]) == 0
    first, second = concepts.draws(9, 4, np.random.default_rng(0))
    assert len(first) == len(second) == 4 and not set(first) & set(second)


# probes

def test_a_probe_parts_what_planes_part_and_fails_on_what_they_do_not():
    X = features(200, 2)
    assert probes.probe(X, X[:, 0] > 0.3 * X[:, 1]).accuracy > 0.93
    ring = (X ** 2).sum(axis=1) > 1.4           # no plane parts a disc from what lies around it
    assert probes.probe(X, ring).accuracy < 0.7
    assert probes.probe(np.c_[X, X ** 2], ring).accuracy > 0.9


def test_a_probe_of_noise_is_at_chance_however_many_features_it_has():
    y = np.arange(90) % 3
    found = probes.probe(features(90, 400), y)
    assert abs(found.accuracy - 1 / 3) < 0.15 and probes.chance(y) == pytest.approx(1 / 3)


def test_more_features_than_pictures_give_the_same_fit_as_the_features_themselves():
    X, y = features(60, 45) + np.arange(60)[:, None] % 2 * 0.5, np.arange(60) % 2
    wide = np.concatenate([X, np.zeros((60, 30))], axis=1)          # 75 features of 48 training pictures, same geometry
    assert probes.probe(wide, y).accuracy == pytest.approx(probes.probe(X, y).accuracy, abs=0.02)


def test_too_few_pictures_or_classes_are_named():
    with pytest.raises(MinivisError, match="at least two classes"):
        probes.probe(features(9), np.zeros(9))
    with pytest.raises(MinivisError, match="has 2 pictures, fewer than the 5 folds"):
        probes.probe(features(9), [0] * 7 + [1] * 2)
