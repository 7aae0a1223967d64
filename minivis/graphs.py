"""A function of device arrays recorded once as a CUDA graph and replayed with new numbers.

A step of an optimisation is some dozens of short kernels; launching them one by one from Python can take longer than
they run. A replay launches all of them at once. What is recorded is what ran: the same shapes, the same addresses, the
same branches. So the function must depend on its arrays alone, must not wait for the device (no `.get()`, no `float`),
and every buffer in it must live as long as the graph: it draws them from a pool of its own.
"""
from . import kernels
from .errors import MinivisError

_WARM_UP = 2        # runs before recording: kernels are compiled, cuBLAS gets its workspace, the pool its blocks


class Captured:
    """`Captured(f, *examples)(*arrays)` -> a list of arrays, as f(*arrays) gives; arrays shaped like the examples."""

    def __init__(self, function, *examples):
        self.cupy = cupy = kernels.xp(examples[0])
        self.inputs = [a.copy() for a in examples]
        self.pool, self.stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        self._follow(cupy.cuda.get_current_stream())
        with cupy.cuda.using_allocator(self.pool.malloc), self.stream:
            for _ in range(_WARM_UP):
                function(*self.inputs)
            self.stream.synchronize()
            self.stream.begin_capture()
            try:
                self.outputs = list(function(*self.inputs))
            finally:                                    # a stream that goes on recording would be of no use to anybody
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

    def _follow(self, current):
        """Let nothing of ours begin before what has been asked of the current stream is done."""
        self.stream.wait_event(current.record())
