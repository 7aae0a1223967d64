"""How alike two maps are."""
import numpy as np
from scipy import ndimage, stats


def rank_correlation(a, b):
    """Spearman's: 1 the same order of pixels, 0 none in common, -1 the reverse. nan if a map is constant."""
    a, b = (stats.rankdata(np.asarray(m).reshape(-1)) for m in (a, b))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def ssim(a, b, sigma=1.5):
    """Structural similarity of two maps, each scaled to 0..1: 1 for equal ones. Wang, Bovik, Sheikh, Simoncelli 2004,
    doi:10.1109/TIP.2003.819861, Gaussian window."""
    a, b = _scaled(a), _scaled(b)

    def mean(m):
        return ndimage.gaussian_filter(m, sigma, truncate=3.5)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = (mean(p) - q for p, q in ((a * a, mean_a ** 2), (b * b, mean_b ** 2), (a * b, mean_a * mean_b)))
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    same = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a ** 2 + mean_b ** 2 + c1) * (var_a + var_b + c2))
    return float(same.mean())


def _scaled(m):
    m = np.asarray(m, np.float64)
    low, high = m.min(), m.max()
    return (m - low) / (high - low) if high > low else np.zeros_like(m)
