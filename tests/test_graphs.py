"""Recording a step and replaying it: in which order what is asked of CuPy. The device is stood in for: nothing is
recorded here, so this shows the bookkeeping and not that a GPU replays it.
"""
import contextlib
import sys
import types

import pytest

from minivis.errors import MinivisError
from minivis.graphs import Captured
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
        cuda.MemoryPool = lambda: types.SimpleNamespace(malloc="our malloc")

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
    with pytest.raises(RuntimeError, match="waits"):
        Captured(fails, cupy.asarray([1.0]))
    assert ("own", "end_capture") in log and ("graph", "upload") not in log
