"""A run that is stopped loses nothing: the map of what there was until then, which says that it is partial."""
import numpy as np
import pytest

from minivis import techniques
from minivis.monitor import SilentMonitor, Stop
from minivis.techniques.sampling import all_along

# technique: (options of a run, what it counts, {the same option, so small that the run ends where it was stopped})
COUNTED = {
    "rise": ({"samples": 30, "cells": 3}, "masks", "samples"),
    "lime": ({"samples": 30, "segments": 5}, "samples", "samples"),
    "kernel_shap": ({"samples": 20, "segments": 6}, "coalitions", "samples"),
    "smoothgrad": ({"samples": 20}, "noisy copies", "samples"),
    "extremal_perturbation": ({"steps": 20, "cell": 2, "smooth": 2.0}, "steps", "steps"),
    "scorecam": ({"layer": "conv1"}, "channels", "channels"),
    "ablation_cam": ({"layer": "conv1"}, "channels", "channels"),
}
SPREAD = {"occlusion": {"size": 3, "stride": 3}, "feature_ablation": {"segments": 8},
          "integrated_gradients": {"steps": 20}}


class StopAfter(SilentMonitor):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def step(self, done, total, terms=None, picture=None):
        if done >= self.count:
            raise Stop


@pytest.fixture
def run(conv_net, picture):
    def run(name, **options):
        return techniques.load(name)(conv_net(bias=0.05), picture, **options)
    return run


@pytest.mark.parametrize("name", COUNTED)
def test_a_stopped_run_equals_one_that_was_asked_for_less(run, name):
    options, what, count = COUNTED[name]
    budget = {} if name == "extremal_perturbation" else {"memory": "1KB"}      # a sample at a time
    stopped, asked = run(name, monitor=StopAfter(4), **budget, **options), run(name, **options | {count: 4})
    assert stopped.values.any() and np.allclose(stopped.values, asked.values, rtol=0, atol=1e-12)
    assert stopped.partial and not asked.partial and stopped.to_dict()["partial"] is True
    assert any(n.startswith("Partial: stopped after 4 of ") and what in n for n in stopped.notes), stopped.notes
    assert "partial" in stopped.heading() and "partial" not in asked.heading()


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("method", ["incremental", "naive"])
def test_what_was_done_lies_all_over_and_the_rest_is_zero(run, name, method):
    options = SPREAD[name] | ({"method": method} if name == "occlusion" else {})
    whole, stopped = run(name, **options), run(name, monitor=StopAfter(4), memory="1KB", **options)
    assert stopped.partial and not whole.partial and stopped.values.any() and np.isfinite(stopped.values).all()
    if name == "occlusion":
        known = ~np.isnan(stopped.scores).any(axis=2)
        assert known.sum() == 4 and np.array_equal(stopped.scores[known], whole.scores[known])
        assert known.any(axis=0).sum() > 1 and known.any(axis=1).sum() > 1
        assert np.isfinite(run(name, monitor=StopAfter(4), memory="1KB", aggregate="none", **options).values).all()
    if name == "feature_ablation":
        same = stopped.values == whole.values
        assert (stopped.values[~same] == 0).all() and len(np.unique(stopped.values[same])) == 4
    assert stopped.picture().ndim == 3


def test_counter_evidence_stopped_early_tells_what_it_found(run):
    stopped = run("counter_evidence", size=4, stride=4, fill="white", monitor=StopAfter(1))
    assert stopped.partial and any("Step 1" in note for note in stopped.notes)
    assert any("Partial: stopped after 1 of 3 windows" in note for note in stopped.notes)


def test_integrated_gradients_stopped_early_are_those_of_the_whole_path(run):
    options = {"steps": 90, "method": "midpoint"}
    whole = run("integrated_gradients", **options).values
    part = run("integrated_gradients", memory="1KB", monitor=StopAfter(30), **options)
    assert part.partial and 0 < np.abs(part.values - whole).max() < 0.05 * np.abs(whole).max()
    end = run("integrated_gradients", memory="1KB", monitor=StopAfter(90), **options)
    assert np.array_equal(end.values, whole) and not end.partial


def test_expected_gradients_stopped_early_are_those_of_fewer_draws(run, picture, tmp_path):
    from minivis.image import save
    save(picture[::-1], tmp_path / "other.png")
    options = {"baselines": str(tmp_path), "samples": 12}
    stopped = run("expected_gradients", memory="1KB", monitor=StopAfter(5), **options)
    asked = run("expected_gradients", **options | {"samples": 5})
    assert stopped.partial and stopped.values.any() and np.array_equal(stopped.values, asked.values)


def test_every_beginning_of_the_order_lies_all_along():
    for count in (1, 2, 7):
        order = all_along(count * 8)
        assert sorted(order) == list(range(count * 8)) and np.ptp(order[:4]) >= count * 4
