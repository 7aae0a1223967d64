"""Work memory that is used again: never by two at once, never for ever."""
import gc
import mmap
import threading

import numpy as np
import pytest

from minivis import kernels
from minivis.kernels.cpu import buffers

LARGE = (buffers.SMALL // 4 + 64,)


@pytest.fixture(autouse=True)
def clean():
    buffers.release()
    yield
    buffers.release()


def start(array):
    return array.__array_interface__["data"][0]


def test_memory_of_an_array_that_is_gone_is_used_again():
    first = buffers.empty(LARGE, np.float32)
    place = start(first)
    del first
    assert start(buffers.empty(LARGE, np.float32)) == place


@pytest.mark.parametrize("view", [lambda a: a[3:], lambda a: a.reshape(2, -1)[1], lambda a: a.view(np.uint8)[::7],
                                  lambda a: np.asarray(a)[None, 5:][:, 1:], lambda a: memoryview(a)])
def test_memory_stays_as_long_as_any_view_of_it(view):
    array = buffers.empty(LARGE, np.float32)
    array[:] = 7
    kept = view(array)
    before = bytes(kept)
    place = start(array)
    del array
    gc.collect()
    others = [buffers.empty(LARGE, np.float32) for _ in range(3)]
    for other in others:
        other[:] = -1
    assert place not in {start(other) for other in others} and bytes(kept) == before
    del kept
    assert place in {start(buffers.empty(LARGE, np.float32))}


def test_a_lease_and_an_array_never_share_memory():
    array = buffers.empty(LARGE, np.float32)
    with buffers.Lease(array.nbytes) as block:
        assert not np.shares_memory(array, block)
        assert not np.shares_memory(buffers.empty(LARGE, np.float32), block)


def test_what_many_kept_and_dropped_is_not_kept_idle():
    held = [buffers.empty((buffers.SPARE // 16,), np.float32) for _ in range(20)]
    del held
    buffers.empty(LARGE, np.float32)
    assert sum(block.size for block in buffers._idle) <= buffers.SPARE


def test_more_is_kept_idle_while_a_loop_asks_for_it():
    shape, living = (buffers.SPARE // 16,), buffers._living

    def drop():
        held = [buffers.empty(shape, np.float32) for _ in range(20)]
        places = {start(array) for array in held}
        del held
        buffers.empty(LARGE, np.float32)
        return places
    with kernels.keeping():
        first, second = drop(), drop()
        assert first == second and len(first) == 20
        assert not buffers.empty((buffers.SPARE // 2,), np.float32).flags.owndata
        idle = sum(block.size for block in buffers._idle)
        assert buffers.SPARE < idle + buffers._living + buffers._lent <= buffers._in_use + buffers.SPARE
        assert buffers._resting == idle
    assert not buffers._gone and sum(block.size for block in buffers._idle) <= buffers.SPARE
    buffers.release()
    assert buffers._living == living and buffers._resting == 0


@pytest.mark.parametrize("size", [1, buffers.SMALL // 4 - 1, buffers.SPARE // 4 + 1])
def test_small_and_huge_arrays_are_numpys_own(size):
    assert buffers.empty((size,), np.float32).flags.owndata


def test_threads_never_get_the_same_memory():
    wrong = []

    def work(n):
        for _ in range(300):
            mine = [buffers.empty(LARGE, np.float32) for _ in range(3)]
            for i, array in enumerate(mine):
                array[:] = 3 * n + i
            wrong.extend(i for i, array in enumerate(mine) if (array != 3 * n + i).any())

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_an_array_of_another_kernel_set_is_numpys_own():
    like = np.empty(1, np.float64)
    with kernels.using("reference"):
        assert kernels.empty(LARGE, like).flags.owndata
    assert kernels.empty((2, *LARGE), like).dtype == np.float64


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="Linux's huge pages")
def test_large_blocks_are_private_memory_that_asks_for_huge_pages():
    block, flags = buffers.fresh(8 << 20), None         # shared memory would get none
    with open("/proc/self/smaps") as file:
        for line in file:
            first, _, rest = line.partition(" ")
            if "-" in first and not first.endswith(":"):
                begin, end = (int(part, 16) for part in first.split("-"))
                inside = begin <= block.ctypes.data < end
            elif inside and first == "VmFlags:":
                flags = rest.split()
    assert flags is not None and "hg" in flags and "sh" not in flags
