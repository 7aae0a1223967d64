"""Superpixels: a picture cut into patches of like colour that keep to its edges (SLIC).

Achanta, Shaji, Smith, Lucchi, Fua, Suesstrunk 2012, "SLIC superpixels compared to state-of-the-art superpixel methods",
doi:10.1109/TPAMI.2012.120. k-means over (L, a, b, row, column), where a pixel looks only at the centres of its own and
the eight neighbouring cells of the starting grid.
"""
import numpy as np
from scipy import ndimage

from .errors import MinivisError

_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                    [0.0193339, 0.1191920, 0.9503041]])
_WHITE = np.array([0.95047, 1.0, 1.08883])      # D65


def superpixels(picture, count=50, compactness=10.0, steps=10):
    """(H, W) integers 0 .. K-1 with K near `count`: connected patches, numbered from the top left.

    picture       (H, W, 3) uint8
    compactness   how much one grid cell of distance counts against how much colour (CIELAB units): high makes squares
    """
    H, W = picture.shape[:2]
    if not 1 <= count <= H * W:
        raise MinivisError(f"superpixels: {count} patches of a picture of {H} x {W} pixels cannot be")
    lab = to_lab(picture)
    side = np.sqrt(H * W / count)
    rows, columns = max(1, round(H / side)), max(1, round(W / side))
    cell_y = np.minimum(np.arange(H) * rows // H, rows - 1)
    cell_x = np.minimum(np.arange(W) * columns // W, columns - 1)
    y, x = np.mgrid[:H, :W]
    features = np.dstack([lab, y * (compactness / side), x * (compactness / side)])
    labels = cell_y[:, None] * columns + cell_x
    for _ in range(steps):
        labels = _nearest(features, _centres(features, labels, rows * columns), cell_y, cell_x, rows, columns)
    return _connected(labels)


def to_lab(picture):
    """sRGB (H, W, 3) uint8 -> CIELAB, D65 (IEC 61966-2-1, CIE 15)."""
    level = np.asarray(picture, np.float64) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    t = linear @ _TO_XYZ.T / _WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.dstack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])])


def _centres(features, labels, count):
    flat, which = features.reshape(-1, features.shape[2]), labels.reshape(-1)
    size = np.bincount(which, minlength=count)
    total = [np.bincount(which, values, minlength=count) for values in flat.T]
    return np.where(size[:, None] > 0, np.stack(total, axis=1) / np.maximum(size, 1)[:, None], np.inf)


def _nearest(features, centres, cell_y, cell_x, rows, columns):
    best = np.full(features.shape[:2], np.inf)
    labels = np.zeros(features.shape[:2], np.intp)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            ny, nx = cell_y + dy, cell_x + dx
            inside = ((ny >= 0) & (ny < rows))[:, None] & ((nx >= 0) & (nx < columns))
            candidate = np.clip(ny, 0, rows - 1)[:, None] * columns + np.clip(nx, 0, columns - 1)
            with np.errstate(invalid="ignore"):         # inf: a centre that has lost all its pixels
                distance = ((features - centres[candidate]) ** 2).sum(axis=2)
            closer = inside & (distance < best)
            best[closer], labels[closer] = distance[closer], candidate[closer]
    return labels


def _connected(labels):
    """Each label keeps its largest connected part; the rest goes to the neighbours, growing inwards."""
    kept = np.full(labels.shape, -1)
    number = 0
    for value in np.unique(labels):
        parts, count = ndimage.label(labels == value)
        if count:
            sizes = np.bincount(parts.reshape(-1))[1:]
            kept[parts == 1 + sizes.argmax()] = number
            number += 1
    while (kept < 0).any():
        padded = np.pad(kept, 1, constant_values=-1)
        around = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]).max(axis=0)
        kept = np.where(kept < 0, around, kept)
    return kept
