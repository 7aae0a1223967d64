"""The pass over a set of pictures: what it keeps is what the network says, however the pass was run or interrupted."""
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from minivis.dataset import open_pictures
from minivis.errors import MinivisError
from minivis.indexing import build, extract, making, open_index
from minivis.monitor import SilentMonitor

ROOT = Path(__file__).parent.parent.parent
ASKED = {"layers": ["relu1", "conv2", "gap"], "features": ["relu2", "gap"], "keep": 5, "pixels": 8}


@pytest.fixture(scope="module")
def made(net, photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "whole.h5"
    build(net, photos, path, **ASKED)
    return open_index(path)


def forward(net, photos, layers):
    """{layer: values of all readable pictures}, one picture at a time, and their names."""
    pictures, values, names = open_pictures(photos), {layer: [] for layer in layers}, []
    for name in pictures.names:
        try:
            x = net.preprocess(pictures.load(name))
        except MinivisError:
            continue
        names.append(name)
        for layer, tensor in net(x, layers=layers).items():
            values[layer].append(tensor.numpy()[0])
    return {layer: np.stack(a) for layer, a in values.items()}, names


def test_names_labels_and_pictures_that_cannot_be_read(made):
    assert made.count == 40 and made.names == sorted(made.names) and made.labels == ["cats", "dogs"]
    assert [made.label_of(i) for i in range(40)] == [name.split("/")[0] for name in made.names]
    why = {one["name"]: one["why"] for one in made.bad}
    assert sorted(why) == ["cats/04b.png", "dogs/empty.jpg", "dogs/zz.JPEG"]
    assert "damaged" in why["cats/04b.png"] and "empty" in why["dogs/empty.jpg"]
    assert made.size == (20, 24) and not Path(f"{made.path}.parts").exists()


def test_features_are_the_layers_values(net, photos, made):
    values, names = forward(net, photos, ["relu2", "gap"])
    assert made.names == names
    assert np.allclose(made.features("relu2"), values["relu2"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    assert np.array_equal(made.features("gap"), values["gap"]) and values["gap"].any()
    for pool, wanted in (("max", values["relu2"].max(axis=(1, 2))), ("none", values["relu2"].reshape(40, -1))):
        assert np.array_equal(extract(net, photos, ["relu2"], pool=pool).features["relu2"], wanted)


def test_strongest_patches_equal_a_search_through_all_activations(net, photos, made):
    values, _ = forward(net, photos, ASKED["layers"])
    for layer in ASKED["layers"]:
        top, a = made.top(layer), values[layer].reshape(40, *(made.layers[layer].grid or (1, 1)), -1)
        strongest = a.max(axis=(1, 2))
        for c in range(a.shape[3]):
            order = np.lexsort((np.arange(40), -strongest[:, c]))[:5]
            assert np.array_equal(top.picture[c], order) and np.array_equal(top.value[c], strongest[order, c])
            assert len(set(top.picture[c])) == 5                        # each picture once
            for n, i, j, v in zip(top.picture[c], top.row[c], top.column[c], top.value[c]):
                assert a[n, i, j, c] == v


def test_a_thousand_pictures_in_one_array(net, tmp_path, rng):
    """Also: fewer readable pictures than a block, and a budget for a few pictures only, change nothing."""
    pictures = rng.integers(0, 256, (1000, 20, 24, 3)).astype(np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"], file["labels"] = pictures, np.arange(1000) % 12
    build(net, tmp_path / "x.h5", tmp_path / "i.h5", ["relu1"], [], keep=9, memory="200KB")
    made = open_index(tmp_path / "i.h5")
    assert made.labels == [str(i) for i in range(12)] and made.label_of(13) == "1" and made.names[7] == "7"
    a = np.concatenate([net(net.preprocessing.normalize(part), layers="relu1")["relu1"].numpy()
                        for part in np.split(pictures, 10)])
    top, strongest = made.top("relu1"), a.max(axis=(1, 2))
    for c in range(6):
        order = np.lexsort((np.arange(1000), -strongest[:, c]))[:9]
        assert np.array_equal(top.picture[c], order) and np.array_equal(top.value[c], strongest[order, c])
        assert all(a[n, i, j, c] == v for v, n, i, j in zip(*(part[c] for part in top)))


def test_several_of_one_picture_if_asked_for_and_fewer_than_wanted(net, photos):
    top = extract(net, photos, [], ["relu1"], keep=60, per_picture=1).top["relu1"]
    assert top.picture.shape == (6, 60) and (top.picture[:, 40:] == -1).all() and (top.value[:, 40:] == 0).all()
    assert (top.picture[:, :40] >= 0).all()
    many = extract(net, photos, [], ["relu1"], keep=60, per_picture=3).top["relu1"]
    assert max(np.bincount(many.picture[0])) == 3 and (many.value >= top.value).all()


def test_the_memory_budget_changes_no_bit(net, photos, made, same, tmp_path):
    build(net, photos, tmp_path / "x.h5", memory="50KB", workers=1, **ASKED)
    same(made, open_index(tmp_path / "x.h5"))


def test_several_processes_change_no_bit(net, photos, made, same, tmp_path, monkeypatch):
    monkeypatch.setattr(making, "PER_BLOCK", 7)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    build(net, photos, tmp_path / "x.h5", backend="processes", workers=2, **ASKED)
    same(made, open_index(tmp_path / "x.h5"))


def test_several_processes_can_be_interrupted(net, photos, made, same, tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(making, "PER_BLOCK", 7)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(KeyboardInterrupt):
        build(net, photos, tmp_path / "x.h5", backend="processes", workers=2, monitor=Interrupt(14), **ASKED)
    assert not [w for w in recwarn if "cancelled" in str(w.message)]
    assert build(net, photos, tmp_path / "x.h5", **ASKED) == 14
    same(made, open_index(tmp_path / "x.h5"))


def test_a_dask_cluster_of_two_workers_changes_no_bit(net, photos, made, same, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="dask: the extra is not installed")
    monkeypatch.setattr(making, "PER_BLOCK", 7)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        build(net, photos, tmp_path / "x.h5", backend="dask", scheduler=cluster.scheduler_address, **ASKED)
    same(made, open_index(tmp_path / "x.h5"))


class Interrupt(SilentMonitor):
    def __init__(self, at):
        super().__init__()
        self.at, self.seen = at, []

    def step(self, done, total, terms=None, picture=None):
        self.seen.append(done)
        if done >= self.at:
            raise KeyboardInterrupt


def test_interrupted_anywhere_it_goes_on_and_computes_nothing_twice(net, photos, made, same, tmp_path, monkeypatch):
    monkeypatch.setattr(making, "PER_BLOCK", 4)
    reached = 0
    for at in (4, 17, 18, 40):
        monitor = Interrupt(at)
        with pytest.raises(KeyboardInterrupt):
            build(net, photos, tmp_path / "x.h5", monitor=monitor, **ASKED)
        assert monitor.seen[0] == reached and not (tmp_path / "x.h5").exists()
        reached = monitor.seen[-1]
    with pytest.raises(MinivisError, match=r"of another run \(keep differ\)"):
        build(net, photos, tmp_path / "x.h5", **{**ASKED, "keep": 6})
    assert build(net, photos, tmp_path / "x.h5", **ASKED) == reached
    same(made, open_index(tmp_path / "x.h5"))


SLOWLY = """
import sys, time
from minivis.checkpoints.minivis_hdf5 import read
from minivis.indexing import build, making
from minivis.monitor import SilentMonitor
making.PER_BLOCK = 2
def slow(self, done, *rest):
    print(done, flush=True)
    time.sleep(0.02)
SilentMonitor.step = slow
build(read(sys.argv[1]), sys.argv[2], sys.argv[3], ["relu1", "conv2", "gap"], ["relu2", "gap"], keep=5,
      pixels=8, every=0)
"""


@pytest.mark.parametrize("moment", [0, 0.011])
def test_killed_at_any_moment_and_run_again_it_is_the_same(net, photos, same, tmp_path, moment):
    from minivis.checkpoints.minivis_hdf5 import read, write
    write(net, tmp_path / "net.h5")
    stored = read(tmp_path / "net.h5")
    call = [sys.executable, "-c", SLOWLY, str(tmp_path / "net.h5"), str(photos), str(tmp_path / "x.h5")]
    run = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    while int(run.stdout.readline()) < 20:
        pass
    time.sleep(moment)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert not (tmp_path / "x.h5").exists()
    assert build(stored, photos, tmp_path / "x.h5", **ASKED) >= 18
    build(stored, photos, tmp_path / "y.h5", **ASKED)
    same(open_index(tmp_path / "x.h5"), open_index(tmp_path / "y.h5"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.h5", "x.h5", "y.h5"]


def test_file_names_that_are_no_utf8(net, tmp_path, capsys):
    """Linux allows any bytes in a name; nothing that is written or printed may stumble over them at the end."""
    from minivis.commands.index import index
    folder = tmp_path / "p"
    folder.mkdir()
    data = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)).save(data, "PNG")
    for name, content in ((b"a\xff.png", data.getvalue()), ("\u00fc.png".encode(), data.getvalue()),
                          (b"b\xfe.png", b"")):
        try:
            with open(os.fsencode(folder) + b"/" + name, "wb") as file:
                file.write(content)
        except OSError:
            pytest.skip("this file system takes only UTF-8 names")
    report = index(net, str(folder), out=str(tmp_path / "x.h5"))
    assert "b\\udcfe.png" in report.text() and report.text().encode()
    made = open_index(tmp_path / "x.h5")
    assert made.names == [os.fsdecode(b"a\xff.png"), "\u00fc.png"] and made.bad[0]["name"] == os.fsdecode(b"b\xfe.png")
    assert made.pictures().load(made.names[0]).shape == (20, 20, 3)


def test_begun_anew_the_old_parts_are_gone(net, photos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build(net, photos, tmp_path / "x.h5", monitor=Interrupt(30), **ASKED)
    assert build(net, photos, tmp_path / "x.h5", fresh=True, **{**ASKED, "keep": 6}) == 0


def test_unusable_input_is_one_clear_error(net, photos, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    for source, more, message in [(tmp_path / "bad", {}, "not one of 1 pictures"), (tmp_path / "no", {}, "not exist"),
                                  (photos, {"layers": ["relu9"]}, "no layer 'relu9'"),
                                  (photos, {"pool": "median"}, "pool 'median'"), (photos, {"keep": 0}, "keep 0"),
                                  (photos, {"backend": "dask"}, "name the scheduler's address"),
                                  (photos, {"scheduler": "x"}, "name that backend")]:
        with pytest.raises(MinivisError, match=message):
            build(net, source, tmp_path / "x.h5", **more)
    assert not (tmp_path / "x.h5").exists()
