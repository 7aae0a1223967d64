"""The command line: what a person types, right and wrong. Wrong input is one line, exit 1 or 2, and leaves no file."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from minivis import commandline, commands, techniques
from minivis.checkpoints.minivis_hdf5 import write as save_network
from minivis.layers import Layer
from minivis.network import Network

LABELS = [("n01", "cat"), ("n02", "dog"), ("n03", "crane"), ("n04", "crane")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small network file and a few pictures, good and bad."""
    path = tmp_path_factory.mktemp("inputs")
    rng = np.random.RandomState(0)
    layers = [Layer("data", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=4, kernel=[3, 3], pad=1),
              Layer("relu1", "relu"), Layer("logits", "global_avg_pool")]
    weights = {"conv1/weight": rng.standard_normal((3, 3, 3, 4)).astype(np.float32),
               "conv1/bias": np.zeros(4, np.float32)}
    preprocessing = {"size": [32, 32], "resize": None, "crop": "none", "channels": "RGB", "range": 1,
                     "interpolation": "bilinear", "antialias": True, "mean": [.5, .5, .5], "std": [.5, .5, .5]}
    net = Network(layers, weights, "logits", preprocessing=preprocessing, labels=LABELS, name="tiny")
    save_network(net, path / "tiny.h5")
    picture = rng.randint(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(picture).save(path / "a.png")
    Image.fromarray(picture[::-1]).save(path / "b.jpg")
    good = (path / "a.png").read_bytes()
    (path / "truncated.png").write_bytes(good[:len(good) // 2])
    (path / "empty.png").write_bytes(b"")
    (path / "text.png").write_text("this is no picture\n" * 20)
    Image.new("1", (20000, 20000)).save(path / "huge.png")
    with h5py.File(path / "other.h5", "w") as f:
        f["x"] = np.arange(3)
    (path / "nothdf5.h5").write_bytes(b"\x89PNG not hdf5 at all" * 9)
    bad = {**weights, "conv1/weight": np.where(weights["conv1/weight"] > 1, np.nan, weights["conv1/weight"])}
    net = Network(layers, weights, "logits", preprocessing=preprocessing, labels=LABELS, name="tiny")
    save_network(net, path / "nan.h5")
    with h5py.File(path / "nan.h5", "r+") as f:
        f["layers/conv1/weight"][...] = bad["conv1/weight"]
    save_network(net, path / "shape.h5")
    with h5py.File(path / "shape.h5", "r+") as f:
        del f["layers/conv1/weight"]
        f["layers/conv1/weight"] = np.zeros((3, 3, 4, 4), np.float32)
    (path / "cut.h5").write_bytes((path / "tiny.h5").read_bytes()[:3000])
    return path


def run(folder, *argv):
    """`@x` stands for the file x in the folder."""
    return commandline.main([f"{folder}/{a[1:]}" if str(a).startswith("@") else str(a) for a in argv])


BAD = {
    "missing picture": (["saliency", "@nowhere.png"], "nowhere.png"),
    "truncated picture": (["saliency", "@truncated.png"], "truncated.png"),
    "empty picture": (["saliency", "@empty.png"], "empty.png"),
    "picture of another type": (["saliency", "@text.png"], "text.png"),
    "huge picture": (["saliency", "@huge.png"], "huge.png"),
    "folder without pictures for a picture": (["saliency", str(Path(__file__).parent)], "is a folder"),
    "wrong layer": (["unit-gradient", "@a.png", "conv9:1"], "conv9"),
    "wrong channel": (["unit-gradient", "@a.png", "conv1:77"], "77"),
    "wrong position": (["unit-gradient", "@a.png", "conv1:1@99,0"], "99"),
    "wrong class": (["saliency", "@a.png", "--target", "fish"], "fish"),
    "class out of range": (["saliency", "@a.png", "--target", "1000"], "1000"),
    "ambiguous class": (["saliency", "@a.png", "--target", "crane"], "n04"),
    "wrong output form": (["saliency", "@a.png", "-o", "@out.xyz"], ".xyz"),
    "output in no folder": (["saliency", "@a.png", "-o", "@no/such/folder/out.png"], "folder"),
    "raw of another form": (["saliency", "@a.png", "--raw", "@out.txt"], ".npz"),
    "window larger than nothing": (["occlusion", "@a.png", "--size", "0"], "0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_1_and_leaves_no_file(case, folder, tmp_path, capsys, monkeypatch):
    argv, word = BAD[case]
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    assert run(folder, *argv, "--network", folder / "tiny.h5") == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("minivis: ") and err.count("\n") == 1 and word in err
    assert "internal error" not in err and "Traceback" not in err
    assert sorted(folder.rglob("*")) == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("file, word", [("nan.h5", "conv1"), ("shape.h5", "conv1"), ("cut.h5", "cut.h5"),
                                        ("other.h5", "other.h5"), ("nothdf5.h5", "nothdf5.h5"),
                                        ("missing.h5", "missing.h5"), ("a.png", "a.png")])
def test_a_bad_network_file_is_one_line_that_names_what_is_wrong(file, word, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(folder, "saliency", "@a.png", "--network", folder / file) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("minivis: ") and err.count("\n") == 1 and word in err
    assert "internal error" not in err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv, word", [
    (["salience", "x.png"], "saliency"), (["saliency"], "PICTURE"),
    (["saliency", "@a.png", "--reduce", "median"], "median"),
    (["saliency", "@a.png", "--redu", "max"], "--redu"), (["occlusion", "@a.png", "--size", "big"], "big"),
    (["saliency", "@a.png", "--device", "abacus", "--nonsense"], "--nonsense"),
])
def test_wrong_usage_is_exit_2(argv, word, folder, capsys):
    assert run(folder, *argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and word in err and err.count("\n") == 1


def test_one_bad_picture_does_not_stop_the_others(folder, tmp_path, capsys):
    status = run(folder, "saliency", "@a.png", "@text.png", "@b.jpg", "--network", folder / "tiny.h5", "-o",
                 tmp_path / "out", "-q")
    assert status == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.saliency.png", "b.saliency.png"]
    assert capsys.readouterr().err.count("text.png") == 1


def test_classify_prints_and_json_parses(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(folder, "classify", "@a.png", "@b.jpg", "--network", folder / "tiny.h5", "--top", "2") == 0
    out = capsys.readouterr().out
    assert "a.png" in out and "n0" in out and not list(tmp_path.iterdir())
    assert run(folder, "classify", "@a.png", "@b.jpg", "--network", folder / "tiny.h5", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [Path(r["image"]).name for r in rows] == ["a.png", "b.jpg"]
    for row in rows:
        assert row["technique"] == "classify" and len(row["top"]) == 4
        assert set(row["top"][0]) == {"index", "wnid", "label", "probability", "logit"}
        assert sum(t["probability"] for t in row["top"]) == pytest.approx(1, abs=1e-6)


def test_picture_and_numbers_carry_the_recipe(folder, tmp_path):
    png, npz = tmp_path / "x.png", tmp_path / "x.npz"
    assert run(folder, "saliency", "@a.png", "--network", folder / "tiny.h5", "-o", png, "--raw", npz, "-q") == 0
    from_picture = json.loads(Image.open(png).text["minivis"])
    with np.load(npz) as f:
        assert json.loads(str(f["recipe"])) == from_picture
        assert f["values"].shape == (32, 32) and f["values"].any()
    assert from_picture["technique"] == "saliency" and from_picture["options"]["reduce"] == "max"


def test_same_stems_from_two_folders_do_not_overwrite_each_other(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes((folder / "a.png").read_bytes())
    out = tmp_path / "out"
    assert run(folder, "saliency", "@a.png", tmp_path / "other" / "a.png", "--network", folder / "tiny.h5", "-o", out,
               "-q") == 0
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize("name", techniques.TECHNIQUES)
def test_every_technique_has_help_for_every_option(name):
    function = techniques.load(name)
    parser = commandline.parser_for(name, function)
    assert commandline.summary(function), "a docstring begins with one sentence"
    for action in parser._actions:
        assert action.help, f"{name}: {action.dest} has no help; add a line to the docstring"


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_help_for_every_option(name):
    for action in commandline.parser_for(name, commands.load(name))._actions:
        assert action.help, f"{name}: {action.dest} has no help; add a line to the docstring"


def test_a_command_of_two_words_runs_and_its_first_word_alone_asks_for_the_second(folder, capsys):
    assert run(folder, "weights", "check", folder / "tiny.h5") == 0
    assert "tiny" in capsys.readouterr().out
    assert run(folder, "weights") == 2
    assert "list | get" in capsys.readouterr().err


def test_help_and_version_and_no_arguments_succeed(capsys):
    for argv in ([], ["--help"], ["--version"], ["saliency", "--help"]):
        assert commandline.main(argv) == 0
        assert "minivis" in capsys.readouterr().out


def test_interrupting_is_exit_130(folder, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt
    monkeypatch.setattr(commandline.Job, "run", interrupted)
    assert run(folder, "classify", "@a.png") == 130


def test_compare_writes_its_figure_where_it_is_told(folder, tmp_path, capsys):
    argv = ("compare", "@a.png", "--techniques", "saliency", "--network", "@tiny.h5", "--quick")
    assert run(folder, *argv, "-o", tmp_path / "maps.png") == 0
    assert "saliency" in capsys.readouterr().out and (tmp_path / "maps.png").stat().st_size > 1000


def test_an_interrupted_run_delivers_what_it_has(folder, tmp_path, monkeypatch, capsys):
    from minivis.monitor import TerminalMonitor

    def step(self, done, total, *rest, original=TerminalMonitor.step, **more):
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, done, total, *rest, **more)
    monkeypatch.setattr(TerminalMonitor, "step", step)
    out = tmp_path / "map.png"
    argv = ("rise", "@a.png", "--samples", "20", "--memory", "1KB", "--network", "@tiny.h5", "--json", "-o", out)
    assert run(folder, *argv) == 130
    said = capsys.readouterr()
    row, = json.loads(said.out)
    assert row["partial"] and any("stopped after 1 of 20 masks" in note for note in row["notes"])
    assert "stopping after this step" in said.err and out.exists()


def test_an_interrupted_run_keeps_its_state_and_goes_on(folder, tmp_path, monkeypatch, capsys):
    from minivis.monitor import SilentMonitor
    argv = ("visualize", "cat", "--steps", "6", "--size", "32", "--network", "@tiny.h5", "-q")
    assert run(folder, *argv, "-o", tmp_path / "whole.png", "--raw", tmp_path / "whole.npz") == 0
    with monkeypatch.context() as patch:
        def step(self, done, total, *rest, original=SilentMonitor.step, **more):
            if done == 2:
                os.kill(os.getpid(), signal.SIGINT)
            original(self, done, total, *rest, **more)
        patch.setattr(SilentMonitor, "step", step)
        assert run(folder, *argv, "-o", tmp_path / "a.png") == 130
    assert (tmp_path / "a.resume.h5").exists() and (tmp_path / "a.png").exists()
    assert run(folder, *argv, "--resume", "-o", tmp_path / "a.png", "--raw", tmp_path / "a.npz") == 0
    whole, resumed = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "a"))
    assert np.array_equal(whole["values"], resumed["values"]) and not (tmp_path / "a.resume.h5").exists()


def test_it_runs_as_a_module(folder):
    done = subprocess.run([sys.executable, "-m", "minivis", "classify", str(folder / "a.png"), "--network",
                           str(folder / "tiny.h5"), "--top", "1"], capture_output=True, text=True,
                          cwd=Path(__file__).parent.parent)
    assert done.returncode == 0 and len(done.stdout.strip().splitlines()) >= 1, done.stderr
