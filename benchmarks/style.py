"""A step of style transfer and a picture through a style network, here and in PyTorch: seconds and peak memory.

    python -m benchmarks.style [--sizes 256,512,1024] [--engines ours,torch,torch-cl] [--work step,redraw] [-o F.json]

step     one step of Adam on the pixels: VGG-19's layers with random weights, content at relu4_2, styles at relu1_1 to
         relu5_1 (Gram matrices over C H W), smoothness, in neural-style's weights, its loss and its gradient
redraw   one picture through a feed-forward network (minivis.style_networks.transformer, Johnson et al.'s form):
         pictures a second

Every engine and size has a process of its own. torch-cl is PyTorch in channels_last. Of `step` the losses before the
first and the last step must agree, of `redraw` the pictures. memory: the largest resident size of the process. On a
busy machine the seconds of processors (all threads together) say more than those of the clock.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from . import machine, networks
from .engines import thread_env
from .worker import peak_mb

STYLE = [f"relu{block}_1" for block in range(1, 6)]
CONTENT = "relu4_2"
WEIGHTS = {"content": 5.0, "style": 100.0, "tv": 1e-3}
RATE, AT_LEAST, FEWEST, MOST = 5.0, 2.0, 2, 20      # Adam's step; seconds, and steps, that are timed


def picture(side, seed):
    """(side, side, 3) uint8: a mixture of smooth and fine, so that the losses are of usual sizes."""
    rng = np.random.default_rng([7, seed])
    coarse = np.kron(rng.integers(0, 256, (-(-side // 32), -(-side // 32), 3)), np.ones((32, 32, 1)))[:side, :side]
    return (0.7 * coarse + 0.3 * rng.integers(0, 256, (side, side, 3))).astype(np.uint8)


# --------------------------------------------------------------------------------------------------------------- ours

def our_step(a):
    import minivis as mv
    from minivis import losses
    from minivis.optimize import Adam, Run
    from minivis.techniques.matching import Painter
    painter = Painter(mv.random_network("vgg19", head=False))
    content, style = (painter.z(picture(a.side, seed)) for seed in (0, 1))
    values = painter.values(content, [CONTENT])
    grams = painter.grams(style, STYLE)
    terms = [("content", WEIGHTS["content"], losses.content(painter.net, CONTENT, values[CONTENT]))]
    terms += [("style", WEIGHTS["style"], losses.style(painter.net, name, grams[name])) for name in STYLE]
    loss = painter.loss((a.side, a.side), terms, [("tv", WEIGHTS["tv"], losses.tv)])
    run = Run(loss, content, Adam(RATE), 10**6)
    return lambda: float(run.advance().loss[0])


def our_redraw(a):
    from minivis import Tensor
    from minivis.style_networks import style_network, transformer
    net = style_network(transformer(a.width, a.blocks))
    x = Tensor(net.preprocessing.normalize(picture(a.side, 0), np.float32)[None])
    return lambda: net(x)["picture"].data[0]


# ------------------------------------------------------------------------------------------------------------ PyTorch

class TorchNet:
    """A layer table in PyTorch, its values by name."""

    def __init__(self, folder, channels_last):
        import torch
        self.rows = networks.read_layers(folder)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.weights = {}
        for row in self.rows:
            for which in ("weight", "bias", "scale", "shift"):
                array = networks.read_weight(folder, row["name"], which)
                if array is not None:
                    t = torch.from_numpy(array)
                    self.weights[row["name"], which] = t.contiguous(memory_format=self.format) if t.ndim == 4 else t

    def __call__(self, x, wanted):
        values, last = {}, {}
        for i, row in enumerate(self.rows):
            for name in row["inputs"]:
                last[name] = i
        values["input"], todo = x, set(wanted)
        for i, row in enumerate(self.rows):
            values[row["name"]] = self.run(row, [values[n] for n in row["inputs"]])
            todo.discard(row["name"])
            for name in row["inputs"]:
                if last[name] == i and name not in wanted:
                    del values[name]
            if not todo:
                return {name: values[name] for name in wanted}
        raise ValueError(f"the table has no layers {sorted(todo)}")

    def run(self, row, xs):
        import torch
        import torch.nn.functional as F
        x, kind, w = xs[0], row["kind"], lambda which: self.weights.get((row["name"], which))
        if kind == "conv":
            pad = row.get("pad", 0)
            return F.conv2d(x, w("weight"), w("bias"), row.get("stride", 1), pad if isinstance(pad, int) else pad[0])
        simple = {
            "relu": lambda: F.relu(x, inplace=True), "max_pool": lambda: F.max_pool2d(x, row["kernel"]),
            "pad": lambda: F.pad(x, (row["pad"],) * 4, mode="reflect"), "tanh": lambda: torch.tanh(x),
            "instance_norm": lambda: F.instance_norm(x, weight=w("scale"), bias=w("shift"), eps=row["eps"]),
            "upsample": lambda: F.interpolate(x, scale_factor=row["factor"]), "add": lambda: xs[0] + xs[1],
            "scale": lambda: x * row["factor"] + row["offset"], "clip": lambda: x.clamp(row["low"], row["high"]),
        }
        return simple[kind]()


def torch_step(a):
    import torch
    net = TorchNet(a.folder, a.only == "torch-cl")
    numbers = json.loads((Path(a.folder) / "units.json").read_text())
    mean, per_level = (torch.tensor(numbers[name]).reshape(1, 3, 1, 1) for name in ("mean", "per_level"))

    def levels(seed):
        p = torch.from_numpy(picture(a.side, seed).astype(np.float32).transpose(2, 0, 1)[None].copy())
        return (p - mean).contiguous(memory_format=net.format)

    def gram(f):
        flat = f.flatten(2)
        return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])

    z = levels(0).clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.no_grad():
        content = net(levels(0) * per_level, [CONTENT])[CONTENT]
        grams = {name: gram(v) for name, v in net(levels(1) * per_level, STYLE).items()}
    optimiser = torch.optim.Adam([z], lr=RATE)

    def run():
        optimiser.zero_grad()
        values = net(z * per_level, list(dict.fromkeys([CONTENT, *STYLE])))
        loss = WEIGHTS["content"] * (values[CONTENT] - content).square().mean()
        for name in STYLE:
            loss = loss + WEIGHTS["style"] * (gram(values[name]) - grams[name]).square().mean()
        down, across = z[:, :, 1:, :-1] - z[:, :, :-1, :-1], z[:, :, :-1, 1:] - z[:, :, :-1, :-1]
        rough = (down.square().sum() + across.square().sum()) * (0.5 * 512**2 / a.side**2)
        loss = loss + WEIGHTS["tv"] * rough
        loss.backward()
        optimiser.step()
        return float(loss.detach())
    return run


def torch_redraw(a):
    import torch
    net = TorchNet(a.folder, a.only == "torch-cl")
    x = (picture(a.side, 0).astype(np.float32) - 127.5) / 64.0
    x = torch.from_numpy(x.transpose(2, 0, 1)[None].copy()).contiguous(memory_format=net.format)

    def run():
        with torch.inference_mode():
            return net(x, ["picture"])["picture"][0].permute(1, 2, 0).numpy()
    return run


def lay_down(work, folder, a):
    """The network as files, for PyTorch."""
    import minivis as mv
    from minivis.parameterize import Units
    from minivis.style_networks import style_network, transformer
    net = mv.random_network("vgg19", head=False) if work == "step" else style_network(transformer(a.width, a.blocks))
    rows = [{**{s: row[s] for s in row.settings}, "name": row.name, "kind": row.kind,
             "inputs": net.table.reads[row.name]} for row in net.table if row.kind != "input"]
    networks.write(folder, rows, net.weights.arrays())
    units = Units(net)
    (Path(folder) / "units.json").write_text(json.dumps({"mean": units.mean.tolist(),
                                                         "per_level": units.per_level.tolist()}))


# ------------------------------------------------------------------------------------------------------------- running

def one(a):
    """What a process of its own does: build, warm up, time."""
    ours = a.only == "ours"
    if ours:
        from minivis.kernels.cpu import set_threads
        set_threads(a.threads)
    else:
        import torch
        torch.set_num_threads(a.threads)
    work = {"step": our_step if ours else torch_step, "redraw": our_redraw if ours else torch_redraw}[a.work]
    run = work(a)
    first = run()
    seconds, answers, worked = [], [first], time.process_time()
    while len(seconds) < FEWEST or (sum(seconds) < AT_LEAST and len(seconds) < MOST):
        begun = time.perf_counter()
        answers.append(run())
        seconds.append(time.perf_counter() - begun)
    worked = (time.process_time() - worked) / len(seconds)
    if a.work == "redraw":
        np.save(Path(a.folder) / f"{a.only}.npy", np.asarray(first))
    answers = answers[:FEWEST + 1] if a.work == "step" else []
    print(json.dumps({"seconds": float(np.median(seconds)), "cpu_seconds": worked,
                      "timed": len(seconds), "losses": answers,
                      "peak_mb": peak_mb()}))


def measure(a, work, side, folder):
    """{engine: what its process said}"""
    found = {}
    for engine in a.engines.split(","):
        call = [sys.executable, "-m", "benchmarks.style", "--only", engine, "--work", work, "--side", str(side),
                "--folder", folder, *(f"--{n}={getattr(a, n)}" for n in ("threads", "width", "blocks"))]
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True, env=_environment(a.threads))
        found[engine] = json.loads(done.stdout)
        seconds, peak = found[engine]["seconds"], found[engine]["peak_mb"]
        speed = f"{1 / seconds:8.2f} pictures/s" if work == "redraw" else f"{seconds:8.3f} s a step"
        beside = ""
        if engine != "ours" and "ours" in found:
            ours = found["ours"]
            beside = (f"   ours takes {ours['seconds'] / seconds:.2f} of its time, {ours['peak_mb'] / peak:.2f} of its "
                      "memory")
        print(f"{work:7} {side:5}  {engine:9} {speed}  {found[engine]['cpu_seconds']:7.3f} s of processors  "
              f"{peak:7.0f} MB{beside}", flush=True)
    return found


def _environment(threads):
    return {**os.environ, **thread_env(threads)}


def compare(work, found, folder):
    """How far the engines' answers are apart, relative to the largest."""
    engines, worst = list(found), 0.0
    for engine in engines[1:]:
        if work == "step":
            a, b = (np.array(found[e]["losses"]) for e in (engines[0], engine))
        else:
            a, b = (np.load(Path(folder) / f"{e}.npy") for e in (engines[0], engine))
        worst = max(worst, float(np.abs(a - b).max() / np.abs(b).max()))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("sizes", "256,512,1024"), ("engines", "ours,torch,torch-cl"), ("work", "step,redraw"),
                          ("threads", 2), ("width", 16), ("blocks", 3), ("side", 0), ("only", ""), ("folder", "")):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("-o", metavar="FILE.json")
    a = parser.parse_args()
    if a.only:
        one(a)
        return 0
    rows, apart = [], 0.0
    for work in a.work.split(","):
        with tempfile.TemporaryDirectory() as folder:
            lay_down(work, folder, a)
            for side in map(int, a.sizes.split(",")):
                found = measure(a, work, side, folder)
                difference = compare(work, found, folder)
                apart = max(apart, difference)
                rows.append({"work": work, "side": side, "engines": found, "difference": difference})
    print(f"largest relative difference of losses and pictures: {apart:.1e}")
    if a.o:
        Path(a.o).write_text(json.dumps(machine.measured(threads=a.threads, width=a.width, blocks=a.blocks, rows=rows),
                                        indent=1))
    return 0 if apart < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
