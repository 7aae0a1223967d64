"""A memory budget in, batches out: no technique ever expands all its samples at once."""

import itertools
import os
import re

from .errors import MinivisError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MOST_BY_DEFAULT = 2 * 10**9


def parse_bytes(amount):
    """Bytes from "1GB", "256 MB", "1.5GiB", "800000" or a number. 1 MB is 10**6 bytes, 1 MiB is 2**20."""
    if isinstance(amount, bool) or not isinstance(amount, (int, float, str)):
        raise MinivisError(f"memory {amount!r} is not an amount; write it like 1GB or 256MB")
    text = str(amount).strip()
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?)\s*([A-Za-z]*)", text)
    if not match or match[2].upper() not in UNITS:
        raise MinivisError(f"memory {text!r} is not an amount; write it like 1GB or 256MB")
    count = int(float(match[1]) * UNITS[match[2].upper()])
    if count < 1:
        raise MinivisError(f"memory {text!r} is less than one byte; write it like 1GB or 256MB")
    return count


def free_bytes():
    """Main memory that can be had now, in bytes, or None when the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:      # Linux; counts caches that can be dropped as free
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):       # Windows has no sysconf, macOS no SC_AVPHYS_PAGES
        return None


def default_budget():
    """Bytes a technique may use when nobody says: the smaller of 2 GB and half of what is free."""
    free = free_bytes()
    return MOST_BY_DEFAULT if free is None else max(1, min(MOST_BY_DEFAULT, free // 2))


def split(count, bytes_each, budget=None, notes=None):
    """Slices that cover 0..count in order, each of as many items as fit in the budget.

    count: number of items; bytes_each: memory one item needs; budget: anything parse_bytes reads, None for the default.
    One item is always allowed, because less is impossible; when it exceeds the budget a line is appended to the list
    `notes`, if one is given. The slices are of nearly equal length: 10 items of which 6 fit go as 5 + 5.
    """
    if count < 0 or bytes_each < 0:
        raise ValueError(f"split: count {count} and bytes_each {bytes_each} must not be negative")
    budget = default_budget() if budget is None else parse_bytes(budget)
    if count == 0:
        return []
    if bytes_each > budget and notes is not None:
        notes.append(f"one sample needs {bytes_each / 1e6:.0f} MB, "
                     f"more than the memory budget of {budget / 1e6:.0f} MB")
    fits = max(1, int(budget // bytes_each)) if bytes_each else count
    batches = -(-count // fits)
    edges = [count * i // batches for i in range(batches + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
