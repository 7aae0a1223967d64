"""A process of the check: `python -m tools.gpu_check.worker MODULE` runs the cases of one module of this package.

MODULE.cases(small) -> [(name, f)]; f() -> a dict that goes into the report, or raises. An exception may carry such a
dict as `.found`.
"""
import importlib
import os
import sys
import time
import traceback

from .lines import LOST, Writer, device_is_lost


def main(module):
    writer = Writer()
    cases = dict(importlib.import_module(f".{module}", __package__).cases(os.environ.get("MINIVIS_CHECK_SMALL") == "1"))
    for name in writer.mine(list(cases)):
        writer(begin=name)
        begin = time.perf_counter()
        try:
            result = {"ok": True, **(cases[name]() or {})}
        except Exception as error:
            result = {"ok": False, "error": traceback.format_exc()[-6000:], **getattr(error, "found", {})}
        writer(case=name, seconds=round(time.perf_counter() - begin, 2), **result)
        if not result["ok"] and device_is_lost():
            return LOST
    writer(end=True)
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    status = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(status)        # a device in an error may hang at an ordinary exit
