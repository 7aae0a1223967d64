"""Kernels on disk: a second process needs no Numba, an edit is seen, damage is mended, nothing grows without end."""
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minivis.kernels.cpu import compile_ahead, compile_cache

PACKAGE = Path(compile_cache.__file__).parent
SCRIPT = """
import sys, numpy as np
from cpu_copy import sample, compile_cache
d = np.array([20, 1, 0], np.int64)
sample.work(d, 0, 0, 5)
print(d[2], "numba" in sys.modules, compile_cache._FOLDER)
"""
SAMPLE = """
from .compile_cache import helper, kernel
@helper
def twice(i): return FACTOR * i
@kernel
def work(d, scratch, first, last):
    for i in range(first, last):
        d[2] += d[0] * twice(i) + d[1]
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the cache's file with one small kernel beside it, in a process of its own."""
    (tmp_path / "cpu_copy").mkdir()
    (tmp_path / "cpu_copy" / "__init__.py").write_text("from . import sample")
    for name in ("compile_cache.py", "compile_ahead.py", "machine_code.py", "numba_target.py", "vector.py",
                 "threads.py", "buffers.py"):
        shutil.copy(PACKAGE / name, tmp_path / "cpu_copy")
    (tmp_path / "cpu_copy" / "sample.py").write_text(SAMPLE.replace("FACTOR", "2"))
    return tmp_path


def make_usual(package):
    """Make the small kernel what helpers compile ahead."""
    path = package / "cpu_copy" / "compile_ahead.py"
    text, found = re.subn(r"\nUSUAL = \([^)]*\)", '\nUSUAL = ("sample.work",)', path.read_text())
    assert found == 1
    path.write_text(text)


def call(package, cache=None, script=SCRIPT):
    env = {**os.environ, "MINIVIS_CACHE": str(cache or package / "cache"), "PYTHONPATH": str(package)}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    return out.stdout.split()


def test_the_second_process_loads_machine_code_without_numba_and_an_edit_is_seen(package):
    assert call(package)[:2] == ["405", "True"]
    assert call(package)[:2] == ["405", "False"]
    (package / "cpu_copy" / "sample.py").write_text(SAMPLE.replace("FACTOR", "3"))
    assert call(package)[:2] == ["605", "True"]


def test_a_helper_compiles_for_others(package):
    env = {**os.environ, "MINIVIS_CACHE": str(package / "cache"), "PYTHONPATH": str(package)}
    program = "import os; from cpu_copy import compile_ahead; compile_ahead.work(os.getppid(), ['sample.work'])"
    subprocess.run([sys.executable, "-c", program], env=env, check=True)
    assert call(package)[:2] == ["405", "False"]
    assert not list(package.glob("cache/kernels/*/*.claim"))


def test_a_process_starts_helpers_and_gets_the_right_kernel(package):
    make_usual(package)
    assert call(package)[0] == "405"


@pytest.mark.skipif(compile_cache.cores_available() == 1, reason="helpers take other cores")
def test_what_is_prepared_is_compiled_elsewhere(package):
    make_usual(package)
    program = "import time; from cpu_copy import sample, compile_cache as c; c.prepare(); time.sleep(60)"
    env = {**os.environ, "MINIVIS_CACHE": str(package / "cache"), "PYTHONPATH": str(package)}
    process = subprocess.Popen([sys.executable, "-c", program], env=env)
    until = time.monotonic() + 60
    while not list(package.glob("cache/kernels/*/sample.work.o")) and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert call(package)[:2] == ["405", "False"]


USERS_CODE = """
import numba, numpy as np
from cpu_copy import sample, compile_cache

@numba.njit
def before(a, b): return a // b + a % b

@numba.njit
def after(a, b, m): return (a - 1) // b * 10 + a ** b + np.dot(m, m)[0, 0]

assert before(17, 5) == 5
d = np.array([20, 1, 0], np.int64)
sample.work(d, 0, 0, 5)
m = np.full((2, 2), 3.0)
print(d[2], before(-17, 5), before(17.0, 5.0), after(17, 5, m))
"""


def test_numba_serves_the_users_own_functions_as_before(package):
    text = SAMPLE.replace("FACTOR", "2").replace("d[0] * twice(i)", "d[0] * (twice(i) // 1 % 1000)")
    (package / "cpu_copy" / "sample.py").write_text(text)
    assert call(package, script=USERS_CODE) == ["405", "-1", "5.0", str(30 + 17 ** 5 + 18.0)]


EXTREMES = """
import sys, numpy as np
from cpu_copy.compile_cache import kernel
@kernel
def extremes(d, scratch, first, last):
    d[0] = min(first, last, 2) + 10 * max(-first, last)
    d[1] = int(100 * min(first / 4, 2.75)) + int(100 * max(first / 4, last))
    d[2] = max(first > last, last > first)
d = np.zeros(3, np.int64)
extremes(d, 0, 5, -3)
print(*d, *("numba.np.arraymath" in sys.modules, "scipy.linalg" in sys.modules))
"""


def test_min_and_max_are_right_for_whole_numbers_and_others_and_what_kernels_do_not_need_is_not_loaded(package):
    assert call(package, script=EXTREMES) == [str(-3 + 10 * -3), str(125 + 125), "1", "False", "False"]


BROKEN = """
from cpu_copy import compile_cache, vector as v
@v.emit(1)
def broken(b, x):
    later = b.add(x, v.integer(1))
    b.position_at_start(b.block)
    b.store(later, b.inttoptr(later, v.I64.as_pointer()))
    b.position_at_end(b.block)
@compile_cache.kernel
def work(d, scratch, first, last): broken(first)
try:
    work.load()
except compile_cache.CompileError as error:
    print("dominate" in str(error))
"""


def test_vector_code_that_is_wrong_is_refused_before_it_can_end_the_process(package):
    assert call(package, script=BROKEN) == ["True"]


def test_what_a_kernel_calls_is_written_into_it():
    from minivis.kernels.cpu import direct
    text = compile_cache._tell_numba().assembly(direct.forward_rows.function)
    assert sum(line.startswith("\t.globl") for line in text.splitlines()) == 1


def test_a_kernel_is_claimed_by_one_process_until_that_lets_go_or_ends(tmp_path):
    with compile_ahead.Claim(tmp_path, "a") as first:
        with compile_ahead.Claim(tmp_path, "a") as second, compile_ahead.Claim(tmp_path, "b") as other:
            assert (first.mine, second.mine, other.mine) == (True, False, True)
        assert (tmp_path / "a.claim").exists()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "a.claim").write_text(f"{platform.node()} {ended.pid}")
    with compile_ahead.Claim(tmp_path, "a") as third:
        assert third.mine
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_compiled_again_and_an_unwritable_cache_does_no_harm(package):
    call(package)
    [kept] = package.glob("cache/kernels/*/*.o")
    kept.write_bytes(kept.read_bytes()[:-100])
    assert call(package)[:2] == ["405", "True"]
    assert call(package)[:2] == ["405", "False"]
    (package / "file").write_text("")
    assert call(package, package / "file")[:] == ["405", "True", "None"]


def test_old_versions_are_pruned_but_the_current_one_and_a_few_stay(package):
    for age in range(9):
        folder = package / "cache" / "kernels" / f"old{age}"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - 1000 - age,) * 2)
    current = Path(call(package)[2])
    left = sorted(f.name for f in current.parent.iterdir())
    assert left == sorted([current.name, "old0", "old1", "old2", "old3"])


def test_the_stamp_depends_on_the_processor_and_costs_little(monkeypatch):
    before = compile_cache.source_stamp()
    monkeypatch.setenv("NUMBA_CPU_NAME", "a-processor-not-made-yet")
    assert compile_cache.source_stamp() != before
    start = time.perf_counter()
    compile_cache.source_stamp()
    assert time.perf_counter() - start < 0.1


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVIS_CACHE", str(tmp_path))
    assert compile_cache.cache_folder() == tmp_path
    monkeypatch.delenv("MINIVIS_CACHE")
    assert compile_cache.cache_folder().name in ("minivis", "Cache")
