"""minivis index, patches and neighbours on the command line."""
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from minivis import commandline


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_tiny_inputs):
    path = tmp_path_factory.mktemp("inputs")
    write_tiny_inputs(path, 40, 30)
    random = np.random.default_rng(0)
    for i in range(12):
        (path / "pictures" / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (26 + i, 30, 3)).astype(np.uint8)).save(
            path / "pictures" / f"c{i % 2}" / f"{i}.png")
    (path / "pictures" / "c0" / "bad.png").write_bytes(b"nothing")
    assert commandline.main(["index", str(path / "pictures"), "-o", str(path / "index.h5"), "--network",
                             str(path / "tiny.h5"), "-q"]) == 0
    return path


def test_it_prints_what_was_indexed_and_what_could_not_be_read(folder, tmp_path, capsys):
    call = ["index", str(folder / "pictures"), "-o", str(tmp_path / "x.h5"), "--network", str(folder / "tiny.h5"),
            "--layers", "relu1", "--features", "relu2", "scores", "--keep", "3"]
    assert commandline.main(call) == 0
    text = capsys.readouterr().out
    assert "12 pictures, 2 labels" in text and "1 more could not be read" in text and "c0/bad.png" in text
    assert commandline.main([*call, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)[0]["rows"]
    assert [(row["layer"], row["strongest kept"], row["features"]) for row in rows] == [
        ("relu1", 3, None), ("relu2", None, 3), ("scores", None, 3)]


@pytest.mark.parametrize("call", [
    ["patches", "@index.h5", "relu1:2", "--context", "0.5", "--border", "edge"], ["patches", "@index.h5", "relu1"],
    ["neighbours", "@index.h5", "@a.png", "--metric", "cosine", "--count", "3"],
], ids=" ".join)
def test_figure_arrays_and_json(call, folder, tmp_path, capsys):
    argv = [str(folder / word[1:]) if word.startswith("@") else word for word in call]
    out = tmp_path / "out.png", tmp_path / "out.npz"
    status = commandline.main([*argv, "--network", str(folder / "tiny.h5"), "-o", str(out[0]), "--raw", str(out[1]),
                               "--json"])
    printed, err = capsys.readouterr()
    assert status == 0, err
    row = json.loads(printed)[0]
    assert row["technique"] == call[0] and row["pictures"] == 12
    with Image.open(out[0]) as image, np.load(out[1]) as arrays:
        assert json.loads(image.text["minivis"]) == json.loads(str(arrays["recipe"]))
        assert min(image.size) > 100 and np.isfinite(arrays["values"]).any() and arrays["values"].any()


def test_a_network_that_did_not_make_the_index_is_refused(folder, tmp_path, capsys):
    shutil.copy(folder / "index.h5", tmp_path / "i.h5")
    import h5py
    with h5py.File(tmp_path / "i.h5", "r+") as file:
        recipe = json.loads(file["recipe"][()])
        recipe["network"]["weights"] = "0" * 64
        del file["recipe"]
        file["recipe"] = json.dumps(recipe)
    assert commandline.main(["patches", str(tmp_path / "i.h5"), "relu1:0", "--network", str(folder / "tiny.h5"), "-o",
                             str(tmp_path / "x.png")]) == 1
    assert "other weights" in capsys.readouterr().err and not (tmp_path / "x.png").exists()
