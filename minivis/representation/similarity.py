"""How alike two layers see the same pictures: centred kernel alignment.

CKA(X, Y) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K = X X^T and L = Y Y^T for features X (N, D) and Y (N, D') of the
same N pictures: 1 if one is a rotated and scaled copy of the other, whatever their widths. Kornblith, Norouzi, Lee,
Hinton 2019, arXiv:1905.00414. From few pictures the plain estimate is too high (wide random features are "alike"); the
unbiased one of Song et al. 2012 is not, and may be averaged over batches: Nguyen, Raghu, Kornblith 2021,
arXiv:2010.15327.
"""
import numpy as np

from ..errors import MinivisError

FEWEST = 4          # pictures in a batch, for the unbiased estimate


def gram(X):
    """K (N, N) = X X^T of features (N, ...), float64."""
    X = np.asarray(X).reshape(len(X), -1)
    if X.dtype == np.float32 and X.shape[1] > 4096:     # 4096 products are summed in float32, these sums in float64
        return sum((X[:, i:i + 4096] @ X[:, i:i + 4096].T).astype(np.float64) for i in range(0, X.shape[1], 4096))
    X = X.astype(np.float64, copy=False)
    return X @ X.T


def hsic(K, L):
    """<HKH, L> / N^2, H = 1 - 1/N: how far the two similarities (N, N) vary together."""
    N = len(K)
    centred = K - K.mean(axis=0) - K.mean(axis=1, keepdims=True) + K.mean()
    return float((centred * L).sum() / N ** 2)


def unbiased_hsic(K, L):
    """The estimate without bias, equation 5 of Song et al. 2012; N >= 4. It may be negative."""
    N = len(K)
    if N < FEWEST:
        raise MinivisError(f"similarity needs at least {FEWEST} pictures in a batch, here are {N}")
    K, L = K.copy(), L.copy()
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    total = (K * L).sum() + K.sum() * L.sum() / ((N - 1) * (N - 2)) - 2 * (K.sum(axis=0) @ L.sum(axis=0)) / (N - 2)
    return float(total / (N * (N - 3)))


def linear_cka(X, Y):
    """CKA of features (N, D) and (N, D') by their definition, all pictures at once."""
    if len(X) != len(Y):
        raise MinivisError(f"CKA compares features of the same pictures: here are {len(X)} and {len(Y)}")
    K, L = gram(X), gram(Y)
    below = np.sqrt(hsic(K, K) * hsic(L, L))
    return hsic(K, L) / below if below > 0 else float("nan")


class Alignment:
    """CKA of every layer of one list with every layer of another, batch by batch.

    add(Ks, Ls) takes the Gram matrices of one batch; `table` is the (rows, columns) of CKA over all batches so far.
    unbiased False is the plain estimate; it makes sense for one batch of all pictures only.
    """

    def __init__(self, rows, columns, unbiased=True):
        self.estimate = unbiased_hsic if unbiased else hsic
        self.cross, self.own = np.zeros((rows, columns)), (np.zeros(rows), np.zeros(columns))
        self.batches = 0

    def add(self, Ks, Ls):
        for i, K in enumerate(Ks):
            for j, L in enumerate(Ls):
                self.cross[i, j] += self.estimate(K, L)
        for sums, Ms in zip(self.own, (Ks, Ls)):
            sums += [self.estimate(M, M) for M in Ms]
        self.batches += 1

    @property
    def table(self):
        """(rows, columns); NaN for a layer that gives the same for all pictures."""
        below = np.maximum(self.own[0], 0)[:, None] * np.maximum(self.own[1], 0)[None]
        return np.divide(self.cross, np.sqrt(below), out=np.full(self.cross.shape, np.nan), where=below > 0)
