"""CUDA source run by g++: the GPU's launchers and kernels, unchanged, on NumPy arrays. Slow, and exact about mistakes.

    from minivis.kernels import gpu
    with gpu.launch.through(Shim()):
        y, mask = gpu.relu_forward(x)           # x a NumPy array

Each .cu file is compiled once with driver.cpp into an executable that reads and writes .npy files (kept in the cache
folder under the digest of its text); each launch is one process of it. shim.h says what this can show and what not.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from minivis.kernels.cpu.compile_cache import cache_folder
from minivis.kernels.gpu import source as sources

HERE = Path(__file__).parent
_WARNINGS = ("-Wall", "-Wno-unknown-pragmas", "-Wno-unused-variable", "-Wno-unused-function")
_FLAGS = ("-std=c++20", "-O1", "-g1", "-fno-omit-frame-pointer", "-ffp-contract=off",
          "-fsanitize=address,alignment,bounds,integer-divide-by-zero,shift,signed-integer-overflow",
          "-fno-sanitize-recover=all")
_RACE_FLAGS = ("-std=c++20", "-O1", "-g1", "-fno-omit-frame-pointer", "-ffp-contract=off", "-no-pie", "-DMINIVIS_RACES")
_OPTIONS = {"ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=0:exitcode=4:abort_on_error=0",
            "UBSAN_OPTIONS": "print_stacktrace=0"}
_KERNEL = re.compile(r'extern\s+"C"\s+minivis_shim_global\s+void\s+(\w+)\s*\(')


class ShimError(RuntimeError):
    """The source does not compile, or a launch did something wrong; the text says what."""


def compiler():
    """The path of g++, or None."""
    return shutil.which(os.environ.get("CXX", "g++"))


class Shim:
    """A backend for gpu.launch that runs kernels on the host.

    launches   counts the kernels that ran, by name; verbose prints each
    races      look for races between threads, in a build of its own, instead of for bad memory accesses;
               MINIVIS_SHIM_RACES=1 says so for every Shim
    """
    is_shim = True
    xp = np

    def __init__(self, verbose=False, races=None):
        self.verbose, self.launches = verbose, {}
        self.races = os.environ.get("MINIVIS_SHIM_RACES") == "1" if races is None else races

    # ------------------------------------------------------------------------------------- what a backend offers

    def owns(self, array):
        return isinstance(array, np.ndarray)

    def device_of(self, array):
        return 0

    def address(self, array):
        return array.ctypes.data

    def empty(self, shape, dtype, like):
        """Memory as a launch finds it: full of nonsense (NaN where the type has it)."""
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[...] = 0xFF
        return array

    def product(self, a, b, out):
        np.matmul(a, b, out=out)

    def run(self, source, kernel, grid, block, args, shared):
        executable = build(source, self.races)
        with tempfile.TemporaryDirectory(prefix="minivis-shim-") as folder:
            lines = [kernel, " ".join(str(n) for n in (*grid, *block, shared))]
            files = {}
            for arg in args:
                lines.append(self._line(arg, files, Path(folder)))
            request = Path(folder) / "request"
            request.write_text("\n".join(lines) + "\n", encoding="ascii")
            done = subprocess.run([executable, request], env={**os.environ, **_OPTIONS}, capture_output=True, text=True,
                                  check=False)
            if done.returncode:
                raise ShimError(f"{source}: {kernel} grid {grid} block {block}: {_shorten(done.stderr)}")
            for array, path in files.values():
                array[...] = np.load(path)
        self.launches[kernel] = self.launches.get(kernel, 0) + 1
        if self.verbose:
            print(f"{kernel} grid {grid} block {block}", file=sys.stderr)

    @staticmethod
    def _line(arg, files, folder):
        if arg is None:
            return "n"
        if isinstance(arg, np.ndarray):
            key = arg.ctypes.data, arg.nbytes
            if key not in files:
                files[key] = (arg, folder / f"{len(files)}.npy")
                np.save(files[key][1], arg)
            return f"a {files[key][1]}"
        if arg.dtype.names:
            return f"b {arg.tobytes().hex()}"
        return f"s {arg.dtype.str[1:]} {float(arg).hex() if arg.dtype.kind == 'f' else int(arg)}"


def kernels_in(source):
    """The names of the kernels in a .cu file, macros expanded."""
    with tempfile.NamedTemporaryFile("w", suffix=".cpp", encoding="utf-8") as file:
        file.write(sources.text(source))
        file.flush()
        expanded = _gcc(["-E", "-P", "-DMINIVIS_SHIM_LIST", "-include", str(HERE / "shim.h"), "-std=c++20", file.name],
                        source)
    return _KERNEL.findall(expanded)


def build(source, races=False):
    """The path of the executable for one .cu file, compiled if it is not in the cache."""
    ours = "".join((HERE / name).read_text(encoding="utf-8")
                   for name in ("shim.h", "driver.cpp", "races.h", *["races.cpp"] * races))
    flags = _RACE_FLAGS if races else _FLAGS
    stamp = hashlib.sha256((sources.text(source) + ours + " ".join(flags)).encode()).hexdigest()[:20]
    name = f"{Path(source).stem}-{'races-' * races}{stamp}"
    path = Path(os.environ.get("MINIVIS_CUDA_CACHE") or cache_folder()) / "cuda-shim" / name
    if path.exists():
        return path
    names = kernels_in(source)
    if not names:
        raise ShimError(f"{source}: no kernel (extern \"C\" __global__ void NAME) found")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = "".join(f'{{"{name}", &shim::entry_of<&{name}>}}, ' for name in names)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unit = Path(folder) / f"{Path(source).stem}.cpp"
        unit.write_text(f'#include "{HERE / "shim.h"}"\n{sources.text(source)}\n#include "{HERE / "driver.cpp"}"\n'
                        f"static const shim::Entry table[] = {{{table}}};\n"
                        "int main(int argc, char** argv) { return shim::main_of(argc, argv, table, "
                        f"{len(names)}); }}\n", encoding="utf-8")
        if races:           # each access calls a function (races.cpp), and the library that usually has them stays out
            _gcc([*flags, *_WARNINGS, "-fsanitize=thread", "-c", "-o", f"{folder}/unit.o", str(unit)], source)
            _gcc([*flags, "-O2", "-o", f"{folder}/out", f"{folder}/unit.o", str(HERE / "races.cpp")], source)
        else:
            _gcc([*flags, *_WARNINGS, "-o", f"{folder}/out", str(unit)], source)
        os.replace(f"{folder}/out", path)
    return path


def _gcc(arguments, source):
    program = compiler()
    if program is None:
        raise ShimError("g++ is missing; install it to run CUDA source without a GPU")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ShimError(f"{source} does not compile for the host: {_shorten(done.stderr)}")
    return done.stdout


def _shorten(text, lines=25):
    kept = [line for line in text.splitlines() if line.strip()][:lines]
    return "\n".join(kept) or "no message"
