"""Losses, gradients and whole runs of the techniques that make pictures are PyTorch's in float64 (numbers of
tools/golden_steps.py)."""
import numpy as np
import pytest

from minivis import golden, ops
from minivis.generator import untrained_generator
from minivis.golden import making
from minivis.layers import Layer
from minivis.optimize import Adam, Descent, Run
from minivis.parameterize import Pixels
from minivis.priors import regularizers as prior
from minivis.priors.deep import DeepPrior, GeneratorPrior
from minivis.techniques import load
from minivis.techniques.adversarial_patch import Stickers
from minivis.techniques.dream import Dreamer
from minivis.techniques.inversion import reconstruction
from minivis.techniques.layer_sheet import each
from minivis.techniques.synthesis import ascent, objective_of
from minivis.tensor import Tensor
from minivis.transforms import Views


class Case:
    def __init__(self, name):
        self.about, self.wanted = golden.load(f"synthesis/steps_{name}")
        about, arrays = golden.load(name)
        self.net = golden.network(about)
        self.size = self.net.see(arrays["picture"]).picture.shape[:2]
        self.layer, self.channel = self.about["layer"], self.about["channel"]
        self.unit = f"{self.layer}:{self.channel}"
        self.z = making.pixels(self.size, 1)

    def step(self, name, found):
        """A Point against the stored loss and gradient."""
        assert np.allclose(found.loss, self.wanted[f"{name}_loss"], rtol=1e-9, atol=0), name
        self.near(found.gradient, f"{name}_gradient", 1e-9)

    def near(self, got, name, tolerance):
        got, wanted = making.thin(got), self.wanted[name]
        assert got.shape == wanted.shape and np.abs(wanted).max() > 0 and wanted.std() > 0
        assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max(), name

    def codes(self):
        t = Tensor(making.pixels(self.size, 1, making.EXTRA))
        return self.net(Pixels(self.net, self.size).units.of(t), layers=[self.layer])[self.layer].data


@pytest.fixture(params=["fire", "vgg"], scope="module")
def case(request):
    return Case(request.param)


def squared(levels, values):
    return prior.power_norm(levels)


def smooth(levels, values):
    return ops.total_variation(levels)


@pytest.mark.parametrize("name, what, score, positions", [
    ("class", ["1"], "logit", "all"), ("prob", ["1"], "prob", "all"), ("centre", ["UNIT"], "logit", "centre"),
    ("direction", ["2*LAYER:0", "-0.5*LAYER:1", "0"], "logit", "all"), ("layer", ["LAYER"], "logit", "all")])
def test_a_step_of_every_goal(case, name, what, score, positions):
    what = [w.replace("UNIT", f"LAYER:{case.about['awake']}").replace("LAYER", case.layer) for w in what]
    goal = objective_of(case.net, what, score, positions)
    rivals = -objective_of(case.net, ["1"], "logprob")
    penalties = [("rivals", 0.9, lambda levels, values: rivals(values))] if name == "class" else []
    evaluate = ascent(case.net, goal, Pixels(case.net, case.size, 2), Views(), 0, penalties)
    case.step(name, evaluate(making.pixels(case.size, 2), 0))


def test_a_step_under_a_random_view_with_penalties(case):
    v = making.VIEW
    views = Views(v["margin"], v["jitter"], v["scale"], v["angle"])
    p = Pixels(case.net, [n + 2 * v["margin"] for n in case.size])
    evaluate = ascent(case.net, objective_of(case.net, [case.unit]), p, views, 5,
                      [("tv", 1e-6, smooth), ("l2", 2e-7, squared)])
    case.step("views", evaluate(making.pixels([n + 2 * v["margin"] for n in case.size], 1), 3))


def test_a_step_with_diversity_and_one_of_a_sheet(case):
    p, z = Pixels(case.net, case.size, 2), making.pixels(case.size, 2)
    alike = [("alike", 0.7, lambda levels, values: prior.diversity(values[case.layer]))]
    case.step("diversity", ascent(case.net, objective_of(case.net, [case.unit]), p, Views(), 0, alike)(z, 0))
    case.step("sheet", ascent(case.net, each(case.net, case.layer, [1, 0]), p, Views(), 0)(z, 0))


def test_twenty_steps_with_yosinskis_operations(case):
    evaluate = ascent(case.net, objective_of(case.net, [case.unit]), Pixels(case.net, case.size), Views(), 0)
    after = [prior.Decay(0.02), prior.Blur(0.6, 4), prior.ClipSmallValues(3.0), prior.ClipSmallContributions(3.0),
             lambda z, point, i: Pixels(case.net, case.size).clip(z)]
    run = Run(evaluate, case.z, Descent(30000.0), making.STEPS, after=prior.in_turn(after))
    list(run)
    case.near(run.z, "yosinski", 1e-6)


def test_twenty_normalised_steps_with_circular_jitter(case):
    p = Pixels(case.net, case.size)
    evaluate = ascent(case.net, objective_of(case.net, ["1"]), p, Views(jitter=4, wrap=True), 0,
                      [("l2", 3e-7, squared)])
    run = Run(evaluate, case.z, Descent(60.0, momentum=0.5, normalize="l2"), making.STEPS,
              after=lambda z, point, i: p.clip(z))
    list(run)
    case.near(run.z, "cs231n", 1e-6)


def test_inversion_by_a_step_and_by_mahendran_and_vedaldis_twenty(case):
    def run(**options):
        options = {"alpha": 6.0, "parameterization": "pixels", "steps": making.STEPS, "tv": 1e-3,
                   "alpha_weight": 1e-13, "optimizer": "sgd", **options}
        return reconstruction(case.net, case.layer, case.codes(), case.size, **options)[0]
    case.step("invert", run().evaluate(case.z, 0))
    case.step("invert_beta", run(tv_power=1.5).evaluate(case.z, 0))
    whole = run(alpha_weight=8e-10 / (2 * 64.0 ** 2), staged=True).run
    whole.z = case.z
    list(whole)
    case.near(whole.z, "mahendran", 1e-6)


def test_dreams_of_channels_of_layers_and_of_a_guide(case):
    guide = making.pixels(case.size, 1, making.EXTRA)

    def found(weights, channels=None, guided=False):
        d = Dreamer(case.net, weights, channels, None, 1, 1.4, 20, 1.5, 0, None, 0)
        if guided:
            values = case.net(d.units.of(Tensor(guide)), layers=[case.layer])[case.layer].data
            d.guide = {case.layer: values.reshape(-1, values.shape[-1])}
        score, g = d._gradient(case.z)
        return ascent_point(score, g)
    case.step("dream_channels", found({case.layer: 1.0}, [0, 2]))
    case.step("dream_layers", found({case.layer: 1.0, case.about["other"]: 0.3}))
    case.step("dream_guided", found({case.layer: 1.0}, guided=True))


def ascent_point(score, g):
    from minivis.optimize import Point
    return Point(np.array([-score]), -g, {})


def test_a_whole_dream_of_two_octaves(case):
    r = load("dream")(case.net, making.pictures((40, 46), 1)[0], layers={case.layer: 1.0}, octaves=2, octave_scale=1.2,
                      steps=10, jitter=3)
    case.near(np.clip(r.values, 0, 255), "dream", 1e-6)


def test_the_deep_prior_by_a_step_and_by_twenty_of_adam(case):
    p = DeepPrior(case.net, case.size, channels=making.DEEP["channels"])
    noise, z = making.deep_start(case.size)
    assert p.start().shape == z.shape
    p.noise = [noise]
    check_prior(case, "deep", p, z, Adam(0.005))


def test_the_generator_prior_by_a_step_and_by_twenty_of_adam_within_bounds(case):
    w, C = making.generator_weights(), making.CODE
    layers = [Layer("input", "input", shape=[None, None, C]), Layer("code", "scale", per_channel=True),
              Layer("code_relu", "relu"), Layer("conv0", "conv", filters=6, kernel=[3, 3], pad=1),
              Layer("conv0_relu", "leaky_relu", slope=0.2), Layer("larger1", "upsample", factor=2),
              Layer("conv1", "conv", filters=5, kernel=[3, 3], pad=1),
              Layer("conv1_relu", "leaky_relu", slope=0.2), Layer("out", "conv", filters=3, kernel=[3, 3], pad=1),
              Layer("out_tanh", "tanh"), Layer("picture", "scale", factor=127.5, offset=127.5)]
    generator = untrained_generator(layers, w["code/shift"], w["code/scale"]).with_precision("float64").with_weights(w)
    p = GeneratorPrior(case.net, case.size, generator, bound=1.5)
    z = np.random.RandomState(17).standard_normal(p.shape) * 0.8
    after = prior.in_turn([prior.Decay(0.01), lambda z, point, i: p.clip(z)])
    check_prior(case, "generator", p, z, Adam(0.1), after)


def check_prior(case, name, p, z, optimiser, after=None):
    evaluate = ascent(case.net, objective_of(case.net, [case.unit]), p, Views(), 0)
    case.step(name, evaluate(z, 0))
    run = Run(evaluate, z, optimiser, making.STEPS, after=after)
    list(run)
    case.near(run.z, name, 1e-6)


def test_fooling_a_universal_perturbation_a_patch_and_the_linear_explanation(case):
    net, several = case.net, making.pictures(case.size, 3)
    reads = [int(net(net.preprocess(p))[net.logits_layer].data[0].argmax()) for p in several]
    target = (reads[0] + 1) % net.channels(net.logits_layer)
    case.near(load("fool")(net, several[0], target, rate=40.0).values / 255, "fool", 1e-6)
    case.near(load("universal")(net, several, passes=20, monitor=StopsAt(20)).values, "universal", 1e-9)
    options = {"target": target, "share": making.PATCH["share"], "rate": 0.05}
    side = Stickers(case.size, making.PATCH["share"], "circle", 0, 0).sides[0]
    starts = Watches(making.patch_start(side))
    load("adversarial_patch")(net, several, steps=20, monitor=starts, **options)
    case.near(starts.last["z"], "patch", 1e-6)
    case.near(starts.first["optimiser"]["mean"] / 0.1, "patch_first", 1e-9)
    r = load("linear_explanation")(net, several[0], epsilons=[-4.0, 0.0, 4.0])
    case.near(r.gradient, "linear_gradient", 1e-9)
    case.near(r.logits, "linear_logits", 1e-9)


class StopsAt:
    """A monitor that ends a run after so many steps."""

    def __init__(self, at):
        self.at = at

    def step(self, done, total, terms=None, picture=None):
        from minivis.monitor import Stop
        if done == self.at:
            raise Stop

    def save(self, state):
        pass

    def load(self):
        return None


class Watches(StopsAt):
    """A monitor whose run begins at z, and which remembers the first and the last state it was offered."""

    def __init__(self, z):
        super().__init__(0)
        self.z, self.first = z, None

    def load(self):
        return {"done": 0, "z": self.z, "best": self.z, "best_loss": np.full(1, np.inf), "history": {},
                "optimiser": {}}

    def save(self, state):
        self.last = state()
        self.first = self.first or self.last
