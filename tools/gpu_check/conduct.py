"""Runs the stages one after the other, each as processes that are watched, and keeps the report on disk."""
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .known import FORM, ROOT, states

_LOOK, _KEEP = 0.1, 3.0         # seconds between looks at the processes, and between two writings of the report
_RESTARTS = 40                  # of one process in one stage: then something is wrong that no case is to blame for
_TAIL = 3000                    # characters of what a process printed, where it ended before its time


class Report:
    """The file. `data` may be changed at will; `keep()` writes it, whole or not at all."""

    def __init__(self, path, commit=None):
        self.path, self.kept = Path(path), 0.0
        self.data = {"form": FORM, "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                     "device": {}, "machine": platform.platform(), "python": platform.python_version(),
                     "commit": commit or _commit(), "stages": {}, "kernels": {}}

    def keep(self, at_once=True):
        if at_once or time.monotonic() - self.kept > _KEEP:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_suffix(".part")
            temporary.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self.path)
            self.kept = time.monotonic()


def _commit():
    """What git says; None where there is no git, or the code came without its history."""
    try:
        said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return said.stdout.strip() or None


def conduct(stages, report, seconds, passed=None, small=False, say=print):
    """Run the stages within so many seconds. passed {stage: names of cases}: to be left out."""
    end = time.monotonic() + seconds
    for stage in stages:
        entry = {"state": "not begun", "seconds": 0.0, "cases": []}
        report.data["stages"][stage.name] = entry
    for stage in stages:
        left = min(stage.limit, end - time.monotonic())
        if left > stage.least:
            tests = [c["case"] for e in report.data["stages"].values() for c in e["cases"] if "::" in c["case"]]
            _run(stage, report, left, [*(passed or {}).get(stage.name, ()), *tests], small)
        entry = report.data["stages"][stage.name]
        _draw_conclusions(report.data)
        report.keep()
        say(line(stage.name, entry))
        for case in entry["cases"]:
            if not case["ok"]:
                say(f"    {case['case']}: {last_line(case.get('error', ''))}")
    return report.data


def line(name, entry):
    cases = entry["cases"]
    bad, skipped = sum(not c["ok"] for c in cases), sum("skipped" in c for c in cases)
    return (f"{name:12} {entry['state']:12} {entry['seconds']:6.1f} s  {len(cases) - bad - skipped:4} passed "
            f"{bad:4} failed {skipped:4} skipped")


def last_line(text):
    """The line of a traceback that says what was wrong: pytest's begin with E."""
    lines = [x for x in text.splitlines() if x.strip()]
    said = [x for x in lines if x.startswith("E ")]
    return (said[0][1:] if said else lines[-1] if lines else "?").strip()[:200]


def _draw_conclusions(data):
    for entry in data["stages"].values():
        for case in entry["cases"]:
            if case["case"] == "device" and case["ok"]:
                data["device"] = case["device"]
    worst, order = {}, ("skipped", "passed", "failed")
    for entry in data["stages"].values():
        for case in entry["cases"]:
            if "::" in case["case"]:
                test = case["case"].rpartition("::")[2].partition("[")[0]
                outcome = "failed" if not case["ok"] else "skipped" if "skipped" in case else "passed"
                worst[test] = max(worst.get(test, "skipped"), outcome, key=order.index)
    data["kernels"] = states(worst)


def _run(stage, report, seconds, passed, small):
    entry, begin = report.data["stages"][stage.name], time.monotonic()
    entry["state"] = "running"
    with tempfile.TemporaryDirectory(prefix="minivis-check-") as folder:
        shares = [_Share(stage, Path(folder) / str(i), f"{i}/{stage.shares}", passed, small)
                  for i in range(stage.shares)]
        try:
            while any(not share.over for share in shares):
                time.sleep(_LOOK)
                for share in shares:
                    entry["cases"] += share.look()
                entry["seconds"] = round(time.monotonic() - begin, 1)
                report.keep(at_once=False)
                if time.monotonic() - begin > seconds:
                    break
            entry["state"] = ("out of time" if any(not share.over for share in shares) else
                              "broken" if any(share.broken for share in shares) else "finished")
        finally:
            for share in shares:
                entry["cases"] += share.stop()
            entry["seconds"] = round(time.monotonic() - begin, 1)


class _Share:
    """One process of a stage after the other, until its cases are through."""

    def __init__(self, stage, folder, share, passed, small):
        folder.mkdir()
        self.stage, self.folder, self.restarts = stage, folder, 0
        self.over, self.broken, self.running, self.read = False, False, None, 0
        self.lines, self.done = folder / "lines", folder / "done"
        self.lines.touch()
        self.done.write_text("\n".join(passed) + "\n", encoding="utf-8")
        self.environment = {**os.environ, "MINIVIS_CHECK_LINES": str(self.lines), "MINIVIS_CHECK_DONE": str(self.done),
                            "MINIVIS_CHECK_SHARE": share, "MINIVIS_CHECK_SMALL": str(int(small)),
                            "PYTHONUNBUFFERED": "1", **stage.environment}
        self._start()

    def _start(self):
        self.moved, self.progress, self.log = time.monotonic(), False, self.folder / f"log{self.restarts}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, *self.stage.command], cwd=ROOT, env=self.environment,
                                            stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def look(self):
        """The cases that have ended since the last look."""
        if self.over:
            return []
        ended = self.process.poll() is not None         # before the lines are read: nothing is missed
        found = self._new_cases()
        stuck = time.monotonic() - self.moved > self.stage.quiet
        if not self.over and (ended or stuck):
            why = f"the process ended with status {self.process.returncode}" if ended else (
                f"nothing came of it for {self.stage.quiet} seconds")
            self._kill()
            found += self._blame(why)
        return found

    def _new_cases(self):
        found = []
        with self.lines.open(encoding="utf-8") as file:
            file.seek(self.read)
            for text in iter(file.readline, ""):
                if not text.endswith("\n"):
                    break                               # half a line: its process is writing, or was killed
                self.read += len(text.encode())
                told = json.loads(text)
                self.moved, self.progress = time.monotonic(), True
                if "begin" in told:
                    self.running = told["begin"]
                elif "case" in told:
                    self.running = None
                    found.append(told)
                    with self.done.open("a", encoding="utf-8") as done:
                        done.write(told["case"] + "\n")
                else:
                    self.over = True
                    self._kill()
        return found

    def _blame(self, why):
        """The process is gone before its time: say whose fault it is, and go on behind it."""
        found, tail = [], self.log.read_text(errors="replace")[-_TAIL:]
        if self.running is not None:
            found.append({"case": self.running, "ok": False, "seconds": None, "error": f"{tail}\n{why}"})
            with self.done.open("a", encoding="utf-8") as done:
                done.write(self.running + "\n")
            self.running = None
        elif not self.progress or self.restarts >= _RESTARTS:
            found.append({"case": f"{self.stage.name} (as a whole)", "ok": False, "seconds": None,
                          "error": f"{tail}\n{why}"})
            self.over = self.broken = True
            return found
        self.restarts += 1
        self._start()
        return found

    def stop(self):
        """What is still running is no case's fault: the stage's time is up."""
        found = [] if self.over else self._new_cases()
        self._kill()
        self.over = True
        return found

    def _kill(self):
        """The process and all that it began."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
