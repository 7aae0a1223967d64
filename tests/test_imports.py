"""The shape of the code: imports point one way, no framework is touched, and `import minivis` stays light."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "onnxruntime", "torchvision", "captum", "foolbox", "zennit"}
# lower levels must not import higher ones
LEVELS = [{"kernels"}, {"ops", "tensor", "rules", "gradcheck"}, {"network"}, {"objectives"}, {"techniques"},
          {"commands"}, {"commandline"}]


def python_files(*folders):
    return [f for folder in folders for f in sorted((ROOT / folder).rglob("*.py"))]


def imported_modules(path):
    """(absolute module name, line) of every import statement, wherever it stands in the file."""
    package = list(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level] if node.level else []
            module = ".".join(base + (node.module.split(".") if node.module else []))
            yield module, node.lineno
            yield from ((f"{module}.{a.name}", node.lineno) for a in node.names)


def level(module):
    parts = module.split(".")
    name = parts[1] if parts[0] == "minivis" and len(parts) > 1 else parts[0]
    return next((i for i, names in enumerate(LEVELS) if name in names), None)


@pytest.mark.parametrize("path", python_files("minivis", "kernels"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards_and_touch_no_framework(path):
    own = level(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for module, line in imported_modules(path):
        assert module.split(".")[0] not in FRAMEWORKS, f"{path}:{line} imports {module}"
        other = level(module) if module.split(".")[0] in ("minivis", "kernels") else None
        if own is not None and other is not None:
            assert other <= own, f"{path}:{line}: {module} is a level above"
        if path.relative_to(ROOT).parts[0] == "kernels":
            assert not module.startswith("minivis."), f"{path}:{line}: kernels import {module} of minivis"


@pytest.mark.parametrize("path", python_files("tests"), ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_import_no_framework(path):
    for module, line in imported_modules(path):
        assert module.split(".")[0] not in FRAMEWORKS, f"{path}:{line} imports {module}"


def test_importing_minivis_loads_nothing_heavy():
    heavy = ["numba", "llvmlite", "matplotlib", "sklearn", "scipy", "h5py", "PIL", "cupy", "pooch", "tqdm"]
    code = f"import sys, minivis; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"


def test_the_overview_imports_no_technique():
    code = ("import sys; from minivis.commandline import main; main(['--help']); "
            "print([m for m in sys.modules if m.startswith('minivis.techniques.')])")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip().endswith("[]")
