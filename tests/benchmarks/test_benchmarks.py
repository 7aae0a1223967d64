"""The benchmarks: honest statistics, answers checked before times, cases that build, tables where they belong."""
import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import check, engines, goals, machine, networks, onnx_file, report, session, stats
from benchmarks.__main__ import main
from benchmarks.cases import CASES, Case, select
from benchmarks.engines import Engine, ours

# ------------------------------------------------------------------------------------------------------- statistics


def test_summary_is_median_and_best():
    got = stats.summary([0.3, 0.1, 0.2, 9.0])
    assert (got["median"], got["best"], got["samples"]) == (0.25, 0.1, [0.3, 0.1, 0.2, 9.0])


def test_ratio_is_ours_over_the_rival_and_none_without_both():
    assert stats.ratio({"median": 1.0}, {"median": 4.0}) == 0.25
    assert stats.ratio({}, {"median": 4.0}) is None
    assert stats.ratio({"median": 1.0}, None) is None


def test_rounds_with_a_slow_calibration_on_either_side_are_dropped():
    around = [(1.0, 1.1, 0), (1.0, 1.3, 0), (1.2, 1.0, 0), (1.1, 1.1, 0.05), (1.0, 1.0, 0)]
    kept, dropped, disturbed = stats.keep_calm({"a": [1, 2, 3, 4, 5]}, around, usual=1.0)
    assert kept == {"a": [1, 4, 5]} and dropped == 2 and not disturbed


def test_rounds_in_which_others_worked_are_dropped_however_fast_the_calibration():
    assert stats.calm([(1.0, 1.0, 0.0), (1.0, 1.0, 0.8)], usual=1.0) == [True, False]


def test_work_is_counted_for_the_machine_and_for_the_process():
    if machine.busy_seconds() is None:
        pytest.skip("this system has no /proc/stat")
    before = machine.busy_seconds(), machine.process_seconds([os.getpid()])
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert machine.busy_seconds() - before[0] > 0.25
    assert 0.25 < machine.process_seconds([os.getpid()]) - before[1] < 0.5


def test_others_are_what_the_machine_did_beyond_our_processes(monkeypatch):
    clock = iter([0.0, 2.0])
    machine_did, we_did = iter([100.0, 103.0]), iter([7.0, 9.0])
    monkeypatch.setattr(machine.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(machine, "busy_seconds", lambda: next(machine_did))
    monkeypatch.setattr(machine, "process_seconds", lambda pids: next(we_did))
    assert machine.Others([1]).cores() == 0.5


def test_a_case_that_was_slow_from_the_start_is_judged_by_the_calibrations_of_the_whole_session():
    s = session.Session(["ours"])
    s.calibrations = [2.0, 2.0, 1.0]
    s.raw = {"early": ({"ours": [5.0, 5.0, 5.0]}, [(2.0, 2.0, 0)] * 3), "late": ({"ours": [3.0]}, [(1.0, 1.0, 0)])}
    records = {name: {"engines": {"ours": {}}} for name in s.raw}
    s._settle(records)
    assert records["early"]["disturbed"] and not records["late"]["disturbed"]


def test_a_disturbed_ratio_meets_no_goal():
    result = example()
    result["cases"]["vgg16/224b1/gradient"]["disturbed"] = True
    assert goals.measured(goals.GOALS[0], result) is None


def test_the_usual_calibration_is_no_lucky_one_and_no_disturbed_one():
    assert stats.normal([0.9, 1.0, 1.0, 1.02, 1.1, 2.0, 1.0, 1.0]) == 1.0
    assert stats.normal([1.0, 3.0, 3.0, 3.0, 3.0, 3.0]) == stats.DISTURBED


def test_too_few_calm_rounds_keep_everything_but_say_so():
    kept, dropped, disturbed = stats.keep_calm({"a": [1, 2, 3, 4]}, [(1, 1, 0), (2, 1, 0), (1, 2, 0), (3, 3, 0)], 1.0)
    assert kept == {"a": [1, 2, 3, 4]} and dropped == 0 and disturbed


# ------------------------------------------------------------------------------------------------------ correctness


def test_check_passes_rounding_and_stops_errors():
    wanted = {"y": np.linspace(-2, 3, 50)}
    assert check.check({"y": wanted["y"] + 1e-6}, wanted, work="forward")["largest"] < 1e-6
    for wrong in (wanted["y"] + 1e-3, wanted["y"][:-1], np.full(50, np.nan)):
        with pytest.raises(check.WrongAnswer):
            check.check({"y": wrong}, wanted, work="forward")
    long_sum = {"y": wanted["y"] + 1e-4}
    assert check.check(long_sum, wanted, work="weight_gradient")["largest"] > check.ELEMENTWISE
    with pytest.raises(check.WrongAnswer):
        check.check(long_sum, wanted, work="forward")
    with pytest.raises(check.WrongAnswer, match="asked for"):
        check.check({"dx": wanted["y"]}, wanted, work="forward")


def test_an_answer_of_zeros_proves_nothing():
    zeros = {"y": np.zeros(3)}
    with pytest.raises(check.WrongAnswer):
        check.check(zeros, zeros, work="forward")


def test_a_gradient_may_flip_a_unit_but_not_be_another():
    g = np.random.default_rng(0).standard_normal(1000)
    flipped = g.copy()
    flipped[3] += 0.5
    assert check.check({"dx": flipped}, {"dx": g}, work="gradient")["norm"] < check.FLIPPED
    with pytest.raises(check.WrongAnswer):
        check.check({"dx": 1.1 * g}, {"dx": g}, work="gradient")


def test_one_small_picture_without_flips_is_enough_and_none_is_not():
    g = {"dx": np.arange(1.0, 5)}
    off = {"dx": g["dx"] * 1.001}
    assert check.check_small(iter([(off, g), (g, g)])) == 0
    with pytest.raises(check.WrongAnswer):
        check.check_small(iter([(off, g)] * 3))


def small_convolution(**changes):
    return Case(**{"name": "tiny", "work": "forward", "shape": (1, 6, 6, 3), "conv": (4, 3, 1, 1, 1), **changes})


def test_a_wrong_engine_is_never_timed(monkeypatch):
    """Two workers of ours; the one whose answers are spoilt on their way is reported and gets no time."""
    monkeypatch.setattr(session, "ENGINES", {"right": Engine("ours"), "spoilt": Engine("ours")})
    monkeypatch.setattr(session, "REFERENCES", {"float64": Engine("ours", settings={"dtype": "float64"})})
    monkeypatch.setattr(session, "TURN_SECONDS", 1e-4)
    with session.Session(["right", "spoilt"], threads=1, rounds=1, measure_memory=False) as s:
        honest = s._answer
        monkeypatch.setattr(s, "_answer", lambda worker: {
            name: value * (1.01 if worker is s.workers["spoilt"] else 1) for name, value in honest(worker).items()})
        result = s.run([small_convolution()])
    engines_ = result["cases"]["tiny"]["engines"]
    assert engines_["right"]["median"] > 0 and engines_["right"]["error"]["largest"] < 1e-5
    assert "wrong" in engines_["spoilt"] and "median" not in engines_["spoilt"]
    assert len(report.troubles(result)) == 1
    assert report.table(json.loads(json.dumps(result))) == report.table(result)


# ------------------------------------------------------------------------------------------------------------ cases


def test_every_case_survives_json_and_its_goals_exist():
    for case in CASES.values():
        assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case
    assert {goal.case for goal in goals.GOALS} <= set(CASES)


def test_select_keeps_order_and_names_what_matches_nothing():
    assert [c.name for c in select(["vgg16/224b1/*"])][:2] == ["vgg16/224b1/forward", "vgg16/224b1/gradient"]
    with pytest.raises(ValueError, match="nonsense"):
        select(["nonsense*"])


def written(case, folder):
    layers, weights = networks.material(case.network, case.head, case.conv, case.shape[3])
    networks.write(folder, layers, weights)
    return layers, weights


@pytest.mark.parametrize("conv", [(4, 3, 1, 1, 1), (6, 5, 2, 2, 1), (8, 1, 1, 0, 2), (3, 3, 1, 1, 3)])
@pytest.mark.parametrize("work, name", [("forward", "y"), ("input_gradient", "dx"), ("weight_gradient", "dw")])
def test_convolution_cases_build_and_answer_with_the_right_shape(tmp_path, conv, work, name):
    C = 6 if conv[4] != 2 else 8
    case = small_convolution(work=work, conv=conv, shape=(2, 9, 8, C))
    _, weights = written(case, tmp_path)
    answer = ours.numpy(ours.WORK[work](case, tmp_path)())
    y_shape = (2, *[(n + 2 * conv[3] - conv[1]) // conv[2] + 1 for n in (9, 8)], conv[0])
    assert {n: a.shape for n, a in answer.items()} == {
        name: {"y": y_shape, "dx": case.shape, "dw": weights["conv/weight"].shape}[name]}
    assert np.abs(answer[name]).max() > 0


@pytest.mark.parametrize("network", ["vgg16-chain", "vgg16", "squeezenet1_0", "alexnet"])
def test_network_cases_build_and_the_gradient_has_the_input_s_shape(tmp_path, network):
    case = Case("small", "gradient", (1, 64, 64, 3), network)
    layers, weights = written(case, tmp_path)
    dx = ours.numpy(ours.WORK["gradient"](case, tmp_path)())["dx"]
    assert dx.shape == case.shape and np.abs(dx).max() > 0
    assert networks.gflop(layers, networks.weight_shapes(weights), case.shape) > 0
    model = onnx_file.model(layers, lambda *key: networks.read_weight(tmp_path, *key), (1, 3, 64, 64))
    assert len(model) > 4 * sum(w.size for w in weights.values())


def test_vgg16_counts_the_published_multiplications():
    layers, weights = networks.material("vgg16-chain")
    assert networks.gflop(layers, networks.weight_shapes(weights), (1, 224, 224, 3)) == pytest.approx(30.69, abs=0.01)


def test_windows_drop_a_last_one_that_would_start_in_the_right_padding():
    layer = {"pad": [0, 1, 0, 1], "stride": [2, 2], "ceil": True}
    assert networks.windows(4, 2, 0, layer) == 2 and networks.windows(5, 2, 0, layer) == 3


def test_inputs_are_the_same_every_time_and_differ_by_seed():
    a, b = small_convolution(), small_convolution(seed=2)
    assert (engines.inputs(a) == engines.inputs(a)).all() and (engines.inputs(a) != engines.inputs(b)).any()


def test_varints_and_floats_of_the_onnx_writer_are_those_of_protocol_buffers():
    assert onnx_file._message((1, 300)) == b"\x08\xac\x02"          # the example of the format's documentation
    assert onnx_file._message((2, "testing")) == b"\x12\x07testing"
    assert onnx_file._message((2, 1.0)) == b"\x15\x00\x00\x80\x3f"


# ----------------------------------------------------------------------------------------------- tables, goals, command


def example(ours_ms=30.0, rival_ms=100.0):
    def times(ms, mb):
        return {"median": ms / 1e3, "best": ms / 1e3, "samples": [], "peak_mb": mb}
    record = {"case": CASES["vgg16/224b1/gradient"].to_json(), "gflop": 61.4, "discarded": 2, "disturbed": False,
              "engines": {"ours": times(ours_ms, 150.0), "torch-cl": times(rival_ms, 300.0), "torch": {"wrong": "off"}}}
    return {"date": "2030-01-02T00:00:00+00:00", "threads": 2, "rounds": 3,
            "machine": {"cpu": "A CPU", "features": ["avx2"], "memory_gb": 8, "system": "Linux", "python": "3.11",
                        "numpy_gemm_gflops": 300.0},
            "engines": {"ours": {"versions": {"minivis": "1"}}, "jax": {"skipped": "jax is not installed"}},
            "cases": {"vgg16/224b1/gradient": record}}


def test_table_has_ratios_speed_memory_and_what_went_wrong():
    text = report.table(example())
    row, = [line for line in text.splitlines() if line.startswith("| vgg16")]
    assert row == "| vgg16/224b1/gradient | 30 | 2047 | 0.30 | 150 | 0.50 |"
    for said in ("A CPU", "2 rounds were discarded", "jax was left out", "torch wrong: off"):
        assert said in text


def test_table_goes_between_the_markers_and_twice_is_once(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{report.START}\nold\n{report.END}\nbelow\n")
    report.write_into(readme, "new\n")
    report.write_into(readme, "new\n")
    assert readme.read_text() == f"above\n{report.START}\nnew\n{report.END}\nbelow\n"
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="README"):
        report.write_into(readme, "new\n")
    assert readme.read_text() == "no markers"


@pytest.mark.parametrize("ms, said", [(33.0, "goal"), (33.1, "least"), (40.1, "MISSED")])
def test_goals_give_their_verdict(ms, said):
    goal = goals.GOALS[0]
    assert goals.verdict(goal, goals.measured(goal, example(ours_ms=ms))) == said


def test_goals_command_fails_unless_all_are_met(tmp_path, capsys):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(example()))
    assert main(["goals", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "not measured" in printed and "0.30  goal" in printed


def test_command_line_errors_are_one_line(capsys):
    assert main(["run", "--cases", "nonsense"]) == 1
    assert main(["run", "--cases", "vgg16/224b1/*", "--engines", "abacus"]) == 1
    assert capsys.readouterr().err.count("\n") == 2


# ------------------------------------------------------------------------------------------------------------- maps

def test_our_maps_are_those_of_the_techniques(tmp_path):
    small = Case("map", "map", (1, 67, 67, 3), "squeezenet1_0", head=True, technique="saliency", layer="fire9")
    ours.start(2)
    got = ours.WORK["map"](small, str(tmp_path))()["map"]
    assert got.shape == (1, 67, 67, 1) and got.any()
    cam = ours.WORK["map"](replace(small, technique="gradcam"), str(tmp_path))()["map"]
    assert cam.min() == 0 and cam.max() == 1


def test_stood_in_packages_can_be_imported_and_those_installed_stay():
    import importlib
    import sys

    from benchmarks.stand_in import stand_in
    stand_in("no_such_package_at_all", "json")
    try:
        assert importlib.import_module("no_such_package_at_all.part").anything(1, key=2) is not None
        assert importlib.import_module("json") is json
    finally:
        sys.meta_path.pop()
        for name in [n for n in sys.modules if n.startswith("no_such_package_at_all")]:
            del sys.modules[name]


@pytest.mark.skipif(os.environ.get("MINIVIS_INTRINSICS") == "0", reason="watches compiled kernels")
def test_shares_of_a_step_add_up_and_the_watch_leaves_nothing_behind():
    from benchmarks import shares
    from minivis.kernels.cpu import threads
    before = threads.run
    found = shares.row("saliency", "squeezenet1_0", *shares.measure("saliency", "squeezenet1_0", None))
    assert threads.run is before
    assert found["seconds"] > 0 and 0.05 < found["convolution"] < 1 and 0 < found["python"] < 1
    assert abs(found["convolution"] + sum(found["kernels"].values()) + found["python"] - 1) < 1e-9
    assert "saliency" in shares.line(found) and any(name.startswith("decisions.") for name in found["kernels"])
