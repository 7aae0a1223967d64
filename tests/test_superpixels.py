"""Superpixels: connected, numbered from 0, following edges; colours by the published conversion."""
import numpy as np
import pytest
from scipy import ndimage

from minivis.errors import MinivisError
from minivis.superpixels import superpixels, to_lab


@pytest.mark.parametrize("shape, count", [((40, 50), 20), ((17, 9), 6), ((5, 5), 25), ((30, 30), 1)])
def test_every_superpixel_is_one_connected_patch(rng, shape, count):
    labels = superpixels(rng.integers(0, 256, (*shape, 3), dtype=np.uint8), count, compactness=20)
    assert labels.shape == shape and sorted(np.unique(labels)) == list(range(labels.max() + 1))
    for value in range(labels.max() + 1):
        assert ndimage.label(labels == value)[1] == 1
    assert count / 2 <= labels.max() + 1 <= 2 * count


def test_a_patch_never_crosses_a_strong_edge():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 17:] = (255, 200, 0)
    labels = superpixels(picture, 16)
    assert not set(labels[:, :17].flat) & set(labels[:, 17:].flat)


def test_great_compactness_makes_squares(rng):
    picture = rng.integers(120, 136, (40, 40, 3), dtype=np.uint8)
    assert np.array_equal(superpixels(picture, 16, compactness=1e4), np.kron(np.arange(16).reshape(4, 4),
                                                                            np.ones((10, 10), int)))


@pytest.mark.parametrize("rgb, lab", [((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)),
                                      ((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 0, 255), (32.30, 79.19, -107.86))])
def test_cielab_of_known_colours(rgb, lab):
    assert np.allclose(to_lab(np.array([[rgb]], np.uint8))[0, 0], lab, atol=0.02)


def test_an_impossible_count_is_one_clear_error():
    with pytest.raises(MinivisError, match="0 patches"):
        superpixels(np.zeros((4, 4, 3), np.uint8), 0)
