"""Keras HDF5 files that point out of themselves, or claim more than they hold. h5py alone would follow all of them."""
import h5py
import numpy as np
import pytest

from minivis.checkpoints.hdf5_tree import walk
from minivis.checkpoints.keras_hdf5 import read_keras
from minivis.checkpoints.mapped import MappedFile
from minivis.checkpoints.recognise import read_draft
from minivis.errors import WeightFileError

LAYER, KERNEL, BIAS = "block1_conv1", "block1_conv1_W_1:0", "block1_conv1_b_1:0"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(f"{LAYER}/{KERNEL}", data=np.full((3, 3, 3, 4), 42, np.float32))
        file.create_dataset(f"{LAYER}/{BIAS}", data=np.zeros(4, np.float32))
    return path


def four_tebibytes(group, secret):
    group.create_dataset(KERNEL, (1 << 40,), "f4", chunks=(1 << 20,))


def gzip_bomb(group, secret):
    group.create_dataset(KERNEL, (1 << 28,), "f4", chunks=(1 << 20,), compression="gzip")[:1 << 20] = 0


def never_written(group, secret):
    group.create_dataset(KERNEL, (3, 3, 3, 4), "f4")


def external_link(group, secret):
    group[KERNEL] = h5py.ExternalLink(str(secret), f"/{LAYER}/{KERNEL}")


def soft_link(group, secret):
    group["inside"] = np.zeros((3, 3, 3, 4), np.float32)
    group[KERNEL] = h5py.SoftLink(f"/{LAYER}/inside")


def link_in_the_middle(group, secret):
    group["deeper"] = h5py.ExternalLink(str(secret), f"/{LAYER}")


def soft_loop(group, secret):
    group["deeper"] = h5py.SoftLink(f"/{LAYER}")


def external_raw_storage(group, secret):
    group.create_dataset(KERNEL, (3, 3, 3, 4), "f4", external=[(str(secret), 0, 3 * 3 * 3 * 4 * 4)])


def virtual_dataset(group, secret):
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[:] = h5py.VirtualSource(str(secret), f"{LAYER}/{KERNEL}", (3, 3, 3, 4))
    group.create_virtual_dataset(KERNEL, layout)


def big_endian(group, secret):
    group[KERNEL] = np.zeros((3, 3, 3, 4), ">f4")


def hard_link_cycle(group, secret):
    group["up"] = group.parent


ATTACKS = {
    four_tebibytes: "declares 4398046511104 bytes, but only 0 are stored",
    gzip_bomb: "declares 1073741824 bytes, but only",
    never_written: "declares 432 bytes, but only 0",
    external_link: "link out of its place",
    soft_link: "link out of its place",
    link_in_the_middle: "link out of its place",
    soft_loop: "link out of its place",
    external_raw_storage: "in another file",
    virtual_dataset: "in another file",
    big_endian: "not plain little-endian",
    hard_link_cycle: "more, or deeper",
}


@pytest.mark.parametrize("attack, says", ATTACKS.items(), ids=[attack.__name__ for attack in ATTACKS])
@pytest.mark.parametrize("prefix", ["", "model_weights/"])
def test_attack_is_refused_in_one_line(tmp_path, secret, attack, says, prefix):
    path = tmp_path / "evil.h5"
    with h5py.File(path, "w") as file:
        attack(file.create_group(prefix + LAYER), secret)
    with pytest.raises(WeightFileError, match=says) as error:
        read_draft(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("attack", [external_link, external_raw_storage, virtual_dataset])
def test_h5py_alone_follows_them(tmp_path, secret, attack):
    path = tmp_path / "evil.h5"
    with h5py.File(path, "w") as file:
        attack(file.create_group(LAYER), secret)
    with h5py.File(path) as file:
        assert file[LAYER][KERNEL][:].shape == (3, 3, 3, 4)


@pytest.mark.parametrize("storage", [{}, {"chunks": True}, {"compression": "gzip", "shuffle": True},
                                     {"compression": "lzf"}, {"fletcher32": True}])
def test_every_allowed_storage_gives_the_numbers(tmp_path, storage):
    path, values = tmp_path / "x.h5", np.random.default_rng(0).random((3, 3, 5, 4)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset(f"{LAYER}/{KERNEL}", data=values, **storage)
    with h5py.File(path) as file:
        tree = walk(file, MappedFile(path))
        np.testing.assert_array_equal(tree[f"{LAYER}/{KERNEL}"].array(), values)


def test_a_user_block_before_the_file_does_not_shift_the_numbers(tmp_path):
    path, values = tmp_path / "x.h5", np.arange(36, dtype=np.float32).reshape(3, 3, 2, 2)
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset(f"{LAYER}/{KERNEL}", data=values)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(walk(file, MappedFile(path))[f"{LAYER}/{KERNEL}"].array(), values)


@pytest.mark.parametrize("value", ["text", b"text", np.array([b"text"]), np.array(["text"], dtype=object)])
def test_model_config_is_read_however_it_is_stored(tmp_path, value):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = value
    with pytest.raises(WeightFileError, match="JSONDecodeError"):      # so it was found, and is no JSON
        read_keras(path)


def test_theano_ordered_file_of_2015_is_refused_with_advice(tmp_path):
    path = tmp_path / "vgg16_weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = 37
        file["layer_0/param_0"] = np.zeros((64, 3, 3, 3), np.float32)
    with pytest.raises(WeightFileError, match="Theano-ordered"):
        read_draft(path)


def test_values_that_are_not_finite_are_refused_with_the_layer(sample, tmp_path, reader):
    from minivis.checkpoints.convert import convert
    path = tmp_path / "nan.h5"
    path.write_bytes(sample("keras_vgg16_2016.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["block3_conv2/block3_conv2_W_1:0"][1, 1, 2, 3] = np.nan
    with pytest.raises(WeightFileError, match="layer conv3_2: its weight holds 1 values that are not finite"):
        convert(path, tmp_path / "out.h5", reader=reader)
    assert not (tmp_path / "out.h5").exists()
