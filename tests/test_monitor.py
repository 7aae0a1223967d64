"""A saved state comes back bit for bit, only for its own recipe, and is written whole or not at all."""

import contextlib
import io
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.monitor import (
    SilentMonitor,
    StateFile,
    Stop,
    TerminalMonitor,
    read_state,
    stops_on_interrupt,
    write_state,
)

RECIPE = {"technique": "dream", "options": {"steps": 5, "layer": "conv1"}, "seed": 0}
STATE = {
    "picture": np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32), "half": np.float16([1.5, np.inf]),
    "empty": np.zeros((0, 4)), "mask": np.array([True, False]), "scalar": np.float32(0.1), "zero_d": np.array(3),
    "moments": {"conv1/weight": np.arange(3), "..": np.arange(2), "50%": np.uint8([7])},
    "history": [{"loss": 0.1 + 0.2, "grad": np.ones(2)}, {"loss": float("inf"), "grad": np.zeros(2)}],
    "random": {"state": 2**127 + 1, "name": "PCG64 \N{SNOWMAN}"}, "step": 7, "stopped": False, "nothing": None,
    "none": {},
}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def test_a_state_comes_back_bit_for_bit(tmp_path):
    write_state(tmp_path / "s.h5", STATE, RECIPE)
    state, recipe = read_state(tmp_path / "s.h5")
    assert same(STATE, state) and recipe == RECIPE
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": np.array(["text"])}, {1: 2}])
def test_what_cannot_be_stored_is_refused_and_the_old_state_stays(tmp_path, bad):
    write_state(tmp_path / "s.h5", STATE, RECIPE)
    with pytest.raises(TypeError, match="saved state"):
        write_state(tmp_path / "s.h5", bad, RECIPE)
    assert same(STATE, read_state(tmp_path / "s.h5")[0])


def test_another_recipe_is_refused_by_name(tmp_path):
    StateFile(tmp_path / "s.h5", RECIPE).save(STATE, force=True)
    assert same(STATE, StateFile(tmp_path / "s.h5", dict(reversed(RECIPE.items()))).load())
    other = {**RECIPE, "options": {"steps": 6, "layer": "conv1"}, "extra": 1}
    with pytest.raises(MinivisError, match=r"extra, options\.steps differ"):
        StateFile(tmp_path / "s.h5", other).load()


def test_no_file_is_no_state_and_a_finished_run_leaves_none(tmp_path):
    file = StateFile(tmp_path / "s.h5", RECIPE)
    assert file.load() is None
    file.save(STATE, force=True)
    file.delete()
    assert list(tmp_path.iterdir()) == [] and file.load() is None


def test_states_are_kept_every_30_seconds_and_less_often_when_saving_is_slow(tmp_path, monkeypatch):
    clock = Clock()
    file = StateFile(tmp_path / "s.h5", RECIPE, clock=clock)
    made = []

    def state():
        made.append(clock.now)
        clock.now += cost
        return {"step": len(made)}

    cost = 0.0
    for clock.now in (1.0, 29.9, 30.0, 45.0, 61.0):
        file.save(state)
    assert made == [30.0, 61.0]
    cost = 10.0                                 # 10 s of saving are 5 % of 200 s
    clock.now = 100.0
    assert file.save(state)
    ended = clock.now
    clock.now = ended + 199
    assert not file.save(state)
    clock.now = ended + 201
    assert file.save(state)


def test_damaged_and_foreign_files_are_one_clear_error(tmp_path):
    path = tmp_path / "s.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(MinivisError, match="damaged"):
        read_state(path)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(MinivisError, match="not a saved state"):
        read_state(path)


def test_links_out_of_the_file_are_not_followed(tmp_path):
    write_state(tmp_path / "secret.h5", {"x": 1}, RECIPE)
    write_state(tmp_path / "s.h5", {}, RECIPE)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["state"]["kx"] = h5py.ExternalLink("secret.h5", "/state/kx")
    with pytest.raises(MinivisError, match="is a link"):
        read_state(tmp_path / "s.h5")


def test_a_run_killed_while_saving_leaves_the_last_whole_state(tmp_path):
    program = ("import sys, numpy as np\nfrom minivis.monitor import write_state\nn = 0\n"
               "while True:\n    n += 1\n    write_state(sys.argv[1], {'n': n, 'a': np.full(200_000, n)}, {})\n"
               "    print(n, flush=True)\n")
    run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "s.h5")], stdout=subprocess.PIPE, text=True,
                           env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    for _ in range(5):
        written = int(run.stdout.readline())
    run.kill()
    run.wait()
    run.stdout.close()
    state, _ = read_state(tmp_path / "s.h5")
    assert state["n"] >= written >= 5 and (state["a"] == state["n"]).all()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_only():
    for stream, shown in [(Terminal(), True), (io.StringIO(), False)]:
        monitor = TerminalMonitor("dream", stream=stream)
        for i in range(3):
            monitor.step(i + 1, 3, {"content": 1.25})
        text = stream.getvalue()
        monitor.close()
        assert ("dream" in text and "3/3" in text and "content=1.25" in text) == shown == bool(text)


def test_silent_monitor_keeps_states_only_when_given_a_file(tmp_path):
    SilentMonitor().save({"x": 1})
    assert SilentMonitor().load() is None
    file = StateFile(tmp_path / "s.h5", RECIPE, every=0, share=1e9)
    monitor = SilentMonitor(file)
    monitor.step(1, 2, {}, None)
    monitor.save({"x": 1})
    assert monitor.load() == {"x": 1}


def test_stop_is_no_error_that_a_broad_except_for_user_errors_would_show():
    assert not issubclass(Stop, ValueError)


def test_the_first_interrupt_stops_at_the_next_step_and_the_second_at_once(tmp_path):
    file = StateFile(tmp_path / "s.h5", RECIPE)
    monitor, said = SilentMonitor(file), io.StringIO()
    with pytest.raises(KeyboardInterrupt), stops_on_interrupt(monitor, said):
        monitor.step(1, 5)
        os.kill(os.getpid(), signal.SIGINT)
        monitor.save(STATE)
        assert same(STATE, file.load()), "the last state is kept, however early it is"
        monitor.step(5, 5)              # nothing is left to do
        with pytest.raises(Stop):
            monitor.step(2, 5)
        assert said.getvalue().count("\n") == 1
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_that_somebody_else_handles_stay_theirs():
    with monkeypatched(signal.SIGINT, lambda *_: None) as theirs, stops_on_interrupt(SilentMonitor()):
        assert signal.getsignal(signal.SIGINT) is theirs


@contextlib.contextmanager
def monkeypatched(number, handler):
    before = signal.signal(number, handler)
    try:
        yield handler
    finally:
        signal.signal(number, before)
