"""CUDA without a GPU: does every .cu file compile for every architecture, within its budget, and compute what
`reference` computes?

    python -m tools.check_cuda [--arch sm_80 ...] [--write-budget] [--compile-only]

1. Compiles every file of kernels/gpu for sm_80 86 89 90 90a 100 120, with NVRTC (pip install nvidia-cuda-nvrtc) or
   nvcc, whichever is there; an architecture that the compiler does not know is named as skipped.
2. Compares registers, spills and static shared memory of every kernel with kernels/gpu/budget.toml; no kernel may keep
   arrays in local memory beside what it spills.
3. Runs the kernel tests through tools/cuda_shim, the same source compiled by g++: for its results and bad memory
   accesses, and once more for races between threads.

It cannot show faults of memory order, whether cuBLAS is called rightly, or speed: for these there is tools/gpu_check,
which needs a GPU. Exit status 1 if anything fails. Results are kept in the cache folder
(MINIVIS_CUDA_CACHE, else MINIVIS_CACHE) under the digest of source, compiler and architecture.
"""
import argparse
import concurrent.futures
import ctypes
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

from minivis.kernels.cpu.compile_cache import cache_folder
from minivis.kernels.gpu import source as sources
from minivis.kernels.gpu.compile import OPTIONS

ROOT = Path(__file__).resolve().parents[1]
BUDGET = ROOT / "kernels" / "gpu" / "budget.toml"
EVERY = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_120")
QUICK = ("sm_80", "sm_90a", "sm_120")       # in every run of the tests
_COUNTED = ("registers", "spill", "shared")
_HEADER = """# The most that a kernel may take on any architecture: registers per thread, bytes of register spills, and
# bytes of static shared memory. Checked by tools/check_cuda.py. `python -m tools.check_cuda --write-budget` adds new
# kernels, removes gone ones and raises what is exceeded (registers to a multiple of 16); it lowers nothing. A growing
# number deserves a look before it is written down: a spilling kernel runs through memory what belongs in registers.
"""


class CompilerError(RuntimeError):
    """The compiler refuses a file; the text is its log."""


# ------------------------------------------------------------------------------------------------------- compilers


class Nvrtc:
    """NVIDIA's run-time compiler as a library, from the wheel nvidia-cuda-nvrtc or the toolkit."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.name = f"nvrtc-{major.value}.{minor.value}"

    def knows(self, arch):
        count = ctypes.c_int()
        self.library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        self.library.nvrtcGetSupportedArchs(numbers)
        return int(re.sub(r"\D", "", arch)) in list(numbers)

    def log(self, name, arch):
        """Compile one file; what the assembler says of its kernels."""
        call, program, size = self.library, ctypes.c_void_p(), ctypes.c_size_t()
        call.nvrtcCreateProgram(ctypes.byref(program), sources.text(name).encode(), name.encode(), 0, None, None)
        options = [o.encode() for o in (f"-arch={arch}", *OPTIONS, "--ptxas-options=-v")]
        failed = call.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        call.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(max(size.value, 1))
        call.nvrtcGetProgramLog(program, text)
        call.nvrtcDestroyProgram(ctypes.byref(program))
        if failed:
            raise CompilerError(f"{name} for {arch}: {text.value.decode()}")
        return text.value.decode()


class Nvcc:
    """The compiler of the CUDA toolkit, which needs g++ for its preprocessor."""

    def __init__(self, path):
        self.path = path
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        self.name = "nvcc-" + re.search(r"release ([\d.]+)", version)[1]
        listed = subprocess.run([path, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
        self.known = listed.split()

    def knows(self, arch):
        return arch.rstrip("a") in self.known

    def log(self, name, arch):
        with tempfile.TemporaryDirectory(prefix="minivis-nvcc-") as folder:
            file = Path(folder) / Path(name).name
            file.write_text(sources.text(name), encoding="utf-8")
            done = subprocess.run([self.path, "-cubin", f"-arch={arch}", *OPTIONS, "-Xptxas", "-v", "-o",
                                   f"{folder}/out.cubin", str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompilerError(f"{name} for {arch}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr


def find_compiler():
    """NVRTC if it is installed (or its library named in MINIVIS_NVRTC), else nvcc, else None."""
    for pattern in (os.environ.get("MINIVIS_NVRTC", ""), f"{sysconfig.get_path('purelib')}/nvidia/*/lib/libnvrtc.so.*",
                    f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/lib64/libnvrtc.so.*"):
        for path in sorted(glob.glob(pattern)):
            try:
                return Nvrtc(path)
            except (OSError, AttributeError):       # a library of another machine, or not this one
                continue
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    return Nvcc(nvcc) if nvcc else None


# ------------------------------------------------------------------------------------------------- usage and budget


def usage(compiler, name, arch):
    """{kernel: {registers, spill, shared}} of one file; from the cache if this text was compiled before."""
    path = check_folder() / f"{Path(name).stem}-{sources.digest(name)}-{arch}-{compiler.name}-stack.json"
    if path.exists():
        return json.loads(path.read_text())
    found = read_log(compiler.log(name, arch))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(f".{os.getpid()}").write_text(json.dumps(found))
    path.with_suffix(f".{os.getpid()}").replace(path)
    return found


def read_log(text):
    """What `ptxas -v` says: {kernel: {registers, spill, shared, stack}} in numbers per thread, bytes, bytes, bytes.

    stack: of a kernel that spills nothing, arrays that the compiler could not keep in registers.
    """
    found, kernel, spill, stack = {}, None, 0, 0
    for line in text.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            kernel, spill, stack = entry[1], 0, 0
        elif spills := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spill = int(spills[2]) + int(spills[3])
            stack = 0 if spill else int(spills[1])
        elif kernel and (used := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            found[kernel] = {"registers": int(used[1]), "spill": spill, "shared": int(shared[1]) if shared else 0,
                             "stack": stack}
    return found


def complaints(name, found, budget):
    """What is wrong with one file's kernels: over budget, without a budget, or in the budget and gone."""
    allowed = budget.get(name, {})
    for kernel, used in found.items():
        if kernel not in allowed:
            yield f"{name}: {kernel} has no budget; python -m tools.check_cuda --write-budget"
            continue
        for what, number in used.items():
            most = allowed[kernel].get(what, 0)
            if number > most:
                yield f"{name}: {kernel} takes {what} {number}, its budget is {most}"
    for kernel in sorted(set(allowed) - set(found)):
        yield f"{name}: the budget names {kernel}, which does not exist"


def read_budget():
    return tomllib.loads(BUDGET.read_text(encoding="utf-8")) if BUDGET.exists() else {}


def write_budget(per_file):
    """per_file {name: [usage on one architecture, ...]}. Compilers differ, so what was allowed stays allowed."""
    text, before = _HEADER, read_budget()
    for name, usages in sorted(per_file.items()):
        text += f'\n["{name}"]\n'
        for kernel in usages[0]:
            most = {what: max(u[kernel][what] for u in usages) for what in _COUNTED}
            most["registers"] = -(-most["registers"] // 16) * 16
            old = before.get(name, {}).get(kernel, most)
            text += f"{kernel} = {{{', '.join(f'{what} = {max(most[what], old[what])}' for what in _COUNTED)}}}\n"
    BUDGET.write_text(text, encoding="utf-8")


def check_folder():
    return Path(os.environ.get("MINIVIS_CUDA_CACHE") or cache_folder()) / "cuda-check"


def in_parallel(function, items):
    """Results in order; compilers are processes of their own, so threads are enough."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


# ------------------------------------------------------------------------------------------------------------- main


def check(archs, write=False, say=print):
    """Compile everything for these architectures. -> the number of faults."""
    compiler = find_compiler()
    if compiler is None:
        say("neither NVRTC (pip install nvidia-cuda-nvrtc) nor nvcc is here: nothing was compiled")
        return 1
    known = [arch for arch in archs if compiler.knows(arch)]
    for arch in sorted(set(archs) - set(known)):
        say(f"skipped: {compiler.name} does not know {arch}")

    def one(job):
        try:
            return usage(compiler, *job)
        except CompilerError as error:
            return str(error)

    jobs = [(name, arch) for name in sources.names() for arch in known]
    results = dict(zip(jobs, in_parallel(one, jobs)))
    faults = [r for r in results.values() if isinstance(r, str)]
    if write and not faults:
        write_budget({name: [results[name, arch] for arch in known] for name in sources.names()})
    budget = read_budget()
    for (name, arch), found in results.items():
        if not isinstance(found, str):
            faults += [f"{arch}: {text}" for text in complaints(name, found, budget)]
    faults += [f"the budget has a section {name}, but there is no such file"
               for name in sorted(set(budget) - set(sources.names()))]
    for fault in faults:
        say(fault)
    count = sum(len(found) for (_, arch), found in results.items() if arch == known[0] and not isinstance(found, str))
    say(f"{compiler.name}: {len(sources.names())} files, {count} kernels, for {' '.join(known)}: "
        f"{f'{len(faults)} faults' if faults else 'all within budget'}")
    return len(faults)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="check_cuda", description=__doc__.split("\n\n")[0])
    parser.add_argument("--arch", nargs="+", default=EVERY, metavar="sm_NN")
    parser.add_argument("--write-budget", action="store_true", help="write down what the kernels take now")
    parser.add_argument("--compile-only", action="store_true", help="leave out the tests through g++")
    options = parser.parse_args(arguments)
    failed = check(options.arch, options.write_budget)
    if not options.compile_only:
        for more in (["-k", "gpu-shim"], ["-k", "gpu-races", "-m", "slow"]):
            command = [sys.executable, "-m", "pytest", "tests/kernels", *more]
            failed |= subprocess.run(command, cwd=ROOT, check=False).returncode
    print("Not shown by any of this: memory order, cuBLAS calls, speed. That takes a GPU.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
