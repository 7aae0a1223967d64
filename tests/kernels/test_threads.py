"""The pool: every item once, scratch of one's own, errors reach the caller, several callers, forks."""
import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minivis.kernels.cpu import relu, resample, threads


@pytest.fixture(autouse=True)
def default_count_afterwards():
    yield
    threads.set_threads(None)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("count, chunk", [(0, 1), (1, 1), (5, 1), (100, 7), (64, 64), (10, 100)])
def test_every_item_is_done_exactly_once(n, count, chunk):
    threads.set_threads(n)
    done = np.zeros(count, int)

    def job(args, scratch, first, last):
        assert args == "arguments" and 0 <= first < last <= count
        done[first:last] += 1

    threads.run(job, "arguments", count, chunk)
    assert (done == 1).all()


def test_work_is_shared_and_each_thread_has_its_own_aligned_scratch():
    threads.set_threads(2)
    meeting = threading.Barrier(2, timeout=20)    # passes only when two threads are inside at once
    seen = {}

    def job(args, scratch, first, last):
        meeting.wait()
        seen[threading.get_ident()] = scratch

    threads.run(job, None, 2, 1, scratch=1000)
    assert len(seen) == 2 and len(set(seen.values())) == 2
    assert all(address and address % 64 == 0 for address in seen.values())


@pytest.mark.parametrize("n", [1, 3])
def test_an_error_reaches_the_caller_and_the_pool_lives_on(n):
    threads.set_threads(n)

    def job(args, scratch, first, last):
        if first <= 3 < last:
            raise ArithmeticError("item 3")

    with pytest.raises(ArithmeticError, match="item 3"):
        threads.run(job, None, 6)
    total = []
    threads.run(lambda *a: total.append(a[2]), None, 6)
    assert sum(total) == (0 if n == 1 else 15)


def test_many_python_threads_may_call_at_once_and_jobs_may_call_run():
    threads.set_threads(3)
    sums = np.zeros(8, int)

    def inner_job(part, scratch, first, last):
        part[first:last] = 1

    def outer_job(part, scratch, first, last):
        threads.run(inner_job, part, 20, 3)

    def outer(which):
        for _ in range(50):
            part = np.zeros(20, int)

            threads.run(outer_job, part, 2)
            sums[which] += part.sum()

    callers = [threading.Thread(target=outer, args=(i,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert (sums == 50 * 20).all()


class Native:
    """Behaves as a compiled kernel; its machine code calls a function in Python."""

    def __init__(self, function):
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3)
        self.code = kind(lambda result, error, descriptor, scratch, first, last: function(scratch, first, last) or 0)
        self.__name__ = "native"

    def entry(self):
        return ctypes.cast(self.code, ctypes.c_void_p).value

    def place(self, descriptor):
        return descriptor.ctypes.data

    def bound(self, descriptor):
        return lambda scratch, first, last: self.code(None, None, descriptor.ctypes.data, scratch, first, last)


DESCRIPTOR = np.zeros(1, np.int64)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_kernels_do_every_item_once_in_thousands_of_regions_at_any_pace(n):
    threads.set_threads(n)
    done = np.zeros(20, int)

    def job(scratch, first, last):
        done[first:last] += 1

    kernel = Native(job)
    for i in range(3000):
        threads.run(kernel, DESCRIPTOR, 20, 1 + i % 7)
        if i % 500 == 0:
            time.sleep(2e-3)            # workers have gone to sleep
    assert (done == 3000).all()


@pytest.mark.parametrize("n", [5, 2, 3])       # workers of the first are there in the others too, and stay out
def test_as_many_threads_as_were_asked_for_are_inside_a_kernel_at_once_whether_they_slept_or_watched(n):
    threads.set_threads(n)
    meeting, seen = threading.Barrier(n, timeout=20), {}

    def job(scratch, first, last):
        meeting.wait()
        seen[threading.get_ident()] = scratch

    for pause in (0, 0, 5e-3, 0):
        seen.clear()
        threads.run(Native(job), DESCRIPTOR, n, 1, scratch=1000 * n)
        assert len(seen) == len(set(seen.values())) == n
        assert all(address and address % 64 == 0 for address in seen.values())
        time.sleep(pause)


def test_a_kernel_that_stops_is_an_error_for_its_caller_and_the_lane_lives_on():
    threads.set_threads(3)
    with pytest.raises(RuntimeError, match="native: stopped by an error inside"):
        threads.run(Native(lambda scratch, first, last: first == 3), DESCRIPTOR, 6)
    total = []
    threads.run(Native(lambda scratch, first, last: total.append(first)), DESCRIPTOR, 6)
    assert sorted(total) == list(range(6))


def test_a_second_caller_gets_helpers_while_the_first_has_the_lane():
    threads.set_threads(2)
    meeting, inside = threading.Barrier(2, timeout=20), []

    def slow(scratch, first, last):
        inside.append(first)
        while len(inside) < 4 and not failed:
            time.sleep(1e-3)

    def second(scratch, first, last):
        meeting.wait()                  # two threads, though the lane is taken
        inside.append(first)

    failed = []
    first_caller = threading.Thread(target=threads.run, args=(Native(slow), DESCRIPTOR, 2))
    first_caller.start()
    try:
        while len(inside) < 2:
            time.sleep(1e-3)
        threads.set_threads(3)
        threads.run(Native(second), DESCRIPTOR, 2)
    except threading.BrokenBarrierError:
        failed.append(1)
    first_caller.join(20)
    assert not failed and len(inside) == 4


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_kernels_called_by_many_python_threads_at_once_and_by_a_forked_child_are_right():
    x = np.random.default_rng(0).integers(-9, 9, (1, 64, 65, 40)).astype(np.float32)
    m = np.eye(64)[::-1].copy()
    threads.set_threads(3)
    wrong = []

    def caller():
        for _ in range(100):
            y, _ = relu.relu_forward(x)
            if (y != np.maximum(x, 0)).any() or (resample.axis_matmul(x[..., :3], m, 1) != x[:, ::-1, :, :3]).any():
                wrong.append(1)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(60)
    assert not wrong and not any(each.is_alive() for each in callers)
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            caller()
            os._exit(len(wrong))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_scratch_of_a_kernel_may_grow_from_call_to_call():
    threads.set_threads(3)
    for size in (40, 400, 4000):        # turned lines: scratch memory in proportion to the width
        x = np.random.default_rng(0).integers(-9, 9, (1, 100, size, 2)).astype(np.float32)
        np.testing.assert_array_equal(resample.axis_matmul(x, np.eye(size)[::-1].copy(), 2), x[:, :, ::-1])


def test_a_process_that_ends_while_its_workers_watch_ends_well():
    program = ("import numpy as np\nfrom minivis.kernels.cpu import relu, threads\nthreads.set_threads(3)\n"
               "x = np.ones((1, 64, 64, 64), np.float32)\nfor _ in range(9):\n    relu.relu_forward(x)\n")
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_working_pool():
    threads.set_threads(3)
    done = []
    threads.run(lambda *a: done.append(1), None, 3)
    child = os.fork()
    if child == 0:
        meeting = threading.Barrier(3, timeout=10)
        try:
            threads.run(lambda *a: meeting.wait(), None, 3)
            os._exit(0)
        finally:
            os._exit(1)
    for _ in range(200):
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            break
        time.sleep(0.1)
    assert finished == child and os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("wrong", [0, -1, "two", None])
def test_a_wrong_number_of_threads_is_an_error_that_says_so(wrong, monkeypatch):
    if wrong is not None:
        with pytest.raises(ValueError, match="number of threads"):
            threads.set_threads(wrong)
    else:
        monkeypatch.setenv("MINIVIS_THREADS", "many")
        threads.set_threads(None)
        with pytest.raises(ValueError, match=r"MINIVIS_THREADS.*'many'"):
            threads.get_threads()


def test_blas_is_held_to_one_thread_inside_and_given_back():
    libraries = threads._find_blas()
    before = [library.get_num_threads() for library in libraries]
    with threads.one_blas_thread(), threads.one_blas_thread():
        assert all(library.get_num_threads() == 1 for library in libraries)
    assert [library.get_num_threads() for library in libraries] == before
