"""What a picture becomes on its way into a training batch, and the reading of Tiny ImageNet's folder."""
import numpy as np
import pytest
from PIL import Image

from minivis.errors import MinivisError
from minivis.training import Augment, tiny_imagenet

RAMP = np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3)


def drawn(augment, picture, seed=0, count=1):
    return augment(np.repeat(picture[None], count, axis=0), np.random.default_rng(seed))


def test_a_sharp_crop_is_a_window_of_the_picture_pixel_for_pixel():
    windows = {RAMP[i:i + 8, j:j + 8].tobytes() for i in range(5) for j in range(5)}
    crops = drawn(Augment(8, sharp=1, flip=0, colour=0), RAMP, count=40)
    found = {crop.astype(np.uint8).tobytes() for crop in crops}
    assert found <= windows and len(found) > 10


def test_a_sharp_crop_of_a_small_picture_is_mirrored_at_its_border():
    crops = drawn(Augment(12, sharp=1, flip=0, colour=0), RAMP, count=40)
    assert any((crop == RAMP).all() for crop in crops) or len({c.tobytes() for c in crops}) > 1
    assert set(np.unique(crops)) <= set(np.unique(RAMP))


def test_what_is_larger_than_the_picture_is_always_resized():
    sharp, resized = (drawn(Augment(20, sharp=p, flip=0, colour=0), RAMP, seed=4) for p in (1, 0))
    np.testing.assert_array_equal(sharp, resized)


def test_flip_mirrors_left_and_right():
    plain, mirrored = (drawn(Augment(8, sharp=1, flip=p, colour=0), RAMP, seed=3) for p in (0, 1))
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_a_resized_crop_of_the_whole_picture_is_the_picture():
    grey = np.full((9, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(drawn(Augment(6, scale=(0.2, 1), sharp=0, colour=0), grey, count=5), 77)


def test_colour_keeps_grey_grey_and_changes_within_the_given_share():
    grey = np.full((8, 8, 3), 100, np.uint8)
    out = drawn(Augment(8, sharp=1, flip=0, colour=0.2), grey, count=50)
    np.testing.assert_allclose(out[..., 0], out[..., 1], rtol=1e-5)
    assert 79.9 <= out.min() < 90 and 110 < out.max() <= 120.1
    # a picture's mean brightness is not changed by contrast and saturation
    assert drawn(Augment(12, sharp=0, scale=(1, 1), flip=0, colour=0.2), RAMP, count=50).min() >= 0


def test_a_batch_depends_on_its_generator_alone():
    augment = Augment(8)
    np.testing.assert_array_equal(drawn(augment, RAMP, 5, 6), drawn(augment, RAMP, 5, 6))
    assert (drawn(augment, RAMP, 5, 6) != drawn(augment, RAMP, 6, 6)).any()


def test_shares_that_are_none_are_refused():
    for settings in ({"scale": (0, 1)}, {"scale": (0.9, 0.2)}, {"sharp": 2}, {"flip": -1}, {"colour": 1}):
        with pytest.raises(MinivisError, match="shares"):
            Augment(8, **settings)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tlemon\nn03\tunused\n")
    for wnid, value in (("n01", 10), ("n02", 20)):
        images = tmp_path / "train" / wnid / "images"
        images.mkdir(parents=True)
        for i in range(3):
            mode = "L" if i == 2 else "RGB"
            Image.new(mode, (64, 64), value if mode == "L" else (value,) * 3).save(images / f"{wnid}_{i}.JPEG")
    (tmp_path / "val" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64), (30, 30, 30)).save(tmp_path / "val" / "images" / "val_0.JPEG")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t62\t62\n")
    return tmp_path


def test_tiny_imagenet_is_read_with_its_labels_grey_pictures_included(folder):
    data = tiny_imagenet(folder)
    assert data.labels == [("n01", "goldfish"), ("n02", "lemon")]
    assert data.pictures.shape == (6, 64, 64, 3) and data.classes.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.pictures[:3].mean() == 10 and data.pictures[3:].mean() == 20
    held_out = tiny_imagenet(folder, "val")
    assert len(held_out) == 1 and held_out.classes.tolist() == [1]


def test_a_folder_that_is_something_else_is_one_clear_error(folder, tmp_path_factory):
    with pytest.raises(MinivisError, match="tiny-imagenet-200"):
        tiny_imagenet(tmp_path_factory.mktemp("empty"))
    with pytest.raises(MinivisError, match="test"):
        tiny_imagenet(folder, "test")
