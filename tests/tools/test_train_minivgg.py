"""The tool that trains minivgg, on a folder of a few pictures: resumed, averaged, measured and continued."""
import json

import numpy as np
import pytest
from PIL import Image

from minivis import load_network
from tools import train_minivgg

CYCLES = ["--phases", "1x32;0.5:1x32", "--batch", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (folder / "wnids.txt").write_text("n01\nn02\n")
    (folder / "words.txt").write_text("n01\tgoldfish\nn02\tlemon\n")
    for wnid, colour in (("n01", (200, 90, 20)), ("n02", (220, 210, 60))):
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        for i in range(6):
            picture = np.clip(rng.normal(colour, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(images / f"{wnid}_{i}.JPEG")
    (folder / "val" / "images").mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (64, 64), (200, 150, 40)).save(folder / "val" / "images" / f"val_{i}.JPEG")
    lines = (f"val_{i}.JPEG\tn0{i % 2 + 1}\t0\t0\t62\t62" for i in range(6))
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(data, output, *more):
    train_minivgg.main(["--data", str(data), "-o", str(output), *CYCLES, *more])
    return load_network(output, device="cpu") if output.exists() else None


def weights(net):
    return {name: array.numpy() for name, array in net.weights.items()}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder / "net.h5", run(data, folder / "net.h5")


def test_stopped_and_resumed_it_writes_the_same_weights(data, trained, tmp_path):
    assert run(data, tmp_path / "net.h5", "--stop-after", "4") is None
    resumed = weights(run(data, tmp_path / "net.h5"))
    for name, array in weights(trained[1]).items():
        np.testing.assert_array_equal(resumed[name], array)


def test_the_file_says_of_itself_what_eval_measures(data, trained, capsys):
    train_minivgg.main(["--data", str(data), "-o", str(trained[0]), "--eval", "--device", "cpu"])
    stated, measured = capsys.readouterr().out.splitlines()
    assert stated.split(maxsplit=1)[1] == measured.split(maxsplit=1)[1] == trained[1].meta["accuracy"]
    assert "64 px: top-1" in stated and "128 px: top-1" in stated


def test_the_mean_of_two_cycles_lies_between_their_ends(data, trained, tmp_path):
    first = run(data, tmp_path / "first.h5", "--phases", "1x32", "--average", "1")
    mean, last = weights(run(data, tmp_path / "mean.h5", "--average", "2")), weights(trained[1])
    assert any((mean[name] != last[name]).any() for name in last)
    # the layer behind the global average pooling has no normalisation folded into it, so there the mean is exact
    name = next(name for name in last if name.startswith("fc") and last[name].ndim > 1)
    np.testing.assert_allclose(mean[name], (weights(first)[name] + last[name]) / 2, atol=1e-3)


def test_a_finished_file_is_trained_further_and_both_recipes_are_named(data, trained, tmp_path):
    further = run(data, tmp_path / "net.h5", "--start", str(trained[0]), "--rate", "0.001")
    recipe = json.loads(further.meta["recipe"])
    assert recipe["rate"] == 0.001 and recipe["start"]["rate"] == 0.1 and recipe["start"]["phases"] == CYCLES[1]
    half = weights(run(data, tmp_path / "half.h5", "--start", str(trained[0]), "--rate", "0.001", "--blend", "0.5"))
    for name, array in weights(further).items():
        np.testing.assert_allclose(half[name], (array + weights(trained[1])[name]) / 2, atol=2e-3 * abs(array).max())


@pytest.mark.parametrize("blend", [["--blend", "0.5"], ["--start", "x.h5", "--blend", "1.5"]])
def test_a_blend_of_nothing_is_refused(data, tmp_path, blend, capsys):
    with pytest.raises(SystemExit):
        train_minivgg.main(["--data", str(data), "-o", str(tmp_path / "net.h5"), *blend])
    assert "--blend" in capsys.readouterr().err
