"""The machine a result was measured on."""
import contextlib
import datetime
import os
import platform
import re
import sys
import time
from importlib import metadata

TELLING = re.compile(r"sse4_2|avx|fma|f16c|amx|neon|asimd|sve")


def describe():
    """CPU, its features that matter here, cores, memory, system, versions."""
    return {"cpu": _cpu_model(), "features": _cpu_features(), "cores": _cores(), "memory_gb": _memory_gb(),
            "system": platform.platform(), "libc": " ".join(platform.libc_ver()),
            "python": platform.python_version(), "byte_order": sys.byteorder}


def measured(**result):
    """A result with what it depends on: the date, the machine and the versions of who took part."""
    return {"date": datetime.date.today().isoformat(), "machine": describe(), "versions": _versions(), **result}


def _versions():
    found = {}
    for package in ("minivis", "numpy", "numba", "torch", "captum", "zennit", "grad-cam"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpuinfo(*fields):
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line.split(":", 1) for line in file if ":" in line]
    except OSError:
        return None
    return next((value.strip() for key, value in lines if key.strip() in fields), None)


def _cpu_model():
    parts = [_cpuinfo("model name", "CPU part"), _cpuinfo("cpu family"), _cpuinfo("model")]
    if parts[0] is None:
        return platform.processor() or platform.machine()
    return parts[0] + (f" (family {parts[1]} model {parts[2]})" if parts[1] else "")


def _cpu_features():
    return sorted(f for f in (_cpuinfo("flags", "Features") or "").split() if TELLING.match(f))


def _memory_gb():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def busy_seconds():
    """CPU seconds that this machine has spent on anything since it started, or None where /proc does not say."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, file.readline().split()[1:])
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def process_seconds(pids):
    """CPU seconds that these processes have used; one that has ended counts as none."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Others:
    """How many cores programs other than `pids` keep busy, from one call to the next. 0 where it cannot be told."""

    def __init__(self, pids):
        self.pids = pids
        self.before = self._now()

    def _now(self):
        busy = busy_seconds()
        return time.monotonic(), None if busy is None else busy - process_seconds(self.pids)

    def cores(self):
        (start, spent), (end, spent_now) = self.before, self._now()
        self.before = end, spent_now
        return 0.0 if spent is None or end <= start else max(0.0, (spent_now - spent) / (end - start))
