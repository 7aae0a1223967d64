"""Meaningful and extremal perturbation in PyTorch, from their papers and the constants of their authors' code: the
other side of minivis.techniques.extremal_perturbation. Derivatives are PyTorch's, steps those of torch.optim.

Fong, Patrick, Vedaldi 2019, arXiv:1910.08485; Fong, Vedaldi 2017, arXiv:1704.03296. One thing is ours: pixels of equal
mask value share what their ranks get in the area term, where a sort would take them in an order of its own.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

from . import torch_reference


class SpotMask:
    """(1, 1, rows, columns) parameters -> the mask of the picture and of the picture with a margin of `smooth`."""

    def __init__(self, size, cell, smooth):
        self.size, self.cell, self.smooth = size, cell, smooth
        self.grid = [math.ceil(side / cell) for side in size]
        self.pad, reach = 1 + math.ceil(2 * smooth / cell), 1 + math.ceil(smooth / cell)
        whole = [(n + 2 * (self.pad - reach) - 1) * cell + 1 for n in self.grid]
        near = torch.arange(2 * reach + 1)
        # of every pixel and axis: the numbers of the grid points near it, and how far they are
        self.points, self.away = zip(*(self._axis(n, near) for n in whole), strict=True)

    def _axis(self, length, near):
        at = torch.arange(length)
        points = at[:, None] // self.cell + near - self.pad
        return points, at[:, None].double() - self.smooth - self.cell * points

    def __call__(self, p):
        (ys, xs), (dy, dx) = self.points, self.away
        z = torch.hypot(dy[:, None, :, None], dx[None, :, None, :]) / self.smooth
        bell = torch.exp(-2 * (z - 0.5).clamp(min=0) ** 2)
        padded = F.pad(p, (self.pad,) * 4)
        value = padded[ys[:, None, :, None] + self.pad, xs[None, :, None, :] + self.pad]
        spots = (bell * value).flatten(2)
        whole = (spots * torch.softmax(20 * spots, dim=2)).sum(2)
        margin = round(self.smooth)
        return whole[margin:margin + self.size[0], margin:margin + self.size[1]], whole


def wanted_area(m, area):
    """The vector r of sorted places, laid on the pixels: 1 for the largest share `area`, ties sharing."""
    flat = m.detach().flatten()
    _, which, count = torch.unique(torch.round(flat, decimals=9), return_inverse=True, return_counts=True)
    end = torch.cumsum(count, 0)
    off = int(len(flat) * (1 - area))
    return (torch.clamp(end - off, min=0).minimum(count) / count)[which].view_as(m)


def through(ladder, m):
    """The picture seen through a mask: between two pictures of the ladder, from hidden to shown."""
    t = m.clamp(0, 1) * (len(ladder) - 1)
    k = t.detach().long().clamp(max=len(ladder) - 2)
    rungs = torch.stack(ladder)[:, 0]
    low, high = (torch.gather(rungs, 0, (k + i).expand(1, *rungs.shape[1:]))[0] for i in (0, 1))
    return (low + (t - k) * (high - low))[None]


def extremal(forward, ladder, index, variant, steps, rate, area, area_weight, smooth, cell, **_):
    """(H, W): the mask after `steps` of SGD with momentum. forward: pictures -> scores."""
    mask = SpotMask(ladder[0].shape[2:], cell, smooth)
    p = torch.ones(mask.grid, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([p], lr=rate, momentum=0.9, dampening=0.9)
    for step in range(steps):
        m, whole = mask(p)
        pictures = {"preserve": [m], "delete": [1 - m], "dual": [m, 1 - m]}[variant]
        x = torch.cat([through(ladder, one) for one in pictures])
        y = forward(torch.flip(x, (3,)) if step % 2 == 0 else x)[:, index]
        reward = {"preserve": y[0], "delete": -y[0], "dual": y[0] - y[-1]}[variant]
        wrong = ((whole - wanted_area(whole, area)) ** 2).mean()
        optimiser.zero_grad()
        (area_weight * 1.0035 ** step * wrong - reward).backward()
        optimiser.step()
        with torch.no_grad():
            p.clamp_(0, 1)
    return mask(p)[0].detach().numpy()


def meaningful(forward, ladder, index, steps, rate, cell, keep_weight, variation, jitter, seed, **_):
    """(H, W): what has to be hidden, after `steps` of Adam; the shifts of the picture are those of minivis."""
    from minivis.techniques.extremal_perturbation import JITTER
    size = ladder[0].shape[2:]
    p = torch.ones([max(2, math.ceil(side / cell)) for side in size], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([p], lr=rate)

    def enlarged():
        return F.interpolate(p[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    for step in range(steps):
        by = tuple(int(v) for v in np.random.default_rng([seed, JITTER, step]).integers(-jitter, jitter + 1, 2))
        m = enlarged()
        hidden, shown = (torch.roll(picture, by, (2, 3)) for picture in ladder)
        score = forward(hidden + m * (shown - hidden))[0, index]
        rough = sum((d.abs() ** 3).sum() for d in (p[1:] - p[:-1], p[:, 1:] - p[:, :-1]))
        optimiser.zero_grad()
        (score + keep_weight * (1 - p).sum() + variation * rough).backward()
        optimiser.step()
        with torch.no_grad():
            p.clamp_(0, 1)
    return 1 - enlarged().detach().numpy()


def blurred(x, levels, sigma):
    """[x (1, C, H, W) blurred by sigma pixels, ..., x], mirrored at its borders, Gaussians cut at 4 deviations."""
    found = []
    for i in range(levels):
        width = sigma * (1 - i / (levels - 1))
        reach = int(4 * width + 0.5)
        at = np.arange(-reach, reach + 1)
        bell = np.exp(-0.5 * (at / width) ** 2) if reach else np.ones(1)
        y = torch_reference.channels_last(x)
        for axis in (1, 2):
            padded = np.pad(y, [(reach, reach) if a == axis else (0, 0) for a in range(4)], mode="symmetric")
            n = y.shape[axis]
            y = sum(b * np.take(padded, range(k, k + n), axis) for k, b in enumerate(bell / bell.sum()))
        found.append(torch_reference.as_torch(y))
    return found
