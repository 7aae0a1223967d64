"""Where compiled kernels are kept between processes, and the decorator `kernel` that every compiled function carries.

Numba's own cache looks at the one file a function stands in. Our kernels are assembled from several files, so it would
go on running old code after an edit elsewhere. Here the cache is a folder named after everything the machine code
depends on: the text of every file in this package, the versions of numba and llvmlite, the processor and its features,
and the switches in the environment. An edit means another folder; folders not used for a while are removed.

The folder lies under the user's cache folder, never beside the sources, so read-only installs work. Where no folder can
be written, kernels are compiled in each process.
"""
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core import caching
from numba.extending import intrinsic  # noqa: F401  (taken from here by the files that emit vector instructions)

_KEEP = 4    # folders of other versions that may stay: two checkouts, or two virtual environments, at the same time


def cache_folder():
    """The folder for what minivis may recompute: MINIVIS_CACHE, or `minivis` in the platform's cache folder."""
    named = os.environ.get("MINIVIS_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "minivis"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "minivis" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "minivis"


def host():
    """(name, features) of the processor that Numba compiles for; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES change them."""
    name = numba.config.CPU_NAME or llvm.get_host_cpu_name()
    features = numba.config.CPU_FEATURES
    return name, llvm.get_host_cpu_features().flatten() if features is None else features


def source_stamp():
    """16 hex digits of everything that decides about the machine code."""
    digest = hashlib.sha256()
    for part in (numba.__version__, llvmlite.__version__, *host(), os.environ.get("MINIVIS_INTRINSICS", "")):
        digest.update(f"{part}\n".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{path.name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _open_folder():
    """Make and mark as used the folder of this version. -> its path, or None where nothing can be written."""
    try:
        parent = cache_folder() / "kernels"
        folder = parent / _STAMP
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()    # is it writable?
        os.utime(folder)
    except (OSError, RuntimeError):    # RuntimeError: the user has no home
        return None
    _prune(parent, folder)
    return folder


def _prune(parent, current):
    """Remove the folders of other versions, but for the few used last."""
    try:
        others = sorted((f for f in parent.iterdir() if f.is_dir() and f != current), key=lambda f: -f.stat().st_mtime)
    except OSError:    # another process is pruning too
        return
    for folder in others[_KEEP:]:
        shutil.rmtree(folder, ignore_errors=True)


_STAMP = source_stamp()    # of the sources as they were imported, not as they may be at the first compilation
_FOLDER = _open_folder()


class _Locator(caching._CacheLocator):
    """Tells Numba the folder. The stamp is in its name already."""

    def __init__(self, function):
        self._disambiguator = str(function.__code__.co_firstlineno)

    @classmethod
    def from_function(cls, function, path):
        return cls(function)

    def get_cache_path(self):
        return str(_FOLDER)

    def get_source_stamp(self):
        return _STAMP

    def get_disambiguator(self):
        return self._disambiguator


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _KernelCache(caching.FunctionCache):
    """A damaged or unreadable entry means compiling again, and a full disk means not keeping: never an error."""

    _impl_class = _Implementation

    def load_overload(self, signature, target_context):
        try:
            return super().load_overload(signature, target_context)
        except Exception:    # unpickling a damaged file can raise anything
            return None

    def save_overload(self, signature, data):
        try:
            super().save_overload(signature, data)
        except OSError:
            pass


def kernel(function):
    """Compile `function(descriptor, scratch, first, last)` at its first call, without the GIL; keep the machine code.

    descriptor: a C-contiguous int64 array of sizes and addresses; the others are ints (see threads.run). It must be a
    top-level function and takes care of its own bounds. No fast-math: sums are made in the order written. Division by
    zero gives inf or nan as in NumPy. Python may call it; other kernels may not: what they share is a `helper`.
    """
    compiled = helper(function)
    if _FOLDER is not None and hasattr(compiled, "_cache"):    # no _cache where NUMBA_DISABLE_JIT is set
        compiled._cache = _KernelCache(function)
    return compiled


def helper(function):
    """A function that kernels call, with arguments of any type Numba knows. It is compiled into each of its callers."""
    return numba.njit(nogil=True, error_model="numpy", boundscheck=False)(function)
