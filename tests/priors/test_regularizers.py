"""Each operation does to pixels what its paper says, and each loss is the formula."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.gradcheck import gradcheck
from minivis.optimize import Point
from minivis.priors import regularizers as prior
from minivis.tensor import Tensor


@pytest.fixture
def z(rng):
    return rng.standard_normal((2, 6, 5, 3))


def test_power_norm_is_the_formula_with_true_gradients(z):
    assert np.allclose(prior.power_norm(Tensor(z), 6).data, (np.abs(z) ** 6).sum((1, 2, 3)))
    assert gradcheck(lambda t: prior.power_norm(t, 6), z) < 1e-7 and gradcheck(prior.power_norm, z) < 1e-7


def test_diversity_is_one_for_equal_pictures_and_less_for_others(z):
    assert np.allclose(prior.diversity(Tensor(np.concatenate([z[:1], z[:1]]))).data, 1)
    assert (prior.diversity(Tensor(z)).data < 0.999).all()
    assert gradcheck(prior.diversity, z) < 1e-6
    with pytest.raises(MinivisError, match="several pictures"):
        prior.diversity(Tensor(z[:1]))


def test_decay_and_blur(z):
    assert np.allclose(prior.Decay(0.25)(z, None, 0), 0.75 * z)
    blur = prior.Blur(1.0, every=4)
    assert [np.array_equal(blur(z, None, i), z) for i in range(8)] == [True, True, True, False] * 2
    assert np.abs(np.diff(blur(z, None, 3), axis=1)).sum() < 0.6 * np.abs(np.diff(z, axis=1)).sum()


def test_clipping_sets_the_weakest_pixels_of_each_picture_to_zero(z):
    g = np.random.default_rng(1).standard_normal(z.shape)
    for clip, size in ((prior.ClipSmallValues(50), np.linalg.norm(z, axis=3)),
                       (prior.ClipSmallContributions(50), np.abs((z * g).sum(3))),
                       (prior.ClipSmallContributions(50, signed=True), -(z * g).sum(3))):
        kept = clip(z, Point(None, g, {}), 0)
        on = kept.any(axis=3)
        assert on.reshape(2, -1).sum(1).tolist() == [15, 15] and np.array_equal(kept[on], z[on])
        assert all(size[n][on[n]].min() > size[n][~on[n]].max() for n in (0, 1))


def test_clipping_by_entries_spares_a_strong_colour_of_a_weak_pixel(z):
    kept = prior.ClipSmallValues(50, by="entry")(z, None, 0)
    assert (kept != 0).reshape(2, -1).sum(1).tolist() == [45, 45] and np.array_equal(kept[kept != 0], z[kept != 0])
    assert all(np.abs(z[n][kept[n] != 0]).min() > np.abs(z[n][kept[n] == 0]).max() for n in (0, 1))
    assert (kept != 0).any() and not np.array_equal((kept != 0).any(axis=3), (kept != 0).all(axis=3))


def test_operations_follow_each_other_and_wrong_numbers_are_errors(z):
    both = prior.in_turn([prior.Decay(0.5), None, prior.Decay(0.5)])
    assert np.allclose(both(z, None, 0), z / 4) and prior.in_turn([None]) is None
    for make in (lambda: prior.Decay(1), lambda: prior.Blur(0), lambda: prior.ClipSmallValues(100),
                 lambda: prior.ClipSmallValues(50, "pixel")):
        with pytest.raises(MinivisError):
            make()
