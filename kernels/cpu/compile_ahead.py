"""Compiling on several cores: Numba compiles one kernel at a time, so other processes take some of them over.

A process that opens a network, or misses a kernel on disk, starts helpers: Python processes that do nothing but compile
kernels which nearly every use needs (USUAL), while the process itself compiles the one it needs now. Whoever compiles a
kernel claims it first, by a file NAME.claim beside the machine code; whoever finds it claimed waits for it. So several
minivis started at the same time share the work as well. A helper ends when nothing is left, or when its parent has
ended.
MINIVIS_COMPILE=alone in the environment means no helpers.
"""
import contextlib
import importlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

# a helper takes them in this order, the longest first; meanwhile the process itself makes what its first layers need
USUAL = ("winograd_jobs.forward_4", "taps.tiles_float32", "taps.pack_float32", "max_pooling._max_vectors",
         "winograd_jobs.gradient_4", "direct.gradient_strips")
_PATIENCE = 120         # seconds after which a claim counts no more
_HELPERS = 3            # processes at most

_helpers = None         # those started by this process


class Claim:
    """`with Claim(folder, name) as claim:` claim.mine says whether the kernel is ours to compile."""

    def __init__(self, folder, name):
        self.path = folder / f"{name}.claim" if folder else None
        self.mine = True

    def __enter__(self):
        if self.path is not None:
            with contextlib.suppress(OSError):          # where nothing can be written everybody compiles
                self.mine = self._take() or (self._abandoned() and self._take())
        return self

    def __exit__(self, *_):
        if self.mine and self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _take(self):
        try:
            with self.path.open("x") as file:
                file.write(f"{platform.node()} {os.getpid()}")
        except FileExistsError:
            return False
        return True

    def _abandoned(self):
        """Remove the claim of a process that has ended, or of one that takes too long. -> whether it is gone."""
        try:
            old = time.time() - self.path.stat().st_mtime > _PATIENCE
            node, process = self.path.read_text().split()
        except FileNotFoundError:
            return True
        except ValueError:                              # being written just now
            return False
        if not old and (node != platform.node() or _is_running(int(process))):
            return False
        self.path.unlink(missing_ok=True)
        return True


def _is_running(process):
    if os.name != "posix":                              # elsewhere asking might end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:                                     # it is somebody else's
        return True
    return True


def start(folder, cores, names):
    """Start helpers that compile the kernels `names`, once per process; where that is impossible do without."""
    global _helpers
    if _helpers is not None or folder is None or os.environ.get("MINIVIS_COMPILE") == "alone":
        return
    wanted = [name for name in names if not (folder / f"{name}.o").exists()]
    if not wanted or not Path(sys.executable or "").name.startswith("python"):     # or a program that has Python inside
        return
    _helpers = []
    top = sys.modules[__name__.partition(".")[0]]
    places = [str(Path(top.__path__[0]).parent), *sys.path]
    program = f"import sys; sys.path[:] = {places!r}; import {__name__} as a; a.work({os.getpid()}, {wanted!r})"
    for _ in range(min(cores - 1, _HELPERS, len(wanted))):
        with contextlib.suppress(OSError):
            _helpers.append(subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env={**os.environ, "MINIVIS_COMPILE": "alone"}))


def work(parent, names):
    """What a helper does."""
    package = __name__.rpartition(".")[0]
    importlib.import_module(package)
    cache = importlib.import_module(f"{package}.compile_cache")
    for name in names:
        if os.name == "posix" and os.getppid() != parent:
            return
        cache.compile_if_free(name)
