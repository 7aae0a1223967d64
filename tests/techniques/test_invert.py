"""An inversion brings a layer's activations back, the deeper the layer the less of the picture with them."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.monitor import SilentMonitor, StateFile, Stop
from minivis.techniques.inversion import best_optimizer, codes, quality, reconstruction
from minivis.techniques.invert import default_layers, invert

FAST = {"layers": ["conv1", "relu1"], "optimizer": "lbfgs", "parameterization": "pixels", "tv": 0.0, "steps": 60,
        "good": 0.0}


@pytest.fixture
def smooth():
    y, x = np.mgrid[0:12, 0:10] / 10
    return np.rint(255 * np.stack([y / 2 + x / 3, 0.8 - y / 2, 0.3 + x / 2], -1).clip(0, 1)).astype(np.uint8)


def test_a_layer_that_keeps_everything_gives_the_picture_back(conv_net, smooth):
    r = invert(conv_net(), smooth, **FAST)
    first, last = r.numbers["layers"]
    assert first["psnr"] > 40 and first["error"] < 0.02 and last["error"] < 0.1
    assert first["psnr"] > last["psnr"]                 # the ReLU has forgotten what was below zero
    assert r.pictures.shape == (2, 12, 10, 3) and np.array_equal(r.original, smooth)
    assert r.history["conv1 loss"][-1] < 1e-3 * r.history["conv1 loss"][0]


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "rate": 3000.0, "parameterization": "pixels"},
                                     {"alpha_weight": 1e-12, "rate": 0.05}])
def test_every_way_of_optimising_descends(conv_net, smooth, options):
    r = invert(conv_net(), smooth, layers=["conv1"], steps=25, **options)
    assert r.history["conv1 loss"][-1] < 0.7 * r.history["conv1 loss"][0]


def test_a_layer_is_left_when_it_is_good_and_the_optimiser_suits_its_depth(conv_net, smooth):
    r = invert(conv_net(), smooth, **{**FAST, "good": 0.1})
    loss = r.history["conv1 loss"][:, 0]
    assert 0 < len(loss) < 60 and loss[-1] <= 0.01 < loss[-2] and len(r.pictures) == 2
    net = conv_net()
    assert best_optimizer(net, "relu1", (100, 100), "pixels") == "lbfgs"
    assert best_optimizer(net, "relu1", (5, 100), "pixels") == "adam"
    assert best_optimizer(net, "relu1", (100, 100), "deep") == "adam"


def test_at_the_end_the_loss_is_that_of_the_8_bits_that_are_kept(conv_net, smooth):
    fast = {"layers": ["conv1"], "steps": 20, "tv": 0.0, "good": 0.0, "optimizer": "adam", "rate": 0.05}
    r = invert(conv_net(), smooth, rounded=0.25, **fast)
    plain = invert(conv_net(), smooth, rounded=0.0, **fast)
    loss, before = r.history["conv1 loss"][:, 0], plain.history["conv1 loss"][:, 0]
    assert np.array_equal(loss[:15], before[:15]) and not np.array_equal(loss[15:], before[15:])
    assert np.isclose(loss[15:].min(), r.numbers["layers"][0]["error"] ** 2, rtol=1e-9)
    with pytest.raises(MinivisError, match="rounded 2"):
        invert(conv_net(), smooth, rounded=2)


def test_the_penalties_are_the_formula(conv_net, smooth):
    net = conv_net()
    code = codes(net, smooth, ["conv1"])["conv1"]
    run, p = reconstruction(net, "conv1", code, (12, 10), steps=1, tv=0.5, alpha=4.0, alpha_weight=1e-6,
                            parameterization="pixels", optimizer="adam", rate=0.1, noise=10.0)
    z = p.from_picture(smooth[::-1])
    point = run.evaluate(z, 0)
    got = codes(net, p.levels(z)[0].round().astype(np.uint8), ["conv1"])["conv1"]
    tv = (np.diff(z, axis=1) ** 2).sum() + (np.diff(z, axis=2) ** 2).sum()
    assert np.isclose(point.terms["tv"][0], 0.5 * tv / 360)
    assert np.isclose(point.terms["alpha"][0], 1e-6 * (z ** 4).sum() / 360)
    assert np.isclose(point.terms["match"][0], ((got - code) ** 2).sum() / (code ** 2).sum())
    assert np.isclose(point.loss[0], sum(t[0] for t in point.terms.values()))


def test_quality_is_of_the_rounded_picture(conv_net, smooth):
    net = conv_net()
    code = codes(net, smooth, ["relu1"])["relu1"]
    assert quality(net, "relu1", code, smooth, smooth) == {"error": 0.0, "psnr": float("inf")}
    other = smooth.copy()
    other[0, 0, 0] ^= 16
    q = quality(net, "relu1", code, smooth, other)
    assert q["error"] > 0 and np.isclose(q["psnr"], 10 * np.log10(255 ** 2 * 360 / 256))


@pytest.mark.parametrize("preset", ["mahendran", "johnson"])
def test_the_settings_of_papers_find_the_picture_of_a_layer_that_keeps_it(conv_net, smooth, preset):
    r = invert(conv_net(), smooth, layers=["conv1"], preset=preset, tv=1e-6)
    loss = r.history["conv1 loss"][:, 0]
    most, error = {"mahendran": (0.2, 0.4), "johnson": (1e-3, 0.05)}[preset]     # the former's norm takes colours away
    assert loss[-1] < most * loss[0] and r.numbers["layers"][0]["error"] < error
    assert r.recipe["options"]["preset"] == preset and len(loss) == {"mahendran": 400, "johnson": 500}[preset]


def test_repeats_begin_at_noise_of_their_own(conv_net, smooth):
    r = invert(conv_net(), smooth, **{**FAST, "steps": 5}, repeats=3)
    assert r.pictures.shape == (6, 12, 10, 3) and r.history["conv1 loss"].shape == (5, 3)
    assert [row["layer"] for row in r.numbers["layers"]] == ["conv1"] * 3 + ["relu1"] * 3
    assert not np.array_equal(r.pictures[0], r.pictures[1]) and r.sheet().shape[2] == 3
    with pytest.raises(MinivisError, match="repeats 0"):
        invert(conv_net(), smooth, repeats=0)


def test_the_input_itself_gives_the_picture_back_exactly(conv_net, smooth):
    r = invert(conv_net(), smooth, **{**FAST, "layers": ["input"]})
    assert np.abs(r.pictures[0].astype(int) - smooth).max() <= 1


class Ends(SilentMonitor):
    def __init__(self, at, with_what, file=None):
        super().__init__(file)
        self.at, self.with_what = at, with_what

    def step(self, done, total, terms=None, picture=None):
        assert total == 20 and picture().shape == (12, 10, 3)
        if done == self.at:
            raise self.with_what


@pytest.mark.parametrize("at", [3, 10, 11, 17])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_interrupted_and_resumed_the_bits_are_the_same(conv_net, smooth, tmp_path, at, optimizer):
    net = conv_net(precision="float32")
    options = {**FAST, "steps": 10, "optimizer": optimizer}
    whole = invert(net, smooth, **options)
    with pytest.raises(KeyboardInterrupt):
        invert(net, smooth, monitor=Ends(at, KeyboardInterrupt, StateFile(tmp_path / "s.h5", {}, every=0, share=1e9)),
               **options)
    again = invert(net, smooth, monitor=SilentMonitor(StateFile(tmp_path / "s.h5", {})), **options)
    for name, array in whole.arrays().items():
        assert np.array_equal(array, again.arrays()[name]), name


def test_a_stopped_inversion_gives_the_layers_so_far(conv_net, smooth):
    r = invert(conv_net(), smooth, monitor=Ends(4, Stop), **{**FAST, "steps": 10})
    assert len(r.pictures) == 1 and "stopped" in r.notes[0]


def test_default_layers_go_from_first_to_last(conv_net, smooth):
    assert default_layers(conv_net()) == ["relu1", "relu2"]
    with pytest.raises(MinivisError, match="are zero"):
        invert(conv_net(bias=-50.0), smooth, layers=["relu1"], steps=1)
