"""Sets of pictures: which are drawn, what a pass over them gathers, and that cutting it up changes nothing."""
import numpy as np
import pytest

from minivis import image
from minivis.errors import MinivisError
from minivis.representation import sets
from minivis.tensor import Tensor


def test_gathered_features_are_those_of_one_picture_after_the_other(small_net, two_folders):
    net, chosen = small_net(), sets.open_set(two_folders)
    found = sets.gather(net, chosen, ["relu2", "gap"], says=True)
    assert len(found.names) == 24 and found.labels == ["red", "stripes"] and list(found.label) == [0] * 12 + [1] * 12
    assert list(chosen.bad) == ["red/broken.png"] and "1 pictures could not be read" in found.notes[0]
    for i, name in enumerate(found.names):
        values = net(Tensor(net.preprocess(image.read(two_folders / name))), layers=["relu2", "gap", "scores"])
        assert np.allclose(found.features["relu2"][i], values["relu2"].data.mean(axis=(1, 2))[0], atol=1e-6)
        assert np.allclose(found.features["gap"][i], values["gap"].data[0], atol=1e-6)
        assert found.says[i] == values["scores"].data[0].argmax()
    assert found.thumbs.shape == (24, 64, 64, 3)


@pytest.mark.parametrize("pool, width", [("mean", 8), ("max", 8), ("none", 8 * 8 * 8)])
def test_memory_changes_no_bit(small_net, two_folders, pool, width):
    net = small_net()
    many = sets.gather(net, sets.open_set(two_folders), ["relu2"], pool=pool).features["relu2"]
    one = sets.gather(net, sets.open_set(two_folders), ["relu2"], pool=pool, memory=120_000).features["relu2"]
    assert many.shape == (24, width) and np.array_equal(many, one)


def test_a_limit_draws_without_repetition_in_order_and_by_the_seed(two_folders):
    first, again, other = (sets.open_set(two_folders, 9, seed) for seed in (0, 0, 1))
    assert first.names == again.names != other.names and len(set(first.names)) == 9
    assert first.names == sorted(first.names) and "9 of 25 pictures" in first.notes()[0]
    with pytest.raises(MinivisError, match="a limit of 0"):
        sets.open_set(two_folders, 0)


def test_the_digits_are_a_set_like_any_other():
    chosen = sets.open_set("digits", 30)
    found = sets.gather(None, chosen, thumb=8)
    assert found.thumbs.shape == (30, 8, 8, 3) and found.labels == [str(d) for d in range(10)]
    from sklearn.datasets import load_digits
    data = load_digits()
    which = [int(name) for name in found.names]
    assert np.array_equal(found.label, data.target[which])
    assert np.allclose(found.pixels(), np.repeat(data.images[which].reshape(30, 64) / 16, 3, axis=1), atol=1 / 255)


def test_labels_that_are_numbers_are_sorted_as_numbers():
    numbers, names = sets.numbered(["10", "9", None, "10"])
    assert names == ["9", "10"] and list(numbers) == [1, 0, -1, 1]
    assert sets.numbered(["b", "a"])[1] == ["a", "b"]


def test_a_set_without_readable_pictures_is_an_error(small_net, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(MinivisError, match="none of the pictures"):
        sets.gather(small_net(), sets.open_set(tmp_path), ["gap"])


def test_features_that_do_not_fit_into_memory_are_refused_before_work_begins(small_net, two_folders):
    with pytest.raises(MinivisError, match=r"all values of relu2 on 25 pictures need 0.0001 GB.*use --pool mean"):
        sets.gather(small_net(), sets.open_set(two_folders), ["relu2"], pool="none", memory=50_000)
