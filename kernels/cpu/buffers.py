"""Work memory that is lent, not allocated anew: fresh memory costs a page fault per 4 KiB at its first use.

A lease belongs to one call and goes back when the call ends, so two calls at the same time never share memory. Results
that live on (`empty`) lie in blocks of the same kind, which go back when nobody refers to them any more. Idle and
leased blocks together take at most SPARE bytes more than was once leased at the same time, and inside of `Keeping` all
blocks at most SPARE bytes more than were in use at once; `release` frees what is idle.
"""
import collections
import math
import mmap
import threading
import weakref

import numpy as np

HUGE = 2 << 20
SPARE = 32 << 20
SMALL = 1 << 17         # arrays below come from NumPy, whose small blocks stay with the process anyway

_lock = threading.Lock()
_idle = []              # blocks nobody uses, least recently used first
_resting = 0            # bytes of those
_lent = 0               # bytes leased now
_most = 0               # and the most there ever were at once
_living = 0             # bytes of blocks that arrays lie in
_keepers, _in_use = 0, 0        # how many Keeping there are; since the first of them began, the most leased and living
_gone = collections.deque()     # blocks of arrays that are gone: nobody may take a lock where arrays happen to end


class Lease:
    """`with Lease(size) as block:` block is an aligned uint8 array of at least `size` bytes, contents undefined."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.block = take(self.size)
        return self.block

    def __exit__(self, *_):
        give(self.block)
        self.block = None


class Keeping:
    """`with Keeping():` what falls idle meanwhile is kept: for a loop that makes and drops large arrays of the same
    sizes again and again, whose memory would else come from the system in every round. Hardly more memory than the loop
    itself needs at once."""

    def __enter__(self):
        global _keepers, _in_use
        with _lock:
            if not _keepers:
                _in_use = _lent + _living
            _keepers += 1

    def __exit__(self, *_):
        global _keepers
        with _lock:
            _keepers -= 1
            _collect()
            _trim()


def take(size):
    """The smallest idle block that is large enough, else a new one."""
    with _lock:
        block = _found(size, math.inf)  # as it comes back soon, it may be much larger
        _count(lent=block.size)
    return block


def give(block):
    global _lent
    with _lock:
        _lent -= block.size
        _rest(block)
        _trim()


def empty(shape, dtype):
    """np.empty in memory that was used before, where there is some; it is used again when the array and all views of it
    are gone. Not counted as leased: what callers keep is theirs."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL or (size > SPARE and not _keepers):
        return np.empty(shape, dtype)
    with _lock:
        block = _found(size, 2 * size + (1 << 20))      # do not bind a huge block for a small need
        _count(living=block.size)
    # views of views refer to the first array that lies on something else than an array, and keep that one alive
    whole = np.frombuffer(memoryview(block)[:size], dtype)
    weakref.finalize(whole, _gone.append, block).atexit = False
    return whole.reshape(shape)


def _count(lent=0, living=0):
    """So many bytes more are in use."""
    global _lent, _living, _most, _in_use
    _lent, _living = _lent + lent, _living + living
    _most, _in_use = max(_most, _lent), max(_in_use, _lent + _living)


def _rest(block):
    """The block is idle now."""
    global _resting
    _idle.append(block)
    _resting += block.size


def _take_out(i):
    """-> idle block i, no longer among them."""
    global _resting
    block = _idle.pop(i)
    _resting -= block.size
    return block


def _collect():
    """The blocks of arrays that are gone are idle now."""
    global _living
    while _gone:
        block = _gone.popleft()
        _living -= block.size
        _rest(block)
        _trim()


def _found(size, most):
    _collect()
    best = None
    for i, block in enumerate(_idle):
        if size <= block.size <= most and (best is None or block.size < _idle[best].size):
            best = i
    if best is not None:
        return _take_out(best)
    _trim(size)                 # what goes makes room first
    return fresh(size)


def _trim(wanted=0):
    """Let go of what is idle beyond the limits; wanted: bytes about to be used."""
    taken, most = (_lent + _living, _in_use) if _keepers else (_lent, _most)
    while _idle and _resting + taken + wanted > max(most, taken + wanted) + SPARE:
        _take_out(0)


def release():
    """Forget all idle blocks."""
    global _most
    with _lock:
        _collect()
        while _idle:
            _take_out(0)
        _most = _lent


def fresh(size):
    """New memory: a uint8 array, 64-byte aligned. Large ones lie on huge pages where the system has them: with pages of
    4 KiB the transforms' dozens of streams would miss the processor's table of pages all the time."""
    if size < HUGE // 2 or not hasattr(mmap, "MADV_HUGEPAGE"):
        memory = np.empty(size + 64, np.uint8)
        start = -memory.__array_interface__["data"][0] % 64
        return memory[start:start + size]
    region = mmap.mmap(-1, size + HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = np.frombuffer(region, np.uint8)
    start = -memory.__array_interface__["data"][0] % HUGE
    try:
        region.madvise(mmap.MADV_HUGEPAGE)
    except OSError:         # a kernel without them
        pass
    return memory[start:start + size]
