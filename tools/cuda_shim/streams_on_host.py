"""Streams, events, recorded graphs and pools of the stand-in for CuPy (cupy_on_host.py).

Work is done when it is asked for, but for a copy from the host, which a GPU may begin late: it is done when something
waits for it or reads a device array, with whatever the host's memory holds then. While a stream is recorded, what CuPy
14 or CUDA refuse there is refused: waiting for the device, moving arrays between host and device, calls to cuBLAS and
its kin. A graph does again what was recorded, on the same memory, and nothing of what Python did in between.
"""
import contextlib
import itertools
import time

import numpy as np

FREE, TOTAL = 10 << 30, 16 << 30        # bytes that the device is said to have

# names of functions and methods by what a recording makes of them
WAITS = {"get", "set", "item", "tolist", "float", "int", "bool", "index", "complex", "nonzero", "flatnonzero",
         "argwhere", "unique", "allclose", "array_equal", "format", "synchronize"}
CUBLAS = {"matmul", "dot", "vdot", "inner", "outer", "tensordot", "einsum", "kron"}
LIBRARIES = {"cupy.linalg": "cuSOLVER", "cupy.random": "cuRAND"}

_waiting = []           # copies from the host that have not begun: functions
_numbers = itertools.count(1)


class CaptureError(RuntimeError):
    """As cudaErrorStreamCaptureUnsupported: what a recorded stream cannot do."""


def catch_up():
    """Let everything be done that was asked for."""
    while _waiting:
        _waiting.pop(0)()


def later(copy):
    _waiting.append(copy)


class Stream:
    stack = []              # the streams whose `with` is open, the current one last

    def __init__(self, null=False, non_blocking=False):
        self.ptr, self.non_blocking, self.recording = 0 if null else next(_numbers), non_blocking, None

    def __enter__(self):
        Stream.stack.append(self)
        return self

    def __exit__(self, *_):
        Stream.stack.pop()

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        assert isinstance(event, Event)

    def synchronize(self):
        self.refuse("synchronize")
        catch_up()

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        catch_up()
        self.recording = Recording()

    def end_capture(self):
        recorded, self.recording = self.recording, None
        if recorded is None or recorded.broken:
            why = recorded.broken if recorded else "no recording"
            raise CaptureError(f"cudaErrorStreamCaptureInvalidated: {why}")
        return Graph(recorded)

    def is_capturing(self):
        return self.recording is not None

    def refuse(self, name, why="waits for the device"):
        """An error if this stream is recorded."""
        if self.recording is not None:
            self.recording.broken = f"{name} {why}"
            raise CaptureError(f"cudaErrorStreamCaptureUnsupported: {name} {why} while a stream is recorded")


Stream.null = Stream(null=True)


def current():
    return Stream.stack[-1] if Stream.stack else Stream.null


class Event:
    when = None

    def record(self, stream=None):
        self.when = time.perf_counter()

    def synchronize(self):
        current().refuse("synchronize")
        catch_up()


class Recording:
    """[(function, args, settings, value)]: every operation on device arrays, in order."""

    def __init__(self):
        self.calls, self.broken = [], None


class Graph:
    def __init__(self, recorded):
        self.calls = recorded.calls

    def upload(self, stream=None):
        pass

    def launch(self, stream=None):
        current().refuse("launch", "begins another graph")
        others = {}             # what calls gave besides arrays, such as what a chain keeps for its gradient
        for function, args, settings, value in self.calls:
            _replace(value, function(*_now(args, others), **_now(settings, others)), others)


def _now(value, others):
    if id(value) in others:
        return others[id(value)]
    if type(value) in (list, tuple):
        return type(value)(_now(v, others) for v in value)
    return {k: _now(v, others) for k, v in value.items()} if type(value) is dict else value


def _replace(old, new, others):
    """Put a new value where the recorded one was."""
    if hasattr(old, "_array"):
        if old._array.flags.writeable and not np.may_share_memory(old._array, new._array):      # else a view, as it was
            old._array[...] = new._array
    elif type(old) in (list, tuple):
        for a, b in zip(old, new, strict=True):
            _replace(a, b, others)
    elif old is not None and not isinstance(old, int | float | str | bool | np.dtype):
        others[id(old)] = new


def perform(name, function, args, settings, where="cupy"):
    """What an operation on device arrays gives; it is recorded if the current stream is."""
    stream = current()
    if stream.recording is None:
        return function(*args, **settings)
    if name in WAITS:
        stream.refuse(name)
    library = LIBRARIES.get(where) or ("cuBLAS" if name in CUBLAS else None)
    if library:
        stream.recording.broken = f"{name} calls {library}"
        raise NotImplementedError(f"calling {library} API during stream capture is currently unsupported ({name})")
    value = function(*args, **settings)
    stream.recording.calls.append((function, args, settings, value))
    return value


# ------------------------------------------------------------------------------------------------------------ memory


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory's."""

    def __init__(self, size, total, limit=0):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, limit set to: "
                         f"{limit:,} bytes).")


class MemoryPool:
    def __init__(self):
        self.limit = 0

    def malloc(self, size):
        raise AssertionError("arrays of the stand-in lie on the host")

    def set_limit(self, size=None, fraction=None):
        self.limit = int(size if size is not None else fraction * TOTAL)

    def get_limit(self):
        return self.limit

    free_all_blocks = used_bytes = total_bytes = lambda self: 0


@contextlib.contextmanager
def using_allocator(malloc):
    yield


class Device:
    def __init__(self, number=0):
        self.id, self.compute_capability, self.mem_info = number, "80", (FREE, TOTAL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def use(self):
        return self

    def synchronize(self):
        current().refuse("synchronize")
        catch_up()
