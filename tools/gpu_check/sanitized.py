"""compute-sanitizer over exercise.py: each of its tools is a case."""
import os
import shutil
import subprocess
import sys

from .known import ROOT

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
SECONDS = 55


def cases(small):
    return [("exercise alone", alone), *((tool, lambda tool=tool: sanitize(tool)) for tool in TOOLS)]


def alone():
    return run([sys.executable, "-m", "tools.gpu_check.exercise"])


def sanitize(tool):
    program = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if program is None:
        return {"skipped": "compute-sanitizer is not installed"}
    command = [program, "--tool", tool, "--error-exitcode", "9"]
    return run([*command, sys.executable, "-m", "tools.gpu_check.exercise"])


def run(command):
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS,
                              env={**os.environ, "PYTHONUNBUFFERED": "1"})
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace")[-1500:]
        return {"skipped": f"not through after {SECONDS} seconds; so far: {text}"}
    text = done.stdout + done.stderr
    assert done.returncode == 0, f"status {done.returncode}:\n{text[-5000:]}"
    return {"said": text[-500:]}
