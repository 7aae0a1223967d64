"""High-dimensional points -> a map in the plane: PCA, t-SNE, UMAP; and what can be said of the map's quality.

Every function takes X (N, D) and gives a Projection: points (N, 2), float64, and numbers that judge them.
"""
from typing import NamedTuple

import numpy as np

from ..errors import MinivisError
from .threads import on_one_thread

METHODS = ("tsne", "pca", "opentsne", "umap")
FLAT = 1e-4         # standard deviation of the points that t-SNE starts from


class Projection(NamedTuple):
    """points (N, 2); quality: {name: number}, what the method says of its own map."""
    points: np.ndarray
    quality: dict


@on_one_thread
def pca(X, count=2):
    """(scores (N, k), explained (k,), axes (k, D)), k <= count: the k directions in which X varies most.

    scores = (X - mean) axes^T, explained = the share of the whole variance that lies along each, falling. Found from
    the smaller of the two Gram matrices of the centred data, in float64. Axes have length 1, and the sign by which
    their largest entry is positive, so that the same data always give the same map. Directions without variance are
    left out.
    """
    X = check_points(X)
    X = X - X.mean(axis=0)
    N, D = X.shape
    values, vectors = np.linalg.eigh(X.T @ X if D <= N else X @ X.T)
    order = np.argsort(-values, kind="stable")[:count]
    total = np.trace(X.T @ X) if D <= N else float((X ** 2).sum())
    order = order[values[order] > 1e-12 * max(values.max(), 1e-300)]
    if not len(order):
        raise MinivisError(f"all {N} points are the same; there is nothing to map")
    axes = vectors[:, order].T if D <= N else (X.T @ vectors[:, order] / np.sqrt(values[order])).T
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return X @ axes.T, values[order] / total, axes


@on_one_thread
def project(X, method="tsne", *, perplexity=30.0, steps=1000, exaggeration=12.0, rate=None, before=50, exact=False,
            neighbours=15, seed=0):
    """A Projection of X (N, D) to two dimensions, on one thread: with more, sums come in another order, and t-SNE makes
    other maps of small differences.

    method        pca, tsne (scikit-learn), opentsne, umap
    perplexity    t-SNE: about how many neighbours a point heeds; capped at a third of N - 1
    steps, exaggeration, rate   t-SNE's descent; rate None: N / exaggeration, at least 50 (Belkina et al. 2019)
    before        dimensions that PCA leaves before t-SNE or UMAP; 0: none, all are used
    exact         t-SNE: all pairs instead of Barnes and Hut's tree
    neighbours    UMAP: how many neighbours a point heeds
    """
    X = check_points(X)
    scores, explained, _ = pca(X, max(2, before))
    flat = np.pad(scores[:, :2], ((0, 0), (0, 2 - min(2, scores.shape[1]))))
    first = {f"variance along axis {i + 1}": float(v) for i, v in enumerate(explained[:2])}
    if method == "pca":
        return Projection(flat, first)
    if len(X) < 4:
        raise MinivisError(f"{method} needs at least 4 points, here are {len(X)}; use pca")
    inner = scores[:, :before] if before else X
    kept = {"variance that PCA kept": float(explained[:before].sum())} if before and before < min(X.shape) else {}
    start = flat / (flat[:, 0].std() or 1.0) * FLAT
    heeded = min(perplexity, (len(X) - 1) / 3)
    if method in ("tsne", "opentsne"):
        if not (perplexity >= 1 and steps >= 250 and exaggeration >= 1 and (rate is None or rate > 0)):
            raise MinivisError(f"t-SNE: perplexity {perplexity:g} and exaggeration {exaggeration:g} must be at least "
                               f"1, steps {steps} at least 250, rate {rate} above 0")
        rate = rate or max(len(X) / exaggeration, 50.0)
        run = _tsne if method == "tsne" else _opentsne
        points, divergence = run(inner, start, heeded, steps, exaggeration, rate, exact, seed)
        return Projection(points, {"KL divergence": divergence, "perplexity": float(heeded), **kept})
    if method == "umap":
        return Projection(_umap(inner, min(neighbours, len(X) - 1), seed), {"neighbours": neighbours, **kept})
    raise MinivisError(f"no method {method!r}; there are {', '.join(METHODS)}")


def _tsne(X, start, perplexity, steps, exaggeration, rate, exact, seed):
    """van der Maaten and Hinton 2008 by scikit-learn; (points, final KL(P || Q) in nats)."""
    from sklearn.manifold import TSNE
    model = TSNE(2, perplexity=perplexity, max_iter=steps, early_exaggeration=exaggeration, learning_rate=rate,
                 init=start.astype(np.float32), method="exact" if exact else "barnes_hut", random_state=seed, n_jobs=1)
    points = model.fit_transform(X.astype(np.float32))
    return points.astype(np.float64), float(model.kl_divergence_)


def _opentsne(X, start, perplexity, steps, exaggeration, rate, exact, seed):
    openTSNE = _extra("openTSNE", "openTSNE")
    model = openTSNE.TSNE(2, perplexity=perplexity, n_iter=steps - 250, early_exaggeration_iter=250,
                          early_exaggeration=exaggeration, learning_rate=rate, initialization=start,
                          neighbors="exact" if exact else "auto", random_state=seed, n_jobs=1,
                          negative_gradient_method="bh" if exact or len(X) < 10_000 else "fft")
    fitted = model.fit(X)
    return np.asarray(fitted, np.float64), float(fitted.kl_divergence)


def _umap(X, neighbours, seed):
    umap = _extra("umap", "umap-learn")
    return umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(X).astype(np.float64)


def _extra(module, package):
    import importlib
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MinivisError(f"this map needs {package}: pip install 'minivis[maps]', or choose tsne or pca") from None


def kl_divergence(X, points, perplexity):
    """KL(P || Q) = sum p log(p / q) of a map by all pairs, in nats: van der Maaten and Hinton 2008, equation 2.

    p_j|i is a Gaussian around i whose width gives it the perplexity; P their symmetrised mean; Q Student's t in the
    map.
    """
    P, Q = similarities(check_points(X), perplexity), student(np.asarray(points, np.float64))
    here = P > 0
    return float((P[here] * np.log(P[here] / Q[here])).sum())


def similarities(X, perplexity):
    """P (N, N): p_ij = (p_j|i + p_i|j) / 2N, each row's width found by bisection of its entropy."""
    squared = _squared_distances(X)
    N = len(X)
    wanted, conditional = np.log(perplexity), np.zeros((N, N))
    for i in range(N):
        d = np.delete(squared[i], i)
        d = d - d.min()                                         # the nearest has weight 1: nothing underflows
        low, high, beta = 0.0, np.inf, 1.0 / (d.mean() or 1.0)
        for _ in range(100):
            w = np.exp(-beta * d)
            entropy = np.log(w.sum()) + beta * (w * d).sum() / w.sum()
            if abs(entropy - wanted) < 1e-10:
                break
            low, high = (beta, high) if entropy > wanted else (low, beta)
            beta = 2 * beta if np.isinf(high) else (low + high) / 2
        conditional[i, np.arange(N) != i] = w / w.sum()
    return (conditional + conditional.T) / (2 * N)


def student(points):
    """Q (N, N): q_ij = 1 / (1 + |y_i - y_j|^2), divided by its sum; 0 on the diagonal."""
    w = 1 / (1 + _squared_distances(points))
    np.fill_diagonal(w, 0)
    return w / w.sum()


def _squared_distances(X):
    norms = (X ** 2).sum(axis=1)
    return np.maximum(norms[:, None] + norms[None] - 2 * X @ X.T, 0)


@on_one_thread
def trustworthiness(X, points, neighbours=12):
    """How far neighbours in the map are neighbours in X, 0 to 1: Venna and Kaski 2001. None for too few points."""
    from sklearn.manifold import trustworthiness as judge
    neighbours = min(neighbours, (len(X) - 1) // 2)
    return float(judge(X, points, n_neighbors=neighbours)) if neighbours >= 1 else None


def check_points(X):
    """X as float64 (N, D), finite."""
    X = np.asarray(X, np.float64)
    X = X.reshape(len(X), -1) if X.ndim > 1 else X
    if X.ndim != 2 or len(X) < 2 or not X.shape[1]:
        raise MinivisError(f"features of shape {X.shape} cannot be mapped: they must be (N, D) with at least 2 rows")
    bad = int((~np.isfinite(X).all(axis=1)).sum())
    if bad:
        raise MinivisError(f"{bad} of {len(X)} feature vectors are not finite")
    return X
