"""Where the blocks of a pass are computed: in this process, in several (on GPUs one for each, gpus.py), or on a Dask
cluster. Same bits everywhere.

A block is (first, names). Every backend yields the parts of the blocks in their order, and holds only a few at a time.
"""
import collections
import contextlib
import functools
import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor

from ..errors import MinivisError

AHEAD = 2               # blocks that are read while one is computed
BACKENDS = ("local", "processes", "dask")


def run(job, blocks, backend="local", workers=None, scheduler=None):
    """Yield the part of each block.

    workers      processes, or local threads that read; None: as many as there are cores, or GPUs for a network on one
    scheduler    of Dask, tcp://HOST:8786; the workers need minivis, and the pictures under the same path
    """
    if backend == "local":
        return local(job, blocks, workers)
    if backend == "processes" and job.net.device == "gpu":
        from .gpus import run as on_gpus
        return on_gpus(job, blocks, workers)
    return _processes(job, blocks, workers) if backend == "processes" else _dask(job, blocks, workers, scheduler)


def check(backend, workers, scheduler):
    """An error if `run` could not be called like that, before anything is begun."""
    if backend not in BACKENDS:
        raise MinivisError(f"index: backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if (scheduler is not None) != (backend == "dask"):
        raise MinivisError("index: --scheduler goes with --backend dask: "
                           + ("name the scheduler's address" if scheduler is None else "name that backend"))
    if workers is not None and workers < 1:
        raise MinivisError(f"index: workers {workers} must be at least 1")


def local(job, blocks, workers):
    """Pictures are read by threads (Pillow lets go of the interpreter) while the network runs on those before."""
    from ..kernels.cpu import get_threads
    blocks, waiting = iter(blocks), collections.deque()
    readers = ThreadPoolExecutor(workers or get_threads(), "minivis-reader")

    def begin(some):
        waiting.extend((first, names, [readers.submit(job.read, name) for name in names]) for first, names in some)

    try:
        begin(itertools.islice(blocks, AHEAD))
        while waiting:
            first, names, loaded = waiting.popleft()
            loaded = [future.result() for future in loaded]
            begin(itertools.islice(blocks, 1))
            yield job.run(first, names, loaded)
    finally:
        readers.shutdown(cancel_futures=True)


def _processes(job, blocks, workers):
    from joblib import Parallel, delayed

    from ..kernels.cpu import get_threads
    cores = get_threads()
    workers = workers or cores
    threads = max(1, cores // workers)
    parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator", batch_size=1)
    yield from _in_order(parallel(delayed(_block)(job, first, names, threads) for first, names in blocks))


def _dask(job, blocks, workers, scheduler):
    try:
        from dask.distributed import Client
        from joblib import Parallel, delayed, parallel_config
    except ImportError as error:
        raise MinivisError(f"index: --backend dask needs the extra: pip install 'minivis[dask]' ({error})") from None
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(Client(scheduler, timeout="20s", set_as_default=False))
        except (OSError, ValueError, TimeoutError) as error:
            raise MinivisError(f"index: no Dask scheduler answers at {scheduler}: {error}") from error
        stack.enter_context(parallel_config("dask", client=client, scatter=[job]))
        parallel = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=1)
        yield from _in_order(parallel(delayed(_block)(job, first, names, 1) for first, names in blocks))


def _in_order(parts):
    """joblib's results; when a pass is broken off, without its warning that tasks were cancelled."""
    try:
        for part in parts:          # noqa: UP028 - `yield from` would close them before the warning is silenced
            yield part
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            parts.close()


def _block(job, first, names, threads):
    """What a worker does. Workers compute side by side, so each takes its share of the cores."""
    from ..kernels.cpu import set_threads
    set_threads(threads)
    if job.device == "gpu":
        job.net = _on_gpu(job.net)
    return job.block(first, names)


@functools.lru_cache(1)
def _on_gpu(net):
    """A network that arrived, on the GPU that this process sees first."""
    return net.to("gpu")
