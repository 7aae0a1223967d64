"""Linear probes: how well a layer's features tell classes apart by planes alone (Alain and Bengio 2016,
arXiv:1610.01644)."""
import warnings
from typing import NamedTuple

import numpy as np

from ..errors import MinivisError
from .threads import on_one_thread


class Probe(NamedTuple):
    """accuracy: mean over the folds, deviation: their standard deviation; both of pictures that were held out."""
    accuracy: float
    deviation: float


@on_one_thread
def probe(X, y, folds=5, strength=1.0, seed=0):
    """The Probe of features X (N, D) for labels y (N,): multinomial logistic regression, cross-validated.

    Each feature is centred and divided by its standard deviation on the training folds. strength is the L2 penalty.
    Classes are spread evenly over the folds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    X = np.asarray(X, np.float64).reshape(len(X), -1)
    y = np.unique(np.asarray(y), return_inverse=True)[1]
    check_classes(y, folds)
    scores = []
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(X, y):
        mean, deviation = X[train].mean(axis=0), X[train].std(axis=0)
        Z = (X - mean) / np.where(deviation > 0, deviation, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)     # after 300 steps the accuracy no longer moves
            model = LogisticRegression(C=1 / strength, max_iter=300).fit(_few(Z, train), y[train])
        scores.append(float((model.predict(_few(Z, train, test)) == y[test]).mean()))
    return Probe(float(np.mean(scores)), float(np.std(scores)))


def _few(Z, train, rows=None):
    """Z[rows] in an orthonormal basis of the span of Z[train], if that has fewer dimensions than there are features:
    the penalised fit never leaves it."""
    rows = train if rows is None else rows
    if Z.shape[1] <= len(train):
        return Z[rows]
    values, vectors = np.linalg.eigh(Z[train] @ Z[train].T)
    fine = values > 1e-10 * values.max()
    return (Z[rows] @ Z[train].T) @ (vectors[:, fine] / np.sqrt(values[fine]))


def check_classes(y, folds):
    """An error unless there are two classes at least, and of each as many pictures as folds."""
    counts = np.bincount(y)
    counts = counts[counts > 0]
    if len(counts) < 2:
        raise MinivisError("a probe needs at least two classes; put the pictures of each class in a folder of its own")
    if counts.min() < folds or folds < 2:
        raise MinivisError(f"the smallest class has {counts.min()} pictures, fewer than the {folds} folds; give more "
                           "pictures, or fewer --folds (at least 2)")


def chance(y):
    """The accuracy of always naming the most frequent class."""
    counts = np.unique(np.asarray(y), return_counts=True)[1]
    return float(counts.max() / counts.sum())
