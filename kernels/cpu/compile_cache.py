"""Compiled kernels: the decorators that mark them, and where their machine code is kept between processes.

Decorators: `kernel` for what Python calls, `helper` for what kernels call, `intrinsic` for what writes LLVM IR by
itself. None of them does anything when a module is imported. The first call of a kernel looks for its
machine code on disk and loads it with llvmlite alone, in about a millisecond: importing Numba and filling its tables
takes half a second, so a process whose kernels are all on disk never does. Only when code is missing is Numba
imported and the kernel compiled; compile_ahead.py spreads that over the cores.

Numba's own cache looks at the one file a function stands in. Our kernels are assembled from several files, so it would
go on running old code after an edit elsewhere. Here the cache is a folder named after everything the machine code
depends on: the text of every file in this package, the versions of Numba and llvmlite, the processor and its features,
and the switches in the environment. An edit means another folder; folders not used for a while are removed. It lies
under the user's cache folder, never beside the sources, so read-only installs work. Where nothing can be written, each
process compiles for itself.
"""
import ctypes
import functools
import gc
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from . import compile_ahead
from .threads import cores_available

_KEEP = 4    # folders of other versions that may stay: two checkouts, or two virtual environments, at the same time


# ------------------------------------------------------------------------------------------------------ the folder


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
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    return name, llvm.get_host_cpu_features().flatten() if features is None else features


def source_stamp():
    """16 hex digits of everything that decides about the machine code. About a millisecond."""
    digest = hashlib.sha256()
    for part in (sys.version, sys.platform, _numba_version(), llvmlite.__version__, *host()):
        digest.update(f"{part}\n".encode())
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") or name == "MINIVIS_INTRINSICS":
            digest.update(f"{name}={os.environ[name]}\n".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{path.name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _numba_version():
    """The text that names Numba's version, without importing it."""
    return (Path(importlib.util.find_spec("numba").origin).parent / "_version.py").read_bytes()


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


# -------------------------------------------------------------------------------------------------- the decorators

_lock = threading.RLock()    # compiling and loading
_deferred = []               # every helper and intrinsic that Numba has not been told of
_kernels = []
_out = ctypes.create_string_buffer(64)    # where native code writes its "None"; nobody reads it
OUT = ctypes.addressof(_out)


class _Deferred:
    """Stands in a module for a helper or intrinsic until something is compiled; then the real thing replaces it."""

    def __init__(self, function, kind):
        self.function, self.kind, self.real = function, kind, None
        self.__doc__ = function.__doc__
        _deferred.append(self)


def helper(function):
    """A function that kernels call, with arguments of any type Numba knows. It is written into each of its callers."""
    return _Deferred(function, "helper")


def intrinsic(function):
    """numba.extending.intrinsic, postponed: `function(typing_context, *types)` -> signature, code generator."""
    return _Deferred(function, "intrinsic")


class Kernel:
    """A compiled function `(descriptor, scratch, first, last)`; see `kernel`."""

    def __init__(self, function):
        self.function, self.address, self._call = function, None, None
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"     # of its file on disk
        _kernels.append(self)

    def __call__(self, descriptor, scratch, first, last):
        if self.bound(descriptor)(scratch, first, last):
            raise RuntimeError(f"kernel {self.__name__}: stopped by an error inside")

    def bound(self, descriptor):
        """-> f(scratch, first, last) for this descriptor, which must be kept alive; it returns 0, or an error code."""
        return functools.partial(self._call or self.load(), OUT, OUT, self.place(descriptor))

    def entry(self):
        """The address of the machine code."""
        if self.address is None:
            self.load()
        return self.address

    def place(self, descriptor):
        """The address of a descriptor, which must be fit to be one."""
        if descriptor.dtype != np.int64 or not descriptor.flags.c_contiguous:
            raise TypeError(f"kernel {self.__name__}: the descriptor must be a contiguous int64 array")
        return descriptor.__array_interface__["data"][0]

    def load(self):
        """Find or make the machine code."""
        with _lock:
            if self._call is None:
                symbol, code = _read(self.name) or self._make()
                self._engine = _link(code)    # owns the memory the code lies in
                address = self._engine.get_function_address(symbol)
                arguments = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 3
                self._call = ctypes.CFUNCTYPE(ctypes.c_int32, *arguments)(address)    # lets go of the GIL
                self.address = address
        return self._call

    def _make(self):
        """Compile it, or wait for another process that is about to. -> (symbol, object code)"""
        prepare()
        while True:
            with compile_ahead.Claim(_FOLDER, self.name) as claim:
                found = _read(self.name)
                if found or claim.mine:
                    return found or _write(self.name, *_compile_or_say_why_not(self.name, self.function))
            time.sleep(0.01)


def kernel(function):
    """A kernel `function(descriptor, scratch, first, last)`: callable from Python, without the GIL, and kept on disk.

    In Python the descriptor is a C-contiguous int64 array of sizes and addresses and the others are ints (see
    threads.run); inside, the descriptor is a bare pointer: index it, do not ask for its length. It returns nothing and
    takes care of its own bounds. No fast-math: sums are made in the order written; division by zero gives inf or nan.
    It must be a top-level function. Kernels do not call kernels: what they share is a `helper`.
    """
    return Kernel(function)


def prepare():
    """Begin to compile, in other processes, what nearly every use needs and is not on disk. Returns at once."""
    usual = [each.name for each in _kernels if each.name in compile_ahead.USUAL]
    compile_ahead.start(_FOLDER, cores_available(), sorted(usual, key=compile_ahead.USUAL.index))


def load_all():
    """Load, or compile and keep, every kernel of the modules imported so far. -> how many there are."""
    missing = [each.name for each in _kernels if _read(each.name) is None]
    compile_ahead.start(_FOLDER, cores_available(), sorted(missing, key=lambda name: name not in compile_ahead.USUAL))
    for name in reversed(missing):      # what a helper comes to last
        compile_if_free(name)
    for each in list(_kernels):
        each.load()
    return len(_kernels)


def compile_if_free(name):
    """Compile the kernel of this name and keep it on disk, unless that is done or another process is at it."""
    with _lock, compile_ahead.Claim(_FOLDER, name) as claim:
        if claim.mine and _read(name) is None:
            function = next(each.function for each in _kernels if each.name == name)
            _write(name, *_compile_or_say_why_not(name, function))


# ------------------------------------------------------------------------------------------- compiling, loading


def _tell_numba():
    """Make the deferred functions real and put them where they were: in the globals of every function of ours."""
    from . import machine_code
    for each in _deferred:
        if each.real is None:
            each.real = getattr(machine_code, each.kind)(each.function)
    package = __name__.rpartition(".")[0]
    spaces = [vars(m) for name, m in list(sys.modules.items()) if name.startswith(package) and m is not None]
    for space in spaces + [f.function.__globals__ for f in (*_deferred, *_kernels)]:
        for name, value in list(space.items()):
            if isinstance(value, _Deferred):
                space[name] = value.real
    return machine_code


class CompileError(RuntimeError):
    """A kernel cannot be built on this machine; the kernel set then falls back to plain NumPy."""


def _compile_or_say_why_not(name, function):
    try:
        return _compile(function)
    except Exception as error:    # whatever Numba or LLVM raise
        raise CompileError(f"kernel {name} cannot be compiled: {type(error).__name__}: {error}") from error


def _compile(function):
    """-> (symbol, object code) of a kernel"""
    collecting = gc.isenabled()
    gc.disable()            # Numba makes small objects by the million; none is garbage yet, and looking takes a third
    try:
        return _tell_numba().compiled(function)
    finally:
        if collecting:
            gc.enable()


def linked(name, make):
    """The execution engine of object code that is kept on disk under this name; make() -> (symbol, object code)."""
    return _link((_read(name) or _write(name, *make()))[1])


def _link(code):
    """An execution engine with the object code loaded and its references resolved."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _read(name):
    """(symbol, object code) from disk, or None where there is none or it is damaged."""
    if _FOLDER is None:
        return None
    try:
        checksum, symbol, code = (_FOLDER / f"{name}.o").read_bytes().split(b"\n", 2)
    except (OSError, ValueError):
        return None
    return (symbol.decode(), code) if hashlib.sha256(code).hexdigest() == checksum.decode("latin-1") else None


def _write(name, symbol, code):
    """Keep the machine code; a full disk means not keeping it, never an error. -> symbol, code"""
    if _FOLDER is not None:
        try:
            with tempfile.NamedTemporaryFile(dir=_FOLDER, delete=False) as file:
                file.write(b"\n".join((hashlib.sha256(code).hexdigest().encode(), symbol.encode(), code)))
            os.replace(file.name, _FOLDER / f"{name}.o")    # whole or not at all, whoever else is writing
        except OSError:
            pass
    return symbol, code
