"""The far end: one engine in a process of its own, told what to do in lines of JSON on standard input.

    {"do": "start", engine fields, "threads": 2}           -> {"versions": {...}}
    {"do": "build", "case": {...}, "folder": "..."}        -> {} or {"unsupported": "why"}
    {"do": "answer", "file": "answer.npz"}                 -> {}            one run, its answer saved
    {"do": "time", "calls": 5, "clock": "wall" | "cpu"}    -> {"seconds": [...]}    after one call that is not timed
    {"do": "drop"}                                         -> {}            forget the case
    {"do": "peak", fields of start and build, "calls": 3}  -> {"peak_mb": ..., "import_mb": ...}
    {"do": "calibrate", "threads": 2}                      -> {"seconds": ..., "gflops": ...}
    {"do": "quit"}

Whatever goes wrong comes back as {"error": "..."}. Nothing is imported here but what every engine imports anyway.
"""
import gc
import json
import os
import sys
import time


class Worker:
    def __init__(self):
        self.engine = self.run = None

    def start(self, module, settings, threads, **_):
        from .engines import Engine
        self.engine = Engine(module).load()
        return {"versions": self.engine.start(threads, **settings)}

    def build(self, case, folder, **_):
        from .cases import Case
        from .engines import Unsupported
        case = Case.from_json(case)
        self.run = None
        gc.collect()
        try:
            if case.work not in self.engine.WORK:
                raise Unsupported(f"this engine has no work {case.work!r}")
            self.run = self.engine.WORK[case.work](case, folder)
        except Unsupported as why:
            return {"unsupported": str(why)}
        return {}

    def answer(self, file, **_):
        import numpy as np
        np.savez(file, **self.engine.numpy(self.run()))
        return {}

    def time(self, calls, clock="wall", **_):
        now = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
        self.run()
        seconds = []
        for _call in range(calls):
            before = now()
            self.run()
            seconds.append(now() - before)
        return {"seconds": seconds}

    def drop(self, **_):
        self.run = None
        gc.collect()
        return {}

    def peak(self, calls, **rest):
        """Import, build, work; then how much memory the process ever held."""
        self.start(**rest)
        imported = peak_mb()
        built = self.build(**rest)
        if "unsupported" in built:
            return built
        for _call in range(calls):
            self.run()
        return {"peak_mb": peak_mb(), "import_mb": imported}

    def calibrate(self, threads, **_):
        seconds = calibration(threads)
        return {"seconds": seconds, "gflops": threads * CALIBRATION_GFLOP / seconds}


CALIBRATION_SIDE, CALIBRATION_REPEATS = 768, 4
CALIBRATION_GFLOP = 2 * CALIBRATION_SIDE**3 * CALIBRATION_REPEATS / 1e9
_matrices = []


def calibration(threads):
    """Seconds for a fixed amount of matrix multiplication on every one of `threads` threads at once."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    while len(_matrices) < threads:
        _matrices.append(tuple(np.full((CALIBRATION_SIDE,) * 2, 0.5, np.float32) for _ in range(3)))

    def work(i):
        a, b, out = _matrices[i]
        for _repeat in range(CALIBRATION_REPEATS):
            np.matmul(a, b, out)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))            # wakes everybody up
        before = time.perf_counter()
        list(pool.map(work, range(threads)))
        return time.perf_counter() - before


def peak_mb():
    """The largest resident size of this process so far, in 10^6 bytes."""
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    except OSError:                                     # no Linux
        import resource
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6


def main():
    """Answer requests until told to quit. Libraries that print write to standard error, not into the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("do")
        if action == "quit":
            break
        try:
            reply = getattr(worker, action)(**request)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()
