"""How the check on a GPU is conducted, what it writes down, and what the table makes of it, without a device."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools import gpu_check
from tools.gpu_check import carry, conduct, known, lines
from tools.gpu_check.__main__ import main
from tools.gpu_check.stages import Stage, stages

ROOT = Path(__file__).resolve().parents[2]

# a worker of its own: each case is a word that says how it goes
WORKER = """
import os, sys, time
sys.path.insert(0, {root!r})
from tools.gpu_check.lines import Writer
writer = Writer()
for name in writer.mine(sys.argv[1:]):
    writer(begin=name)
    print("begun", name, flush=True)
    if name.startswith("dies"):
        os.abort()
    if name.startswith("hangs"):
        time.sleep(60)
    if name.startswith("lost"):
        writer(case=name, ok=False, seconds=0, error="an illegal address")
        os._exit(7)
    writer(case=name, ok=not name.startswith("fails"), seconds=0, error="Traceback\\nValueError: " + name)
if "breaks" in sys.argv[0]:
    raise SystemExit("no end")
writer(end=True)
"""


@pytest.fixture
def run(tmp_path):
    """f(cases, ..., what Stage takes) -> the report's entry for a stage with these cases"""
    def conducted(*cases, seconds=60, passed=None, name="worker.py", report=None, **how):
        file = tmp_path / name
        file.write_text(WORKER.format(root=str(ROOT)))
        stage = Stage("some", "", how.pop("limit", 60), how.pop("quiet", 20), (str(file), *cases), **how)
        report = report or conduct.Report(tmp_path / "report.json")
        said = []
        conduct.conduct([stage], report, seconds, passed and {"some": passed}, say=said.append)
        entry = json.loads((tmp_path / "report.json").read_text())["stages"]["some"]
        entry["said"] = said
        return entry
    return conducted


def outcomes(entry):
    return {case["case"]: case["ok"] for case in entry["cases"]}


def test_what_fails_dies_or_loses_the_device_costs_itself_alone(run):
    entry = run("a", "fails", "b", "dies", "c", "lost", "d")
    assert entry["state"] == "finished"
    assert outcomes(entry) == {"a": True, "fails": False, "b": True, "dies": False, "c": True, "lost": False, "d": True}
    dead = next(case for case in entry["cases"] if case["case"] == "dies")
    assert "begun dies" in dead["error"] and "ended with status -6" in dead["error"]
    assert "    fails: ValueError: fails" in entry["said"] and "4 passed    3 failed" in entry["said"][0]


def test_a_case_without_news_is_ended_and_the_next_one_begins(run):
    entry = run("a", "hangs", "b", quiet=3)
    assert outcomes(entry) == {"a": True, "hangs": False, "b": True} and entry["state"] == "finished"
    assert "nothing came of it for 3 seconds" in entry["cases"][1]["error"]


def test_a_stage_ends_at_its_limit_with_what_it_has(run):
    entry = run("a", "hangs", "b", limit=6)
    assert outcomes(entry) == {"a": True} and entry["state"] == "out of time" and entry["seconds"] < 20


def test_a_stage_for_which_no_time_is_left_is_not_begun(run):
    assert run("a", seconds=1)["state"] == "not begun"


def test_shares_do_every_case_once(run):
    cases = [f"case {i}" for i in range(7)]
    entry = run(*cases, shares=3)
    assert sorted(case["case"] for case in entry["cases"]) == cases and entry["state"] == "finished"


def test_what_passed_before_is_left_out(run):
    assert outcomes(run("a", "b", "c", passed=["a", "c"])) == {"b": True}


def test_a_process_that_cannot_begin_is_told_with_what_it_said(run):
    entry = run("a", name="breaks.py")
    assert entry["state"] == "broken" and outcomes(entry) == {"a": True, "some (as a whole)": False}
    assert "no end" in entry["cases"][1]["error"]


def test_the_report_is_whole_at_every_moment(tmp_path, run, monkeypatch):
    seen = []
    report = conduct.Report(tmp_path / "report.json")
    keep = report.keep
    monkeypatch.setattr(conduct, "_KEEP", 0.0)
    monkeypatch.setattr(conduct, "_LOOK", 0.001)        # a process is looked at while it starts, however fast it is
    monkeypatch.setattr(report, "keep", lambda **how: (keep(**how), seen.append(json.loads(report.path.read_text()))))
    run("a", "b", report=report)
    assert len(seen) > 2 and seen[0]["stages"]["some"]["state"] == "running" and not list(tmp_path.glob("*.part"))


def test_without_git_the_commit_is_what_one_is_told(tmp_path, monkeypatch):
    def no_git(*_, **__):
        raise FileNotFoundError("git")
    monkeypatch.setattr(conduct.subprocess, "run", no_git)
    assert conduct.Report(tmp_path / "r.json").data["commit"] is None
    assert conduct.Report(tmp_path / "r.json", "abc").data["commit"] == "abc"


def test_pytest_s_tests_are_cases(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', [1, 2])\ndef test_n(n):\n    assert n == 1, 'n is two'\n"
        "def test_skipped():\n    pytest.skip('not here')\ndef test_done():\n    assert 0\n")
    (tmp_path / "done").write_text("test_it.py::test_done\n")
    environment = {**os.environ, "MINIVIS_CHECK_LINES": str(tmp_path / "lines"), "PYTHONPATH": str(ROOT),
                   "MINIVIS_CHECK_DONE": str(tmp_path / "done")}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "tools.gpu_check.pytest_lines", "-p",
                    "no:cacheprovider", "--rootdir", str(tmp_path), "test_it.py"], cwd=tmp_path, env=environment,
                   check=False, capture_output=True)
    told = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    cases = {line["case"]: line for line in told if "case" in line}
    assert [line["begin"] for line in told if "begin" in line] == list(cases) and told[-1] == {"end": True}
    assert {name.partition("::")[2]: case["ok"] for name, case in cases.items()} == {
        "test_n[1]": True, "test_n[2]": False, "test_skipped": True}
    assert "n is two" in conduct.last_line(cases["test_it.py::test_n[2]"]["error"])
    assert "not here" in cases["test_it.py::test_skipped"]["skipped"]


def test_a_worker_runs_the_cases_of_its_module(tmp_path, monkeypatch):
    from tools.gpu_check import whole, worker

    def off():
        raise whole.Off("too far", {"errors": {"output": 1.0}})
    monkeypatch.setattr(whole, "cases", lambda small: [("fine", lambda: {"ms": 3}), ("off", off), ("small", lambda: {
        "small": small})])
    monkeypatch.setenv("MINIVIS_CHECK_LINES", str(tmp_path / "lines"))
    monkeypatch.setenv("MINIVIS_CHECK_SMALL", "1")
    assert worker.main("whole") == 0
    told = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    fine, wrong, small = (line for line in told if "case" in line)
    assert fine["ok"] and fine["ms"] == 3 and small["small"] is True
    assert not wrong["ok"] and wrong["errors"] == {"output": 1.0} and "too far" in wrong["error"]


def test_half_a_line_is_read_when_the_rest_has_come(tmp_path):
    share = conduct._Share.__new__(conduct._Share)
    share.lines, share.done, share.read, share.running = tmp_path / "lines", tmp_path / "done", 0, None
    share.lines.write_text('{"begin": "a"}\n{"case": "a", "o')
    assert share._new_cases() == [] and share.running == "a"
    with share.lines.open("a") as file:
        file.write('k": true}\n')
    assert share._new_cases() == [{"case": "a", "ok": True}] and share.done.read_text() == "a\n"


def test_the_exercise_launches_every_kernel_there_is():
    import tomllib

    from minivis.kernels import gpu
    from tools.cuda_shim import cupy_on_host
    from tools.gpu_check import exercise
    launched = {}

    class Nothing(cupy_on_host.ShimOnDevice):
        """Looks at every launch and computes nothing."""

        def empty(self, shape, dtype, like):
            return cupy_on_host.ndarray(np.zeros(shape, dtype))

        def run(self, source, kernel, *_):
            launched.setdefault(source, set()).add(kernel)
    with cupy_on_host.installed(kernels="shim"), gpu.launch.through(Nothing()):
        exercise.main()
    budget = tomllib.loads((ROOT / "kernels" / "gpu" / "budget.toml").read_text())
    assert {name: set(kernels) for name, kernels in budget.items()} == launched


# -------------------------------------------------------------------------------------------------------- what is known


def test_every_kernel_has_a_body_that_runs_on_every_set():
    without = sorted(name for name, tests in gpu_check.callers().items() if not tests)
    assert not without, f"no test of {gpu_check.KERNEL_TESTS} calls {without}"


def test_a_kernel_is_as_good_as_the_worst_of_its_tests():
    cases = [("t.py::test_gram[gpu-shape0]", True, None), ("t.py::test_gram[gpu-1]", True, "no"),
             ("t.py::test_lrn[gpu]", False, None), ("t.py::test_lrn[gpu-2]", True, None),
             ("t.py::test_linear[gpu]", True, "no")]
    data = {"device": {}, "stages": {"kernels": {"cases": [
        {"case": name, "ok": ok} | ({"skipped": why} if why else {}) for name, ok, why in cases]}}}
    conduct._draw_conclusions(data)
    states = data["kernels"]
    assert (states["gram"], states["lrn_backward"], states["linear_forward"]) == ("passed", "failed", "not tested")


def test_the_table_says_never_until_a_report_says_otherwise(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"form": "something else"}))
    empty = gpu_check.table(tmp_path).splitlines()
    assert len(empty) == 2 + len(gpu_check.kernel_names())
    assert all(row.endswith("| never run on a device |") for row in empty[2:])
    report = {"form": gpu_check.FORM, "date": "2030-01-02T03:04:05", "device": {"name": "NVIDIA H200"},
              "kernels": {"gram": "passed", "lrn_forward": "not tested"}}
    (tmp_path / "a.json").write_text(json.dumps(report))
    rows = gpu_check.table(tmp_path).splitlines()
    assert sum("never run" in row for row in rows) == len(empty) - 3
    assert "| `gram` | kernels/gpu/linear.py | passed on NVIDIA H200, 2030-01-02 |" in rows


def test_without_a_gpu_it_is_one_line_and_exit_1(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("gpu_check: device gpu: the GPU needs CuPy")


def test_the_stages_are_listed_and_an_unknown_one_is_refused(capsys):
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [stage.name for stage in stages()]
    assert main(["--stages", "first,gone"]) == 2 and "no stage 'gone'" in capsys.readouterr().err


def test_every_stage_has_cases_or_tests_that_exist():
    for stage in stages():
        if "pytest" in stage.command:
            assert all((ROOT / part).exists() for part in stage.command if part.startswith("tests"))
        else:
            module = __import__(f"tools.gpu_check.{stage.command[2]}", fromlist=["cases"])
            assert stage.name == "torch" or module.cases(True), stage.name


@pytest.mark.parametrize("name", ["conv2d_forward", "chain_forward", "batch_norm_backward"])
def test_the_kernels_of_the_contract_are_listed(name):
    assert name in known.kernel_names() and "conv_output_size" not in known.kernel_names()


# ----------------------------------------------------------------------------------------------------------- to carry


def test_wheels_are_laid_out_in_portions_and_large_ones_cut(tmp_path):
    sizes = {"a.whl": 50, "b.whl": 30, "c.whl": 130, "d.whl": 60}
    for i, (name, size) in enumerate(sizes.items()):
        (tmp_path / name).write_bytes(bytes([i]) * size)
    portions = carry.lay_out([tmp_path / name for name in sizes], tmp_path / "out", 100)
    assert all(sum(size for _, size in files) <= 100 for files in portions)
    found = {}
    for path in sorted((tmp_path / "out").glob("*/*")):
        found.setdefault(path.name.partition(".piece")[0], []).append(path)
    for name, size in sizes.items():
        pieces = sorted(found[name], key=lambda path: path.name)
        assert b"".join(path.read_bytes() for path in pieces) == (tmp_path / name).read_bytes() and size
    assert len(found["c.whl"]) == 2 and len(found["a.whl"]) == 1


def test_what_is_lacking_is_named_as_pip_wants_it(monkeypatch):
    there = {"numpy": "1.26.4", "scipy": "1.11", "cupy-cuda13x": "14.2.0"}

    def version(name):
        if name not in there:
            raise carry.PackageNotFoundError(name)
        return there[name]
    monkeypatch.setattr(carry, "version", version)
    found = carry.lacking()
    assert "numpy>=2.0 (here 1.26.4)" in found and "h5py>=3.10" in found
    assert not any(text.startswith(("scipy", "cupy", "pooch")) for text in found)
    del there["cupy-cuda13x"]
    assert carry.lacking()[-1] == "cupy-cuda13x[ctk]>=14"


def test_the_plan_names_options_that_exist(capsys):
    assert main(["--plan"]) == 0
    text = capsys.readouterr().out
    for option in ("--missing", "--wheels", "--seconds", "--after", "--out", "--stages", "--small", "--table"):
        assert option in text and option in (ROOT / "tools/gpu_check/__main__.py").read_text() + "--missing --table"


def test_lines_say_which_cases_are_whose(tmp_path):
    (tmp_path / "done").write_text("b\n")
    environment = {"MINIVIS_CHECK_LINES": str(tmp_path / "x"), "MINIVIS_CHECK_DONE": str(tmp_path / "done")}
    shares = [lines.Writer({**environment, "MINIVIS_CHECK_SHARE": f"{i}/2"}).mine(["a", "b", "c", "d"]) for i in (0, 1)]
    assert shares == [["a", "c"], ["d"]]
