"""Optimisers take the steps of their formulas; a run that is killed and resumed has the bits of one that was not."""
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.lbfgs import LBFGS, Trial, strong_wolfe
from minivis.monitor import read_state, write_state
from minivis.optimize import Adam, Descent, Point, Run, normalized

MAKE = {
    "sgd": lambda: Descent(0.05),
    "momentum": lambda: Descent(0.02, momentum=0.9),
    "normalised": lambda: Descent(0.05, momentum=0.5, normalize="l2"),
    "in stages": lambda: Descent(0.02, momentum=0.9, stages=((5, 1.0), (9, 0.3), (30, 0.1))),
    "progress": lambda: Descent(10.0, policy="progress", progress=0.1),
    "adam": lambda: Adam(0.05),
    "settling adam": lambda: Adam(0.05, settle=20),
    "lbfgs": lambda: LBFGS(),
    "lbfgs without search": lambda: LBFGS(0.1, memory=3, search="none"),
}


def bowl(z, i=0):
    """sum of k z_k^2 / 2 over entries k = 1, 2, ...: a smooth valley with its bottom at 0."""
    k = np.arange(1, z[0].size + 1).reshape(z.shape[1:]).astype(z.dtype)
    loss = (0.5 * k * z * z).reshape(len(z), -1).sum(1).astype(np.float64)
    return Point(loss, k * z, {"first": z[:, 0].astype(float), "led": (loss < 2.0).astype(float)})


def rosenbrock(z, i=0):
    a, b = z[:, 0], z[:, 1]
    g = np.stack([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)], 1)
    return Point((1 - a) ** 2 + 100 * (b - a * a) ** 2, g, {})


def start(dtype=np.float64, shape=(2, 6)):
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_optimiser_descends_and_keeps_the_type(name, dtype):
    run = Run(bowl, start(dtype), MAKE[name](), 60)
    steps = list(run)
    assert run.z.dtype == dtype and [s.done for s in steps] == list(range(1, 61))
    assert (bowl(run.z).loss < 0.6 * steps[0].loss).all()
    assert np.array_equal(run.best_loss, np.stack(run.history["loss"]).min(0))
    assert np.array_equal(bowl(run.best).loss, run.best_loss) and set(run.history) == {"loss", "first", "led"}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("at", [1, 7, 19])
def test_a_resumed_run_has_the_same_bits(name, at, tmp_path):
    def noisy(z, i):                # draws from the step's number alone, as random views do
        p = bowl(z)
        return p._replace(gradient=p.gradient + np.random.default_rng([3, i]).standard_normal(z.shape, np.float32))
    for problem in (bowl, noisy):
        whole = Run(problem, start(np.float32), MAKE[name](), 20)
        list(whole)
        part = Run(problem, start(np.float32), MAKE[name](), 20)
        for _ in range(at):
            part.advance()
        write_state(tmp_path / "s.h5", part.state(), {})
        resumed = Run(problem, start(np.float32), MAKE[name](), 20, start=read_state(tmp_path / "s.h5")[0])
        assert [s.done for s in resumed] == list(range(at + 1, 21))
        assert np.array_equal(resumed.z, whole.z) and np.array_equal(resumed.best, whole.best)
        assert all(np.array_equal(np.stack(resumed.history[k]), np.stack(v)) for k, v in whole.history.items())


PROGRAM = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[2])
from tests.test_optimize import MAKE, bowl, start
from minivis.monitor import StateFile
from minivis.optimize import Run
file = StateFile(sys.argv[1], {}, every=0, share=1e9)
saved = file.load() or {}
runs = {name: Run(bowl, start(np.float32), make(), 40, start=saved.get(name), event="led")
        for name, make in MAKE.items()}
while runs["sgd"].done < 40:
    for run in runs.values():
        run.advance()
    file.save({name: run.state() for name, run in runs.items()}, force=True)
    print(runs["sgd"].done, flush=True)
    time.sleep(0.002)
np.savez(sys.argv[1] + ".npz", **{f"{name} {part}": getattr(run, part) for name, run in runs.items()
                                  for part in ("z", "best", "first", "first_at")})
"""


def test_killed_at_any_moment_and_resumed_every_optimiser_gives_the_same_bits(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "s.h5"), root]
    kills = np.random.default_rng(6).integers(2, 12, 3)
    for lines in kills:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(lines):
            run.stdout.readline()
        time.sleep(0.001 * float(lines))
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
    resumed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(resumed[0]) > kills.sum() - 1 and resumed[-1] == "40"
    with np.load(str(tmp_path / "s.h5") + ".npz") as got:
        for name, make in MAKE.items():
            whole = Run(bowl, start(np.float32), make(), 40, event="led")
            list(whole)
            assert whole.first_at.any() and np.array_equal(got[f"{name} first_at"], whole.first_at), name
            assert np.array_equal(got[f"{name} z"], whole.z) and np.array_equal(got[f"{name} best"], whole.best), name
            assert np.array_equal(got[f"{name} first"], whole.first, equal_nan=True), name


def test_the_array_at_the_first_event_of_each_picture_is_kept():
    run = Run(bowl, start(), Descent(0.02), 40, event="led")
    steps = [np.copy(run.z)] + [step.z for step in run]
    led = np.stack(run.history["led"])
    assert len(set(run.first_at)) > 1                       # the two pictures meet it at different steps
    for n, at in enumerate(run.first_at):
        assert led[at - 1, n] and not led[:at - 1, n].any() and np.array_equal(run.first[n], steps[at - 1][n])
    never = Run(lambda z, i: bowl(z)._replace(terms={"led": np.zeros(len(z))}), start(), Descent(0.02), 3, event="led")
    list(never)
    assert not never.first_at.any() and np.isnan(never.first).all()


def test_the_best_is_forgotten_where_the_measure_changes():
    def evaluate(z, i):
        return Point((z[:, 0] ** 2 + 100 * (i >= 3)), 2 * z, {})
    run = Run(evaluate, np.array([[2.0], [-3.0]]), Descent(0.8), 6, best_from=3)
    steps = [step.z for step in run]
    assert np.array_equal(run.best, steps[4]) and (run.best_loss > 100).all()       # the last one measured


def test_stages_change_the_rate_and_begin_at_rest():
    g = np.array([[1.0, -2.0]])
    run = Run(lambda z, i: Point(np.zeros(1), g, {}), np.zeros((1, 2)),
              Descent(1.0, momentum=0.5, stages=((2, 1.0), (2, 0.1))), 5)
    places = [step.z[0, 0] for step in run]
    assert np.allclose(-np.diff([0, *places]), [1, 1.5, 0.1, 0.15, 0.175])


def test_momentum_and_adam_follow_their_formulas():
    z, g = np.array([[1.0, -2.0]]), np.array([[0.5, -3.0]])

    def slope(z, i=0):
        return Point(np.zeros(1), g, {})
    run = Run(slope, z, Descent(0.1, momentum=0.9), 2)
    list(run)
    assert np.allclose(run.z, z - 0.1 * g - 0.1 * 1.9 * g, rtol=1e-15)
    run = Run(slope, z, Adam(0.1), 3)               # a constant gradient: every step is rate * sign
    list(run)
    assert np.allclose(run.z, z - 0.3 * np.sign(g), rtol=1e-7)


@pytest.mark.parametrize("how, size", [("l2", lambda g: np.linalg.norm(g)), ("l1", lambda g: np.abs(g).mean()),
                                       ("rms", lambda g: np.sqrt((g * g).mean()))])
def test_a_normalised_gradient_has_size_one_for_every_picture_and_zero_stays_zero(how, size):
    g = start(shape=(3, 4, 5)) * np.array([1e-3, 1.0, 0.0])[:, None, None]
    n = normalized(g, how)
    assert np.allclose([size(n[0]), size(n[1])], 1) and not n[2].any()


def test_progress_policy_changes_the_loss_by_the_wanted_amount_to_first_order():
    z = start(shape=(1, 6))
    run = Run(bowl, z, Descent(1e9, policy="progress", progress=1e-4), 1)
    list(run)
    assert np.isclose(bowl(z).loss - bowl(run.z).loss, 1e-4, rtol=1e-2)


def test_lbfgs_finds_the_bottom_of_rosenbrocks_valley_as_scipy_does():
    from scipy.optimize import minimize
    z = np.array([[-1.2, 1.0]])
    run = Run(rosenbrock, z, LBFGS(), 60)
    list(run)
    theirs = minimize(lambda v: float(rosenbrock(v[None]).loss[0]), z[0], jac=lambda v: rosenbrock(v[None]).gradient[0],
                      method="L-BFGS-B", options={"maxiter": 60})
    assert np.abs(run.z[0] - theirs.x).max() < 1e-4 and np.abs(run.z - 1).max() < 1e-6
    assert (np.diff(np.stack(run.history["loss"])[:, 0]) <= 0).all()


@pytest.mark.parametrize("memory", [1, 3, 20])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_lbfgs_goes_where_the_two_loops_over_vectors_lead(memory, dtype, tolerance):
    rng = np.random.default_rng(4)
    size = 9000                             # beyond what the CPU's kernel leaves to NumPy
    curvature = rng.uniform(0.5, 20, size).astype(dtype)
    optimizer, z, pairs, last = LBFGS(memory=memory), rng.standard_normal((1, size)).astype(dtype), [], None
    for _ in range(9):
        g = curvature * z
        if last is not None:
            s, y = z - last[0], g - last[1]
            pairs = [*pairs, (s.astype(np.float64), y.astype(np.float64))][-memory:]
        q, shares = g.astype(np.float64), []
        for s, y in reversed(pairs):
            shares.append((s * q).sum() / (s * y).sum())
            q = q - shares[-1] * y
        if pairs:
            s, y = pairs[-1]
            q = q * ((s * y).sum() / (y * y).sum())
        for (s, y), share in zip(pairs, reversed(shares)):
            q = q + (share - (y * q).sum() / (s * y).sum()) * s
        found = optimizer._direction(z, g)
        assert found.dtype == dtype and len(optimizer.pairs) == len(pairs)
        assert np.abs(found + q).max() <= tolerance * np.abs(q).max()
        optimizer.last = last = z, g
        z = z + found * dtype(rng.uniform(0.2, 1.0))


@pytest.mark.parametrize("t", [1e-3, 0.1, 1.0, 30.0])
def test_the_line_search_ends_where_both_wolfe_conditions_hold(t):
    def trial(t):                   # a line with its best point at t = 2 and a ripple
        return Trial(t, (t - 2) ** 2 + 0.2 * np.sin(8 * t), 2 * (t - 2) + 1.6 * np.cos(8 * t), None, None)
    first = trial(0.0)
    assert first.slope < 0
    found = strong_wolfe(trial, first, t)
    assert found.t > 0 and found.loss <= first.loss + 1e-4 * found.t * first.slope
    assert abs(found.slope) <= 0.9 * abs(first.slope)


def test_a_line_that_ends_in_infinity_is_searched_before_it():
    def trial(t):
        return Trial(t, -t if t < 0.7 else np.inf, -1.0 if t < 0.7 else np.nan, None, None)
    found = strong_wolfe(trial, trial(0.0), 1.0)
    assert 0 < found.t < 0.7


def test_at_the_bottom_nothing_moves():
    for name in MAKE:
        run = Run(bowl, np.zeros((1, 3)), MAKE[name](), 3)
        list(run)
        assert not run.z.any(), name


def test_what_cannot_be_is_one_clear_error():
    def broken(z, i):
        return Point(np.zeros(1), z * np.nan, {})
    with pytest.raises(MinivisError, match="step 1: the gradient is not finite"):
        list(Run(broken, np.ones((1, 2)), Adam(), 1))
    for make in (lambda: Descent(-1), lambda: Descent(1, momentum=1), lambda: Descent(1, normalize="l3"),
                 lambda: Adam(0), lambda: LBFGS(memory=0), lambda: Run(bowl, start(), Adam(), -1)):
        with pytest.raises(MinivisError):
            make()
