"""One perturbation for all pictures, within its bound, and its success counted on 8-bit pictures."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.monitor import SilentMonitor, StateFile
from minivis.techniques.universal import universal
from minivis.techniques.victim import Victim


@pytest.fixture
def pictures():
    """Pictures that differ by little, so that a class has neighbours to be pushed to."""
    random = np.random.RandomState(3)
    base = random.randint(60, 190, (12, 10, 3))
    return [np.clip(base + random.randint(-20, 21, base.shape), 0, 255).astype(np.uint8) for _ in range(6)]


def test_most_pictures_are_fooled_by_one_bounded_change(linear_net, pictures):
    net = linear_net("BGR")[0]
    r = universal(net, pictures, epsilon=60.0, rate=6.0)
    d, victim = r.values[0], Victim(net)
    changed = [victim.reads(np.clip(p + d, 0, 255).astype(np.uint8)) != victim.reads(p) for p in pictures]
    assert r.numbers["fooled"] == np.mean(changed) > 0.5 and 0 < r.numbers["linf"] == np.abs(d).max() <= 60
    assert np.array_equal(d, d.round()) and len(r.history["score"]) == 60
    assert r.history["score"][-6:].mean() > r.history["score"][:6].mean()


class KilledAt(SilentMonitor):
    def step(self, done, total, terms=None, picture=None):
        if done == 8:
            raise KeyboardInterrupt


def test_interrupted_and_resumed_the_bits_are_the_same(linear_net, pictures, tmp_path):
    net = linear_net(precision="float32")[0]
    whole = universal(net, pictures, passes=3)
    with pytest.raises(KeyboardInterrupt):
        universal(net, pictures, passes=3, monitor=KilledAt(StateFile(tmp_path / "s.h5", {}, every=0, share=1e9)))
    again = universal(net, pictures, passes=3, monitor=SilentMonitor(StateFile(tmp_path / "s.h5", {})))
    assert whole.values.any() and np.array_equal(whole.values, again.values)
    assert np.array_equal(whole.history["score"], again.history["score"])


def test_what_cannot_be_is_one_clear_error(conv_net, pictures):
    with pytest.raises(MinivisError, match="there must be pictures"):
        universal(conv_net(), [])
    with pytest.raises(MinivisError, match=r"epsilon 0\.5"):
        universal(conv_net(), pictures, epsilon=0.5)
