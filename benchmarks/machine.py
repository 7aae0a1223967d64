"""The machine a result was measured on."""
import os
import platform
import re
import sys

TELLING = re.compile(r"sse4_2|avx|fma|f16c|amx|neon|asimd|sve")


def describe():
    """CPU, its features that matter here, cores, memory, system, versions."""
    return {"cpu": _cpu_model(), "features": _cpu_features(), "cores": _cores(), "memory_gb": _memory_gb(),
            "system": platform.platform(), "libc": " ".join(platform.libc_ver()),
            "python": platform.python_version(), "byte_order": sys.byteorder}


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
