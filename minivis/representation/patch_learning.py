"""Filters that learn from patches of photographs alone, without labels and without a network.

Patches (N, s, s, 3) -> filters (K, s, s, 3) in the space of the patches. The lectures' point: almost any learner that
is given photographs finds oriented edges, and blobs of opposed colours.
"""
import warnings
from pathlib import Path

import numpy as np

from ..errors import MinivisError
from ..image import read
from ..preprocessing import resize
from .threads import on_one_thread

LEARNERS = ("kmeans", "ica", "dictionary")
KEPT = 0.97             # of the variance, in whitening: the finest differences are noise of sensor and file format
SPARSE = 2.0            # penalty of a dictionary's coefficients, for whitened patches with values of about 1
PATCHES = 54            # the stream of random numbers that places patches


def draw_patches(pictures, count, size, seed=0):
    """(N, size, size, 3) float64 in 0..1: random places, as many from every picture; flat ones are drawn again."""
    if size < 2 or count < 1:
        raise MinivisError(f"patches: size {size} must be at least 2, count {count} at least 1")
    small = [p.shape for p in pictures if min(p.shape[:2]) < size]
    if small or not pictures:
        raise MinivisError(f"patches of {size} x {size} do not fit into a picture of {small[0][:2]}" if small else
                           "patches: there are no pictures")
    found = []
    for n, picture in enumerate(pictures):
        rng = np.random.default_rng([seed, PATCHES, n])
        wanted = count * (n + 1) // len(pictures) - count * n // len(pictures)
        tries = 0
        while wanted and tries < 50 * count:
            tries += 1
            top, left = (int(rng.integers(length - size + 1)) for length in picture.shape[:2])
            patch = picture[top:top + size, left:left + size] / 255
            if patch.std() > 0.02:
                found.append(patch)
                wanted -= 1
    if not found:
        raise MinivisError("patches: the pictures are flat everywhere; nothing can be learnt from them")
    return np.stack(found)


class Whitening:
    """z = (x - mean) E^T D^-1/2: patches whose components are uncorrelated and of variance 1. (The brightness and
    contrast of each patch are taken out first.)"""

    def __init__(self, patches):
        self.shape = patches.shape[1:]
        x = normalised(patches)
        self.mean = x.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov((x - self.mean).T))
        order = np.argsort(-values)
        count = int(np.searchsorted(np.cumsum(values[order]) / values.sum(), KEPT)) + 1
        self.axes, self.scale = vectors[:, order[:count]].T, np.sqrt(values[order[:count]])

    def __call__(self, patches):
        return (normalised(patches) - self.mean) @ self.axes.T / self.scale

    def as_filters(self, w):
        """Vectors of the whitened space (K, d) as filters (K, s, s, 3), in which all frequencies count alike."""
        return (w @ self.axes).reshape(-1, *self.shape)


def normalised(patches):
    """(N, D): every patch minus its mean colour's brightness, divided by its contrast."""
    x = patches.reshape(len(patches), -1).astype(np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    return x / np.sqrt((x ** 2).mean(axis=1, keepdims=True) + 1e-4)


@on_one_thread
def learn(patches, learner, count, seed=0):
    """`count` filters (K, s, s, 3) that a learner finds in patches, by falling use.

    kmeans       centres of clusters of whitened patches (Coates, Lee, Ng 2011)
    ica          independent components: FastICA (Hyvarinen 1999); filters as columns of the mixing matrix
    dictionary   atoms of a sparse code (Olshausen and Field 1996; online, Mairal et al. 2009)
    """
    whiten = Whitening(patches)
    z = whiten(patches)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # what has not converged fully still shows what is found
        if learner == "ica":
            from sklearn.decomposition import FastICA
            model = FastICA(min(count, z.shape[1]), random_state=seed, whiten="unit-variance", max_iter=150, tol=1e-3)
            use = (model.fit_transform(z) ** 4).mean(axis=0)
            return _by_use(whiten, model.mixing_.T, use)
        z = z / np.sqrt((z ** 2).mean(axis=1, keepdims=True) + 0.1)
        if learner == "kmeans":
            from sklearn.cluster import MiniBatchKMeans
            model = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=2048, max_iter=60).fit(z)
            return _by_use(whiten, model.cluster_centers_, np.bincount(model.labels_, minlength=count))
        if learner == "dictionary":
            from sklearn.decomposition import MiniBatchDictionaryLearning
            model = MiniBatchDictionaryLearning(count, alpha=SPARSE, random_state=seed, batch_size=64, max_iter=6,
                                                fit_algorithm="cd").fit(z)
            return _by_use(whiten, model.components_, np.abs(z @ model.components_.T).mean(axis=0))
    raise MinivisError(f"no learner {learner!r}; there are {', '.join(LEARNERS)}")


def _by_use(whiten, vectors, use):
    return whiten.as_filters(vectors)[np.argsort(-use, kind="stable")]


def orientation(filters):
    """(K,) how much of each filter's energy lies at one orientation, 0 (a blob, noise) to 1 (a grating or an edge).

    |sum P(f) e^(2 i angle(f))| / sum P(f) over the power P of its 2-D spectrum, summed over colours, f = 0 left out.
    """
    power = (np.abs(np.fft.fft2(filters, axes=(1, 2))) ** 2).sum(axis=3)
    power[:, 0, 0] = 0
    angle = np.arctan2(np.fft.fftfreq(filters.shape[1])[:, None], np.fft.fftfreq(filters.shape[2])[None])
    total = power.sum(axis=(1, 2))
    along = np.abs((power * np.exp(2j * angle)).sum(axis=(1, 2)))
    return np.divide(along, total, out=np.zeros(len(filters)), where=total > 0)


def photographs():
    """[uint8 (H, W, 3)]: the photographs that come with what minivis needs anyway (scikit-learn, matplotlib), at half
    their size, where pixels are less blurred and less noisy."""
    import matplotlib
    from sklearn.datasets import load_sample_images
    found = list(load_sample_images().images)
    try:
        found.append(read(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg", notes=[]))
    except MinivisError:
        pass            # a distribution may leave matplotlib's samples out
    return [resize(p, (p.shape[0] // 2, p.shape[1] // 2)) for p in found]
