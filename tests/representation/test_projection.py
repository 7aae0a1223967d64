"""Maps: PCA is the singular value decomposition, t-SNE lowers the divergence it reports, grids are the best ones."""
import itertools

import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.representation import gridding
from minivis.representation import projection as p


def clusters(each=30, D=12, count=3, apart=8.0, seed=0):
    random = np.random.RandomState(seed)
    centres = random.standard_normal((count, D)) * apart
    return np.concatenate([c + random.standard_normal((each, D)) for c in centres]), np.repeat(np.arange(count), each)


@pytest.mark.parametrize("N, D", [(40, 7), (7, 40), (20, 20)])
def test_pca_is_the_singular_value_decomposition(N, D):
    X = np.random.RandomState(1).standard_normal((N, D)) * np.linspace(1, 3, D) + 5
    scores, explained, axes = p.pca(X, 4)
    _, s, vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    assert np.allclose(explained, (s ** 2 / (s ** 2).sum())[:4])
    assert np.allclose(np.abs((axes * vt[:4]).sum(axis=1)), 1)              # the same directions, but for their signs
    assert np.allclose(axes @ axes.T, np.eye(4)) and np.allclose(scores.std(axis=0) ** 2 * N, s[:4] ** 2)


def test_pca_signs_do_not_depend_on_the_order_of_the_points():
    X = np.random.RandomState(2).standard_normal((30, 6)) * np.arange(1, 7)
    order = np.random.RandomState(3).permutation(30)
    assert np.allclose(p.pca(X)[0][order], p.pca(X[order])[0])
    axes = p.pca(X)[2]
    assert (axes[np.arange(2), np.abs(axes).argmax(axis=1)] > 0).all()


def test_pca_leaves_out_directions_without_variance():
    line = np.outer(np.arange(9.0), [1, 2, 3])
    scores, explained, _ = p.pca(line, 3)
    assert scores.shape == (9, 1) and explained[0] == pytest.approx(1)
    assert p.project(line, "pca").points.shape == (9, 2)
    with pytest.raises(MinivisError, match="all 5 points are the same"):
        p.pca(np.ones((5, 3)))


def test_similarities_have_the_perplexity_asked_for():
    X, _ = clusters(20)
    N, P = len(X), p.similarities(X, 7.0)
    assert P.sum() == pytest.approx(1) and np.allclose(P, P.T) and not P.diagonal().any()
    # the conditional distribution of one point, by its definition: P is their mean, so take points far from all others
    lone = np.random.RandomState(0).standard_normal((40, 3))
    conditional = []
    squared = ((lone[:, None] - lone[None]) ** 2).sum(axis=2)
    for i in range(40):         # entropies by brute force over the width
        others = np.arange(40) != i
        betas = np.geomspace(1e-2, 1e2, 4001)
        w = np.exp(-betas[:, None] * (squared[i, others] - squared[i, others].min()))
        w /= w.sum(axis=1, keepdims=True)
        entropy = -(w * np.log(np.maximum(w, 1e-300))).sum(axis=1)
        row = np.zeros(40)
        row[others] = w[np.abs(entropy - np.log(7.0)).argmin()]
        conditional.append(row)
    wanted = (np.array(conditional) + np.array(conditional).T) / 80
    assert np.allclose(p.similarities(lone, 7.0), wanted, atol=2e-5)
    assert N == 60


def test_tsne_reports_the_divergence_of_its_map_and_parts_clusters():
    X, label = clusters()
    found = p.project(X, "tsne", perplexity=10, steps=500, exact=True, before=0)
    by_hand = p.kl_divergence(X, found.points, 10)
    assert found.quality["KL divergence"] == pytest.approx(by_hand, rel=0.02)       # float32 against float64
    assert by_hand < 0.6 * p.kl_divergence(X, p.project(X, "pca").points, 10)
    own = np.array([np.linalg.norm(found.points[label == k] - found.points[label == k].mean(0), axis=1).max()
                    for k in range(3)])
    centres = np.array([found.points[label == k].mean(0) for k in range(3)])
    between = min(np.linalg.norm(a - b) for a, b in itertools.combinations(centres, 2))
    assert between > 2 * own.max()
    assert p.trustworthiness(X, found.points) > 0.9


@pytest.mark.parametrize("exact", [True, False])
def test_tsne_gives_the_same_map_again_and_another_with_another_start(exact):
    X, _ = clusters(15)
    one, two = (p.project(X, steps=250, perplexity=5, exact=exact).points for _ in range(2))
    assert np.array_equal(one, two)


def test_wrong_numbers_are_named():
    X, _ = clusters(5)
    with pytest.raises(MinivisError, match="perplexity 0"):
        p.project(X, perplexity=0.0)
    with pytest.raises(MinivisError, match="no method 'som'"):
        p.project(X, "som")
    with pytest.raises(MinivisError, match="at least 4 points"):
        p.project(X[:3], "tsne")
    X[4, 2] = np.nan
    with pytest.raises(MinivisError, match="1 of 15 feature vectors are not finite"):
        p.project(X)
    with pytest.raises(MinivisError, match="must be \\(N, D\\)"):
        p.pca(np.zeros(4))


def test_the_grid_is_the_best_of_all_assignments():
    points = np.random.RandomState(0).random_sample((6, 2))
    rows, columns, cells = gridding.assign(points, 3)
    assert (rows, columns) == (2, 3) and sorted(cells) == list(range(6))
    centres = gridding.cell_centres(2, 3)
    unit = (points - points.min(0)) / np.ptp(points, axis=0)
    costs = {order: ((unit - centres[list(order)]) ** 2).sum() for order in itertools.permutations(range(6))}
    assert costs[tuple(cells)] == pytest.approx(min(costs.values()))


def test_points_on_a_grid_stay_where_they_are_and_spare_cells_stay_empty():
    centres = gridding.cell_centres(4, 5)
    order = np.random.RandomState(1).permutation(20)
    assert np.array_equal(gridding.assign(centres[order], 5)[2], order)
    rows, columns, cells = gridding.assign(np.random.RandomState(2).random_sample((7, 2)))
    assert (rows, columns) == (3, 3) and len(set(cells)) == 7
    with pytest.raises(MinivisError, match="a grid of -1 columns"):
        gridding.assign(centres, -1)


def test_kept_neighbours_is_one_when_the_grid_is_the_space():
    X = gridding.cell_centres(6, 6)
    rows, columns, cells = gridding.assign(X, 6)
    inner = gridding.kept_neighbours(X, rows, columns, cells)
    shuffled = np.random.RandomState(0).permutation(36)
    assert inner > 0.85 > 0.5 > gridding.kept_neighbours(X, rows, columns, shuffled)
