"""Texture and style through the command line: pictures in, pictures with their recipe out, in our words and others'."""
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivis import commandline
from minivis.checkpoints.minivis_hdf5 import write as save_network
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.network import Network

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """net.h5 to compare pictures by, style.h5 that redraws them, a.png and b.png of different sizes, mask.png."""
    path, random = tmp_path_factory.mktemp("inputs"), np.random.RandomState(0)
    for name, layers in {
        "net": [Layer("conv1", "conv", filters=4, kernel=3, pad=1), Layer("relu1", "relu"),
                Layer("pool1", "max_pool", kernel=2), Layer("conv2", "conv", filters=5, kernel=3, pad=1),
                Layer("relu2", "relu")],
        "style": [Layer("down", "conv", filters=4, kernel=3, stride=2, pad="same"), Layer("tanh", "tanh"),
                  Layer("up", "conv_transpose", filters=3, kernel=3, stride=2, pad="same"),
                  Layer("levels", "scale", factor=60.0, offset=127.0)],
    }.items():
        table = [Layer("input", "input", shape=[None, None, 3]), *layers]
        save_network(Network(table, random_weights(table), name=name, preprocessing={
            "channels": "RGB", "range": 255, "mean": [127.5] * 3, "std": [60.0] * 3}), path / f"{name}.h5")
    for name, shape in {"a": (30, 40), "b": (45, 33)}.items():
        Image.fromarray(random.randint(0, 256, (*shape, 3)).astype(np.uint8)).save(path / f"{name}.png")
    Image.fromarray(np.repeat([[0], [255]], 20, 0).repeat(40, 1).astype(np.uint8)).save(path / "mask.png")
    return path


def run(folder, words, network, *more):
    return commandline.main([*[str(folder / w[1:]) if w.startswith("@") else w for w in words.split()],
                             "--network", str(folder / f"{network}.h5"), *map(str, more)])


def recipe_of(path):
    with Image.open(path) as image:
        return json.loads(image.text["minivis"]), image.size


@pytest.mark.parametrize("words", [
    "style @a.png --styles @b.png --size 48 --steps 3 --scales 1",
    "style @a.png --styles @a.png @b.png --blend-weights 1 3 --blend losses --preset draft --size 40 --steps 2 "
    "--optimizer adam --init noise --seed 4 --colours match --style-layers relu1=1,conv2=0.5 --memory 500MB",
    "style @a.png --styles @b.png --masks @mask.png --size 40 --steps 2 --scales 1 --tile 16 --init picture "
    "--init-picture @b.png",
    "texture @a.png --height 50 --width 70 --steps 3 --no-histogram",
    "texture @a.png --tileable --steps 2 --scales 2 --height 80 --layers relu2 --scale paper",
])
def test_a_picture_with_its_recipe_comes_out(folder, tmp_path, capsys, words):
    out, raw, figure = (tmp_path / name for name in ("out.png", "out.npz", "figure.png"))
    assert run(folder, words, "net", "-o", out, "--raw", raw, "--figure", figure, "--json") == 0
    row, = json.loads(capsys.readouterr().out)
    recipe, size = recipe_of(out)
    assert row["technique"] == recipe["technique"] == words.split()[0] and row["steps"] >= 2
    assert size == tuple(row["size"][::-1]) and recipe["network"]["weights"]
    with np.load(raw) as arrays:
        assert arrays["pictures"].shape == (1, *row["size"], 3) and np.isfinite(arrays["history loss"]).all()
    with Image.open(figure) as image:
        assert min(image.size) > 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.png", "out.npz", "out.png"]


def test_a_strip_is_one_figure(folder, tmp_path):
    out = tmp_path / "strip.png"
    assert run(folder, "style-strip @a.png --styles @b.png --ratios 0.1,10 --size 40 --steps 2", "net", "-o", out) == 0
    recipe, size = recipe_of(out)
    assert recipe["options"]["ratios"] == [0.1, 10.0] and min(size) > 100


def test_stylize_takes_many_pictures_of_any_size_and_only_a_network(folder, tmp_path):
    out = tmp_path / "made"
    assert run(folder, "stylize @a.png @b.png", "style", "-o", out, "-q") == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.stylize.png", "b.stylize.png"]
    for name, size in {"a": (40, 30), "b": (33, 45)}.items():
        recipe, found = recipe_of(out / f"{name}.stylize.png")
        assert found == size and recipe["network"]["name"] == "style"


def test_a_folder_stands_for_its_pictures_and_a_style_that_ships_for_its_name(folder, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    assert run(folder, "stylize", "style", tmp_path / "in", "-o", tmp_path / "out", "-q") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.stylize.png", "b.stylize.png"]
    assert run(folder, "style @a.png --styles waves --size 40 --steps 2 -q", "net", "-o", tmp_path / "w.png") == 0
    assert recipe_of(tmp_path / "w.png")[0]["options"]["styles"][0]["shape"] == [400, 400, 3]


def test_a_film_is_redrawn_and_the_frame_rate_is_told(folder, tmp_path, capsys):
    frames = [Image.open(folder / "a.png").transpose(Image.Transpose.ROTATE_180), Image.open(folder / "a.png")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=100)
    assert run(folder, "stylize-film", "style", tmp_path / "in.gif", "-o", tmp_path / "out.gif", "-q") == 0
    assert "pictures a second" in capsys.readouterr().out
    with Image.open(tmp_path / "out.gif") as made:
        assert made.n_frames == 2 and made.size == (40, 30) and made.info["duration"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("words", ["style @a.png --styles @b.png --size 40 --scales 1 --steps 40",
                                   "style @a.png --styles @b.png --size 40 --scales 1 --steps 40 --optimizer adam",
                                   "texture @a.png --steps 40 --height 40 --width 40"])
def test_killed_and_resumed_the_picture_is_the_same(folder, tmp_path, words):
    """SIGKILL in the middle of a step, with a state kept at every step; then --resume."""
    code = ("import sys, time\n"
            "from minivis import commandline, monitor\n"
            "init = monitor.StateFile.__init__\n"
            "monitor.StateFile.__init__ = lambda self, path, recipe: init(self, path, recipe, every=0, share=1e9)\n"
            "def slow(self, done, *rest, **more):\n"
            "    print(done, flush=True)\n"
            "    time.sleep(0.01)\n"
            "monitor.SilentMonitor.step = slow\n"
            "sys.exit(commandline.main(sys.argv[1:]))\n")
    call = [str(folder / w[1:]) if w.startswith("@") else w for w in words.split()]
    call += ["--network", str(folder / "net.h5"), "-q"]
    assert commandline.main([*call, "-o", str(tmp_path / "whole.png"), "--raw", str(tmp_path / "whole.npz")]) == 0
    out = ["-o", str(tmp_path / "out.png"), "--raw", str(tmp_path / "out.npz")]
    process = subprocess.Popen([sys.executable, "-c", code, *call, *out], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    while int(process.stdout.readline()) < 9:
        pass
    time.sleep(0.013)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "out.resume.h5").exists() and not (tmp_path / "out.png").exists()
    assert commandline.main([*call, "--resume", *out]) == 0
    with np.load(tmp_path / "whole.npz") as a, np.load(tmp_path / "out.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files) and a["values"].std() > 0


def test_neural_styles_command_line_does_the_same(folder, tmp_path):
    ours, theirs = tmp_path / "ours.png", tmp_path / "theirs.png"
    assert run(folder, "style @a.png --styles @b.png --size 40 --steps 4 --style-weight 7", "net", "-o", ours, "-q",
               "--device", "cpu") == 0
    a, b = folder / "a.png", folder / "b.png"
    words = (f"style -content_image {a} -style_image {b} -image_size 40 -num_iterations 4 -style_weight 7 -gpu -1 "
             f"-print_iter 50 -model_file {folder / 'net.h5'} -output_image {theirs} -q")
    assert commandline.main(words.split()) == 0
    assert recipe_of(ours) == recipe_of(theirs)
    assert np.array_equal(np.asarray(Image.open(ours)), np.asarray(Image.open(theirs)))


@pytest.mark.parametrize("words, network, message", [
    ("style @a.png", "net", "--styles"),
    ("style @a.png --styles @none.png", "net", "there is no file"),
    ("stylize @a.png", "net", "makes no pictures"),
    ("style @a.png --styles @b.png --style-layers relu7", "net", "no layer 'relu7'"),
    ("style -content_image", "net", "needs a value"),
])
def test_a_mistake_is_one_line(folder, tmp_path, capsys, words, network, message):
    if words.endswith("_image"):
        status = commandline.main([*words.split()])
    else:
        status = run(folder, words, network, "-o", tmp_path / "x.png")
    error = capsys.readouterr().err
    assert status in (1, 2) and message in error and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
