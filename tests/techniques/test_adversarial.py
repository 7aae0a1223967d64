"""Attacks stay within their distance, fool on the re-read picture, and report what is true of it."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.monitor import SilentMonitor, StateFile
from minivis.techniques import load
from minivis.techniques.pgd import ball, start
from minivis.techniques.victim import Victim

ATTACKS = {"fool": {"target": "dog", "rate": 40.0}, "fgsm": {"epsilon": 30.0}, "bim": {"epsilon": 30.0},
           "pgd": {"epsilon": 30.0}, "deepfool": {"candidates": 3}, "carlini_wagner": {"constant": 1.0}}
TARGETED = ("fool", "fgsm", "bim", "pgd", "carlini_wagner")


@pytest.fixture
def net(linear_net):
    """Three classes, in which a random picture's first choice leads by little: w is small beside the pixels."""
    return linear_net("BGR")[0]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fools_the_network_and_its_report_is_of_the_written_picture(net, picture, name):
    first = Victim(net).reads(picture)
    wanted = (first + 1) % 3
    options = {**ATTACKS[name], **({"target": wanted} if name == "fool" else {})}
    r = load(name)(net, picture, **options)
    assert r.success and r.after[0]["index"] != first == r.before[0]["index"]
    assert Victim(net).reads(r.pictures[0]) == r.after[0]["index"]
    d = r.pictures[0].astype(int) - picture
    assert r.norms["linf"] == np.abs(d).max() > 0 and np.isclose(r.norms["l2"], np.linalg.norm(d.astype(float)))
    assert r.norms["pixels"] == d.any(axis=2).sum() and np.array_equal(r.original, picture)
    if "epsilon" in options:
        assert r.norms["linf"] <= options["epsilon"]


@pytest.mark.parametrize("name", TARGETED)
@pytest.mark.parametrize("away", [1, 2])
def test_a_targeted_attack_reaches_its_target(net, picture, name, away):
    wanted = (Victim(net).reads(picture) + away) % 3
    r = load(name)(net, picture, **{**ATTACKS[name], "target": wanted})
    assert r.success and r.after[0]["index"] == wanted


def test_on_a_linear_net_fgsm_changes_every_value_by_epsilon_against_the_weights(linear_net):
    net, w = linear_net()
    picture = np.full((12, 10, 3), 128, np.uint8)
    r = load("fgsm")(net, picture, epsilon=5.0)
    p = np.exp([row["logit"] for row in sorted(r.before, key=lambda row: row["index"])])
    p /= p.sum()
    first = int(p.argmax())
    slope = w @ p - w[..., first]                   # of the cross-entropy
    assert np.array_equal(r.pictures[0].astype(int) - 128, 5 * np.sign(slope).astype(int))


def test_on_a_linear_net_deepfool_goes_straight_over_the_nearest_boundary(linear_net):
    net, w = linear_net()
    picture = np.full((12, 10, 3), 128, np.uint8)
    r = load("deepfool")(net, picture, overshoot=0.0, candidates=3)
    f = {row["index"]: row["logit"] for row in r.before}
    first = r.before[0]["index"]
    nearest = min((f[first] - f[k]) / np.linalg.norm(w[..., k] - w[..., first]) for k in f if k != first)
    moved = np.linalg.norm(r.values[0] / 255 - picture / 255)
    assert np.isclose(moved, nearest + 1e-4, rtol=1e-6) and r.numbers["steps"] == 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_and_random_starts_stay_in_the_ball(net, picture, norm):
    size = (lambda d: np.abs(d).max()) if norm == "linf" else np.linalg.norm
    d = np.random.default_rng(0).standard_normal((1, 6, 5, 3))
    assert np.isclose(size(ball(d, 0.3, norm)), 0.3) and np.array_equal(ball(0.01 * d, 0.3, norm), 0.01 * d)
    victim = Victim(net)
    u0 = victim.of(picture)
    u = start(victim, u0, 0.1, norm, 0)
    assert 0 < size(u - u0) <= 0.1 + 1e-12 and u.min() >= 0 and u.max() <= 1
    assert np.array_equal(u, start(victim, u0, 0.1, norm, 0)) and not np.array_equal(u, start(victim, u0, 0.1, norm, 1))


def test_a_failed_attack_says_so(net, picture):
    r = load("pgd")(net, picture, epsilon=1e-3, steps=2)
    assert not r.success and "failed" in r.notes[0] and r.norms["linf"] == 0


def test_fooling_from_noise_needs_no_picture(net, picture):
    r = load("fool")(net, picture, 1, start="noise", rate=200.0)
    assert r.success and r.after[0]["index"] == 1 and not np.array_equal(r.original, picture)


class KilledAt(SilentMonitor):
    at = 3

    def step(self, done, total, terms=None, picture=None):
        if done == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name, at, options", [
    ("pgd", 3, {"stop_early": False, "steps": 8}),
    ("fool", 3, {"rate": 4.0}),
    ("carlini_wagner", 3, {"searches": 3, "steps": 4, "stop_early": False}),
    ("carlini_wagner", 6, {"searches": 3, "steps": 4, "constant": 1.0, "stop_early": False}),   # in the second search
    ("deepfool", 2, {"candidates": 3}),
])
def test_an_interrupted_attack_goes_on_with_the_same_bits(net, conv_net, picture, tmp_path, name, at, options):
    if name == "fool":
        options = {**options, "target": (Victim(net).reads(picture) + 1) % 3}
    attack, net = load(name), conv_net(seed=4) if name == "deepfool" else net       # more than one boundary to cross
    whole = attack(net, picture, **options)
    killed = KilledAt(StateFile(tmp_path / "s.h5", {}, every=0, share=1e9))
    killed.at = at
    with pytest.raises(KeyboardInterrupt):
        attack(net, picture, monitor=killed, **options)
    again = attack(net, picture, monitor=SilentMonitor(StateFile(tmp_path / "s.h5", {})), **options)
    assert len(whole.history["score"]) > at
    assert np.array_equal(whole.values, again.values) and np.array_equal(whole.history["score"], again.history["score"])


def test_what_cannot_be_is_one_clear_error(net, picture):
    first = Victim(net).reads(picture)
    with pytest.raises(MinivisError, match="already is"):
        load("pgd")(net, picture, target=first)
    for name, options in (("pgd", {"epsilon": 0}), ("fool", {"target": 1, "steps": 0}), ("deepfool", {"candidates": 1}),
                          ("carlini_wagner", {"rate": 0})):
        with pytest.raises(MinivisError, match=name):
            load(name)(net, picture, **options)
