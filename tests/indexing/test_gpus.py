"""A pass on several GPUs, each a process with the stand-in for CuPy: real processes and pipes, no real GPU."""
import multiprocessing
import os
import sys
import threading
from pathlib import Path

import pytest

from minivis.errors import MinivisError
from minivis.indexing import build, gpus, open_index
from minivis.indexing.job import Job
from minivis.kernels import cpu

STAND_IN = Path(__file__).resolve().parents[2] / "tools" / "cuda_shim" / "on_path"
ASKED = {"layers": ["pool1", "gap"], "features": ["gap"], "keep": 4}


@pytest.fixture
def two(monkeypatch):
    """Two GPUs, here and in the processes that are begun."""
    monkeypatch.setenv("MINIVIS_STAND_IN_GPUS", "2")
    monkeypatch.setattr("minivis.indexing.making.PER_BLOCK", 3)
    kept = {name: sys.modules.get(name) for name in ("cupy", "cupy.fft", "cupy.linalg", "cupyx",
                                                     "minivis.kernels.gpu")}
    monkeypatch.syspath_prepend(str(STAND_IN))
    for name in kept:
        if name.startswith("cupy"):
            sys.modules.pop(name, None)
    import cupy  # noqa: F401  (puts the stand-in in place)
    yield
    for name, module in kept.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture
def plain(monkeypatch):
    """No compiled kernel has to be made, here or in the processes."""
    monkeypatch.setenv("MINIVIS_INTRINSICS", "0")
    monkeypatch.setattr(cpu, "_plain_only", True)


def test_one_process_for_each_gpu_changes_no_bit(net, photos, same, tmp_path, two, plain):
    build(net, photos, tmp_path / "one.h5", **ASKED)
    build(net.to("gpu"), photos, tmp_path / "two.h5", backend="processes", **ASKED)
    same(open_index(tmp_path / "one.h5"), open_index(tmp_path / "two.h5"))


class Job0:
    """A job of numbers: a part names the GPU."""
    net = type("Net", (), {"to": lambda self, device: device})()
    read = staticmethod(len)


@pytest.fixture
def in_threads(monkeypatch):
    """Threads for processes. -> the GPUs they were begun for; a function to put in the place of `run`"""
    class Thread(threading.Thread):
        exitcode = None
        terminate = lambda self: None

    class Context:
        Pipe = staticmethod(multiprocessing.Pipe)

        @staticmethod
        def Process(target, args, daemon):
            pipe, _, number, readers = args
            job = Job0()
            job.run = lambda first, names, loaded: hooks["run"](number, first, loaded)
            hooks["began"].append(number)
            end = type(pipe)(os.dup(pipe.fileno()))         # the caller closes its own
            return Thread(target=target, args=(end, job, number, readers), daemon=daemon)
    hooks = {"began": [], "run": lambda *what: what}
    monkeypatch.setattr(gpus.multiprocessing, "get_context", lambda how: Context)
    return hooks


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 30])
def test_blocks_go_round_and_parts_come_back_in_order(two, in_threads, count):
    blocks = [(i, ["x" * i]) for i in range(count)]
    assert list(gpus.run(Job0(), iter(blocks))) == [(i % 2, i, [i]) for i in range(count)]
    assert in_threads["began"] == [0, 1]


def test_an_error_on_a_gpu_is_raised_here_once_its_turn_comes(two, in_threads):
    in_threads["run"] = lambda number, first, loaded: [first][first // 5]
    parts = gpus.run(Job0(), iter([(i, []) for i in range(20)]))
    assert [next(parts) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(MinivisError, match="index: GPU 1: IndexError: list index out of range"):
        next(parts)


def test_a_process_that_ends_is_said_to_have_ended(net, photos, tmp_path, two, plain, monkeypatch):
    monkeypatch.setattr(Job, "__getstate__", lambda self: {**self.__dict__, "net": None})       # it cannot be unpacked
    with pytest.raises(MinivisError, match=r"the process of GPU 0 ended with exit code 1; the same command goes on"):
        build(net.to("gpu"), photos, tmp_path / "x.h5", backend="processes", workers=1, **ASKED)


def test_more_workers_than_gpus_are_refused(net, photos, tmp_path, two):
    with pytest.raises(MinivisError, match="index: 3 workers, one for each GPU, but there are 2"):
        build(net.to("gpu"), photos, tmp_path / "x.h5", backend="processes", workers=3, **ASKED)


def test_a_job_says_where_its_network_was(net, photos, two):
    import pickle

    from minivis.dataset import open_pictures
    job = Job(net.to("gpu"), open_pictures(photos), ["gap"], [], size=(20, 24))
    back = pickle.loads(pickle.dumps(job))
    assert (job.net.device, back.net.device, back.device) == ("gpu", "cpu", "gpu")
