"""Taking the check to a machine without network: which packages it lacks, and wheels of these in portions."""
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .known import ROOT

PORTION = 48                # MiB that travel at once, beside the checkout, unless another number is given
# not needed by anything that the check runs
NOT_NEEDED = {"pooch", "ruff"}
# manylinux names that pip matches one by one
_PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)] + [
    "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]

PLAN = """The GPU check on a machine without network

That machine needs an NVIDIA driver, Python 3.11 or later and, in that Python: CuPy 14 for the driver's CUDA with
cuBLAS and NVRTC (cupy-cuda13x[ctk], or the wheels nvidia-cublas and nvidia-cuda-nvrtc beside cupy-cuda13x, or a
toolkit), numpy, scipy, numba with llvmlite, pillow, h5py, matplotlib, scikit-learn, joblib, threadpoolctl, tqdm,
safetensors and pytest.
hypothesis (for the stage "rest"), torch (to compare with), captum (the same, occlusion) and compute-sanitizer are used
where they are there. Nothing is fetched: the networks have random weights or lie in weights/.

1. Here, before: the same code passes what can be seen without a GPU, and every .cu file compiles.
       python -m tools.check_cuda
       python -m pytest tests/tools tests/kernels/gpu tests/test_graphs.py tests/test_devices.py
   and the check itself in rehearsal, with the stand-in for CuPy (first, compile, torch and sanitizer ask for a card):
       PYTHONPATH=tools/cuda_shim/on_path:. python -m tools.gpu_check --small --stages networks,graphs --out OUT
2. There: what is missing.
       python -m tools.gpu_check --missing
   If nothing is, go on with 4. Any checkout will do; nothing is installed from it.
3. Here: wheels of the missing packages, for that machine's Python, in portions that can travel one after the other; a
   file larger than a portion is cut into pieces. captum alone is 0.5 MB; numba with llvmlite about 60 MB;
   cupy-cuda13x 67 MB, nvidia-cublas 424 MB and nvidia-cuda-nvrtc 56 MB: a machine without CUDA's libraries takes a
   dozen portions.
       python -m tools.gpu_check --wheels FOLDER NAME==VERSION ... --python 3.12 --portion 48
   The checkout travels too: a portion must leave room for it. Needs of these packages are not followed: name them as
   well. There, once all portions have come into FOLDER/1, FOLDER/2, ...:
       cat FOLDER/*/NAME.whl.piece* > FOLDER/1/NAME.whl         (only for files that were cut)
       python -m pip install --no-index --no-deps --no-compile --target /tmp/site FOLDER/*/*.whl
       export PYTHONPATH=/tmp/site
4. There: the run. It ends by itself after so many seconds, the start of Python not counted; the report lies in the
   folder from the first stage on and is complete after every stage.
       python -m tools.gpu_check --seconds 330 --out RESULTS --commit HASH
   The stages by worth: first, compile, kernels, networks, graphs, times, torch, techniques, sanitizer, rest. Half the
   time goes first: if "first" or "compile" fails everywhere, stop, repair, and begin again.
5. There, after a repair, in what is left of the time: only what failed or was not reached.
       python -m tools.gpu_check --seconds 200 --after RESULTS/REPORT.json --out RESULTS
6. Here: the report goes into benchmarks/results/, and `python -m tools.gpu_check --table` into README and the note.
"""


def requirements():
    """{name: what pyproject.toml asks of it} of minivis itself and of what the check runs with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.match(r"[\w.-]+", text)[0]: text for text in texts}
    return {name: text for name, text in names.items() if name not in NOT_NEEDED}


def lacking():
    """[what this environment does not have, or has too old], as pip would be told."""
    found = []
    for name, text in requirements().items():
        try:
            has = version(name)
        except PackageNotFoundError:
            found.append(text)
            continue
        least = re.search(r">=([\d.]+)", text)
        if least and _numbers(has) < _numbers(least[1]):
            found.append(f"{text} (here {has})")
    cupy = [name for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy") if _there(name)]
    return found if cupy else [*found, "cupy-cuda13x[ctk]>=14"]


def _there(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text):
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])


def wheels(folder, names, python="3.12", portion=PORTION, say=print):
    """Download wheels of exactly these packages, and lay them out as FOLDER/1, FOLDER/2, ..."""
    with tempfile.TemporaryDirectory() as temporary:
        _download(temporary, names, python)
        portions = lay_out(sorted(Path(temporary).glob("*.whl")), Path(folder), int(portion * 2**20))
    for number, files in enumerate(portions, 1):
        say(f"portion {number}: {sum(size for _, size in files) / 2**20:.1f} MiB: {', '.join(n for n, _ in files)}")
    return portions


def _download(folder, names, python):
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", python,
               "--implementation", "cp", *[x for p in _PLATFORMS for x in ("--platform", p)], "-d", folder]
    subprocess.run([*command, *names], check=True)


def lay_out(files, folder, portion):
    """Copy files into FOLDER/1, FOLDER/2, ... of at most `portion` bytes; larger ones in pieces NAME.piece00 ... that
    `cat` joins. -> [[(name, bytes)]]"""
    pieces = []
    for path in files:
        size = path.stat().st_size
        if size <= portion:
            pieces.append((path, path.name, 0, size))
            continue
        for i, start in enumerate(range(0, size, portion)):
            pieces.append((path, f"{path.name}.piece{i:02d}", start, min(portion, size - start)))
    result, room = [], 0
    for path, name, start, size in sorted(pieces, key=lambda p: -p[3]):
        fits = next((i for i, files in enumerate(result) if sum(s for _, s in files) + size <= portion), None)
        if fits is None:
            fits, room = len(result), room + 1
            result.append([])
        target = Path(folder) / str(fits + 1)
        target.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source:
            source.seek(start)
            (target / name).write_bytes(source.read(size))
        result[fits].append((name, size))
    return result
