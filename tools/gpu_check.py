"""On a machine with a GPU: everything that can only be known there, in one go, into one dated file.

    python -m tools.gpu_check [--quick]     # tests, compute-sanitizer, times -> benchmarks/results/DATE-gpu-CARD.json
    python -m tools.gpu_check --table       # what is known of each kernel, as a table for README; needs no GPU

1. Tests: every kernel on the device against its definition, every technique against the CPU (`pytest -m gpu`).
2. compute-sanitizer (memcheck, racecheck, synccheck, initcheck) over the kernel tests, where it is installed.
3. Times: VGG-16 forward and input gradient in every precision, and the memory-bound kernels with the bandwidth they
   reach; medians of device times between events.

A kernel counts as run on a device when all tests that call it passed there. Exit status 1 if any test or tool failed.
"""
import argparse
import datetime
import importlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from minivis.kernels import gpu, reference

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FORM = "minivis gpu check 1"
KERNEL_TESTS = ("tests/kernels/test_every_kernel.py", "tests/kernels/test_every_convolution.py")
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
PRECISIONS = ("float32", "float32-direct", "tf32", "float16", "float64")
# host arithmetic that needs no device
ARITHMETIC = {"conv_output_size", "pool_output_size", "describe_chain"}


def kernel_names():
    """The kernels of the contract that run on a device."""
    return [name for name, thing in vars(reference).items()
            if callable(thing) and getattr(thing, "__module__", "") == reference.__name__
            and not name.startswith("_") and name not in ARITHMETIC]


# -------------------------------------------------------------------------------------------------------- the table


def callers(folder=ROOT):
    """{kernel: names of the test functions that call it through the fixture `every_set`}"""
    found = {name: set() for name in kernel_names()}
    for file in KERNEL_TESTS:
        if not (folder / file).exists():
            continue
        for body in re.split(r"(?m)^(?=def |@)", (folder / file).read_text(encoding="utf-8")):
            test = re.match(r"def (test_\w+)\(", body)
            for name in found if test else ():
                if re.search(rf"every_set\.{name}\b|[\"']{name}[\"']", body):
                    found[name].add(test[1])
    return found


def states(outcomes):
    """{kernel: "passed", "failed" or "not tested"}; outcomes {test function: its worst outcome on the device}."""
    result = {}
    for name, tests in callers().items():
        seen = {outcomes.get(test, "skipped") for test in tests}
        result[name] = "failed" if "failed" in seen else "passed" if "passed" in seen else "not tested"
    return result


def table(folder=RESULTS):
    """Markdown: each kernel, its CUDA source, and on which device it ran, when."""
    reports = []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.get("form") == FORM:
            reports.append(found)
    rows = ["| kernel | source | on a device |", "| --- | --- | --- |"]
    for name in kernel_names():
        launcher = getattr(gpu, name, None)
        source = f"kernels/gpu/{launcher.__module__.rsplit('.', 1)[1]}.py" if launcher else "missing"
        runs = [f"{r['kernels'][name]} on {r['device']['name']}, {r['date'][:10]}" for r in reports
                if r["kernels"].get(name, "not tested") != "not tested"]
        rows.append(f"| `{name}` | {source} | {runs[-1] if runs else 'never run on a device'} |")
    return "\n".join(rows)


# --------------------------------------------------------------------------------------------------- tests and tools


def run_tests(quick):
    """-> {"summary": ..., "failed": [...]}, {test function: worst outcome}"""
    with tempfile.TemporaryDirectory() as folder:
        files = KERNEL_TESTS if quick else ("tests",)
        command = [sys.executable, "-m", "pytest", "-m", "gpu", f"--junitxml={folder}/out.xml",
                   *[f for f in files if (ROOT / f).exists()]]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        return read_outcomes(Path(folder) / "out.xml", code)


def read_outcomes(path, code):
    order = ("skipped", "passed", "failed")
    outcomes, failed, counts = {}, [], dict.fromkeys(order, 0)
    for case in ElementTree.parse(path).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[outcome] += 1
        test = case.get("name").partition("[")[0]
        outcomes[test] = max(outcomes.get(test, "skipped"), outcome, key=order.index)
        if outcome == "failed":
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    return {"exit": code, **counts, "names of failed": failed}, outcomes


def sanitize():
    """{tool: "clean", or its last lines}; says so where compute-sanitizer is missing."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return dict.fromkeys(TOOLS, "compute-sanitizer is not installed")
    result = {}
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "pytest", "-q", "-x", "-m",
                   "gpu", KERNEL_TESTS[0]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                              env={**os.environ, "CUPY_CUDA_MEMORY_POOL": "none"})
        result[tool] = "clean" if done.returncode == 0 else "\n".join((done.stdout + done.stderr).splitlines()[-30:])
    return result


# ------------------------------------------------------------------------------------------------------------- times


def milliseconds(cupy, function, repeats=30):
    """Median time on the device between two events, after three runs to warm up."""
    for _ in range(3):
        function()
    times = []
    for _ in range(repeats):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return statistics.median(times)


def time_kernels(cupy):
    """{kernel: {"ms", "GB/s"}}, memory-bound kernels on (8, 112, 112, 128) float32; what is read and written, once."""
    x = cupy.random.default_rng(0).standard_normal((8, 112, 112, 128), dtype=np.float32)
    how = ((2, 2), (2, 2), (0, 0, 0, 0), False)
    y, mask = gpu.relu_forward(x)
    small, switches = gpu.max_pool_forward(x, *how)
    normal, sums = gpu.lrn_forward(x, 5, 1e-4, 0.75, 1.0, True)
    one = cupy.ones(128, np.float32)
    cases = {"relu_forward": (lambda: gpu.relu_forward(x), 2 * x.nbytes),
             "guided_relu_backward": (lambda: gpu.guided_relu_backward(y, mask), 2 * x.nbytes),
             "max_pool_forward": (lambda: gpu.max_pool_forward(x, *how), x.nbytes + small.nbytes + switches.nbytes),
             "max_pool_backward": (lambda: gpu.max_pool_backward(small, switches, x.shape, *how),
                                   x.nbytes + small.nbytes + switches.nbytes),
             "avg_pool_forward": (lambda: gpu.avg_pool_forward(x, *how, True), x.nbytes + small.nbytes),
             "lrn_forward": (lambda: gpu.lrn_forward(x, 5, 1e-4, 0.75, 1.0, True), 3 * x.nbytes),
             "lrn_backward": (lambda: gpu.lrn_backward(normal, x, sums, 5, 1e-4, 0.75, True), 4 * x.nbytes),
             "batch_norm_forward": (lambda: gpu.batch_norm_forward(x, one, one, 1e-5, True), 3 * x.nbytes),
             "gram": (lambda: gpu.gram(x), x.nbytes)}
    result = {}
    for name, (function, moved) in cases.items():
        ms = milliseconds(cupy, function)
        result[name] = {"ms": ms, "GB/s": moved / ms / 1e6}
    return result


def time_vgg(cupy):
    """{"VGG-16 ... precision, batch": ms} of the forward pass, and with the input's gradient."""
    from minivis import Tensor, gradient, random_network
    net, result = random_network("vgg16").to("gpu"), {}
    for precision in PRECISIONS:
        there = net.with_precision(precision)
        for batch in (1, 16):
            picture = cupy.asarray(np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype(there.dtype))

            def forward(there=there, picture=picture):
                return there(picture)

            def both(there=there, picture=picture):
                x = Tensor(picture, needs_grad=True)
                return gradient(there(x)[there.logits_layer], x)
            result[f"forward, {precision}, batch {batch}"] = milliseconds(cupy, forward, 10)
            result[f"forward and gradient, {precision}, batch {batch}"] = milliseconds(cupy, both, 10)
    return result


# -------------------------------------------------------------------------------------------------------------- main


def describe(cupy):
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return {"name": properties["name"].decode(), "capability": cupy.cuda.Device(0).compute_capability,
            "memory": int(properties["totalGlobalMem"]), "driver": cupy.cuda.runtime.driverGetVersion(),
            "runtime": cupy.cuda.runtime.runtimeGetVersion(), "nvrtc": list(cupy.cuda.nvrtc.getVersion()),
            "cupy": cupy.__version__}


def check(quick):
    cupy = importlib.import_module("cupy")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    report = {"form": FORM, "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
              "device": describe(cupy), "machine": platform.platform(), "python": platform.python_version(),
              "commit": commit.stdout.strip() or None}
    report["tests"], outcomes = run_tests(quick)
    report["kernels"] = states(outcomes)
    report["sanitizer"] = {} if quick else sanitize()
    report["times"] = {"kernels": time_kernels(cupy), "vgg16": time_vgg(cupy)}
    card = re.sub(r"[^a-z0-9]+", "-", report["device"]["name"].lower()).strip("-")
    path = RESULTS / f"{report['date'][:10]}-gpu-{card}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
    bad = report["tests"]["exit"] or any(v not in ("clean", "compute-sanitizer is not installed")
                                         for v in report["sanitizer"].values())
    return 1 if bad else 0


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="the kernels' tests and the times alone")
    parser.add_argument("--table", action="store_true", help="print what is known, and run nothing")
    options = parser.parse_args(arguments)
    if options.table:
        print(table())
        return 0
    from minivis.devices import choose
    from minivis.errors import MinivisError
    try:
        choose("gpu")
    except MinivisError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 1
    return check(options.quick)


if __name__ == "__main__":
    sys.exit(main())
