"""Attacks give what Foolbox gives, and 20 steps of optimisation what PyTorch's optimisers give, in float64 (numbers of
tools/golden_synthesis.py)."""
import numpy as np
import pytest

from minivis import golden, ops
from minivis.lbfgs import LBFGS
from minivis.objectives import channel
from minivis.optimize import Adam, Descent, Point, Run
from minivis.parameterize import Fourier, Pixels
from minivis.priors.regularizers import power_norm
from minivis.techniques.carlini_wagner import search
from minivis.techniques.deepfool import walk
from minivis.techniques.dream import Dreamer
from minivis.techniques.pgd import steps_within
from minivis.techniques.synthesis import ascent
from minivis.techniques.victim import Victim
from minivis.tensor import Tensor, gradient
from minivis.transforms import Views


class Case:
    def __init__(self, name):
        self.about, self.wanted = golden.load(f"synthesis/{name}")
        about, arrays = golden.load(name)
        self.net = golden.network(about)
        self.picture = self.net.see(arrays["picture"]).picture
        self.size = self.picture.shape[:2]
        draw, (H, W) = np.random.RandomState(3), self.size
        self.pixels = draw.standard_normal((1, H, W, 3)) * 20
        self.fourier = draw.standard_normal((1, H, W // 2 + 1, 3, 2)) * 0.05
        self.goal = channel(self.net, f"{self.about['layer']}:{self.about['channel']}")


@pytest.fixture(params=["fire", "vgg"], scope="module")
def case(request):
    return Case(request.param)


def near(got, wanted, tolerance, origin=0.0):
    """Within the tolerance of the largest value, where the wanted differs from where it began."""
    assert np.abs(wanted - origin).max() > 1e-3 * np.abs(wanted).max()
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("name, sign, epsilon, rate, norm, steps", [
    ("fgsm", 1, 4, 4, "linf", 1), ("fgsm_l2", 1, 0.3 * 255, 0.3 * 255, "l2", 1),
    ("bim", 1, 4, 0.8, "linf", 10), ("bim_l2", 1, 0.3 * 255, 0.06 * 255, "l2", 10),
    ("pgd_linf", 1, 8, 1, "linf", 20), ("pgd_linf_targeted", -1, 8, 1, "linf", 20),
    ("pgd_l2", 1, 0.3 * 255, 0.05 * 255, "l2", 20)])
def test_gradient_attacks_are_foolboxs(case, name, sign, epsilon, rate, norm, steps):
    victim = Victim(case.net)
    u0 = victim.of(case.picture)
    held = case.about["first"] if sign > 0 else case.about["other"]
    run = steps_within(victim, u0, u0, held, sign, epsilon / 255, rate / 255, norm, steps)
    list(run)
    near(run.z, case.wanted[name], 1e-9, u0)


def test_deepfool_is_foolboxs(case):
    victim = Victim(case.net)
    u0 = victim.of(case.picture)
    assert victim.look(u0)[0].argmax() == case.about["first"]
    near(walk(victim, u0, 20, 3, 0.02)[0] - u0, case.wanted["deepfool"] - u0, 1e-6)


@pytest.mark.parametrize("name, sign, rate, constant, early", [("cw", 1, 0.01, 2.0 ** -4, False),
                                                               ("cw_targeted", -1, 0.02, 2.0 ** -2, True)])
def test_carlini_and_wagners_attack_is_foolboxs(case, name, sign, rate, constant, early):
    victim = Victim(case.net)
    u0 = victim.of(case.picture)
    held = case.about["first"] if sign > 0 else case.about["other"]
    u, _ = search(victim, u0, held, sign, 4, 20, rate, 0.0, constant, early)
    if not case.wanted[name].any():                 # Foolbox gives zeros where it finds nothing
        assert u is None
    else:
        near(u - u0, case.wanted[name] - u0, 1e-6)


def check_run(case, name, evaluate, z, optimiser):
    first = evaluate(z, 0)
    near(first.gradient, case.wanted[f"{name}_first"], 1e-9)
    assert np.isclose(first.loss.sum(), float(case.wanted[f"{name}_loss"]), rtol=1e-9)
    run = Run(evaluate, z, optimiser, 20)
    list(run)
    near(run.z, case.wanted[name], 1e-6, z)


def test_momentum_on_pixels_with_an_l2_penalty_is_pytorchs(case):
    evaluate = ascent(case.net, case.goal, Pixels(case.net, case.size), Views(), 0,
                      [("l2", 1e-6, lambda levels, values: power_norm(levels))])
    check_run(case, "sgd", evaluate, case.pixels, Descent(50.0, momentum=0.9))


def test_adam_on_fourier_coefficients_is_pytorchs(case):
    evaluate = ascent(case.net, case.goal, Fourier(case.net, case.size), Views(), 0)
    check_run(case, "adam", evaluate, case.fourier, Adam(0.05))


def test_lbfgs_on_an_inversion_is_pytorchs(case):
    net, p, layer = case.net, Pixels(case.net, case.size), case.about["layer"]
    wanted = net(p.units.of(Tensor(case.pixels * 2)), layers=[layer])[layer].data

    def evaluate(z, i):
        t = Tensor(z, needs_grad=True)
        d = net(p.units.of(t), layers=[layer])[layer] - wanted
        loss = ops.sum(ops.square(d), (1, 2, 3)) * (1e6 / (wanted ** 2).sum())
        return Point(loss.data, gradient(loss, t), {})
    check_run(case, "lbfgs", evaluate, case.pixels, LBFGS(0.5, memory=5, search="none"))


def test_twenty_steps_of_deepdream_are_pytorchs(case):
    d = Dreamer(case.net, {case.about["layer"]: 1.0}, None, None, 1, 1.4, 20, 1.5, 0, None, 0)
    run = d._run(case.pixels[0] + d.units.mean, 0, None)
    list(run)
    near(run.z, case.wanted["dream"], 1e-6, case.pixels)
