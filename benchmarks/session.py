"""One run of the benchmark: workers alive side by side, each case checked, timed in rounds, weighed."""
import contextlib
import datetime
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import check, machine, networks, stats
from .engines import ENGINES, REFERENCES, SINGLE_REFERENCE, Unsupported
from .processes import Process, WorkerError

FLOAT64_GFLOP = 400             # cases above this are checked against float32: float64 would take minutes
TURN_SECONDS, MOST_CALLS = 0.2, 10      # an engine's turn in a round: calls for about so long
CASE_SECONDS = 90               # rounds are cut to what fits in here, but not below LEAST_ROUNDS
LEAST_ROUNDS, MOST_ATTEMPTS = 3, 3      # attempts: so many times the rounds asked for, if rounds are disturbed
CALIBRATIONS_AT_START = 10
REST = 0.02                     # between turns: thread pools that spin after their work go to sleep


def say(text):
    print(text, file=sys.stderr, flush=True)


class Session:
    """`with Session(engines, threads, rounds) as s: s.run(cases)` -> the result as a dict ready for JSON."""

    def __init__(self, engines=None, threads=2, rounds=10, *, measure_time=True, measure_memory=True):
        self.threads, self.rounds = threads, rounds
        self.measure_time, self.measure_memory = measure_time, measure_memory
        self.wanted = list(engines or ENGINES)
        for name in self.wanted:
            if name not in ENGINES:
                raise ValueError(f"no engine {name!r}; there are {', '.join(ENGINES)}")
        self.workers, self.references, self.described = {}, {}, {}
        self.calibrations = []
        self.peak_gflops = 0.0
        self.stack = contextlib.ExitStack()
        self.written = {}       # networks on disk
        self.raw = {}           # every round of every case
        self.known = {}         # the reference's answers to the present case

    def __enter__(self):
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="minivis-benchmarks-")))
        self.calibrator = self.stack.enter_context(Process(None, self.threads))
        for name in self.wanted:
            self._start(name)
        for _ in range(CALIBRATIONS_AT_START):
            self._calibrate()
        return self

    def __exit__(self, *exception):
        self.stack.close()

    def _start(self, name):
        missing = ENGINES[name].missing()
        if missing is None:
            try:
                self.workers[name] = self.stack.enter_context(Process(ENGINES[name], self.threads))
                self.described[name] = {"versions": self.workers[name].versions, "env": ENGINES[name].env}
                return
            except WorkerError as error:
                missing = str(error)
        self.described[name] = {"skipped": missing}
        say(f"{name}: left out, {missing}")

    # -------------------------------------------------------------------------------------------------- the whole

    def run(self, cases):
        result = {"format": 1, "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                  "threads": self.threads, "rounds": self.rounds, "machine": machine.describe(),
                  "engines": self.described, "cases": {}}
        for case in cases:
            say(f"{case.name}")
            result["cases"][case.name] = self.run_case(case)
        self._settle(result["cases"])
        result["machine"]["numpy_gemm_gflops"] = round(self.peak_gflops, 1)
        result["calibration"] = {"best": min(self.calibrations), "usual": stats.normal(self.calibrations),
                                 "limit": stats.DISTURBED, "count": len(self.calibrations)}
        return result

    def run_case(self, case):
        """Build and check everywhere, then time those that were right, then weigh them."""
        folder, gflop = self._material(case)
        self.known.clear()
        gflop *= 2 if case.work == "gradient" else case.passes
        record = {"case": case.to_json(), "gflop": gflop, "engines": {},
                  "reference": "float32" if gflop > FLOAT64_GFLOP else "float64"}
        right, results = [], record["engines"]
        for name, worker in self.workers.items():
            results[name] = self._checked(case, folder, worker, record["reference"] == "float32")
            if "error" in results[name]:
                right.append(name)
            else:
                say(f"  {name}: {next(iter(results[name].items()))}")
        if right and self.measure_time:
            self._time(right, record)
        for name in self.workers:
            self._ask_quietly(self.workers[name], "drop")
        for worker in self.references.values():
            self._ask_quietly(worker, "drop")
        if case.peak and self.measure_memory:
            for name in right:
                if ENGINES[name].memory:
                    results[name].update(self._peak(case, folder, ENGINES[name]))
        return record

    @staticmethod
    def _ask_quietly(worker, action):
        with contextlib.suppress(WorkerError):
            worker.ask(action)

    def _material(self, case):
        """The folder with the case's network, written once per network; and GFLOP of its forward pass."""
        channels = case.shape[3]
        key = (case.network, case.head, case.conv, channels if case.conv else None)
        if key not in self.written:
            layers, weights = networks.material(case.network, case.head, case.conv, channels)
            folder = self.folder / f"net{len(self.written)}"
            networks.write(folder, layers, weights)
            self.written[key] = folder, layers, networks.weight_shapes(weights)
        folder, layers, shapes = self.written[key]
        return str(folder), networks.gflop(layers, shapes, case.shape)

    # ------------------------------------------------------------------------------------------------ correctness

    def _checked(self, case, folder, worker, single):
        """{"error": {...}} if the engine's answer is right, else {"skipped" | "failed" | "wrong": why}."""
        try:
            small = None
            if case.work == "gradient" and not any(layer["kind"] == "linear" for layer in networks.read_layers(folder)):
                small = check.check_small(self._small_pairs(case, folder, worker))
            self._build(worker, case, folder)
            error = check.check(self._answer(worker), self._reference(case, folder, single), work=case.work,
                                reference_is_single=single)
            if small is not None:
                error["small"] = small
            return {"error": error}
        except Unsupported as why:
            return {"skipped": str(why)}
        except check.WrongAnswer as wrong:
            return {"wrong": str(wrong)}
        except WorkerError as error:
            return {"failed": str(error)}

    @staticmethod
    def _build(worker, case, folder):
        reply = worker.ask("build", case=case.to_json(), folder=folder)
        if "unsupported" in reply:
            raise Unsupported(reply["unsupported"])

    def _answer(self, worker):
        file = self.folder / "answer.npz"
        worker.ask("answer", file=str(file))
        with np.load(file) as arrays:
            return dict(arrays)

    def _reference(self, case, folder, single=False):
        """The answer of the reference engine: computed once, kept while the case lasts."""
        key = (case.shape, case.seed, single)
        if key not in self.known:
            try:
                worker = self._reference_worker(single)
                self._build(worker, replace(case, memory=None), folder)
                self.known[key] = self._answer(worker)
            except WorkerError as error:
                raise WorkerError(f"the reference, not this engine, failed: {error}") from None
        return self.known[key]

    def _reference_worker(self, single):
        if single not in self.references:
            candidates = [SINGLE_REFERENCE] if single else []
            engine = next(e for e in [*candidates, *REFERENCES.values()] if e.missing() is None)
            self.references[single] = self.stack.enter_context(Process(engine, self.threads))
        return self.references[single]

    def _small_pairs(self, case, folder, worker):
        for seed in range(check.SMALL_PICTURES):
            shape = (1, check.SMALL_SIDE, check.SMALL_SIDE, case.shape[3])
            small = replace(case, shape=shape, seed=100 + seed)
            self._build(worker, small, folder)
            yield self._answer(worker), self._reference(small, folder)

    # ------------------------------------------------------------------------------------------------------- time

    def _calibrate(self):
        reply = self.calibrator.ask("calibrate", threads=self.threads)
        self.calibrations.append(reply["seconds"])
        self.peak_gflops = max(self.peak_gflops, reply["gflops"])
        return reply["seconds"]

    def _time(self, names, record):
        """Rounds: every engine has a turn in each, in an order that rotates, between two calibrations."""
        first = {name: min(self.workers[name].ask("time", calls=1)["seconds"]) for name in names}
        calls = max(1, min(MOST_CALLS, round(TURN_SECONDS / min(first.values()))))
        turn = sum(first.values()) * (calls + 1) + REST * len(names)
        rounds = min(self.rounds, max(LEAST_ROUNDS, int(CASE_SECONDS / turn)))
        samples, around = {name: [] for name in names}, []
        pids = [os.getpid()] + [p.process.pid for p in [self.calibrator, *self.workers.values(),
                                                        *self.references.values()]]
        others = machine.Others(pids)
        while len(around) < rounds * MOST_ATTEMPTS:
            start = len(around) % len(names)
            before = self._calibrate()
            for name in names[start:] + names[:start]:
                time.sleep(REST)
                samples[name].append(stats.median(self.workers[name].ask("time", calls=calls)["seconds"]))
            around.append((before, self._calibrate(), others.cores()))
            if sum(stats.calm(around, stats.normal(self.calibrations))) >= rounds:
                break
        record["calls"] = calls
        self.raw[record["case"]["name"]] = samples, around
        for name, values in samples.items():
            say(f"  {name}: {stats.median(values) * 1e3:.2f} ms (best {min(values) * 1e3:.2f}), all rounds")

    def _settle(self, records):
        """Choose the calm rounds of every case, by the session's usual calibration: known only at its end."""
        for case, (samples, around) in self.raw.items():
            kept, dropped, disturbed = stats.keep_calm(samples, around, stats.normal(self.calibrations), LEAST_ROUNDS)
            records[case].update(rounds=len(next(iter(kept.values()))), discarded=dropped, disturbed=disturbed,
                                 others=[round(cores, 2) for _before, _after, cores in around])
            for name, values in kept.items():
                records[case]["engines"][name].update(stats.summary(values))

    # ----------------------------------------------------------------------------------------------------- memory

    def _peak(self, case, folder, engine):
        """Peak memory of a fresh process that does the case alone; the second such process, so caches are warm."""
        try:
            for _attempt in range(2):
                with Process(engine, self.threads, start=False) as worker:
                    reply = worker.ask("peak", **worker.start_fields(), case=case.to_json(), folder=folder, calls=3)
        except WorkerError as error:
            return {"peak_failed": str(error)}
        return {key: round(value, 1) for key, value in reply.items() if key.endswith("_mb")}
