"""Training steps: images/s of minivgg on our engine and on PyTorch, same weights, same batch, same optimiser.

    python -m benchmarks.training [--sizes 32,48,64] [--batch 128] [--rounds 5] [--engines ours,channels_last,nchw]
                                  [-o FILE.json]

A step is forward, backward to every weight, and SGD with Nesterov momentum. Each engine has a process of its own; steps
are interleaved, so that a busy machine is busy for all, and medians are printed. The losses of the first two steps must
agree before anything is timed: the second one depends on every gradient of the first.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from . import machine

CLASSES, SEED, RATE = 200, 3, 0.05
# At 32 px float32 PyTorch in channels_last order is 1.4e-4 to 2.2e-4 away from float64 in the second loss (ours: 1e-6)
TOLERANCE = 5e-4
ENGINES = ("ours", "channels_last", "nchw")


def batch(size, count):
    random = np.random.RandomState(SEED)
    return random.standard_normal((count, size, size, 3)).astype(np.float32), random.randint(0, CLASSES, count)


def table():
    from minivis import architectures
    from minivis.layers import Table
    facts = architectures.minivgg(classes=CLASSES, norm=True)
    return Table(facts.pop("layers")), facts


def our_step(size, count):
    """A function that takes one step and returns its loss."""
    from minivis.loading import random_weights
    from minivis.network import Network
    from minivis.training import SGD, Phase, Pictures, Trainer
    layers, facts = table()
    net = Network(layers, random_weights(layers, SEED), **facts,
                  preprocessing={"channels": "RGB", "range": 255, "mean": [0] * 3, "std": [1] * 3})
    net.weights.unfreeze()
    none = Pictures(np.zeros((count, 8, 8, 3), np.uint8), np.zeros(count, int), [])
    trainer = Trainer(net, none, [Phase(10**6, 8)], SGD(0.9, 5e-4), RATE, batch=count,
                      schedule=lambda step, steps: 1.0)
    x, classes = batch(size, count)
    return lambda: trainer.advance(x, classes).loss


def torch_step(size, count, channels_last):
    """The same in PyTorch."""
    import torch

    from minivis.loading import random_weights
    from tools.golden_training import Minivgg
    torch.set_num_threads(len(__import__("os").sched_getaffinity(0)))
    layers, _ = table()
    model = Minivgg(layers)
    model.put(random_weights(layers, SEED))
    form = {"memory_format": torch.channels_last} if channels_last else {}
    model = model.to(**form)
    x, classes = batch(size, count)
    x, classes = torch.tensor(x).permute(0, 3, 1, 2).contiguous(**form), torch.tensor(classes)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    optimiser = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4}, {"params": rest}], RATE, 0.9, nesterov=True)

    def step():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), classes, label_smoothing=0.1)
        loss.backward()
        optimiser.step()
        return loss.item()
    return step


def worker(engine, size, count):
    """Reads lines, takes a step for each, and writes its loss, seconds and the process's peak memory."""
    import resource
    step = our_step(size, count) if engine == "ours" else torch_step(size, count, engine == "channels_last")
    for _ in sys.stdin:
        before = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"loss": loss, "seconds": seconds, "megabytes": peak}), flush=True)


class Process:
    def __init__(self, engine, size, count):
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.training", "--worker", engine, str(size),
                                         str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("benchmarks.training: an engine ended with an error, see above")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(size, count, engines, rounds):
    """{engine: (median seconds, megabytes)}, after two steps that must agree."""
    processes = {engine: Process(engine, size, count) for engine in engines}
    try:
        first = {engine: [p.step()["loss"] for _ in range(2)] for engine, p in processes.items()}
        wanted = next(iter(first.values()))
        for engine, losses in first.items():
            if not np.allclose(losses, wanted, rtol=TOLERANCE):
                raise SystemExit(f"benchmarks.training: the losses of {engine}, {losses}, are not those of "
                                 f"{engines[0]}, {wanted}")
        seen = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine, p in processes.items():
                seen[engine].append(p.step())
        return {engine: (statistics.median(s["seconds"] for s in steps), max(s["megabytes"] for s in steps))
                for engine, steps in seen.items()}
    finally:
        for p in processes.values():
            p.close()


def main():
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="32,48,64")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("-o", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    engines = args.engines.split(",")
    rows = []
    print(f"{'px':>4} {'engine':>14} {'images/s':>9} {'our time / its':>14} {'peak MB':>8}")
    for size in map(int, args.sizes.split(",")):
        found = compare(size, args.batch, engines, args.rounds)
        for engine, (seconds, megabytes) in found.items():
            rows.append({"size": size, "batch": args.batch, "engine": engine, "images_per_second": args.batch / seconds,
                         "ratio": found[engines[0]][0] / seconds, "peak_mb": megabytes})
            print(f"{size:4d} {engine:>14} {args.batch / seconds:9.0f} {rows[-1]['ratio']:14.2f} {megabytes:8.0f}")
    if args.o:
        args.o.write_text(json.dumps(machine.measured(rows=rows), indent=1))


if __name__ == "__main__":
    main()
