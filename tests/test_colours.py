"""Colours of one picture for another."""
import numpy as np

from minivis.colours import grey, match_histogram, recoloured, with_colours_of


def pictures(rng):
    mix = np.array([[40, 20, 5], [0, 30, 10], [0, 0, 15]])
    a = 128 + rng.standard_normal((30, 40, 3)) @ mix
    return a, 100 + 20 * rng.standard_normal((20, 50, 3))


def test_luminance_from_one_and_colour_from_the_other(rng):
    a, b = rng.uniform(0, 255, (2, 6, 7, 3))
    out = with_colours_of(a, b)
    assert np.allclose(grey(out), grey(a)) and np.allclose(out - grey(out), b - grey(b))
    assert np.allclose(with_colours_of(a, a), a)


def test_mean_and_covariance_become_the_others(rng):
    a, b = pictures(rng)
    b = np.clip(b, 30, 180)
    out = recoloured(a, b)
    inside = (out > 0) & (out < 255)
    assert inside.mean() > 0.995
    assert np.allclose(out.mean((0, 1)), b.mean((0, 1)), atol=0.5)
    wanted = np.cov(b.reshape(-1, 3).T)
    assert np.allclose(np.cov(out.reshape(-1, 3).T), wanted, atol=0.03 * wanted.max())
    assert np.allclose(recoloured(b, b), b)


def test_a_grey_picture_can_be_recoloured(rng):
    a, b = pictures(rng)
    out = recoloured(grey(b), a)
    assert np.isfinite(out).all() and np.ptp(out) > 10
    assert np.isfinite(recoloured(np.full((4, 4, 3), 7.0), a)).all()


def test_histograms_become_the_sources(rng):
    a, b = pictures(rng)
    out = match_histogram(a, b)
    for c in range(3):
        assert np.abs(np.percentile(out[..., c], range(5, 96)) - np.percentile(b[..., c], range(5, 96))).max() < 0.5
        assert (np.argsort(out[..., c].ravel(), kind="stable") == np.argsort(a[..., c].ravel(), kind="stable")).all()
    same = match_histogram(a, a)
    assert np.allclose(same, a)
