"""Masks made of few numbers, and what is asked of them: for perturbations that are found by ascent.

A mask maps parameters p (rows, columns), 0 to 1, to m over the pixels; `back` is its derivative. Both are plain NumPy:
a mask is small beside the network that looks through it.
"""
import numpy as np

from .rise import bilinear

COLDNESS = 20.0         # of the soft maximum
BETA = 3.0              # exponent of the total variation


class Enlarged:
    """A grid of values every `cell` pixels, enlarged bilinearly. Fong, Vedaldi 2017, arXiv:1704.03296."""

    def __init__(self, size, cell):
        self.shape = tuple(max(2, -(-side // cell)) for side in size)
        self.y, self.x = (bilinear(n, side) for n, side in zip(self.shape, size))

    def __call__(self, p):
        return self.y @ p @ self.x.T

    def back(self, dm):
        return self.y.T @ dm @ self.x


class Spots:
    """Every grid value shows a round spot: m(u) = smooth maximum over grid points v of k(|u - v| / smooth) p(v).

    k(z) = exp(-2 max(0, z - 1/2)^2); the smooth maximum of s is sum s exp(20 s) / sum exp(20 s), over the points within
    1 + ceil(smooth / cell) cells, those outside the grid having p = 0. The mask goes on for `smooth` pixels beyond the
    picture, so that a spot at its border has an area like any other: m is (H + ..., W + ...), `inside` cuts the picture
    out. Fong, Patrick, Vedaldi 2019, arXiv:1910.08485, with the constants of its authors' code.
    """

    def __init__(self, size, cell, smooth, dtype=np.float64):
        self.size, self.cell, self.dtype = size, cell, dtype
        self.shape = tuple(-(-side // cell) for side in size)
        self.pad = 1 + int(np.ceil(2 * smooth / cell))
        reach = 1 + int(np.ceil(smooth / cell))
        self.near = 2 * reach + 1
        self.cells = tuple(n + 2 * self.pad - 2 * reach for n in self.shape)        # of the mask with its margin
        self.whole = tuple((n - 1) * cell + 1 for n in self.cells)
        self.margin = round(smooth)
        # from a cell's pixels to the points near it, along one axis: the same for every cell
        offset = np.arange(cell)[None, :] - smooth + cell * (self.pad - np.arange(self.near))[:, None]
        away = np.hypot(offset[:, None, :, None], offset[None, :, None, :]) / smooth
        weight = np.exp(-2 * np.maximum(0, away - 0.5) ** 2)
        self.weight = weight.reshape(self.near ** 2, cell ** 2).astype(dtype)

    def __call__(self, p):
        padded = np.pad(np.asarray(p, self.dtype), self.pad)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (self.near, self.near))
        m, self.kept = np.empty((*self.cells, self.cell, self.cell), self.dtype), []
        for i, row in enumerate(windows[:self.cells[0], :self.cells[1]]):       # a row of cells stays in the cache
            spots = row.reshape(self.cells[1], -1, 1) * self.weight
            share = np.exp(self.dtype(COLDNESS) * spots)
            share /= share.sum(axis=1, keepdims=True)
            m[i] = (spots * share).sum(axis=1).reshape(m[i].shape)
            self.kept.append((spots, share))
        return self._pixels(m)

    def back(self, dm):
        """d/dp of the sum of dm m, dm being of the whole mask."""
        rows, columns = (n * self.cell for n in self.cells)
        dcells = np.zeros((rows, columns), self.dtype)
        dcells[:self.whole[0], :self.whole[1]] = dm
        dcells = dcells.reshape(self.cells[0], self.cell, self.cells[1], self.cell).swapaxes(1, 2)
        dpadded = np.zeros(tuple(n + 2 * self.pad for n in self.shape))
        for i, (spots, share) in enumerate(self.kept):
            soft = (spots * share).sum(axis=1, keepdims=True)
            pull = share * (1 + self.dtype(COLDNESS) * (spots - soft)) * self.weight        # d soft / d p of each point
            dnear = (pull @ dcells[i].reshape(self.cells[1], -1, 1)).reshape(-1, self.near, self.near)
            for ky in range(self.near):
                for kx in range(self.near):
                    dpadded[i + ky, kx:kx + self.cells[1]] += dnear[:, ky, kx]
        return dpadded[self.pad:self.pad + self.shape[0], self.pad:self.pad + self.shape[1]]

    def inside(self, m):
        """The part of a whole mask that lies on the picture."""
        return m[self.margin:self.margin + self.size[0], self.margin:self.margin + self.size[1]]

    def framed(self, dm):
        """A whole mask that is dm on the picture and 0 around it."""
        whole = np.zeros(self.whole, dm.dtype)
        self.inside(whole)[:] = dm
        return whole

    def _pixels(self, m):
        """(rows, columns) of the mask from (cells down, cells across, cell, cell)."""
        whole = m.swapaxes(1, 2).reshape(self.cells[0] * self.cell, self.cells[1] * self.cell)
        return whole[:self.whole[0], :self.whole[1]]


def area_gradient(m, area):
    """d/dm of -mean((sort(m) - r)^2), r being 1 for a share `area` of the pixels and 0 for the others. Values that are
    equal but for rounding share what their ranks get, so no place is preferred at first."""
    flat = m.reshape(-1)
    digits = 9 if m.dtype == np.float64 else 5
    _, which, count = np.unique(np.round(flat, digits), return_inverse=True, return_counts=True)
    end = np.cumsum(count)
    off = int(flat.size * (1 - area))
    wanted = np.clip(end - off, 0, count) / count
    return (-2 * (flat - wanted[which.reshape(-1)]) / flat.size).reshape(m.shape)


def variation_gradient(p):
    """d/dp of -sum (|dp/dy|^BETA + |dp/dx|^BETA)."""
    down = np.zeros_like(p)
    for a in (0, 1):
        d = np.diff(p, axis=a)
        pull = BETA * np.sign(d) * np.abs(d) ** (BETA - 1)
        before, after = (np.s_[:-1], np.s_[1:]) if a == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        down[before] += pull
        down[after] -= pull
    return down


class Momentum:
    """Ascent within [0, 1]: v = 0.9 v + 0.1 g, p += rate v, the first v being g itself."""

    def __init__(self, values, rate):
        self.values, self.rate, self.velocity = values, rate, None

    def step(self, g):
        self.velocity = g if self.velocity is None else 0.9 * self.velocity + 0.1 * g
        self.values = np.clip(self.values + self.rate * self.velocity, 0, 1)


class Adam:
    """Ascent within [0, 1]. Kingma, Ba 2015, arXiv:1412.6980."""

    def __init__(self, values, rate):
        self.values, self.rate, self.count = values, rate, 0
        self.mean, self.square = np.zeros_like(values), np.zeros_like(values)

    def step(self, g):
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * g
        self.square = 0.999 * self.square + 0.001 * g * g
        unbiased = self.mean / (1 - 0.9 ** self.count), self.square / (1 - 0.999 ** self.count)
        self.values = np.clip(self.values + self.rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8), 0, 1)
