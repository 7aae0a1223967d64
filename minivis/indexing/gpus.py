"""A pass on several GPUs: one process for each, which reads ahead while its GPU computes. Same bits as on one.

Block i goes to GPU i modulo their number, and the parts come back in the order of the blocks. A process gets the job
once and then only names; what goes wrong in it is raised here.
"""
import collections
import contextlib
import importlib
import itertools
import multiprocessing

from ..errors import MinivisError
from .parallel import AHEAD, local

_HELD = AHEAD + 2           # blocks that a process has been given and not answered: it need not wait for the next


def count():
    """How many GPUs this process sees; CUDA_VISIBLE_DEVICES chooses."""
    return importlib.import_module("cupy").cuda.runtime.getDeviceCount()


def chosen(workers):
    """The numbers of the first `workers` GPUs; None: of all."""
    there = count()
    if workers is not None and workers > there:
        raise MinivisError(f"index: {workers} workers, one for each GPU, but there are {there}; leave out --workers")
    return list(range(workers or there))


def run(job, blocks, workers=None):
    """Yield the part of each block."""
    from ..kernels.cpu import get_threads
    numbers = chosen(workers)
    readers = max(1, get_threads() // len(numbers))
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(started(job, number, readers)) for number in numbers]
        turns, blocks, waiting = itertools.cycle(ends), iter(blocks), collections.deque()

        def send(many):
            for end in itertools.islice(turns, many):
                block = next(blocks, None)          # None: there are no more
                _tell(end, block)
                if block is not None:
                    waiting.append(end)
        send(_HELD * len(ends))
        while waiting:
            part = _answer(waiting.popleft())
            send(1)
            yield part


class End:
    """This side of a process: its pipe, which GPU it works on, and the process."""

    def __init__(self, pipe, number, process):
        self.pipe, self.number, self.process = pipe, number, process


@contextlib.contextmanager
def started(job, number, readers):
    """A process that serves GPU `number`, ended whatever happens."""
    context = multiprocessing.get_context("spawn")      # a forked process cannot use a GPU its parent has used
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, job, number, readers), daemon=True)
    process.start()
    theirs.close()
    try:
        yield End(ours, number, process)
    finally:
        ours.close()                # it ends by itself when it next reads or answers
        process.join(5)
        if process.is_alive():
            process.terminate()
            process.join()


def serve(pipe, job, number, readers):
    """What a process does: answer each block (first, names) with its part, or with the error that ended it."""
    def asked():
        with contextlib.suppress(EOFError, OSError):
            while (block := pipe.recv()) is not None:
                yield block
    try:
        job.net = job.net.to(f"gpu:{number}")
        for part in local(job, asked(), readers):
            pipe.send((part, None))
    except (BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            said = error if isinstance(error, MinivisError) else f"{type(error).__name__}: {error}"
            pipe.send((None, said))


def _tell(end, block):
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):    # why it ended is in what it sent, or unknown
        end.pipe.send(block)


def _answer(end):
    try:
        part, error = end.pipe.recv()
    except (EOFError, ConnectionResetError):
        end.process.join(5)
        raise MinivisError(f"index: the process of GPU {end.number} ended with exit code {end.process.exitcode}; the "
                           "same command goes on behind what is finished") from None
    if error is not None:
        raise error if isinstance(error, Exception) else MinivisError(f"index: GPU {end.number}: {error}")
    return part
