"""The child process that reads strangers' files: hangs, crashes and bombs are error lines, and it serves on."""
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from minivis.checkpoints import convert as convert_module
from minivis.checkpoints import isolate, open_network, registry, trust
from minivis.checkpoints.convert import check, convert, file_hashes
from minivis.checkpoints.isolate import Reader
from minivis.errors import MinivisError, WeightFileError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder of this test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MINIVIS_WEIGHTS", str(folder))
    return folder


OPTIONS = {"family": None, "head": True, "about": {}}
posix = pytest.mark.skipif(os.name == "nt", reason="named pipes, signals and limits are POSIX")


@posix
def test_hang_is_bounded_and_the_child_replaced(sample, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)                     # opening it waits for a writer that never comes
    with Reader(patience=0.5) as reader:
        with pytest.raises(WeightFileError, match=r"no progress for 0.5 s"):
            reader.convert(pipe, None, OPTIONS)
        reader.patience = 20
        assert reader.convert(sample("torch_mixed.onnx"), None, OPTIONS)["layers"] == 23
        assert reader.started == 2


@posix
def test_crash_is_one_line_and_the_child_replaced(sample, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Reader(patience=20) as reader:
        reader.convert(sample("torch_mixed.onnx"), None, OPTIONS)
        threading.Timer(0.2, os.kill, (reader.child.pid, signal.SIGSEGV)).start()
        with pytest.raises(WeightFileError, match="ended with signal 11"):
            reader.convert(pipe, None, OPTIONS)
        assert reader.convert(sample("torch_mixed.onnx"), None, OPTIONS)["layers"] == 23
        assert reader.started == 2


@posix
def test_memory_is_limited_before_the_file_is_opened(sample, tmp_path, monkeypatch):
    if sys.platform == "darwin":
        pytest.skip("macOS does not limit address space")
    with Reader(patience=20) as reader:
        monkeypatch.setattr(isolate, "SPARE_BYTES", 1 << 20)
        with pytest.raises(WeightFileError):
            reader.convert(sample("keras_vgg16.h5"), None, OPTIONS)
        monkeypatch.undo()
        assert reader.convert(sample("keras_vgg16.h5"), None, OPTIONS)["architecture"] == "vgg16"


@posix
def test_cpu_time_is_limited(tmp_path):
    with Reader(patience=20) as reader:
        reader._start()
        reader.child.stdin.write('{"source": "x", "target": null, "options": {}, "seconds": 7, "bytes": 4000000000}\n')
        reader.child.stdin.flush()
        assert "refused" in reader._next("x", 20)
        told = Path(f"/proc/{reader.child.pid}/limits")
        limits = told.read_text() if told.exists() else None
    if limits is None:
        pytest.skip("/proc tells the limits of a process on Linux only")
    rows = {line[:25].strip(): line[26:].split() for line in limits.splitlines()}
    assert 7 <= int(rows["Max cpu time"][0]) <= 60
    assert rows["Max address space"][0] == rows["Max file size"][0] == "4000000000"
    assert rows["Max core file size"][0] == "0"


def test_many_files_need_one_child(sample, reader):
    before = reader.started
    for _ in range(3):
        check(sample("torch_mixed.onnx"), reader=reader)
    assert reader.started == max(before, 1)


def test_progress_reaches_the_parent(sample, tmp_path, reader):
    seen = []
    convert(sample("torch_vgg16.pth"), tmp_path / "out.h5", reader=reader, progress=lambda *at: seen.append(at))
    assert seen[-1] == (134638 * 4, 134638 * 4)


def test_nothing_is_left_behind_when_a_file_is_refused(tmp_path, reader):
    (tmp_path / "x.pth").write_bytes(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")
    with pytest.raises(WeightFileError, match=r"x\.pth"):
        convert(tmp_path / "x.pth", tmp_path / "out.h5", reader=reader)
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


def test_strangers_are_never_read_in_this_process(sample, tmp_path, reader, monkeypatch):
    monkeypatch.setattr(convert_module, "convert_here", lambda *a: pytest.fail("read in this process"))
    assert convert(sample("torch_vgg16.pth"), tmp_path / "out.h5", reader=reader)["architecture"] == "vgg16"


def test_published_files_are_trusted_by_their_full_hash(sample, tmp_path, monkeypatch):
    path = sample("torch_vgg16.pth")
    assert not trust.is_published(path)
    hashes = file_hashes(path)
    entry = registry.Entry("test", "vgg16", True, "torchvision", "", (), "", "", "", sha256=hashes["sha256"])
    monkeypatch.setattr(registry, "entries", lambda path=None: {"test": entry})
    assert trust.is_published(path)
    prefix = registry.Entry("test", "vgg16", True, "torchvision", "", (), "", "", "",
                            sha256_prefix=hashes["sha256"][:8])
    monkeypatch.setattr(registry, "entries", lambda path=None: {"test": prefix})
    assert not trust.is_published(path), "eight digits of a hash are no proof"


def test_any_form_opens_as_a_network_and_is_converted_once(sample, monkeypatch, cache):
    path, children = sample("torch_vgg16.pth"), []
    start = Reader._start
    monkeypatch.setattr(Reader, "_start", lambda self: (children.append(1), start(self)))
    for _ in range(2):
        assert open_network(path).logits_layer == "fc8"
    assert len(children) == 1 and len(list((cache / "converted").glob("*.h5"))) == 1


def test_a_strangers_file_of_minivis_is_checked_once_and_again_after_a_change(sample, tmp_path, monkeypatch, cache):
    path, children = tmp_path / "net.h5", []
    convert(sample("torch_mixed.onnx"), tmp_path / "ours.h5")
    start = Reader._start
    monkeypatch.setattr(Reader, "_start", lambda self: (children.append(1), start(self)))
    open_network(tmp_path / "ours.h5")
    assert len(children) == 0, "we have just written it"
    path.write_bytes((tmp_path / "ours.h5").read_bytes())
    for _ in range(2):
        open_network(path)
    assert len(children) == 1
    os.utime(path, (1, 1))
    open_network(path)
    assert len(children) == 2


@posix
def test_the_cache_need_not_be_writable(sample, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MINIVIS_WEIGHTS", str(tmp_path / "file" / "cache"))
    convert(sample("torch_mixed.onnx"), tmp_path / "out.h5")
    assert open_network(tmp_path / "out.h5").logits_layer == "head"
    with pytest.raises(WeightFileError, match=r"no place to convert it to.*MINIVIS_WEIGHTS"):
        open_network(sample("torch_mixed.onnx"))


@pytest.mark.parametrize("content, says", [
    (b"", "is empty"),
    (b"<!DOCTYPE html><html>", "web page"),
    (b"\x1f\x8b\x08" + bytes(20), "gzip"),
    (b"\x93NUMPY" + bytes(20), "single NumPy array"),
    (b"MATLAB 7.3 MAT-file" + bytes(500), "save it with -v7"),
    (bytes(257) + b"ustar" + bytes(300), "tar archive"),
    (b"just some text", "none of the forms"),
    (b"PK\x03\x04" + bytes(30), "damaged zip"),
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
])
def test_other_files_are_named_for_what_they_are(tmp_path, reader, content, says):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(WeightFileError, match=says) as error:
        check(path, reader=reader)
    assert "weights.h5" in str(error.value) and "\n" not in str(error.value)


def test_missing_files_folders_and_impossible_targets(sample, tmp_path, reader):
    with pytest.raises(WeightFileError, match="does not exist"):
        check(tmp_path / "nothing.h5", reader=reader)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(WeightFileError, match="SavedModel"):
        check(tmp_path / "saved", reader=reader)
    path = sample("keras_vgg16.h5")
    with pytest.raises(MinivisError, match="the file to be converted itself"):
        convert(path, path, reader=reader)
    with pytest.raises(MinivisError, match="there is no folder"):
        convert(path, tmp_path / "no" / "out.h5", reader=reader)
    with pytest.raises(MinivisError, match="preprocessing 'odd' is not one of"):
        convert(path, tmp_path / "out.h5", reader=reader, family="odd")


def test_without_the_head_any_size_is_taken_and_nan_in_it_does_not_matter(sample, tmp_path, reader, write_safetensors):
    from minivis.checkpoints import minivis_hdf5
    from minivis.checkpoints.torch_pickle import read_torch
    state = {name: np.array(array) for name, array in read_torch(sample("torch_vgg16.pth"))[0].items()}
    for name in state:
        if name.startswith("classifier"):
            state[name][...] = np.nan               # as in torchvision's port of amdegroot's VGG
    path = write_safetensors(tmp_path / "nan", state)
    with pytest.raises(WeightFileError, match=r"fc6: its weight holds \d+ values that are not finite.*--no-head"):
        convert(path, tmp_path / "out.h5", reader=reader)
    convert(path, tmp_path / "out.h5", reader=reader, head=False, family="amdegroot")
    net = minivis_hdf5.read(tmp_path / "out.h5")
    assert net.table.names[-1] == "pool5" and net.logits_layer is None
    assert net(np.zeros((1, 70, 50, 3), np.float32))["pool5"].shape == (1, 2, 1, 32)
    assert net.preprocessing.std == (1 / 255,) * 3


@pytest.mark.parametrize("family, x_of_white", [
    ("caffe", [255 - 103.939, 255 - 116.779, 255 - 123.68]),
    ("torchvision", [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
    ("minus1to1", [1, 1, 1]), ("0to1", [1, 1, 1]), ("0to255", [255, 255, 255]),
])
def test_preprocessing_is_stored_and_applied(sample, tmp_path, reader, family, x_of_white):
    from minivis.checkpoints import minivis_hdf5
    convert(sample("keras_sequential.h5"), tmp_path / "out.h5", reader=reader, family=family)
    net = minivis_hdf5.read(tmp_path / "out.h5")
    x = net.preprocess(np.full((12, 14, 3), 255, np.uint8))
    np.testing.assert_allclose(x[0, 5, 5], x_of_white, rtol=1e-6)
