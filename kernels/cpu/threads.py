"""The threads that CPU kernels run on: a small pool of our own.

A job is a function `job(args, scratch, first, last)` that works on the items first..last-1 of something that falls into
`count` independent items (rows of a picture, tiles, panels). Normally it is a compiled kernel that has let go of the
GIL and `args` is an int64 array of sizes and addresses (a "descriptor"); any callable will do. Chunks of items are
handed out in order to whoever is free, so no thread waits long for another. Which thread computes an item must not
matter for its result: that is what makes results the same bits for any number of threads.

The calling thread works too. Compiled kernels are handed over without the GIL (handover.py). A pool of our own instead
of Numba's prange: one parallel region costs about as little, functions compile ten times faster, and several Python
threads may call at once. After a fork the child starts its own.
"""
import contextlib
import functools
import itertools
import os
import queue
import threading
import time

import numpy as np

from . import buffers, compile_cache

_lock = threading.Lock()         # guards the settings, and the starting of workers
_local = threading.local()       # .scratch: this thread's scratch memory; .working: it is inside a job
_inbox = queue.SimpleQueue()     # tasks that want helpers
_workers = []
_count = None


def cores_available():
    """Cores this process may use: its affinity, and the quota of its control group (containers)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/cpu.max") as file:
        quota, period = file.read().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))    # "max" is no int: no quota
    return cores


_cores = cores_available()


def get_threads():
    """How many threads kernels use: what set_threads said, else MINIVIS_THREADS, else the cores available."""
    global _count
    if _count is None:
        named = os.environ.get("MINIVIS_THREADS")
        _count = _checked(named, "MINIVIS_THREADS") if named else _cores
    return _count


def set_threads(n):
    """Use n threads from now on (None: back to the default). Results do not depend on it."""
    global _count
    _count = None if n is None else _checked(n, "set_threads")


def _checked(n, who):
    try:
        value = int(n)
    except (TypeError, ValueError):
        value = 0
    if value < 1:
        raise ValueError(f"{who}: the number of threads must be a whole number from 1 up, not {n!r}")
    return value


# Of kernels, one caller at a time uses the slot (see handover.py); everything else goes through the inbox.
_slot_lock = threading.Lock()
_slot = None
_WATCH = 2000                    # looks at the slot before a worker sleeps, about 0.1 ms
_HAND_OVER = True                # False: wake workers through the inbox for kernels too


def _run_kernel(function, args, count, chunk, scratch, helpers):
    """run for a compiled kernel. The slot is ours. -> whether it went well."""
    global _slot
    from . import handover as h
    if _slot is None:
        memory = np.zeros(h.SLOT + 8, np.int64)
        start = -(memory.__array_interface__["data"][0] // 8) % 8           # on a cache line
        _slot = memory[start:start + h.SLOT]
    if args.dtype != np.int64 or not args.flags.c_contiguous:
        raise TypeError(f"kernel {function.__name__}: the descriptor must be a contiguous int64 array")
    function.load()
    _slot[[h.FUNCTION, h.ARGUMENTS, h.COUNT, h.CHUNK, h.SCRATCH, h.OUT, h.NEXT, h.FAILED]] = (
        function.address, args.__array_interface__["data"][0], count, chunk, scratch, compile_cache.OUT, 0, 0)
    for _ in range(helpers - int(_slot[h.WATCHING])):
        _inbox.put(None)                                                    # wake those who sleep
    d = np.array([_slot.__array_interface__["data"][0], 0])
    h.lead(d, _scratch(scratch) if scratch else 0, 1, _WATCH)
    while not d[1]:                                                         # somebody was put aside by the system
        time.sleep(5e-5)
        h.lead(d, 0, 0, _WATCH)
    return _slot[h.FAILED] == 0


def _attend():
    """What a worker does when woken for the slot: work on it, then watch it for a while."""
    from . import handover as h
    slot = _slot
    if slot is None:
        return
    d = np.array([slot.__array_interface__["data"][0], 0])
    patience = _WATCH if get_threads() <= _cores else 1                     # no watching on a core others need
    size = 0
    while True:
        held = getattr(_local, "scratch", None)
        size = max(size, held[1] if held else 0)
        h.attend(d, _scratch(size) if size else 0, size, patience)
        if not d[1]:
            return
        size = int(d[1])


class _Task:
    """One parallel region: chunks to hand out, and who is still busy with one."""

    def __init__(self, call, native, count, chunk, scratch):
        self.work = (call, count, chunk, scratch)
        self.native = native                       # a kernel: returns 0, or an error code
        self.firsts = itertools.count(0, chunk)    # next() is atomic in CPython
        self.error = None
        self.lock = threading.Lock()
        self.open = True                           # helpers may still join
        self.helpers = 0
        self.done = threading.Lock()               # held until the last helper has left
        self.done.acquire()

    def run_chunks(self):
        call, count, chunk, scratch = self.work
        address = _scratch(scratch) if scratch else 0
        outer, _local.working = getattr(_local, "working", False), True
        try:
            for first in self.firsts:
                if first >= count or self.error is not None:
                    break
                if call(address, first, min(first + chunk, count)) and self.native:
                    raise RuntimeError("a kernel was stopped by an error inside")
        except BaseException as error:
            self.error = error
        finally:
            _local.working = outer

    def help(self):
        """What a worker does with a task: join unless it is closed, work, leave."""
        with self.lock:
            if not self.open:
                return
            self.helpers += 1
        self.run_chunks()
        with self.lock:
            self.helpers -= 1
            if not self.open and self.helpers == 0:
                self.done.release()

    def close(self):
        """After the caller's own share: let nobody join, wait for those who did, forget the arguments."""
        with self.lock:
            self.open = False
            waiting = self.helpers > 0
        if waiting:
            self.done.acquire()
        self.work = None    # the queue may hold this task a little longer; it must not hold the arrays


def run(function, args, count, chunk=1, scratch=0):
    """Call function(args, address, first, last) until the items 0..count-1 are done, `chunk` at a time, on all threads.

    scratch: bytes of work memory each thread needs; `address` is where its own begins (64-byte aligned, contents
    undefined; 0 if scratch is 0). An error raised by `function` is raised here once everybody has stopped.
    A job that calls run itself runs that part alone.
    """
    chunks = -(-count // chunk)
    helpers = 0 if getattr(_local, "working", False) else min(get_threads(), chunks) - 1
    if helpers <= 0:
        if count > 0:
            function(args, _scratch(scratch) if scratch else 0, 0, count)
        return
    if len(_workers) < helpers:
        _start(helpers)
    native = hasattr(function, "bound")
    if native and _HAND_OVER and _slot_lock.acquire(blocking=False):
        try:
            if not _run_kernel(function, args, count, chunk, scratch, helpers):
                raise RuntimeError("a kernel was stopped by an error inside")
        finally:
            _slot_lock.release()
        return
    call = function.bound(args) if native else functools.partial(function, args)
    task = _Task(call, native, count, chunk, scratch)
    for _ in range(helpers):
        _inbox.put(task)
    task.run_chunks()
    task.close()
    if task.error is not None:
        raise task.error


def _start(n):
    with _lock:
        while len(_workers) < n:
            worker = threading.Thread(target=_worker, args=(_inbox,), name=f"minivis-{len(_workers) + 1}", daemon=True)
            worker.start()
            _workers.append(worker)


def _worker(inbox):
    task = None
    while True:
        task = inbox.get()
        if task is None:
            _attend()
        else:
            task.help()
        task = None    # hold nothing while waiting


def _scratch(size):
    """Address of this thread's own scratch memory, at least `size` bytes. It grows and is kept: no page faults."""
    held = getattr(_local, "scratch", None)
    if held is None or held[1] < size:
        _local.scratch = None    # first let go of the old one
        memory = buffers.fresh(size)
        held = _local.scratch = (memory, size, memory.__array_interface__["data"][0])
    return held[2]


def _after_fork():
    """In a forked child no worker exists, and locks and queue may be in any state: start afresh."""
    global _lock, _local, _inbox, _blas_lock, _blas_users, _slot_lock, _slot
    _lock, _local, _inbox, _blas_lock = threading.Lock(), threading.local(), queue.SimpleQueue(), threading.Lock()
    _blas_users, _slot_lock, _slot = 0, threading.Lock(), None
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ------------------------------------------------------------------------------------------------------------ BLAS

_blas_lock = threading.Lock()
_blas_users = 0
_blas_before = []
_blas_libraries = None


@contextlib.contextmanager
def one_blas_thread():
    """Inside, NumPy's matrix products run on one thread each, so that they give the same bits whatever the machine
    and do not fight with our pool. Costs a few microseconds. Other Python threads' products are held to one thread
    meanwhile; the number is put back when the last user leaves.
    """
    global _blas_users, _blas_before
    with _blas_lock:
        if _blas_users == 0:
            libraries = _find_blas()
            _blas_before = [library.get_num_threads() for library in libraries]
            for library in libraries:
                library.set_num_threads(1)
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                for library, before in zip(_find_blas(), _blas_before):
                    library.set_num_threads(before)


def _find_blas():
    """The BLAS libraries NumPy has loaded. Looking for them takes milliseconds, so it is done once."""
    global _blas_libraries
    if _blas_libraries is None:
        from threadpoolctl import ThreadpoolController
        _blas_libraries = [c for c in ThreadpoolController().lib_controllers if c.user_api == "blas"]
    return _blas_libraries
