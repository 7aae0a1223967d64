"""Ascent raises what it is asked to raise; the presets run; a stopped or resumed run is what it should be."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.monitor import SilentMonitor, StateFile, Stop
from minivis.techniques.presets import PRESETS
from minivis.techniques.synthesis import last_relu, objective_of, redirected, the_class
from minivis.techniques.visualize import visualize
from minivis.tensor import Tensor

SMALL = {"steps": 12, "size": 24, "margin": 2, "jitter": 1}


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "generator"])    # test_deep_priors has that
@pytest.mark.parametrize("what", ["dog", "conv1:2"])
def test_every_preset_raises_its_score(conv_net, preset, what):
    net = conv_net()
    net = net.with_weights({"conv1/weight": net.weights["conv1/weight"].data * 255})    # the scale of real networks
    noise = {"noise": 0.1, "rate": 1000.0} if preset.startswith("yosinski") else {}
    r = visualize(net, [what], preset=preset, count=2, **noise, **SMALL)
    score = r.history["score"]
    assert score.shape == (12, 2) and (score[-1] > score[0]).all()
    assert r.pictures.shape == (2, 24, 24, 3) and r.pictures.dtype == np.uint8
    assert np.array_equal(np.rint(np.clip(r.values, 0, 255)), r.pictures)
    assert r.recipe["options"]["steps"] == 12 and r.recipe["options"]["l2"] == PRESETS[preset]["l2"]


def test_on_a_linear_net_the_l2_optimum_is_the_weights(linear_net):
    """argmax w.x - l |x|^2 is w / 2l; in grey levels from the mean colour (black here) x = level / 255."""
    net, w = linear_net("BGR")
    l2 = 1 / 255 ** 2
    r = visualize(net, ["dog"], preset="simonyan", optimizer="lbfgs", rate=1.0, l2=l2, noise=0.0, steps=15)
    best = w[..., 1] / 255 / (2 * l2)
    inside = (best > 0) & (best < 255)
    assert inside.sum() > 100 and np.abs(r.values[0] - np.clip(best, 0, 255)).max() < 1e-3


def test_negative_goes_down_and_weights_make_a_direction(conv_net):
    net = conv_net()
    up, down = (visualize(net, ["conv1:2"], negative=n, **SMALL).history["score"][-1, 0] for n in (False, True))
    assert up > 0 and -down < up - 0.05         # the score of going down is minus the activation
    x = Tensor(np.random.default_rng(0).standard_normal((1, 12, 10, 3)))
    goal = objective_of(net, ["2*conv1:1", "-0.5*conv1:3", "cat"])
    values = net(x, layers=goal.layers)
    a = values["conv1"].data.mean(axis=(1, 2))
    assert np.allclose(goal(values).data, 2 * a[:, 1] - 0.5 * a[:, 3] + values["scores"].data[:, 0])


def test_rivals_keep_the_class_in_front_of_a_stronger_one(linear_net):
    """The bird's weights are the dog's and more: a picture that only climbs the dog is a bird even more."""
    net = linear_net()[0]
    flat = net.weights["scores/weight"].data.copy()
    extra = np.where(np.arange(len(flat)) < 60, 3 * np.abs(flat[:, 2]), 0) * np.sign(flat[:, 1])
    flat[:, 2] = flat[:, 1] + extra
    net = net.with_weights({"scores/weight": flat})
    lead = {}
    for rivals in (0.0, 1.0):
        r = visualize(net, ["dog"], preset="simonyan", rate=100.0, noise=5.0, steps=40, rivals=rivals)
        scores = net(net.preprocess(r.pictures[0]))["scores"].data[0]
        lead[rivals] = scores[1] - scores[2]
        assert ("rivals" in r.history) == bool(rivals)
    assert lead[0.0] < 0 < lead[1.0]
    assert the_class(net, ["2*dog"]) == "dog" and the_class(net, ["dog", "cat"]) is None
    assert the_class(net, ["-1*dog"]) is None and the_class(net, ["scores:1"]) is None


def test_a_silent_unit_wakes_up(conv_net):
    """With all ReLUs off the gradient is zero, and yet the picture moves."""
    net = conv_net(bias=-0.3)
    r = visualize(net, ["dog"], preset="simonyan", noise=1.0, l2=0.0, steps=40, size=24)
    assert r.history["score"][0] == 0 and r.history["score"][-1] > 0


def test_the_last_relu_is_found_below_averages_and_passes_what_would_turn_it_on(conv_net, linear_net):
    net = conv_net()
    assert last_relu(net, ["scores"]) == last_relu(net, ["relu2"]) == "relu2" and last_relu(net, ["pool1"]) == "relu1"
    assert last_relu(net, ["conv2"]) is None and last_relu(linear_net()[0], ["scores"]) is None
    dy, on = np.array([1.0, -1.0, 1.0, -1.0, 0.0]), np.array([True, True, False, False, False])
    assert redirected(dy, on).tolist() == [1, -1, 1, 0, 0]


def test_diversity_makes_pictures_differ_more(conv_net):
    kwargs = {"count": 3, "preset": "simonyan", "noise": 30.0, **SMALL, "steps": 30, "rate": 100.0}
    alike, apart = (visualize(conv_net(), ["conv1:2"], diversity=d, **kwargs).history["alike"] / d for d in (1e-9, 5.0))
    assert np.allclose(alike[0], apart[0]) and (1 - apart[-1] > 2 * (1 - alike[-1])).all()


def test_the_picture_where_the_class_led_first_is_kept(conv_net):
    """From noise it leads after some steps, from a picture of the class itself at once."""
    net = conv_net()
    r = visualize(net, ["cat"], preset="simonyan", noise=10.0, steps=30, size=24)
    led = r.history["leads"][:, 0]
    at = r.numbers["pictures"][0]["first_led"]
    assert 1 < at <= 30 and led[at - 1] and not led[:at - 1].any()
    scores = net(net.preprocessing.normalize(r.first[0], "float64")[None])["scores"].data[0]
    assert scores.argmax() == 0 and f"leading since step {at}" in r.captions[0]
    again = visualize(net, ["cat"], preset="simonyan", start=r.pictures[0], noise=0.0, steps=2, size=24)
    assert again.numbers["pictures"][0]["first_led"] == 1
    assert visualize(net, ["dog", "cat"], **SMALL).first is None


def test_the_spread_over_starts_is_of_the_finished_pictures(conv_net):
    net = conv_net()
    r = visualize(net, ["conv1:2"], preset="simonyan", positions="all", noise=40.0, count=3, **SMALL)
    x = net.preprocessing.normalize(r.pictures, "float64")
    scores = net(Tensor(x), layers=["conv1"])["conv1"].data[..., 2].mean((1, 2))
    assert np.allclose([row["score"] for row in r.numbers["pictures"]], scores)
    s = r.numbers["spread"]
    assert np.allclose([s["mean"], s["deviation"], s["least"], s["most"]],
                       [scores.mean(), scores.std(ddof=1), scores.min(), scores.max()]) and s["deviation"] > 0
    assert "scores of 3 starts" in r.facts()[1] and not visualize(net, ["dog"], **SMALL).facts()[1]


@pytest.mark.parametrize("parameterization", ["pixels", "fourier"])
def test_it_begins_at_a_picture_that_is_given(conv_net, parameterization):
    picture = np.random.RandomState(3).randint(20, 236, (24, 24, 3)).astype(np.uint8)
    r = visualize(conv_net(), ["dog"], parameterization=parameterization, start=picture, noise=0.0, rate=1e-9,
                  steps=1, size=24, margin=2)
    assert np.abs(r.pictures[0].astype(int) - picture).max() <= 1
    with pytest.raises(MinivisError, match="start works with pixels"):
        visualize(conv_net(), ["dog"], preset="deep", start=picture, size=24)


@pytest.mark.parametrize("options, message", [
    ({"momentum": 0.9}, "does nothing with optimizer adam"), ({"policy": "progress"}, "give --optimizer sgd"),
    ({"preset": "simonyan", "falloff": 2.0}, "does nothing with parameterization pixels"), ({"bound": 2.0}, "bound 2"),
    ({"filters": [8, 4]}, "give --parameterization deep"), ({"preset": "simonyan", "settle": True}, "settle True"),
    ({"preset": "simonyan", "blur_every": 2}, "without --blur"), ({"clip_signed": True}, "without --clip-contrib")])
def test_an_option_that_could_do_nothing_is_refused(conv_net, options, message):
    with pytest.raises(MinivisError, match=message):
        visualize(conv_net(), ["dog"], **{**SMALL, **options})


def test_a_steeper_falloff_makes_smoother_pictures(conv_net):
    slopes = []
    for falloff in (0.5, 2.0):
        picture = visualize(conv_net(), ["conv1:2"], falloff=falloff, **SMALL).values[0]
        slopes.append(np.abs(np.diff(picture, axis=0)).mean() / picture.std())
    assert slopes[1] < 0.5 * slopes[0]
    grey, coloured = (visualize(conv_net(), ["conv1:2"], decorrelate=d, **SMALL).values[0] for d in (True, False))
    assert not np.allclose(grey, coloured)


def test_colours_may_leave_the_range_and_a_deep_prior_has_the_filters_it_is_given(conv_net):
    free = visualize(conv_net(), ["conv1:2"], preset="simonyan", clip=False, l2=0.0, **SMALL).values
    assert free.max() > 300 and free.min() < -50
    r = visualize(conv_net(), ["conv1:2"], preset="deep", filters=[6, 5, 4], **SMALL)
    assert r.recipe["options"]["filters"] == [6, 5, 4] and r.history["score"][-1] > r.history["score"][0]
    with pytest.raises(MinivisError, match=r"filters \[6, 0\]"):
        visualize(conv_net(), ["conv1:2"], preset="deep", filters=[6, 0], **SMALL)


def test_a_settled_run_ends_more_calmly(conv_net):
    steps = {}
    for settle in (False, True):
        score = visualize(conv_net(), ["conv1:2"], settle=settle, **{**SMALL, "jitter": 0, "steps": 40},
                          scale=0.0, angle=0.0).history["score"][:, 0]
        steps[settle] = np.abs(np.diff(score))
    assert np.array_equal(steps[True][:20], steps[False][:20])
    assert steps[True][-4:].max() < 0.3 * steps[False][-4:].max()


class StopsAt(SilentMonitor):
    def __init__(self, step):
        super().__init__()
        self.at, self.pictures = step, []

    def step(self, done, total, terms=None, picture=None):
        self.pictures.append(picture())
        if done == self.at:
            raise Stop


def test_stop_gives_the_best_so_far_and_previews_are_pictures(conv_net):
    monitor = StopsAt(5)
    r = visualize(conv_net(), ["dog"], monitor=monitor, **SMALL)
    assert len(r.history["score"]) == 5 and np.array_equal(r.pictures, r.best) and "stopped" in r.notes[0]
    assert monitor.pictures[0].shape == (24, 24, 3) and monitor.pictures[0].dtype == np.uint8


class Killed(Exception):
    pass


class KilledAt(SilentMonitor):
    at = 7

    def step(self, done, total, terms=None, picture=None):
        if done == self.at:
            raise Killed


@pytest.mark.parametrize("options", [{"preset": "lucid"}, {"preset": "yosinski3"},
                                     {"preset": "simonyan", "optimizer": "lbfgs", "rate": 1.0}])
def test_an_interrupted_run_goes_on_with_the_same_bits(conv_net, tmp_path, options):
    options = {**SMALL, **options}
    whole = visualize(conv_net(precision="float32"), ["dog"], **options)
    with pytest.raises(Killed):
        visualize(conv_net(precision="float32"), ["dog"],
                  monitor=KilledAt(StateFile(tmp_path / "s.h5", {}, every=0, share=1e9)), **options)
    again = visualize(conv_net(precision="float32"), ["dog"], monitor=SilentMonitor(StateFile(tmp_path / "s.h5", {})),
                      **options)
    for name, array in whole.arrays().items():
        assert array is None or np.array_equal(array, again.arrays()[name]), name


def test_what_cannot_work_is_one_clear_error(conv_net):
    with pytest.raises(MinivisError, match="work on pixels"):
        visualize(conv_net(), ["dog"], blur=1.0, **SMALL)
    with pytest.raises(MinivisError, match="nothing is asked for"):
        visualize(conv_net(), [], **SMALL)
    with pytest.raises(MinivisError, match="no class is called"):
        visualize(conv_net(), ["horse"], **SMALL)
