"""Filters learnt from patches: what is put into the patches comes out."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.representation import patch_learning as p


def stripes(angle, frequency=0.2, size=60):
    y, x = np.mgrid[:size, :size]
    wave = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)))
    return np.repeat(np.rint(127 + 100 * wave)[:, :, None], 3, axis=2).astype(np.uint8)


def edges(count=30, size=64, seed=0):
    """Pictures of half planes, whose patches are flat or hold an edge."""
    random, found = np.random.RandomState(seed), []
    for _ in range(count):
        y, x = np.mgrid[:size, :size] - random.randint(10, 50, 2)[:, None, None]
        angle = random.uniform(0, 2 * np.pi)
        side = (x * np.cos(angle) + y * np.sin(angle)) > 0
        dark, bright = random.randint(0, 100, 3), random.randint(150, 256, 3)
        found.append(np.where(side[:, :, None], dark, bright).astype(np.uint8))
    return found


def test_patches_lie_in_the_pictures_come_equally_from_each_and_are_never_flat():
    black = np.zeros((40, 40, 3), np.uint8)
    half = black.copy()
    half[:, 20:] = 200
    patches = p.draw_patches([half, stripes(0.3)], 40, 8)
    assert patches.shape == (40, 8, 8, 3) and patches.std(axis=(1, 2, 3)).min() > 0.02
    assert all(set(np.unique(patch)) == {0, 200 / 255} for patch in patches[:20])
    assert np.array_equal(patches, p.draw_patches([half, stripes(0.3)], 40, 8))
    with pytest.raises(MinivisError, match="flat everywhere"):
        p.draw_patches([black], 5, 8)
    with pytest.raises(MinivisError, match="50 x 50 do not fit"):
        p.draw_patches([black], 5, 50)


def test_whitened_patches_are_uncorrelated():
    patches = p.draw_patches(edges(), 2000, 6)
    z = p.Whitening(patches)(patches)
    assert np.allclose(np.cov(z.T), np.eye(z.shape[1]), atol=1e-6)
    assert z.shape[1] < patches[0].size


@pytest.mark.parametrize("learner", p.LEARNERS)
def test_every_learner_finds_oriented_filters_in_pictures_of_edges(learner):
    patches = p.draw_patches(edges(), 2000, 6)
    filters = p.learn(patches, learner, 16)
    assert filters.shape[1:] == (6, 6, 3) and 4 <= len(filters) <= 16 and np.isfinite(filters).all()
    noise = np.random.RandomState(0).standard_normal((200, 6, 6, 3))
    assert np.median(p.orientation(filters)) > np.median(p.orientation(noise)) + 0.1
    assert np.array_equal(filters, p.learn(patches, learner, 16))


def test_orientation_is_one_for_a_grating_and_zero_for_a_blob():
    y, x = np.mgrid[:8, :8]
    grating = np.repeat(np.cos(2 * np.pi * x / 4)[:, :, None], 3, axis=2)
    blob = np.repeat(np.exp(-((x - 4) ** 2 + (y - 4) ** 2) / 2.0)[:, :, None], 3, axis=2)
    assert np.allclose(p.orientation(np.stack([grating, blob])), [1, 0], atol=0.05)


def test_the_photographs_of_the_dependencies_are_pictures():
    found = p.photographs()
    assert len(found) >= 2 and all(q.dtype == np.uint8 and q.shape[2] == 3 and min(q.shape[:2]) > 100 for q in found)
    with pytest.raises(MinivisError, match="no learner 'gan'"):
        p.learn(p.draw_patches(found, 50, 5), "gan", 4)
