"""What a process of the check tells whoever conducts it: one JSON object a line, in a file.

    {"begin": CASE}                                     before a case
    {"case": CASE, "ok": true, "seconds": 0.1, ...}     after it; "error" if it failed, "skipped" if it was not for here
    {"end": true}                                       nothing is left to do
"""
import json
import os
import sys


class Writer:
    """Writes to the file that MINIVIS_CHECK_LINES names; `done` are the cases that MINIVIS_CHECK_DONE lists."""

    def __init__(self, environment=os.environ):
        self.path = environment["MINIVIS_CHECK_LINES"]
        path = environment.get("MINIVIS_CHECK_DONE")
        self.done = set()
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.done = set(file.read().splitlines())
        share, of = environment.get("MINIVIS_CHECK_SHARE", "0/1").split("/")
        self.share, self.of = int(share), int(of)

    def mine(self, names):
        """Those of the cases that this process does: its share, without what is done."""
        return [name for i, name in enumerate(names) if i % self.of == self.share and name not in self.done]

    def __call__(self, **what):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")


def device_is_lost():
    """Whether the GPU is in an error that only a new process gets out of."""
    cupy = sys.modules.get("cupy")
    try:
        if cupy is not None:
            cupy.cuda.Device().synchronize()
    except Exception:           # an illegal address, a trap, a lost device: every later call says the same
        return True
    return False


LOST = 7        # the exit status of a process that ends because of that
