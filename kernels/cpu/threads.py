"""The threads that CPU kernels run on: a small pool of our own.

A job is a function `job(args, scratch, first, last)` that works on the items first..last-1 of something that falls into
`count` independent items (rows of a picture, tiles, panels). Normally it is a compiled kernel that has let go of the
GIL and `args` is an int64 array of sizes and addresses (a "descriptor"); any callable will do. Chunks of items are
handed out in order to whoever is free, so no thread waits long for another. Which thread computes an item must not
matter for its result: that is what makes results the same bits for any number of threads.

The calling thread works too. A pool of our own instead of Numba's prange: one parallel region costs about as little,
functions compile ten times faster, and several Python threads may call at once. After a fork the child starts its own.

Kernels go through the lane (lane.py), where workers watch for them in machine code; jobs in Python, and kernels of a
second caller at the same time, through messages that wake a worker.
"""
import contextlib
import ctypes
import functools
import itertools
import os
import queue
import threading

from . import buffers

_lock = threading.Lock()         # guards the settings, and the starting of workers
_local = threading.local()       # .scratch: this thread's scratch memory; .working: it is inside a job
_inbox = queue.SimpleQueue()     # tasks that want helpers
_LOOK = object()                 # a message: look into the lane
_lane = None                     # see lane.py; made when the first kernel runs on several threads
_workers = []
_asleep = 0                      # how many of them wait for a message
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
    if native and _run_in_lane(function, args, count, chunk, scratch, helpers):
        return
    call = function.bound(args) if native else functools.partial(function, args)
    task = _Task(call, native, count, chunk, scratch)
    for _ in range(helpers):
        _inbox.put(task)
    if _lane is not None:
        _lane.call_back()
    task.run_chunks()
    task.close()
    if task.error is not None:
        raise task.error


def _run_in_lane(kernel, descriptor, count, chunk, scratch, helpers):
    """The same for a kernel, without Python between its chunks. -> False where another caller has the lane."""
    lane = _lane or _open_lane()
    if not lane.lock.acquire(blocking=False):
        return False
    try:
        own = _scratch(scratch) if scratch else 0
        lane.open(kernel.entry(), kernel.place(descriptor), count, chunk, scratch, helpers)
        try:
            for _ in range(min(helpers, _asleep - _inbox.qsize())):
                _inbox.put(_LOOK)
            lane.work(own)
        finally:
            fine = lane.close()
    finally:
        lane.lock.release()
    if not fine:
        raise RuntimeError(f"kernel {kernel.__name__}: stopped by an error inside")
    return True


def _open_lane():
    global _lane
    with _lock:
        if _lane is None:
            from .lane import Lane  # here, since it needs the kernels' cache, which imports this module
            _lane = Lane()
    return _lane


def _start(n):
    with _lock:
        while len(_workers) < n:
            worker = threading.Thread(target=_worker, args=(_inbox,), name=f"minivis-{len(_workers) + 1}", daemon=True)
            worker.start()
            _workers.append(worker)


def _worker(inbox):
    """Help whoever asks in the inbox; after that watch the lane for a while, and only then sleep."""
    global _asleep
    seen = (ctypes.c_int64 * 1)()       # the generation of the last task in the lane that this worker knows
    while True:
        with _lock:
            _asleep += 1
        _watch(seen, patient=False)     # what was opened before anybody knew that this worker sleeps
        task = inbox.get()
        with _lock:
            _asleep -= 1
        if task is not _LOOK:
            task.help()
        task = None                     # hold nothing while waiting
        if _lane is not None and inbox.empty():
            _lane.call_back(False)
        _watch(seen)


def _watch(seen, patient=True):
    """Help in the lane until nothing has come for a while, or somebody calls back."""
    while _lane is not None:
        _, size, address = getattr(_local, "scratch", None) or (None, 0, 0)
        if not _lane.serve(seen, address, size, patient):
            return
        _scratch(_lane.scratch)         # a task wants more


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
    global _lock, _local, _inbox, _lane, _asleep, _blas_lock, _blas_users
    _lock, _local, _inbox, _blas_lock = threading.Lock(), threading.local(), queue.SimpleQueue(), threading.Lock()
    _lane, _asleep, _blas_users = None, 0, 0
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
