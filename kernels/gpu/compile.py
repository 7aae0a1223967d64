"""CUDA source to machine code, once: NVRTC through CuPy, kept on disk under the digest of source, options and compiler.

We compile ourselves, and load the result, because CuPy's own cache does not look into included files and chooses plain
sm_90 where sm_90a knows more instructions.
"""
import contextlib
import os
import tempfile
from pathlib import Path

from . import source as sources

OPTIONS = ("-std=c++17",)
_WITH_A = {"90": "90a"}         # architectures whose full set of instructions has a name of its own


class CompileError(RuntimeError):
    """A .cu file that the compiler refuses; the text is the compiler's."""


def architecture(capability):
    """CuPy's "90" -> "sm_90a": the fullest instruction set that a GPU of this compute capability runs."""
    return f"sm_{_WITH_A.get(capability, capability)}"


def cubin(cupy, source, device):
    """The path of the machine code of one .cu file for GPU `device`, compiled if it is not in the cache."""
    from ..cpu.compile_cache import cache_folder
    arch = architecture(cupy.cuda.Device(device).compute_capability)
    version = "-".join(str(n) for n in cupy.cuda.nvrtc.getVersion())
    folder = cache_folder() / "cuda"
    path = folder / f"{Path(source).stem}-{sources.digest(source)}-{arch}-nvrtc-{version}.cubin"
    if not path.exists():
        _write(path, compile_text(cupy.cuda.nvrtc, source, arch))
    return path


def compile_text(nvrtc, source, arch):
    """The machine code (bytes) of one .cu file. nvrtc: CuPy's binding. Needs no GPU."""
    program = nvrtc.createProgram(sources.text(source), source, [], [])
    try:
        nvrtc.compileProgram(program, [f"-arch={arch}", *OPTIONS])
        return nvrtc.getCUBIN(program) + b"\0"      # the binding cuts off the last byte, which is a zero
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program).strip() or str(error)
        raise CompileError(f"{source} does not compile for {arch}: {log}") from None
    finally:
        nvrtc.destroyProgram(program)


def _write(path, data):
    """Whole or not at all: several processes may compile the same file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
