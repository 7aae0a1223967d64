"""A training that is killed, at whatever moment, and started again ends with the same bits."""
import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

CHILD = """
import sys
from minivis.monitor import StateFile
from minivis.training import SGD, Phase, Trainer
from minivis.training.digits import digits_data, untrained_digits

net = untrained_digits(4, seed=3)
net.weights.unfreeze()
state = StateFile(sys.argv[1], {"what": "test"}, every=0, share=1)
trainer = Trainer(net, digits_data()[0], [Phase(0.5, 8), Phase(0.5, 10)], SGD(0.9, 5e-4), 0.05, batch=32,
                  start=state.load())
print("begins at", trainer.done, flush=True)
for step in trainer:
    state.save(trainer.state)
    print(step.done, flush=True)
print("hash", trainer.trained().weights_hash())
"""


def child(path):
    return subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "MINIVIS_THREADS": "1"})


def outcome(process):
    lines = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0 and lines[-1].startswith("hash ")
    return lines[0], lines[-1]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_training_goes_on_with_the_same_bits(tmp_path):
    begins, whole = outcome(child(tmp_path / "whole.h5"))
    assert begins == "begins at 0"
    steps = 2 * round(0.5 * (1438 // 32))
    seed = int(hashlib.sha256(str(time.time()).encode()).hexdigest(), 16)    # another moment in every run
    moments = sorted(1 + (seed >> 20 * i) % (steps - 2) for i in range(2))
    for moment in moments:
        process = child(tmp_path / "killed.h5")
        for line in process.stdout:
            if line.strip().isdigit() and int(line) >= moment:
                time.sleep((seed >> 7) % 10 / 500)
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        assert process.returncode == -signal.SIGKILL, f"killed at {moments}, but it had ended"
    begins, resumed = outcome(child(tmp_path / "killed.h5"))
    assert begins != "begins at 0"
    assert resumed == whole, f"killed at steps {moments}, milliseconds {2 * ((seed >> 7) % 10)} later"
