"""A recorder looks at every n-th step, passes everything on, and its film survives a kill."""
import numpy as np
from PIL import Image

from minivis.monitor import SilentMonitor, StateFile
from minivis.recorder import Recorder


def picture(step, side=8):
    return np.full((side, side, 3), 10 * step, np.uint8)


def run(recorder, first, last, total=10):
    for i in range(first, last + 1):
        recorder.save(lambda i=i: {"done": i})
        recorder.step(i, total, {}, lambda i=i: picture(i))


def test_first_every_nth_and_last_step_are_looked_at(tmp_path):
    recorder = Recorder(SilentMonitor(), tmp_path / "f.webp", tmp_path / "p.png", every=4)
    run(recorder, 1, 7)
    assert (np.asarray(Image.open(tmp_path / "p.png")) == 40).all()
    run(recorder, 8, 10)
    assert [f[0, 0, 0] for f in recorder.frames] == [10, 40, 80, 100]
    assert recorder.finish({"technique": "visualize"})
    with Image.open(tmp_path / "f.webp") as film:
        assert film.n_frames == 4 and film.size == (8, 8)
    assert not Recorder(SilentMonitor()).finish()


def test_a_film_takes_the_last_size(tmp_path):
    recorder = Recorder(SilentMonitor(), tmp_path / "f.gif")
    for i, side in enumerate((4, 8, 16), 1):
        recorder.step(i, 3, {}, picture(i, side))
    recorder.finish()
    with Image.open(tmp_path / "f.gif") as film:
        assert film.n_frames == 3 and film.size == (16, 16)


def test_a_resumed_film_is_that_of_an_uninterrupted_run(tmp_path):
    def recorder():
        states = StateFile(tmp_path / "s.h5", {}, every=0, share=1e9)
        return Recorder(SilentMonitor(states), tmp_path / "f.webp", every=2)
    whole, killed = Recorder(SilentMonitor(), "f.webp", every=2), recorder()
    run(whole, 1, 10)
    run(killed, 1, 6)
    resumed = recorder()
    state = resumed.load()
    assert state == {"done": 6}
    run(resumed, state["done"] + 1, 10)
    assert len(whole.frames) == 6 and all(map(np.array_equal, whole.frames, resumed.frames))


def test_nobody_looks_where_nothing_is_recorded():
    def never():
        raise AssertionError("looked")
    Recorder(SilentMonitor()).step(1, 2, {}, never)
