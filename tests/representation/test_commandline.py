"""Maps and the like through the command line: a network file and folders in; figure, arrays, JSON and a line out."""
import json

import numpy as np
import pytest
from PIL import Image

from minivis import commandline
from minivis.checkpoints.minivis_hdf5 import write

CALLS = {
    "map": [["@"], ["@", "--space", "both", "--method", "pca", "--views", "scatter", "grid", "--columns", "6"],
            ["@", "--colour", "prediction", "--limit", "9", "--steps", "250"]],
    "activation_atlas": [["@", "--layer", "relu1", "--columns", "2", "--steps", "3", "--icon", "10"]],
    "cka": [["@", "--batch", "6"], ["@", "--other", "%", "--estimate", "full", "--pool", "mean"]],
    "compare_networks": [["gradcam", "%", "--picture", "@red/00.png", "--options", "relu=no target=dog"]],
    "tcav": [["@red", "@stripes", "--target", "dog", "--runs", "2", "--pictures", "@"]],
    "probe": [["@", "--folds", "2", "--layers", "relu2"]],
    "patch_filters": [["--pictures", "@", "--learners", "kmeans", "ica", "--count", "4", "--size", "4",
                       "--patches", "200"]],
}
CASES = [(name, call) for name, calls in CALLS.items() for call in calls]


@pytest.fixture(scope="module")
def network_file(small_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small.h5"
    write(small_net(), path)
    return path


def spell(word, network_file, two_folders):
    return str(network_file) if word == "%" else str(two_folders / word[1:]) if word.startswith("@") else word


@pytest.mark.parametrize("name, call", CASES, ids=[f"{name} {' '.join(call)}" for name, call in CASES])
def test_figure_arrays_and_json(name, call, network_file, two_folders, tmp_path, capsys):
    argv = [spell(word, network_file, two_folders) for word in call]
    png, npz = tmp_path / "out.png", tmp_path / "out.npz"
    status = commandline.main([name.replace("_", "-"), *argv, "--network", str(network_file), "-o", str(png),
                               "--raw", str(npz), "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    row, = json.loads(out)
    with Image.open(png) as image:
        recipe = json.loads(image.text["minivis"])
        assert min(image.size) > 100 and np.ptp(np.asarray(image.convert("L"))) > 100
    assert recipe["technique"] == name and recipe["network"]["weights"] and row
    with np.load(npz, allow_pickle=False) as arrays:
        assert json.loads(str(arrays["recipe"])) == recipe
        assert any(arrays[key].dtype.kind == "f" and arrays[key].any() for key in arrays.files)


def test_what_judges_a_map_is_printed_and_no_network_is_loaded_for_given_features(tmp_path, capsys):
    np.savez(tmp_path / "f.npz", features=np.random.RandomState(0).standard_normal((30, 5)), value=np.arange(30.0))
    argv = ["map", "--features", str(tmp_path / "f.npz"), "-o", str(tmp_path / "m.png"), "--steps", "250"]
    assert commandline.main(argv) == 0
    assert "KL divergence" in capsys.readouterr().out
    with Image.open(tmp_path / "m.png") as image:
        assert json.loads(image.text["minivis"])["network"] is None
    assert commandline.main([*argv, "-q"]) == 0 and capsys.readouterr().out == ""
    assert commandline.main([*argv[:-2], "--data", "digits"]) == 1
    assert "give one of a source of pictures, --data and --features" in capsys.readouterr().err


def test_health_prints_a_table(network_file, two_folders, capsys):
    assert commandline.main(["health", str(two_folders), "--network", str(network_file), "-q"]) == 0
    out = capsys.readouterr().out
    assert "dead" in out and "relu2" in out and "channels are dead on 24 pictures" in out
    assert commandline.main(["health", str(two_folders), "--network", str(network_file), "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)[0]["rows"]
    assert [row["channels"] for row in rows] == [6, 8]
