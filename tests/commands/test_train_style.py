"""train-style: losses go down, a killed run goes on with the same bits, and the file redraws pictures."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivis.checkpoints.minivis_hdf5 import read, write
from minivis.commands.train_style import train_style
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.monitor import SilentMonitor
from minivis.network import Network
from minivis.style_networks import blended, style_names, takes_any_style
from minivis.techniques.stylize import stylize

ROOT = Path(__file__).parents[2]
SMALL = {"size": 32, "batch": 2, "width": 3, "blocks": 1}


@pytest.fixture(scope="module")
def net():
    layers = [Layer("input", "input", shape=[None, None, 3])]
    for b, filters in enumerate((6, 8), 1):
        layers += [Layer(f"conv{b}", "conv", filters=filters, kernel=3, pad=1), Layer(f"relu{b}", "relu"),
                   Layer(f"pool{b}", "max_pool", kernel=2)]
    return Network(layers, random_weights(layers), name="two", preprocessing={
        "channels": "BGR", "range": 1, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory, net):
    """Five pictures of different sizes, one of them broken, and a loss network."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "data").mkdir()
    y, x = np.mgrid[:60, :80]
    for i, (h, w) in enumerate([(60, 80), (40, 50), (33, 70), (24, 24)]):
        ramp = np.stack([(3 + i) * x, 4 * y, 255 - 3 * x], -1).astype(np.uint8)[:h, :w]
        Image.fromarray(ramp).save(folder / "data" / f"{i}.png")
    (folder / "data" / "broken.png").write_bytes(b"\x89PNG no")
    write(net, folder / "two.h5")
    return folder


@pytest.fixture(scope="module")
def stripes():
    x = np.mgrid[:48, :48][1]
    red = np.where((x // 3 % 2)[..., None], [230, 40, 20], [250, 220, 200])
    return red.astype(np.uint8), np.rot90(red)[..., ::-1].astype(np.uint8)


def weights(file):
    return {name: t.data for name, t in read(file).weights.items()}


def test_the_style_loss_goes_down_and_the_file_redraws(net, folder, stripes, tmp_path):
    report = train_style(net, [stripes[0]], data=[str(folder / "data")], out=str(tmp_path / "s.h5"), steps=60, **SMALL,
                         rate=1e-2, preview=stripes[1], every=60)
    row = {r["loss"]: r for r in report.rows()}
    assert row["style"]["last"] < 0.5 * row["style"]["first"] and set(row) == {"content", "style", "tv"}
    made = read(tmp_path / "s.h5")
    picture = np.array(Image.open(folder / "data" / "1.png"))
    levels = stylize(made, picture).values[0]
    assert levels.shape == picture.shape and levels.std() > 5
    assert levels[..., 0].mean() > levels[..., 1].mean() + 10          # the stripes are red, the picture is not
    assert np.asarray(Image.open(tmp_path / "s.preview.jpg")).shape == stripes[1].shape
    assert not (tmp_path / "s.resume.h5").exists() and "minivis train-style, 60 steps" in made.meta["source"]


def test_the_file_says_how_it_came_about_and_names_no_folder_above_the_pictures(net, folder, stripes, tmp_path):
    report = train_style(net, [stripes[0]], names=["red"], data=[str(folder / "data")], out=str(tmp_path / "s.h5"),
                         steps=3, **SMALL)
    made = read(tmp_path / "s.h5").meta
    recipe, losses = json.loads(made["recipe"]), json.loads(made["losses"])
    assert made["style"] == "red" and len(made["date"]) == 10
    assert recipe["technique"] == "train_style" and recipe["options"]["steps"] == 3 and recipe["network"]["weights"]
    assert recipe["options"]["data"] == ["data"] and str(folder) not in made["recipe"]
    assert set(losses) == {"content", "style", "tv"} and losses["style"] > 0 and report.rows()


def test_several_styles_learn_in_turn_and_keep_their_names(net, folder, stripes, tmp_path):
    train_style(net, list(stripes), names=["red", "blue"], data=[str(folder / "data")], out=str(tmp_path / "s.h5"),
                steps=160, **SMALL, rate=1e-2, seed=1)      # of the seeds tried the one that rounding changes least
    made = read(tmp_path / "s.h5")
    picture = np.array(Image.open(folder / "data" / "1.png"))
    assert style_names(made) == ["red", "blue"]
    red, blue, second, mixed = (stylize(made, picture, **how).values[0] for how in (
        {"style": "red"}, {"style": "blue"}, {"style": "2"}, {"blend": [1.0, 1.0]}))
    assert red[..., 0].mean() - red[..., 2].mean() > blue[..., 0].mean() - blue[..., 2].mean() + 50
    assert np.array_equal(blue, second) and np.array_equal(stylize(made, picture).values[0], red)
    assert not np.array_equal(mixed, red)
    assert np.array_equal(mixed, stylize(blended(made, [1, 1]), picture).values[0])
    for how, message in (({"style": "green"}, "it has red, blue"), ({"blend": [1.0]}, "give 2 shares for 2 styles"),
                         ({"styles": [picture]}, "takes none from pictures"),
                         ({"style": "red", "blend": [1.0, 0.0]}, "not both")):
        with pytest.raises(MinivisError, match=message):
            stylize(made, picture, **how)


def test_a_decoder_for_any_style_learns(net, folder, stripes, tmp_path):
    report = train_style(net, any_style=True, data=[str(folder / "data")], style_data=[str(folder / "data")],
                         out=str(tmp_path / "a.h5"), steps=60, rate=1e-2, size=32, batch=2)
    row = {r["loss"]: r for r in report.rows()}
    assert row["style"]["last"] < row["style"]["first"] and row["content"]["last"] < row["content"]["first"]
    made = read(tmp_path / "a.h5")
    assert takes_any_style(made)
    before, after = net.weights["conv1/weight"].data, made.weights["conv1/weight"].data
    assert np.array_equal(before.astype(np.float16), after)                  # the encoder stays what it was
    picture = np.array(Image.open(folder / "data" / "1.png"))
    one, other = (stylize(made, picture, styles=[s]).values[0] for s in stripes)
    assert one[..., 0].mean() - one[..., 2].mean() > other[..., 0].mean() - other[..., 2].mean()
    both = stylize(made, picture, styles=list(stripes), blend=[1.0, 0.0]).values[0]
    assert np.array_equal(both, one)
    weak = stylize(made, picture, styles=[stripes[0]], strength=0.0).values[0]
    assert np.array_equal(weak, stylize(made, picture, styles=[stripes[1]], strength=0.0).values[0])
    with pytest.raises(MinivisError, match="takes its style from pictures"):
        stylize(made, picture)


class StoppingAt(SilentMonitor):
    def __init__(self, step):
        super().__init__()
        self.at = step

    def step(self, done, total, terms=None, picture=None):
        if done == self.at - 1:
            self.stop()         # as Ctrl-C does: the next step is the last, and its state is kept
        super().step(done, total, terms, picture)


@pytest.mark.parametrize("how", ["one", "many", "any"])
def test_a_stopped_run_goes_on_with_the_same_bits(net, folder, stripes, tmp_path, how):
    options = {"data": [str(folder / "data")], "steps": 12, "size": 32, "batch": 2, "rate": 5e-3, "width": 3,
               "blocks": 1, "out": str(tmp_path / "s.h5")}
    styles = {"one": [stripes[0]], "many": list(stripes), "any": None}[how]
    if how == "any":
        options |= {"any_style": True, "style_data": [str(folder / "data")]}
    train_style(net, styles, **options)
    through = weights(tmp_path / "s.h5")
    monitor = StoppingAt(7)
    report = train_style(net, styles, **options, monitor=monitor)
    assert "stopped before the end" in report.notes[-1] and (tmp_path / "s.resume.h5").exists()
    half = weights(tmp_path / "s.h5")
    assert any(not np.array_equal(half[name], through[name]) for name in through)
    with pytest.raises(MinivisError, match=r"belongs to another run: options\.rate differ"):
        train_style(net, styles, **{**options, "rate": 1e-3}, resume=True)
    train_style(net, styles, **options, resume=True)
    assert all(np.array_equal(array, through[name]) for name, array in weights(tmp_path / "s.h5").items())


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_with_the_same_bits(folder, tmp_path):
    """SIGKILL to the command line while it works; states are kept at every step by an interval of zero."""
    code = ("import sys; from minivis import monitor; from minivis.__main__ import main; "
            "monitor.StateFile.__init__.__defaults__ = (0.0, 1e9) + monitor.StateFile.__init__.__defaults__[2:]; "
            "sys.exit(main())")
    words = ["train-style", "mosaic", "--data", str(folder / "data"), "--steps", "60", "--size", "32", "--batch", "1",
             "--width", "2", "--blocks", "0", "--style-size", "48", "--network",
             str(folder / "two.h5"), "--device", "cpu", "-q"]

    def start(out, *more):
        return subprocess.Popen([sys.executable, "-c", code, *words, "--out", str(out), *more], cwd=ROOT)

    state = tmp_path / "killed.resume.h5"
    process = start(tmp_path / "killed.h5")
    for _ in range(600):
        if state.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(0.1)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert state.exists() and not (tmp_path / "killed.h5").exists()
    assert start(tmp_path / "killed.h5", "--resume").wait() == 0
    assert start(tmp_path / "through.h5").wait() == 0
    one, other = weights(tmp_path / "killed.h5"), weights(tmp_path / "through.h5")
    assert all(np.array_equal(one[name], other[name]) for name in other) and not state.exists()


@pytest.mark.parametrize("options, message", [
    ({}, "give style pictures, or --any-style"),
    ({"any_style": True}, "go together"),
    ({"styles": 1, "any_style": True, "style_data": ["x"]}, "not both"),
    ({"styles": 1, "names": ["a", "b"]}, "2 names for 1 styles"),
    ({"styles": 1, "steps": 0}, "steps 0 must be at least 1"),
    ({"styles": 1, "size": 8}, "8 pixels are too small"),
    ({"styles": 1, "width": 0}, "width 0"),
    ({"styles": 1, "out": "nowhere/s.h5"}, "there is no folder"),
])
def test_what_cannot_be_is_one_clear_error(net, folder, stripes, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    options = {"data": [str(folder / "data")], "steps": 1, **options}
    styles = [stripes[0]] * options.pop("styles", 0) or None
    with pytest.raises(MinivisError, match=message):
        train_style(net, styles, **options)
