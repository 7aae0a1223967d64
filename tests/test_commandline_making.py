"""Techniques that make pictures, through the command line: picture, figure, numbers, film, and --resume."""
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

from minivis import commandline

ROOT = Path(__file__).parent.parent
SLOWLY = """
import sys, time
from minivis import commandline, monitor
sys.path.insert(0, sys.argv[1])
init = monitor.StateFile.__init__
monitor.StateFile.__init__ = lambda self, path, recipe: init(self, path, recipe, every=0, share=1e9)
step = monitor.SilentMonitor.step
def slow(self, done, *rest, **more):
    print(done, flush=True)
    time.sleep(0.01)
monitor.SilentMonitor.step = slow
sys.exit(commandline.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_tiny_inputs):
    path = tmp_path_factory.mktemp("inputs")
    write_tiny_inputs(path, 60, 50)
    return path


CALLS = [
    ["visualize", "relu1:1", "--steps", "4", "--count", "2", "--diversity", "0.1", "--preset", "simonyan"],
    ["visualize", "0.5*cat", "relu1:2@3,3", "--steps", "4", "--size", "40", "--negative"],
    ["dream", "@a.png", "--layers", "relu1=1,conv2=0.5", "--octaves", "2", "--steps", "2", "--channels", "0", "2"],
    ["visualize", "dog", "--start", "@a.png", "--preset", "yosinski1", "--steps", "3", "--clip-by", "entry"],
    ["adversarial-patch", "@a.png", "@a.png", "--target", "dog", "--mask", "@a.png", "--share", "0.05", "--steps", "2"],
    ["dream", "@a.png", "--guide", "@a.png", "--layers", "relu1", "--octaves", "1", "--steps", "2", "--size", "40"],
    ["invert", "@a.png", "--layers", "relu1", "conv2", "--steps", "3", "--optimizer", "lbfgs"],
    ["universal", "@a.png", "@a.png", "--passes", "2"],
    ["adversarial-patch", "@a.png", "@a.png", "--target", "dog", "--steps", "3"],
    *[[name, "@a.png", *more] for name, more in (("fgsm", ["--epsilon", "9"]), ("bim", []), ("deepfool", []),
                                                 ("pgd", ["--norm", "l2", "--epsilon", "500"]),
                                                 ("carlini-wagner", ["--searches", "2", "--steps", "9"]))],
]


def words(call, folder):
    return [str(folder / word[1:]) if word.startswith("@") else word for word in call]


@pytest.mark.parametrize("call", CALLS, ids=[" ".join(call) for call in CALLS])
def test_picture_figure_arrays_and_json(call, folder, tmp_path, capsys):
    out = [str(tmp_path / name) for name in ("out.png", "figure.png", "out.npz")]
    status = commandline.main([*words(call, folder), "--network", str(folder / "tiny.h5"), "-o", out[0], "--figure",
                               out[1], "--raw", out[2], "--json"])
    printed, err = capsys.readouterr()
    assert status == 0, err
    row = json.loads(printed)[0]
    assert row["technique"] == call[0].replace("-", "_")
    with Image.open(out[0]) as image, np.load(out[2]) as arrays:
        recipe = json.loads(image.text["minivis"])
        if len(arrays["pictures"]) == 1:
            assert np.array_equal(np.asarray(image), arrays["pictures"][0])
        assert recipe == json.loads(str(arrays["recipe"])) and np.ptp(arrays["pictures"]) > 10
    with Image.open(out[1]) as image:
        assert min(image.size) > 200
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.png", "out.npz", "out.png"]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_film_has_its_frames_and_other_techniques_make_none(folder, tmp_path, suffix, capsys):
    out = tmp_path / f"film{suffix}"
    call = ["dream", str(folder / "a.png"), "--layers", "relu1", "--octaves", "1", "--steps", "2", "--frames", "3",
            "--network", str(folder / "tiny.h5"), "-q", "-o", str(out)]
    assert commandline.main(call) == 0
    with Image.open(out) as image:
        assert image.n_frames == 4 and image.size == (50, 60)
    still = ["visualize", "dog", "--network", str(folder / "tiny.h5"), "-o", str(tmp_path / "x.gif")]
    assert commandline.main(still) == 1
    assert "extension '.gif'" in capsys.readouterr().err


def test_the_film_and_the_preview_of_a_run(folder, tmp_path, capsys):
    call = ["visualize", "dog", "--preset", "simonyan", "--steps", "6", "--network", str(folder / "tiny.h5"), "-q",
            "-o", str(tmp_path / "out.png")]
    assert commandline.main([*call, "--film", str(tmp_path / "run.webp"), "--preview", str(tmp_path / "now.png"),
                             "--look-every", "3"]) == 0
    with Image.open(tmp_path / "run.webp") as film, Image.open(tmp_path / "now.png") as now:
        assert film.n_frames == 3 and film.size == now.size == Image.open(tmp_path / "out.png").size
    for bad in (["--film", "run.mp4"], ["--look-every", "0"]):
        assert commandline.main([*call, *bad]) == 1
    assert "must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("call", [
    ["visualize", "dog", "--optimizer", "adam", "--steps", "40"],
    ["visualize", "dog", "--preset", "yosinski3", "--steps", "40"],
    ["visualize", "dog", "--preset", "simonyan", "--steps", "40", "--count", "2"],
    ["visualize", "dog", "--preset", "simonyan", "--optimizer", "lbfgs", "--rate", "1", "--steps", "40"],
    ["visualize", "dog", "--preset", "deep", "--size", "24", "--steps", "20"],
    ["dream", "@a.png", "--layers", "relu1", "--octaves", "2", "--steps", "10"],
    ["invert", "@a.png", "--layers", "relu1", "conv2", "--steps", "12"],
    ["invert", "@a.png", "--layers", "relu1", "--preset", "mahendran", "--steps", "24", "--repeats", "2"],
    ["pgd", "@a.png", "--no-stop-early", "--steps", "20"],
    ["layer-sheet", "conv1", "--size", "24", "--steps", "8", "--batch", "2"],
    ["carlini-wagner", "@a.png", "--searches", "3", "--steps", "8", "--no-stop-early"],
    ["adversarial-patch", "@a.png", "@a.png", "--target", "dog", "--steps", "20"],
    ["universal", "@a.png", "@a.png", "--passes", "12"],
], ids=lambda call: " ".join(call[:4]))
def test_killed_and_resumed_the_picture_is_the_same(call, folder, tmp_path, capsys):
    call = [*words(call, folder), "--network", str(folder / "tiny.h5"), "-q"]
    assert commandline.main([*call, "-o", str(tmp_path / "whole.png"), "--raw", str(tmp_path / "whole.npz")]) == 0
    out = ["-o", str(tmp_path / "out.png"), "--raw", str(tmp_path / "out.npz")]
    run = subprocess.Popen([sys.executable, "-c", SLOWLY, str(ROOT), *call, *out], stdout=subprocess.PIPE, text=True,
                           cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while int(run.stdout.readline()) < 9:
        pass
    time.sleep(0.013)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert (tmp_path / "out.resume.h5").exists() and not (tmp_path / "out.png").exists()
    assert commandline.main([*call, "--seed", "1", "--resume", *out]) == 1
    assert "another run" in capsys.readouterr().err
    assert commandline.main([*call, "--resume", *out]) == 0
    assert not (tmp_path / "out.resume.h5").exists()
    with np.load(tmp_path / "whole.npz") as a, np.load(tmp_path / "out.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files) and a["values"].std() > 0
