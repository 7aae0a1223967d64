"""What the check on a GPU writes down, and what the table makes of it. Nothing here runs on a device."""
import json

import pytest

from tools import gpu_check

XML = """<testsuites><testsuite>
<testcase classname="t" name="test_gram[gpu-shape0]"/>
<testcase classname="t" name="test_gram[gpu-shape1]"><skipped message="no"/></testcase>
<testcase classname="t" name="test_lrn[gpu]"><failure message="off"/></testcase>
<testcase classname="t" name="test_lrn[gpu-2]"/>
<testcase classname="t" name="test_linear[gpu]"><skipped message="no"/></testcase>
</testsuite></testsuites>"""


def test_every_kernel_has_a_body_that_runs_on_every_set():
    without = sorted(name for name, tests in gpu_check.callers().items() if not tests)
    assert not without, f"no test of {gpu_check.KERNEL_TESTS} calls {without}"


def test_a_kernel_is_as_good_as_the_worst_of_its_tests(tmp_path):
    (tmp_path / "out.xml").write_text(XML)
    tests, outcomes = gpu_check.read_outcomes(tmp_path / "out.xml", 1)
    assert (tests["passed"], tests["failed"], tests["skipped"]) == (2, 1, 2)
    assert tests["names of failed"] == ["t::test_lrn[gpu]"]
    states = gpu_check.states(outcomes)
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
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    assert gpu_check.main([]) == 1
    assert capsys.readouterr().err.startswith("gpu_check: device gpu: the GPU needs CuPy")


@pytest.mark.parametrize("name", ["conv2d_forward", "chain_forward", "batch_norm_backward"])
def test_the_kernels_of_the_contract_are_listed(name):
    assert name in gpu_check.kernel_names() and "conv_output_size" not in gpu_check.kernel_names()
