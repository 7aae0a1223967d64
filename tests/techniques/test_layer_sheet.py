"""A layer's sheet raises each picture's own channel, whatever batch it is in, and goes on after a stop."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.monitor import SilentMonitor, StateFile, Stop
from minivis.techniques.layer_sheet import each, layer_sheet
from minivis.tensor import Tensor

FAST = {"size": 24, "steps": 6, "batch": 2}


def test_every_picture_raises_its_own_channel(conv_net):
    net = conv_net()
    r = layer_sheet(net, "conv1", channels=[4, 0, 2], **FAST)
    assert r.channels == [4, 0, 2] and r.pictures.shape == (3, 24, 24, 3) and r.history["score"].shape == (6, 3)
    assert (r.history["score"][-1] > r.history["score"][0]).all()
    values = net(np.concatenate([net.preprocessing.normalize(p, net.dtype)[None] for p in r.pictures]),
                 layers=["conv1"])["conv1"].data.mean((1, 2))
    grey = net(np.full((1, 24, 24, 3), 0.5), layers=["conv1"])["conv1"].data.mean((1, 2))
    assert all(values[n, c] > grey[0, c] for n, c in enumerate(r.channels))
    assert r.sheet().ndim == 3 and r.picture().ndim == 3


def test_objective_of_a_batch_takes_each_ones_channel(conv_net):
    net = conv_net()
    x = Tensor(np.random.default_rng(0).standard_normal((3, 12, 10, 3)))
    a = net(x, layers=["relu1"])["relu1"].data
    got = each(net, "relu1", [4, 1, 1])({"relu1": Tensor(a)}).data
    assert np.allclose(got, [a[0, ..., 4].mean(), a[1, ..., 1].mean(), a[2, ..., 1].mean()])
    got = each(net, "relu1", [4, 1, 1], "centre")({"relu1": Tensor(a)}).data
    assert np.allclose(got, [a[0, 6, 5, 4], a[1, 6, 5, 1], a[2, 6, 5, 1]])


class Ends(SilentMonitor):
    at, what = 9, KeyboardInterrupt

    def step(self, done, total, terms=None, picture=None):
        assert total == 18 and picture().shape == (24, 24, 3)
        if done == self.at:
            raise self.what


def test_interrupted_and_resumed_the_bits_are_the_same(conv_net, tmp_path):
    net = conv_net(precision="float32")
    whole = layer_sheet(net, "conv1", **FAST)
    with pytest.raises(KeyboardInterrupt):
        layer_sheet(net, "conv1", monitor=Ends(StateFile(tmp_path / "s.h5", {}, every=0, share=1e9)), **FAST)
    again = layer_sheet(net, "conv1", monitor=SilentMonitor(StateFile(tmp_path / "s.h5", {})), **FAST)
    assert whole.channels == [0, 1, 2, 3, 4] and whole.values.std() > 1
    assert all(np.array_equal(a, again.arrays()[name]) for name, a in whole.arrays().items() if a is not None)


def test_a_stopped_sheet_shows_the_channels_that_are_done(conv_net):
    monitor = Ends()
    monitor.what = Stop
    r = layer_sheet(conv_net(), "conv1", monitor=monitor, **FAST)
    assert r.channels == [0, 1] and "stopped" in r.notes[0]


def test_a_channel_that_is_not_there_is_one_clear_error(conv_net):
    with pytest.raises(MinivisError, match="channels 0 to 4, not 9"):
        layer_sheet(conv_net(), "conv1", channels=[1, 9])
