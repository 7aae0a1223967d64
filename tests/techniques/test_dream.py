"""A dream climbs half the squared activation, keeps the picture's size, and goes on after an interruption."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.monitor import SilentMonitor, StateFile
from minivis.techniques.dream import Dreamer, default_layer, dream, usual_octaves, zoomed
from minivis.tensor import Tensor

SMALL = {"layers": {"relu1": 1.0}, "octaves": 2, "steps": 4, "jitter": 3, "rate": 4.0}


@pytest.fixture
def picture():
    return np.random.RandomState(5).randint(60, 200, (50, 46, 3)).astype(np.uint8)


def dreamer(net, weights, guide=None, memory=None, channels=None):
    return Dreamer(net, weights, channels, guide, 2, 1.4, 1, 1.5, 0, memory, 0)


def test_the_gradient_is_that_of_half_the_squared_activation(conv_net, picture):
    net = conv_net()
    d = dreamer(net, {"conv1": 1.0, "relu1": 0.5})
    z = d.units.levels_from_mean(picture)[None]

    def energy(z):
        values = net(d.units.of(Tensor(z)), layers=["conv1", "relu1"])
        return 0.5 * (values["conv1"].data ** 2).sum() + 0.25 * (values["relu1"].data ** 2).sum()
    score, g = d._gradient(z)
    step = np.random.default_rng(0).standard_normal(z.shape)
    assert np.isclose(score, energy(z)) and g.any()
    assert np.isclose((g * step).sum(), (energy(z + 1e-4 * step) - energy(z - 1e-4 * step)) / 2e-4, rtol=1e-6)


def test_tiles_with_their_halos_give_the_gradient_of_the_whole(conv_net):
    """Every pixel further than a receptive field from a tile's outer border: all, as a tile's halo is wider."""
    net = conv_net()
    picture = np.random.RandomState(1).randint(0, 256, (150, 120, 3)).astype(np.uint8)
    whole = dreamer(net, {"conv1": 1.0})
    tiled = dreamer(net, {"conv1": 1.0}, memory="700kB")
    z = whole.units.levels_from_mean(picture)[None]
    assert tiled._tile_side(150, 120) < 120
    assert np.allclose(whole._gradient(z)[1], tiled._gradient(z)[1], rtol=0, atol=1e-12)


def test_with_a_guide_each_position_follows_the_guides_best_feature(conv_net, picture):
    net = conv_net()
    guide = np.random.RandomState(9).randint(0, 256, (20, 30, 3)).astype(np.uint8)
    d = dreamer(net, {"conv2": 1.0}, guide)
    a = net(Tensor(net.preprocessing.normalize(picture, "float64")[None]), layers=["conv2"])["conv2"].data
    y = net(Tensor(net.preprocessing.normalize(guide, "float64")[None]), layers=["conv2"])["conv2"].data.reshape(-1, 3)
    wanted = y[(a.reshape(-1, 3) @ y.T).argmax(1)].reshape(a.shape)
    assert np.array_equal(d._matches(a, d.guide["conv2"]), wanted)


def test_a_dream_climbs_and_keeps_the_size(conv_net, picture):
    r = dream(conv_net(), picture, **SMALL)
    s = r.history["score"][:, 0]
    assert r.pictures.shape == (1, 50, 46, 3) and len(s) == 8 and s[3] > s[0] and s[7] > s[4]
    assert not np.array_equal(r.pictures[0], picture) and np.array_equal(r.original, picture)
    assert dream(conv_net(), picture, **SMALL, size=70).pictures.shape == (1, 70, 64, 3)
    assert "smaller ones" in dream(conv_net(), picture, **{**SMALL, "octaves": 5}).notes[0]


def test_frames_are_dreams_of_dreams(conv_net, picture):
    r = dream(conv_net(), picture, **SMALL, frames=2, zoom=0.1)
    assert len(r.frames) == 3 and np.array_equal(r.frames[-1], r.pictures[0]) and len(r.history["score"]) == 24
    assert np.array_equal(r.frames[0], dream(conv_net(), picture, **SMALL).pictures[0])
    ramp = np.arange(11.0)[:, None, None] * np.ones((1, 11, 3))
    assert np.allclose(zoomed(ramp, 1.0)[:, 5, 0], 5 + np.arange(-5, 6) / 2)


def test_a_blended_frame_is_partly_the_frame_before(conv_net, picture):
    whole, half = (dream(conv_net(), picture, **SMALL, frames=1, zoom=0.0, blend=b) for b in (1.0, 0.5))
    before = half.frames[0].astype(int)
    assert np.array_equal(half.frames[0], whole.frames[0]) and not np.array_equal(half.frames[1], whole.frames[1])
    assert np.abs(half.frames[1] - (before + whole.frames[1].astype(int)) / 2).max() <= 1
    with pytest.raises(MinivisError, match="blend 0"):
        dream(conv_net(), picture, **SMALL, blend=0.0)


def test_larger_pictures_are_dreamt_in_more_octaves(conv_net):
    net = conv_net()
    assert [usual_octaves(net, size, 1.4) for size in ((50, 46), (300, 400), (3000, 4000))] == [4, 7, 14]


class Killed(Exception):
    pass


class KilledAt(SilentMonitor):
    def __init__(self, at, file):
        super().__init__(file)
        self.at = at

    def step(self, done, total, terms=None, picture=None):
        assert total == 24
        if done == self.at:
            raise Killed


@pytest.mark.parametrize("at", [2, 4, 5, 8, 11, 21])
def test_interrupted_anywhere_and_resumed_the_film_has_the_same_bits(conv_net, picture, tmp_path, at):
    net, options = conv_net(precision="float32"), {**SMALL, "frames": 2}
    whole = dream(net, picture, **options)
    with pytest.raises(Killed):
        dream(net, picture, monitor=KilledAt(at, StateFile(tmp_path / "s.h5", {}, every=0, share=1e9)), **options)
    again = dream(net, picture, monitor=SilentMonitor(StateFile(tmp_path / "s.h5", {})), **options)
    assert all(np.array_equal(a, b) for a, b in zip(whole.frames, again.frames, strict=True))
    assert np.array_equal(whole.history["score"], again.history["score"])


def test_what_cannot_be_dreamt_of_is_one_clear_error(conv_net, linear_net, picture):
    assert default_layer(conv_net()) == "relu2"
    for options, message in (({"layers": {"scores": 1.0}}, "no positions"), ({"octaves": 0}, "octaves 0"),
                             ({"channels": [9]}, "channels 0 to 4, not 9"), ({"layers": {"konv1": 1.0}}, "conv1")):
        with pytest.raises(MinivisError, match=message):
            dream(conv_net(), picture, **{**SMALL, **options})
    with pytest.raises(MinivisError, match="no layer to dream of"):
        dream(linear_net()[0], picture)
