"""A function of device arrays recorded once as a CUDA graph and replayed with new numbers.

A step of an optimisation is some dozens of short kernels; launching them one by one from Python can take longer than
they run. A replay launches all of them at once. What is recorded is what ran: the same shapes, the same addresses, the
same branches. So the function must depend on its arrays alone, must not wait for the device (no `.get()`, no `float`),
must move nothing from the host (constants by kernels.kept) and call no library through CuPy; and every buffer in it
must live as long as the graph: it draws them from a pool of its own.
"""
import contextlib
import os

from . import kernels
from .errors import MinivisError

_WARM_UP = 2        # runs before recording: kernels are compiled, cuBLAS gets its workspace, the pool its blocks
_MOST = 4           # graphs of one function for different shapes; each holds the memory of a whole step


def wanted(array):
    """Whether steps on this array are to be recorded: it lies on a GPU and MINIVIS_CUDA_GRAPHS=1 asks for it."""
    return os.environ.get("MINIVIS_CUDA_GRAPHS") == "1" and type(array).__module__.split(".")[0] == "cupy"


class Replays:
    """`Replays()(f, *arrays)` -> f(*arrays), a list of arrays. Where `wanted`, f is recorded once for each set of
    shapes; it is always the same f, or one that does the same.
    """

    def __init__(self):
        self.captured = {}

    def __call__(self, function, *arrays):
        if not wanted(arrays[0]):
            return function(*arrays)
        key = tuple((a.shape, a.dtype.str) for a in arrays)
        if key not in self.captured:
            while len(self.captured) >= _MOST:
                del self.captured[next(iter(self.captured))]        # the oldest
            self.captured[key] = Captured(function, *arrays)
        return self.captured[key](*arrays)


class Captured:
    """`Captured(f, *examples)(*arrays)` -> a list of arrays, as f(*arrays) gives; arrays shaped like the examples."""

    def __init__(self, function, *examples):
        self.cupy = cupy = kernels.xp(examples[0])
        self.inputs = [a.copy() for a in examples]
        self.pool, self.stream = self._pool(), cupy.cuda.Stream(non_blocking=True)
        self._follow(cupy.cuda.get_current_stream())
        with cupy.cuda.using_allocator(self.pool.malloc), self.stream:
            for _ in range(_WARM_UP):
                function(*self.inputs)
            self.stream.synchronize()
            self.stream.begin_capture()
            try:
                self.outputs = list(function(*self.inputs))
            except Exception as error:
                with contextlib.suppress(Exception):    # a stream that goes on recording would be of no use to anybody
                    self.stream.end_capture()
                if isinstance(error, MinivisError | MemoryError):
                    raise
                raise MinivisError(f"this step cannot be recorded as a CUDA graph ({error}); leave out "
                                   "MINIVIS_CUDA_GRAPHS") from error
            self.graph = self.stream.end_capture()
        self.graph.upload(self.stream)

    def __call__(self, *arrays):
        for number, (mine, given) in enumerate(zip(self.inputs, arrays, strict=True)):
            if given.shape != mine.shape or given.dtype != mine.dtype:
                raise MinivisError(f"a captured step was recorded for {mine.shape} {mine.dtype} as array {number}, and "
                                   f"got {given.shape} {given.dtype}; record it anew")
        current = self.cupy.cuda.get_current_stream()
        self._follow(current)
        with self.stream:
            for mine, given in zip(self.inputs, arrays):
                mine[...] = given
            self.graph.launch(self.stream)
        current.wait_event(self.stream.record())
        return [out.copy() for out in self.outputs]     # the next replay writes over the outputs

    def _pool(self):
        """A pool that ends where the usual one would: what that holds already is not for us."""
        pool, usual = self.cupy.cuda.MemoryPool(), self.cupy.get_default_memory_pool()
        if usual.get_limit():
            pool.set_limit(size=max(1, usual.get_limit() - usual.used_bytes()))
        return pool

    def _follow(self, current):
        """Let nothing of ours begin before what has been asked of the current stream is done."""
        self.stream.wait_event(current.record())
