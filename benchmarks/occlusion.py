"""Occlusion three ways: incremental, naive, and Captum's on PyTorch, with the same network, windows and filling.

    python -m benchmarks.occlusion [--network vgg16] [--window 16] [--stride 4] [--engines incremental,naive,captum]
                                   [--clock wall|cpu]

The time of a position does not depend on where it is for naive and Captum's occlusion, so these look at fewer
positions; incremental occlusion is timed on every `--every`-th row of positions, borders among them. Each engine has a
process of its own; one short call comes first, and is not counted. The largest difference of the scores is printed.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from . import networks

SEED, FEW, AT_ONCE = 1, 16, 8
NOW = {"wall": time.perf_counter, "cpu": time.process_time}     # cpu: for machines that others use, with one thread


def positions(side, window, stride, every):
    """(tops, lefts) of the windows timed, and how many there are in all."""
    starts = np.arange(-(-(side - window) // stride) + 1) * stride
    return starts[::every], starts, len(starts) ** 2


def picture(side):
    return np.random.default_rng(SEED).standard_normal((1, side, side, 3), np.float32)


def ours(a, boxes):
    """(seconds, scores) of incremental occlusion."""
    import minivis as mv
    from minivis.incremental import Incremental
    net, x = mv.random_network(a.network), picture(a.side)
    hidden = np.zeros((a.window, a.window, 3), np.float32)
    Incremental(net, x).run_all(boxes[:32], lambda i: cut(hidden, boxes[i]), a.memory)
    before = NOW[a.clock]()
    scores = Incremental(net, x).run_all(boxes, lambda i: cut(hidden, boxes[i]), a.memory)
    return NOW[a.clock]() - before, scores


def cut(hidden, box):
    """The part of the filling that lies inside the picture."""
    return hidden[:box[2] - box[0], :box[3] - box[1]]


def naive(a, boxes):
    """(seconds, scores) of the whole network on every hidden picture, AT_ONCE pictures in a batch."""
    import minivis as mv
    net, x = mv.random_network(a.network), picture(a.side)

    def run(boxes):
        return np.concatenate([net(hide(x, boxes[i:i + AT_ONCE]))[net.output_layer].numpy()
                               for i in range(0, len(boxes), AT_ONCE)])
    run(boxes[:AT_ONCE])
    before = NOW[a.clock]()
    scores = run(boxes)
    return NOW[a.clock]() - before, scores


def hide(x, boxes):
    batch = np.repeat(x, len(boxes), axis=0)
    for one, (top, left, bottom, right) in zip(batch, boxes):
        one[top:bottom, left:right] = 0
    return batch


def captum(a, boxes):
    """(seconds, None): Captum slides over the whole picture; the largest step it allows is that of the window."""
    import torch
    from captum.attr import Occlusion

    from .engines.torch_engine import Net
    net, x = Net(a.folder).eval(), torch.from_numpy(picture(a.side).transpose(0, 3, 1, 2).copy())
    counted = []

    def forward(batch):
        counted.append(len(batch))
        return net(batch)
    with torch.no_grad():
        net(x)
        before = NOW[a.clock]()
        Occlusion(forward).attribute(x, (3, a.window, a.window), strides=(3, a.window, a.window), target=0,
                                     perturbations_per_eval=AT_ONCE)
        seconds = NOW[a.clock]() - before
    return seconds * len(boxes) / (sum(counted) - 1), None        # one more forward pass is of the clean picture


ENGINES = {"incremental": ours, "naive": naive, "captum": captum}


def one(a):
    """What a process of its own does: time one engine, write its scores."""
    tops, lefts, _ = positions(a.side, a.window, a.stride, a.every)
    boxes = [(t, le, min(t + a.window, a.side), min(le + a.window, a.side)) for t in tops for le in lefts]
    if a.only != "incremental":
        boxes = boxes[::max(1, len(boxes) // FEW)][:FEW]
    seconds, scores = ENGINES[a.only](a, boxes)
    if scores is not None:
        np.savez(Path(a.folder) / f"{a.only}.npz", scores=scores, boxes=boxes)
    print(json.dumps({"seconds": seconds / len(boxes), "timed": len(boxes)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("network", "vgg16"), ("side", 224), ("window", 16), ("stride", 4), ("every", 7),
                          ("engines", "incremental,naive,captum"), ("memory", "1GB"), ("clock", "wall"), ("only", ""),
                          ("folder", "")):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    a = parser.parse_args()
    if a.only:
        one(a)
        return
    with tempfile.TemporaryDirectory() as folder:
        if "captum" in a.engines:
            networks.write(folder, *networks.material(a.network, head=True))
        total = positions(a.side, a.window, a.stride, 1)[2]
        found = {}
        for engine in a.engines.split(","):
            done = subprocess.run([sys.executable, "-m", "benchmarks.occlusion", *sys.argv[1:], "--only", engine,
                                   "--folder", folder], check=True, stdout=subprocess.PIPE, text=True)
            found[engine] = json.loads(done.stdout)
            each = found[engine]["seconds"]
            print(f"{engine:12} {1000 * each:8.1f} ms a position ({found[engine]['timed']} timed), "
                  f"{each * total:8.1f} s for {total}", flush=True)
        compare(found, Path(folder))


def compare(found, folder):
    if "incremental" not in found:
        return
    for engine in found:
        if engine != "incremental":
            print(f"incremental is {found[engine]['seconds'] / found['incremental']['seconds']:.1f} times as fast as "
                  f"{engine}")
    if "naive" in found:
        a, b = (np.load(folder / f"{engine}.npz") for engine in ("incremental", "naive"))
        row = {tuple(box): scores for box, scores in zip(a["boxes"], a["scores"])}
        worst = max(np.abs(row[tuple(box)] - scores).max() for box, scores in zip(b["boxes"], b["scores"]))
        print(f"largest difference of a score: {worst:.1e}, largest score {np.abs(b['scores']).max():.3g}")


if __name__ == "__main__":
    main()
