"""The checks that take too long for every run of pytest: everything marked `slow`.

    python tools/check_long.py [pytest arguments]

Thousands of mutated weights files per form, and whatever else is marked. Run it before a release; it says how long each
test took. Exit status: pytest's.
"""

import subprocess
import sys
from pathlib import Path


def main(arguments):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pytest", "-m", "slow", "--durations=20", *arguments]
    return subprocess.run(command, cwd=root, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
