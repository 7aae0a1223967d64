"""Reading a stranger's file in a child process with limits, so that a crash, a hang or a bomb is only an error line."""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

from ..errors import WeightFileError

SPARE_BYTES = 2 << 30           # address space beside the file itself: Python, NumPy, HDF5, buffers
START_SECONDS = 120             # a slow disk may take long to import NumPy


class Reader:
    """A child process for any number of files; it is replaced after a hang or a crash.

        with Reader() as reader:
            summary = reader.convert("stranger.pth", "out.h5", options, progress)

    patience    seconds without any sign of life after which a file is refused
    started     how many children have been started so far
    """

    def __init__(self, patience=60.0):
        self.patience, self.child, self.answers, self.started = patience, None, None, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def convert(self, source, target, options, progress=None):
        """The summary of convert.convert_here, computed by the child; every failure is one WeightFileError."""
        size = os.path.getsize(source)
        request = {"source": os.path.abspath(source), "target": target and os.path.abspath(target), "options": options,
                   "seconds": 60 + size // 1_000_000, "bytes": SPARE_BYTES + 3 * size}
        self._start()
        try:
            self.child.stdin.write(json.dumps(request) + "\n")
            self.child.stdin.flush()
            while True:
                answer = self._next(source, self.patience)
                if "done" in answer:
                    if progress is not None:
                        progress(answer["done"], answer["total"])
                elif "refused" in answer:
                    raise WeightFileError(str(answer["refused"]).replace(request["source"], str(source)))
                else:
                    return answer["summary"]
        except BrokenPipeError:
            raise self._crashed(source) from None
        except (KeyboardInterrupt, SystemExit):
            self.close()
            raise

    def close(self):
        """End the child, if there is one."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child.stdin.close()
            self.child.stdout.close()
            self.child = None

    def _start(self):
        if self.child is not None and self.child.poll() is None:
            return
        self.close()
        # the package may be used from a checkout without being installed: the child finds it where the parent did
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
                       "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.child = subprocess.Popen([sys.executable, "-m", "minivis.checkpoints.worker"], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True,
                                      encoding="utf-8")
        self.started += 1
        self.answers = queue.Queue()
        threading.Thread(target=_pump, args=(self.child.stdout, self.answers), daemon=True).start()
        self._next("the reader process", START_SECONDS)

    def _next(self, source, patience):
        try:
            answer = self.answers.get(timeout=patience)
        except queue.Empty:
            self.close()
            raise WeightFileError(f"{source}: reading it made no progress for {patience:g} s: refused") from None
        if answer is None:
            raise self._crashed(source)
        return answer

    def _crashed(self, source):
        code = self.child.wait()
        self.close()
        why = f"signal {-code}" if code < 0 else f"exit status {code}"
        return WeightFileError(f"{source}: the process that read it ended with {why}: the file is damaged or hostile")


def _pump(stream, answers):
    """Move answers from the pipe to the queue; None when the child has ended."""
    try:
        for line in stream:
            answers.put(json.loads(line))
    except ValueError:
        pass                # a line cut off by the child's end, or the pipe closed by us
    answers.put(None)
