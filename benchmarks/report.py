"""A result as a Markdown table, and into the README."""
from pathlib import Path

from .stats import ratio

START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
RIVALS = {"torch-cl": "torch cl", "torch-cl-malloc": "torch cl, tuned malloc", "torch": "torch NCHW",
          "torch-compile": "torch.compile", "onnxruntime": "ONNX Runtime", "jax": "JAX"}


def table(result, *, layers=True):
    """Markdown: a line about the machine, a table of times, what was left out. layers: single convolutions too."""
    records = {name: r for name, r in result["cases"].items() if layers or not r["case"]["conv"]}
    rivals = [r for r in RIVALS if any("median" in record["engines"].get(r, {}) for record in records.values())]
    head = ["case", "ours, ms", "GFLOP/s", *[f"/ {RIVALS[r]}" for r in rivals], "memory, MB", "/ torch cl"]
    lines = [about(result), "", _row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    lines += [_row(_cells(name, record, rivals)) for name, record in records.items()]
    return "\n".join([*lines, "", *notes(result, records)]).rstrip() + "\n"


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def _cells(name, record, rivals):
    engines = record["engines"]
    ours = engines.get("ours", {})
    if "median" in ours:
        time = f"{ours['median'] * 1e3:.3g}" + ("*" if record.get("disturbed") else "")
        speed = f"{record['gflop'] / ours['median']:.0f}"
    else:
        time = speed = "-"
    memory = f"{ours['peak_mb']:.0f}" if "peak_mb" in ours else "-"
    return [name, time, speed, *[_ratio(ours, engines.get(r)) for r in rivals],
            memory, _ratio(ours, engines.get("torch-cl"), "peak_mb")]


def _ratio(ours, rival, which="median"):
    value = ratio(ours, rival, which)
    return "-" if value is None else f"{value:.2f}"


def about(result):
    """One paragraph: date, machine, threads, versions, how to read the table."""
    machine = result["machine"]
    gemm = machine["numpy_gemm_gflops"]
    versions = {}
    for engine in result["engines"].values():
        versions.update(engine.get("versions", {}))
    libraries = ", ".join(f"{name} {v}" for name, v in sorted(versions.items()) if isinstance(v, str))
    vectors = next((f for f in ("avx512f", "avx2", "avx", "sve", "asimd") if f in machine["features"]), "-")
    return (f"Measured {result['date'][:10]} on {machine['cpu']}, {vectors}, {result['threads']} threads, "
            f"{machine['memory_gb']} GB, {machine['system']}; Python {machine['python']}, {libraries}. "
            f"float32, medians. Columns '/ X' are our figure divided by X's: below 1 we are better. GFLOP/s are those "
            f"of direct convolution" + (f"; NumPy's matrix product reaches {gemm:.0f} here." if gemm else "."))


def notes(result, records):
    """What a reader must know: engines left out, wrong answers, disturbed rounds."""
    said = [f"- {name} was left out: {e['skipped']}" for name, e in result["engines"].items() if "skipped" in e]
    for case, record in records.items():
        for name, engine in record["engines"].items():
            for trouble in ("wrong", "failed"):
                if trouble in engine:
                    said.append(f"- {case}: {name} {trouble}: {engine[trouble]}")
    discarded = sum(record.get("discarded", 0) for record in records.values())
    if discarded:
        said.append(f"- {discarded} rounds were discarded because the machine was disturbed during them.")
    if any(record.get("disturbed") for record in records.values()):
        said.append("- \\* the machine was disturbed throughout this case: the figure is not to be relied on.")
    return said


def troubles(result):
    """Every wrong answer and failure, as lines."""
    return [line for line in notes(result, result["cases"]) if " wrong: " in line or " failed: " in line]


def write_into(readme, text):
    """Replace what stands between the two markers in a file."""
    readme = Path(readme)
    page = readme.read_text()
    if page.count(START) != 1 or page.count(END) != 1 or page.index(START) > page.index(END):
        raise ValueError(f"{readme}: wants one line {START} and below it one line {END} for the table to go between")
    before, rest = page.split(START)
    readme.write_text(f"{before}{START}\n{text}{END}{rest.split(END)[1]}")
