"""Recording a step and replaying it: in which order what is asked of CuPy, and what cannot be recorded. The device is
stood in for (tools/cuda_shim), which records and refuses as CUDA and CuPy do; that a GPU agrees is seen on a GPU alone.
"""
import contextlib
import sys
import types

import numpy as np
import pytest

from minivis import kernels
from minivis.errors import MinivisError
from minivis.graphs import Captured, Replays
from tools.cuda_shim.cupy_on_host import installed


class Stream:
    """Notes what is asked of it. `replay` stands for what was recorded."""

    def __init__(self, log, name, replay=None):
        self.log, self.name, self.replay = log, name, replay

    def __getattr__(self, what):
        if what.startswith("__"):
            raise AttributeError(what)
        return lambda *args: self.log.append((self.name, what)) or f"event of {self.name}"

    def __enter__(self):
        self.log.append((self.name, "enter"))

    def __exit__(self, *_):
        self.log.append((self.name, "exit"))

    def end_capture(self):
        self.log.append((self.name, "end_capture"))
        return types.SimpleNamespace(upload=lambda stream: self.log.append(("graph", "upload")),
                                     launch=lambda stream: self.log.append(("graph", "launch")) or self.replay())


@pytest.fixture
def device():
    """-> (cupy, the log, a dict whose entry "replay" is called when the graph is launched)"""
    with installed():
        log, hooks = [], {"replay": lambda: None}
        cuda = sys.modules["cupy"].cuda
        current = Stream(log, "current")
        cuda.Stream = lambda non_blocking: Stream(log, "own", lambda: hooks["replay"]())
        cuda.get_current_stream = lambda: current
        cuda.MemoryPool = lambda: types.SimpleNamespace(malloc="our malloc", set_limit=lambda size: log.append(size))

        @contextlib.contextmanager
        def using_allocator(malloc):
            log.append(("allocator", malloc))
            yield
            log.append(("allocator", "default"))
        cuda.using_allocator = using_allocator
        yield sys.modules["cupy"], log, hooks


def test_a_step_is_warmed_up_recorded_and_replayed_on_new_numbers(device):
    cupy, log, hooks = device
    calls = []

    def double(x):
        log.append(("function", len(calls)))
        calls.append(x)
        return [x * 2]
    x = cupy.asarray([1.0, 2.0])
    step = Captured(double, x)
    assert log == [("current", "record"), ("own", "wait_event"), ("allocator", "our malloc"), ("own", "enter"),
                   ("function", 0), ("function", 1), ("own", "synchronize"), ("own", "begin_capture"), ("function", 2),
                   ("own", "end_capture"), ("own", "exit"), ("allocator", "default"), ("graph", "upload")]
    assert calls[2] is step.inputs[0] and calls[2] is not x
    log.clear()

    def replay():
        step.outputs[0][...] = step.inputs[0] * 2
    hooks["replay"] = replay
    first, = step(cupy.asarray([5.0, 7.0]))
    assert log == [("current", "record"), ("own", "wait_event"), ("own", "enter"), ("graph", "launch"), ("own", "exit"),
                   ("own", "record"), ("current", "wait_event")]
    second, = step(cupy.asarray([1.0, 1.0]))
    assert first.get().tolist() == [10, 14] and second.get().tolist() == [2, 2]     # the first is not written over
    assert len(calls) == 3


def test_other_shapes_are_refused_and_launch_nothing(device):
    cupy, log, _ = device
    step = Captured(lambda x: [x], cupy.asarray([1.0, 2.0]))
    log.clear()
    with pytest.raises(MinivisError, match=r"recorded for \(2,\) float64 as array 0, and got \(3,\)"):
        step(cupy.asarray([1.0, 2.0, 3.0]))
    assert not log


def test_a_step_that_fails_while_recorded_ends_the_recording(device):
    cupy, log, _ = device

    def fails(x, seen=[]):      # noqa: B006  (the third call is the recorded one)
        seen.append(x)
        if len(seen) == 3:
            raise RuntimeError("waits for the device")
        return [x]
    with pytest.raises(MinivisError, match=r"cannot be recorded as a CUDA graph \(waits"):
        Captured(fails, cupy.asarray([1.0]))
    assert ("own", "end_capture") in log and ("graph", "upload") not in log


def test_the_memory_of_a_graph_is_what_the_limit_leaves(device):
    cupy, log, _ = device
    pool = cupy.get_default_memory_pool()
    pool.set_limit(size=1000)
    pool.used_bytes = lambda: 300
    Captured(lambda x: [x], cupy.asarray([1.0, 2.0]))
    assert log[0] == 700


# ------------------------------------------------------------------- with the stand-in's own streams and graphs


CONSTANT = np.array([3.0, 5.0])


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setenv("MINIVIS_CUDA_GRAPHS", "1")
    with installed():
        yield sys.modules["cupy"]


def test_a_replay_computes_anew_and_skips_what_python_did(cupy):
    ran = []

    def step(x, y):
        ran.append(1)
        total = x * y + kernels.kept(CONSTANT, x)
        total[0] = 7
        return [total, total.sum()]
    recorded = Captured(step, cupy.asarray([1.0, 2.0]), cupy.asarray([1.0, 1.0]))
    total, sum_ = recorded(cupy.asarray([2.0, 4.0]), cupy.asarray([10.0, 20.0]))
    assert total.get().tolist() == [7, 85] and float(sum_) == 92 and len(ran) == 3


@pytest.mark.parametrize("step, says", [
    (lambda x: [x * float(x.sum())], "float waits for the device"),
    (lambda x: [x + kernels.xp(x).asarray(CONSTANT)], "moves an array from the host"),
    (lambda x: [x if bool((x > 0).all()) else -x], "bool waits"),
    (lambda x: [x[x > 0]], "a mask as index waits"),
    (lambda x: [x.reshape(1, 2) @ x.reshape(2, 1)], "cuBLAS API during stream capture"),
    (lambda x: [x + x.get().sum()], "get waits"),
])
def test_a_step_that_cannot_be_recorded_says_why(cupy, step, says):
    with pytest.raises(MinivisError, match=says):
        Captured(step, cupy.asarray([1.0, 2.0]))
    assert not cupy.cuda.get_current_stream().is_capturing()


def test_a_graph_is_made_for_each_shape_and_a_few_are_held(cupy, monkeypatch):
    made = []
    monkeypatch.setattr("minivis.graphs.Captured", lambda function, *a: made.append(a[0].shape) or function)
    replays = Replays()
    for n in (1, 2, 1, 3, 4, 5, 1):
        assert replays(lambda x: [x * 2], cupy.ones(n))[0].shape == (n,)
    assert made == [(1,), (2,), (3,), (4,), (5,), (1,)] and len(replays.captured) == 4


def test_nothing_is_recorded_unless_asked_for_and_never_on_the_cpu(cupy, monkeypatch):
    monkeypatch.setattr("minivis.graphs.Captured", None)
    assert Replays()(lambda x: [x * 2], np.ones(2))[0].tolist() == [2, 2]
    monkeypatch.delenv("MINIVIS_CUDA_GRAPHS")
    assert Replays()(lambda x: [x * 2], cupy.ones(2))[0].get().tolist() == [2, 2]


def test_constants_are_moved_once(cupy, monkeypatch):
    like, moved = cupy.ones(1), []
    monkeypatch.setattr(kernels, "_moved", {})
    there = cupy.asarray
    monkeypatch.setattr(cupy, "asarray", lambda a: moved.append(a) or there(a))
    first, again = kernels.kept(CONSTANT, like), kernels.kept(CONSTANT.copy(), like)
    assert first is again and len(moved) == 1 and kernels.kept(CONSTANT, np.ones(1)) is CONSTANT
    assert kernels.kept(CONSTANT.astype(np.float32), like) is not first and len(moved) == 2
