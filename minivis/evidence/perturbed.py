"""What a map promises about small and large changes of the picture."""
import numpy as np


def pointing_game(values, region, tolerance=15):
    """Whether the map's maximum lies in the object, or at most `tolerance` pixels from it.

    values (H, W); region (H, W) bool. Zhang, Lin, Brandt, Shen, Sclaroff 2016, arXiv:1608.00507.
    """
    values, region = np.asarray(values), np.asarray(region, bool)
    if values.shape != region.shape:
        raise ValueError(f"pointing_game: the map is {values.shape}, the region {region.shape}")
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    ys, xs = np.nonzero(region)
    return bool(len(ys)) and bool(((ys - row) ** 2 + (xs - column) ** 2).min() <= tolerance ** 2)


def infidelity(promised, dropped, scaled=True):
    """mean (b promised - dropped)^2, promised = sum of the map over what was hidden, dropped = what the score lost.

    Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, arXiv:1901.09392. scaled: b is the best factor, mean(promised
    dropped) / mean(promised^2), and the result is divided by mean dropped^2: 0 is perfect, 1 no better than a map of
    zeros. Not scaled: b = 1 and no division.
    """
    promised, dropped = np.asarray(promised, np.float64), np.asarray(dropped, np.float64)
    if not scaled:
        return float(((promised - dropped) ** 2).mean())
    square = (promised ** 2).mean()
    factor = (promised * dropped).mean() / square if square > 0 else 0.0
    return float(((factor * promised - dropped) ** 2).mean() / max((dropped ** 2).mean(), np.finfo(float).tiny))


def infidelity_of(hiding, values, samples=60, seed=0, memory=None):
    """Scaled infidelity of a map for squares of random place and size (an eighth to a half of the picture) hidden."""
    values = np.asarray(values, np.float64)
    values = values.sum(axis=2) if values.ndim == 3 else values
    boxes = [_square(values.shape, np.random.default_rng([seed, 7, i])) for i in range(samples)]

    def hidden(i):
        mask = np.zeros(values.shape, bool)
        mask[boxes[i]] = True
        return mask
    dropped = hiding.start.value - hiding.scores_without(hidden, samples, memory)
    return infidelity([values[box].sum() for box in boxes], dropped)


def _square(shape, rng):
    side = int(rng.integers(max(1, min(shape) // 8), max(2, min(shape) // 2 + 1)))
    top, left = (int(rng.integers(0, length - side + 1)) for length in shape)
    return slice(top, top + side), slice(left, left + side)


def sensitivity(explain, picture, values, radius=5, samples=10, seed=0):
    """max over samples of |map(picture + noise) - map(picture)| / |map(picture)|, noise even in +-radius levels.

    explain: picture (H, W, 3) uint8 -> map. Yeh et al. 2019, arXiv:1901.09392 (max-sensitivity).
    """
    length, worst = np.linalg.norm(values), 0.0
    for i in range(samples):
        noise = np.random.default_rng([seed, 8, i]).integers(-radius, radius + 1, picture.shape)
        moved = np.clip(picture.astype(np.int64) + noise, 0, 255).astype(np.uint8)
        worst = max(worst, float(np.linalg.norm(explain(moved) - values)))
    return worst / length if length > 0 else float("nan")
