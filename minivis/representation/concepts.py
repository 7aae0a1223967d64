"""Directions in a layer that stand for a concept, and whether a class heeds them (TCAV; Kim et al. 2018).

arXiv:1711.11279. A concept activation vector (CAV) is the normal of the plane that parts a layer's activations on
pictures of the concept from those on random pictures. The TCAV score of a class is the share of its pictures on which
the class score would rise if the layer moved a little along the CAV. Any two sets of pictures have a parting plane, so
the score is compared with the scores of planes between random sets.
"""
from typing import NamedTuple

import numpy as np

from ..errors import MinivisError
from .threads import on_one_thread

HELD_OUT = 1 / 3            # of the pictures: the plane is judged on them
STRENGTH = 1e-2             # of the regularisation, for activations of mean square length 1


class Concept(NamedTuple):
    """direction (D,): length 1, towards the concept. accuracy: how well the plane parts pictures it was not fitted to;
    one half is chance."""
    direction: np.ndarray
    accuracy: float


@on_one_thread
def concept_vector(positive, negative, rng):
    """The Concept that parts features (P, D) from features (M, D): logistic regression with an L2 penalty.

    A third of each side is held out for the accuracy. Features are centred and divided by their root mean square
    length. The fit is done in the space of the pictures, which the direction cannot leave: exact, and cheap for wide
    layers.
    """
    from sklearn.linear_model import LogisticRegression
    sides = [np.asarray(side, np.float64).reshape(len(side), -1) for side in (positive, negative)]
    if min(map(len, sides)) < 2:
        raise MinivisError(f"a concept needs at least 2 pictures on each side, here are {len(sides[0])} and "
                           f"{len(sides[1])}")
    held = [rng.permutation(len(side)) < max(1, round(HELD_OUT * len(side))) for side in sides]
    X, y = np.concatenate(sides), np.repeat([1, 0], [len(side) for side in sides])
    test = np.concatenate(held)
    X = X - X[~test].mean(axis=0)
    scale = np.sqrt((X[~test] ** 2).sum(axis=1).mean())
    if not scale > 0:
        raise MinivisError("the layer gives the same for all pictures of a concept and its counterpart")
    X /= scale
    values, vectors = np.linalg.eigh(X[~test] @ X[~test].T)
    fine = values > 1e-12 * values.max()
    basis = vectors[:, fine] / np.sqrt(values[fine])                # X_train^T basis: an orthonormal basis
    inner = X @ (X[~test].T @ basis)
    model = LogisticRegression(C=1 / (STRENGTH * (~test).sum()), max_iter=1000).fit(inner[~test], y[~test])
    right = model.predict(inner[test]) == y[test]
    balanced = np.mean([right[y[test] == side].mean() for side in (0, 1)])
    direction = X[~test].T @ (basis @ model.coef_[0])
    return Concept(direction / (np.linalg.norm(direction) or 1.0), float(balanced))


def tcav_score(slopes, direction):
    """The share of pictures whose derivative along the direction is positive. slopes (N, ...): dS/da."""
    slopes = np.asarray(slopes, np.float64).reshape(len(slopes), -1)
    return float((slopes @ direction > 0).mean())


def significance(scores, chance, tests=1):
    """The p value of "both have the same mean": two-sided Welch t test, times the number of tests made (Bonferroni)."""
    from scipy.special import stdtr
    scores, chance = np.asarray(scores, np.float64), np.asarray(chance, np.float64)
    parts = [np.var(v, ddof=1) / len(v) for v in (scores, chance)]
    gap, error = abs(scores.mean() - chance.mean()), np.sqrt(sum(parts))
    if not error > 0:
        return 1.0 if gap == 0 else 0.0
    freedom = error ** 4 / sum(part ** 2 / (len(v) - 1) for part, v in zip(parts, (scores, chance)))
    return float(min(1.0, tests * 2 * stdtr(freedom, -gap / error)))


def draws(count, size, rng):
    """Two disjoint random sets of `size` of 0..count."""
    order = rng.permutation(count)
    return order[:size], order[size:2 * size]
