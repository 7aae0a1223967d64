"""What is known of each kernel: which tests call it, and on which device these passed."""
import json
import re
from pathlib import Path

from minivis.kernels import gpu, reference

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
FORM = "minivis gpu check 2"
KERNEL_TESTS = ("tests/kernels/test_every_kernel.py", "tests/kernels/test_every_convolution.py")
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
