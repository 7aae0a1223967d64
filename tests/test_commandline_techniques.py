"""Every technique through the command line: a network file and a picture in, figure, arrays and JSON out."""
import json

import numpy as np
import pytest
from PIL import Image

from minivis import commandline, techniques

PICTURE = ["@a.png"]
# technique: the argument lists it is tried with
CALLS = {
    "classify": [PICTURE],
    "filters": [[], ["conv2"], ["--picture", "@a.png", "--at", "3,4", "--channel", "2"],
                ["conv2", "--sort", "norm", "--scaling", "layer"]],
    "activations": [PICTURE, [*PICTURE, "--layers", "conv1", "scores", "--sort", "max", "--gamma", "0.5"],
                    [*PICTURE, "--unit", "relu1:3"], [*PICTURE, "--everything", "--target", "dog"]],
    "occlusion": [[*PICTURE, "--size", "8", "--stride", "8"], [*PICTURE, "--size", "9", "--aggregate", "none"],
                  [*PICTURE, "--size", "8", "--stride", "8", "--targets", "cat", "1", "--fill", "noise", "--seed", "3",
                   "--memory", "1MB"]],
    "saliency": [PICTURE, [*PICTURE, "--target", "n02", "--score", "prob", "--reduce", "none"]],
    "unit_gradient": [[*PICTURE, "conv2:1"], [*PICTURE, "relu1:0@2,3", "--rule", "guided"],
                      [*PICTURE, "relu1:0", "--positions", "all"]],
    "deconvnet": [[*PICTURE, "--unit", "relu2"]],
    "guided_backprop": [[*PICTURE, "--precision", "float64"], [*PICTURE, "--unit", "conv1:1", "--threads", "1"]],
    "compare_rules": [[*PICTURE, "--unit", "relu2"]],
    "slide": [[*PICTURE, "relu1"], [*PICTURE, "conv2:1", "--stride", "2", "--top", "2"]],
    "input_x_gradient": [PICTURE, [*PICTURE, "--unit", "relu1:1", "--positions", "mean"]],
    "integrated_gradients": [[*PICTURE, "--steps", "3", "--baseline", "mean", "--method", "left"]],
    "smoothgrad": [[*PICTURE, "--samples", "3", "--variant", "variance", "--relative", "network"]],
    "expected_gradients": [[*PICTURE, "@", "--samples", "3"]],
    "deeplift": [PICTURE],
    "lrp": [PICTURE, [*PICTURE, "--preset", "gamma", "--layers", "conv1=z_box,conv*2=epsilon:0.1"]],
    "excitation_backprop": [PICTURE, [*PICTURE, "--layer", "relu1", "--contrastive"]],
    "full_gradient": [PICTURE],
    "cam": [PICTURE],
    "gradcam": [PICTURE, [*PICTURE, "--layer", "relu1", "--no-relu", "--upsample", "corners"]],
    "gradcam_plus_plus": [PICTURE],
    "xgradcam": [PICTURE],
    "layercam": [PICTURE],
    "scorecam": [[*PICTURE, "--channels", "2"]],
    "ablation_cam": [PICTURE],
    "eigencam": [PICTURE],
    "guided_gradcam": [PICTURE],
}
CASES = [(name, call) for name, calls in CALLS.items() for call in calls]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_tiny_inputs):
    path = tmp_path_factory.mktemp("inputs")
    write_tiny_inputs(path, 30, 40)
    return path


@pytest.mark.parametrize("name, call", CASES, ids=[f"{name} {' '.join(call)}" for name, call in CASES])
def test_figure_arrays_and_json(name, call, folder, tmp_path, capsys):
    argv = [str(folder / word[1:]) if word.startswith("@") else word for word in call]
    png, npz = tmp_path / "out.png", tmp_path / "out.npz"
    status = commandline.main([name.replace("_", "-"), *argv, "--network", str(folder / "tiny.h5"), "-o", str(png),
                               "--raw", str(npz), "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    rows = json.loads(out)
    assert len(rows) == 1 and rows[0]["technique"] == name
    assert ("image" in rows[0]) == (name != "filters")
    with Image.open(png) as image:
        recipe = json.loads(image.text["minivis"])
        assert min(image.size) > 100 and np.ptp(np.asarray(image.convert("L"))) > 100
    assert recipe["technique"] == name and recipe["network"]["weights"] and recipe["versions"]["minivis"]
    with np.load(npz, allow_pickle=False) as arrays:
        assert json.loads(str(arrays["recipe"])) == recipe
        numbers = [arrays[key] for key in arrays.files if arrays[key].dtype.kind == "f"]
    assert numbers and all(np.isfinite(a).all() for a in numbers) and any(a.any() for a in numbers)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.npz", "out.png"]


def test_options_reach_the_technique(folder, tmp_path):
    """What the command line writes is what the function returns."""
    from minivis import image
    from minivis.loading import load_network
    from minivis.techniques.unit_gradient import unit_gradient
    npz = tmp_path / "x.npz"
    assert commandline.main(["unit-gradient", str(folder / "a.png"), "relu1:2", "--positions", "all", "--rule",
                             "guided", "--network", str(folder / "tiny.h5"), "-o", str(tmp_path / "x.png"),
                             "--raw", str(npz),
                             "-q"]) == 0
    wanted = unit_gradient(load_network(folder / "tiny.h5"), image.read(folder / "a.png"), "relu1:2", positions="all",
                           rule="guided")
    with np.load(npz) as arrays:
        assert wanted.values.any() and np.array_equal(arrays["values"], wanted.values)
        assert json.loads(str(arrays["recipe"])) == wanted.recipe


def test_several_pictures_go_to_a_folder_named_after_them(folder, tmp_path):
    (tmp_path / "b.png").write_bytes((folder / "a.png").read_bytes())
    out = tmp_path / "out"
    assert commandline.main(["activations", str(folder / "a.png"), str(tmp_path / "b.png"), "--network",
                             str(folder / "tiny.h5"), "-o", str(out), "--raw", str(out), "-q"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.activations.npz", "a.activations.png", "b.activations.npz",
                                                     "b.activations.png"]


@pytest.mark.parametrize("name", techniques.TECHNIQUES)
def test_help_of_every_technique_names_its_options(name, capsys):
    assert commandline.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--network" in text and "usage: minivis " + name.replace("_", "-") in text


@pytest.mark.parametrize("ends, largest", [([], 99.5), (["--percentile", "100"], 100), (["--percentile", "50"], 50)])
def test_the_colours_end_where_the_command_line_says(folder, tmp_path, monkeypatch, ends, largest):
    from minivis import show
    seen = []
    monkeypatch.setattr(show, "symmetric_scale", lambda v, p=99.5, f=show.symmetric_scale: seen.append(p) or f(v, p))
    assert commandline.main(["input-x-gradient", str(folder / "a.png"), "--network", str(folder / "tiny.h5"), "-o",
                             str(tmp_path / "x.png"), "-q", *ends]) == 0
    assert set(seen) == {None if largest == 100 else largest}
    assert commandline.main(["saliency", str(folder / "a.png"), "--network", str(folder / "tiny.h5"), "-o",
                             str(tmp_path / "x.png"), "-q", "--scale", "-1"]) == 1
