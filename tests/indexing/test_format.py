"""Reading an index: what it says of a layer it lacks, and a file that is damaged or lies."""
import json
import shutil

import h5py
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.indexing import build, open_index


@pytest.fixture(scope="module")
def path(net, photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "x.h5"
    build(net, photos, path, ["relu1", "relu2"], ["relu2"], keep=3, pixels=4)
    return path


@pytest.fixture
def copy(path, tmp_path):
    return shutil.copy(path, tmp_path / "y.h5")


def test_it_is_read_in_parts(path):
    index = open_index(path)
    whole = index.features()
    assert whole.shape == (40, 8) and list(index.layers) == ["relu1", "relu2"]
    for rows in (1, 7, 40, 100):
        blocks = list(index.feature_blocks("relu2", rows))
        assert np.array_equal(np.concatenate([block for _, block in blocks]), whole)
        assert [first for first, _ in blocks] == list(range(0, 40, rows))
    assert np.array_equal(index.features("relu2", [3, 9]), whole[[3, 9]])
    assert np.array_equal(index.pixels([0, 5]), index.pixels()[[0, 5]]) and open_index(index) is index
    assert index.pictures().load(index.names[0]).shape[2] == 3


def test_what_it_does_not_hold_is_said(path, net, tmp_path):
    index = open_index(path)
    for ask, message in [(lambda: index.top("conv1"), "no layer 'conv1'; it has relu1, relu2"),
                         (lambda: index.features("relu1"), "no features of relu1, only of relu2"),
                         (lambda: index.check_network(net.with_weights({"conv1/bias": np.ones(6)})), "other weights"),
                         (lambda: open_index(tmp_path), "is a folder"),
                         (lambda: open_index(tmp_path / "no"), "not exist")]:
        with pytest.raises(MinivisError, match=message):
            ask()


def change(file, name, value):
    del file[name]
    file[name] = value


LIES = {
    "a picture that is not there": lambda f: change(f, "layers/relu1/top/picture", np.full((6, 3), 40)),
    "a row that is not there": lambda f: change(f, "layers/relu1/top/row", np.full((6, 3), 99, np.int32)),
    "fewer labels than pictures": lambda f: change(f, "pictures/label", np.zeros(3, np.int32)),
    "features of another size": lambda f: change(f, "layers/relu2/features", np.zeros((39, 8), np.float32)),
    "features of another type": lambda f: change(f, "layers/relu2/features", np.zeros((40, 8))),
    "values that are not finite": lambda f: change(f, "layers/relu1/top/value", np.full((6, 3), np.nan, np.float32)),
    "no size": lambda f: f.__delitem__("size"),
    "a recipe that is no JSON": lambda f: change(f, "recipe", "{"),
    "a source that is a list": lambda f: change(f, "source", "[]"),
    "names that are numbers": lambda f: change(f, "pictures/names", np.arange(40)),
    "features in another file": lambda f: change(f, "layers/relu2/features", h5py.ExternalLink("z.h5", "x")),
    "another format": lambda f: f.attrs.update(format="else"),
    "a layer without channels": lambda f: f["layers/relu1"].attrs.update(channels=0),
}


@pytest.mark.parametrize("what", LIES)
def test_a_file_that_lies_is_one_clear_error(copy, what):
    with h5py.File(copy, "r+") as file:
        LIES[what](file)
    with pytest.raises(MinivisError) as error:
        index = open_index(copy)
        index.features(), index.top("relu1"), index.pixels()
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


def test_a_damaged_file_is_one_clear_error(copy, rng):
    good = copy.read_bytes()
    refused = 0
    for _ in range(150):
        data = bytearray(good[:rng.integers(10, len(good))] if rng.random() < 0.3 else good)
        for at in rng.integers(0, min(len(data), 20000), 8):
            data[at] = rng.integers(0, 256)
        copy.write_bytes(data)
        try:
            index = open_index(copy)
            index.features(), index.pixels(), [index.top(name) for name in index.layers]
        except MinivisError:
            refused += 1
    assert refused > 20


def test_pictures_that_have_gone_are_one_clear_error(copy):
    with h5py.File(copy, "r+") as file:
        change(file, "source", json.dumps({"kind": "folder", "path": "/nowhere/at/all"}))
    with pytest.raises(MinivisError, match="does not exist here"):
        open_index(copy).pictures()
