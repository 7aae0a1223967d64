"""Every .cu file compiles for the GPUs it is meant for, within its budget; and the check notices what does not."""
import os

import pytest

from minivis.kernels.gpu import source as sources
from tools import check_cuda

LOG = """ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    560 bytes stack frame, 48 bytes spill stores, 52 bytes spill loads
ptxas info    : Used 254 registers, used 1 barriers, 560 bytes cumulative stack size, 256 bytes smem, 368 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 368 bytes cmem[0]
"""
USED = {"first": {"registers": 254, "spill": 100, "shared": 256, "stack": 0},
        "second": {"registers": 8, "spill": 0, "shared": 0, "stack": 0}}


def compiler():
    if os.environ.get("MINIVIS_SKIP_CUDA_CHECK") == "1":
        pytest.skip("MINIVIS_SKIP_CUDA_CHECK=1")
    return check_cuda.find_compiler() or pytest.skip("neither NVRTC nor nvcc is here")


@pytest.mark.parametrize("archs", [check_cuda.QUICK, pytest.param(check_cuda.EVERY, marks=pytest.mark.slow)])
def test_every_file_compiles_within_its_budget(archs):
    compiler()
    said = []
    assert check_cuda.check(archs, say=said.append) == 0, "\n".join(said)
    assert f"{len(sources.names())} files" in said[-1]


def test_what_the_assembler_says_is_read():
    assert check_cuda.read_log(LOG) == USED


def test_arrays_in_local_memory_are_a_fault_without_any_spill():
    found = check_cuda.read_log(LOG.replace("48 bytes spill stores, 52 bytes", "0 bytes spill stores, 0 bytes"))
    assert found["first"] == {"registers": 254, "spill": 0, "shared": 256, "stack": 560}
    budget = {"a.cu": {"first": {"registers": 255, "spill": 0, "shared": 256}, "second": USED["second"]}}
    assert list(check_cuda.complaints("a.cu", found, budget)) == ["a.cu: first takes stack 560, its budget is 0"]


def test_a_kernel_over_without_or_only_in_the_budget_is_a_fault():
    budget = {"a.cu": {"first": {"registers": 255, "spill": 0, "shared": 256}, "third": USED["second"]}}
    assert list(check_cuda.complaints("a.cu", USED, budget)) == [
        "a.cu: first takes spill 100, its budget is 0",
        "a.cu: second has no budget; python -m tools.check_cuda --write-budget",
        "a.cu: the budget names third, which does not exist"]


def test_a_written_budget_covers_every_architecture_and_lowers_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(check_cuda, "BUDGET", tmp_path / "budget.toml")
    more = {"first": {"registers": 30, "spill": 0, "shared": 512}}
    check_cuda.write_budget({"a.cu": [{"first": USED["first"]}, more]})
    assert check_cuda.read_budget() == {"a.cu": {"first": {"registers": 256, "spill": 100, "shared": 512}}}
    check_cuda.write_budget({"a.cu": [more]})
    assert check_cuda.read_budget()["a.cu"]["first"]["spill"] == 100
    check_cuda.write_budget({"b.cu": [more]})
    assert check_cuda.read_budget() == {"b.cu": {"first": {"registers": 32, "spill": 0, "shared": 512}}}


def test_an_unknown_architecture_is_skipped_and_said(monkeypatch):
    class Knows80:
        name = "stand-in"

        def knows(self, arch):
            return arch == "sm_80"

        def log(self, name, arch):
            assert arch == "sm_80"
            raise check_cuda.CompilerError(f"{name} is refused")

    monkeypatch.setattr(check_cuda, "find_compiler", Knows80)
    said = []
    assert check_cuda.check(("sm_80", "sm_990"), say=said.append) == len(sources.names())
    assert "skipped: stand-in does not know sm_990" in said and f"{sources.names()[0]} is refused" in said


def test_no_compiler_is_a_fault(monkeypatch):
    monkeypatch.setattr(check_cuda, "find_compiler", lambda: None)
    said = []
    assert check_cuda.check(check_cuda.QUICK, say=said.append) == 1 and "nvidia-cuda-nvrtc" in said[0]


def test_source_that_does_not_compile_is_refused(tmp_path):
    (tmp_path / "bad.cu").write_text('#include "common.cuh"\nextern "C" __global__ void f(i64 n) { return n; }\n')
    with pytest.raises(check_cuda.CompilerError, match=r"bad\.cu"):
        compiler().log(str(tmp_path / "bad.cu"), "sm_80")
