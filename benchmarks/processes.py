"""The near end of a worker: starts the process and talks with it."""
import json
import os
import subprocess
import sys
import tempfile

from .engines import thread_env


class WorkerError(RuntimeError):
    """The worker reported an error, or died; the message says which."""


class Process:
    """One engine in one process. `with Process(engine, threads) as p: p.ask("build", ...)`."""

    def __init__(self, engine, threads, start=True):
        self.engine, self.threads = engine, threads
        self.log = tempfile.TemporaryFile("w+")         # noqa: SIM115 (closed in close)
        env = {**os.environ, **thread_env(threads), **(engine.env if engine else {})}
        if engine is None:                              # the calibrating worker: one BLAS thread in each of its own
            env["OPENBLAS_NUM_THREADS"] = env["MKL_NUM_THREADS"] = "1"
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks", "worker"], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        try:
            self.versions = self.ask("start", **self.start_fields())["versions"] if engine and start else {}
        except WorkerError:
            self.close()
            raise

    def start_fields(self):
        return {"module": self.engine.module, "settings": self.engine.settings, "threads": self.threads}

    def ask(self, action, **fields):
        """Send a request and wait for its reply."""
        try:
            self.process.stdin.write(json.dumps({"do": action, **fields}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            self.log.seek(0)
            said = self.log.read()[-500:].strip().replace("\n", " | ")
            raise WorkerError(f"the process died (exit {code}) while asked to {action}: {said}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.write('{"do": "quit"}\n')
                self.process.stdin.close()
                self.process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdout, self.log):
            stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
