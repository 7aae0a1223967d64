"""The same pictures from a folder, zip, tar, HDF5 file or list; broken containers are one clear error."""
import io
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from minivis.dataset import open_pictures, reopen
from minivis.errors import MinivisError
from minivis.image import PictureError

NAMES = ["a/1.png", "a/2.png", "b/3.png"]


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (3, 6, 7, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory, pictures):
    """{kind: path} of the same three pictures."""
    path = tmp_path_factory.mktemp("sets")
    for name, picture in zip(NAMES, pictures):
        (path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path / "folder" / name)
    (path / "folder" / ".hidden.png").write_bytes(b"")
    (path / "folder" / "notes.txt").write_text("")
    with zipfile.ZipFile(path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file, tarfile.open(path / "x.tar", "w") as tar:
        for name in [*reversed(NAMES), "notes.txt"]:
            file.write(path / "folder" / name, name)
            tar.add(path / "folder" / name, name)
    (path / "list.txt").write_text("".join(f"folder/{name}\t{name[0]}\r\n" for name in NAMES))
    with h5py.File(path / "x.h5", "w") as file:
        file["images"], file["labels"] = pictures, [b"a", b"a", b"b"]
        encoded = file.create_dataset("encoded", (3,), h5py.vlen_dtype(np.uint8))
        for i, name in enumerate(NAMES):
            encoded[i] = np.frombuffer((path / "folder" / name).read_bytes(), np.uint8)
    return {"folder": path / "folder", "zip": path / "x.zip", "tar": path / "x.tar", "list": path / "list.txt",
            "hdf5": f"{path / 'x.h5'}::images", "encoded": f"{path / 'x.h5'}::encoded"}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "list", "hdf5", "encoded"])
def test_every_kind_of_set_gives_the_same_pictures_in_order_with_labels(sets, pictures, kind):
    found = open_pictures(sets[kind])
    assert [name[-7:] for name in found.names] == (["0", "1", "2"] if kind in ("hdf5", "encoded") else NAMES)
    assert found.labels == ["a", "a", "b"]
    again = reopen(found.describe())
    for name, picture in zip(found.names, pictures):
        assert np.array_equal(found.load(name), picture) and np.array_equal(again.load(name), picture)
    with pytest.raises(PictureError):
        found.load("17.png")


def test_grey_arrays_and_folders_without_labels(tmp_path, pictures):
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["x"] = pictures[:, :, :, 0]
    found = open_pictures(tmp_path / "g.h5")
    assert np.array_equal(found.load("1"), np.repeat(pictures[1, :, :, :1], 3, axis=2)) and found.labels == [None] * 3
    (tmp_path / "all").mkdir()
    Image.fromarray(pictures[0]).save(tmp_path / "all" / "x.png")
    assert open_pictures(tmp_path).labels == [None]         # one folder for all tells nothing apart


def broken(path, sets):
    """{file: what the error says}"""
    (path / "cut.zip").write_bytes(sets["zip"].read_bytes()[:-30])
    (path / "binary.txt").write_bytes(b"\x00\xff" * 50)
    (path / "empty").mkdir()
    (path / "empty.txt").write_text("\n\n")
    with tarfile.open(path / "x.tar.gz", "w:gz") as tar:
        tar.add(sets["folder"], "x")
    with h5py.File(path / "none.h5", "w") as file:
        file["x"] = np.zeros((3, 4, 4, 3))
    with h5py.File(path / "linked.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(sets["hdf5"]).split("::")[0], "images")
    return {"cut.zip": "is no folder, zip, tar", "binary.txt": "no list of files", "empty": "holds no pictures",
            "empty.txt": "holds no pictures", "x.tar.gz": "compressed tar", "none.h5": "no dataset holds pictures",
            "linked.h5": "no dataset holds pictures", "gone": "does not exist"}


def test_what_is_no_set_of_pictures_is_one_clear_error(tmp_path, sets):
    for name, message in broken(tmp_path, sets).items():
        with pytest.raises(MinivisError, match=message):
            _ = open_pictures(tmp_path / name).names
    with pytest.raises(MinivisError, match="which dataset holds the pictures"):
        _ = open_pictures(sets["hdf5"].split("::")[0]).names


def test_a_damaged_or_huge_member_of_an_archive_is_one_bad_picture(tmp_path, pictures, monkeypatch):
    data = io.BytesIO()
    Image.fromarray(pictures[0]).save(data, "PNG")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.png", data.getvalue())
        file.writestr("b.png", b"0" * 5000)
    raw = bytearray((tmp_path / "x.zip").read_bytes())
    raw[60] ^= 255                                          # inside a.png: its checksum fails
    (tmp_path / "x.zip").write_bytes(raw)
    found = open_pictures(tmp_path / "x.zip")
    with pytest.raises(PictureError, match="cannot be read"):
        found.load("a.png")
    monkeypatch.setattr("minivis.dataset.MOST_BYTES", 1000)
    with pytest.raises(PictureError, match="larger than"):
        found.load("b.png")
