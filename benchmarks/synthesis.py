"""Steps per second of loops that make pictures, and of the same loops written in PyTorch.

    python -m benchmarks.synthesis [--network squeezenet1_0] [--loops visualize,dream,invert,pgd] [--steps 40]
                                   [--clock wall|cpu] [-o FILE.json]

visualize climbs a class in pixels (preset simonyan), dream one octave, invert one layer in pixels by Adam, pgd 8 grey
levels around a picture. Ours is the technique itself, monitor and history included; PyTorch's loop does the arithmetic
and nothing else. Both run on --threads threads, each engine in a process of its own; the time of a step is the median
over the steps after the first --warm. On a busy machine `--clock cpu` counts processor time, all threads together.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from . import machine, networks

LOOPS = ("visualize", "dream", "invert", "pgd")
CLASS, SEED = 130, 1


def picture(side):
    """Smooth random colours, uint8."""
    coarse = np.random.default_rng(SEED).integers(40, 216, (8, 8, 3)).astype(np.float64)
    where = np.linspace(0, 6.999, side)
    i, part = where.astype(int), (where % 1)
    rows = coarse[i] * (1 - part)[:, None, None] + coarse[i + 1] * part[:, None, None]
    both = rows[:, i] * (1 - part)[None, :, None] + rows[:, i + 1] * part[None, :, None]
    return both.astype(np.uint8)


NOW = {"wall": time.perf_counter, "cpu": time.process_time}


class Clock:
    """A monitor that notes when each step ended."""

    def __init__(self, now):
        self.now, self.times = now, []

    def step(self, done, total, terms=None, picture=None):
        self.times.append(self.now())

    def save(self, state):
        pass

    def load(self):
        return None


def ours(a, loop):
    import minivis as mv
    from minivis.techniques.dream import default_layer
    net, clock = mv.random_network(a.network), Clock(NOW[a.clock])
    side = net.input_size[0]
    layer = default_layer(net)
    if loop == "visualize":
        mv.visualize(net, [str(CLASS)], preset="simonyan", steps=a.steps, monitor=clock)
    elif loop == "dream":
        mv.dream(net, picture(side), layers={layer: 1.0}, octaves=1, steps=a.steps, monitor=clock)
    elif loop == "invert":
        mv.invert(net, picture(side), layers=[layer], parameterization="pixels", optimizer="adam", rounded=0.0,
                  steps=a.steps, monitor=clock)
    else:
        mv.pgd(net, picture(side), steps=a.steps, stop_early=False, monitor=clock)
    return clock.times


def in_torch(a, loop):
    """The same steps on NCHW tensors in channels_last order, which is PyTorch's fastest here."""
    import torch

    import minivis as mv
    from minivis.parameterize import Units
    from minivis.techniques.dream import default_layer

    from .engines import torch_engine
    torch_engine.start(a.threads, channels_last=True)
    net = mv.random_network(a.network)
    units, model, side = Units(net), torch_engine.Net(a.folder).eval(), net.input_size[0]
    layer = default_layer(net)

    def planes(array):
        return torch.from_numpy(np.ascontiguousarray(np.asarray(array, np.float32).reshape(1, -1, 1, 1)))

    def placed(array):
        return torch.from_numpy(array.transpose(0, 3, 1, 2).astype(np.float32).copy()).contiguous(
            memory_format=torch.channels_last)
    per_level, black, white = planes(units.per_level), planes(units.black), planes(units.white)
    start = placed(units.levels_from_mean(picture(side))[None])
    task = {"visualize": visualize, "dream": dream, "invert": invert, "pgd": pgd}[loop]
    return task(torch, a, lambda z, upto=None: through(model, z * per_level, upto), start, layer, black, white)


def through(model, x, upto):
    values, last = {"input": x}, model.layers[-1]["name"] if upto is None else upto
    for layer in model.layers:
        sources = layer["inputs"]
        values[layer["name"]] = model.run(layer, [values[s] for s in sources], sources[0] in model.single)
        if layer["name"] == last:
            return values[last]
    raise ValueError(f"no layer {last}")


def visualize(torch, a, net, start, layer, black, white):
    z, v, times = torch.randn_like(start), 0, []
    for _ in range(a.steps):
        z = z.requires_grad_()
        loss = -net(z)[0, CLASS] + 3e-7 * (z * z).sum()
        g, = torch.autograd.grad(loss, z)
        with torch.no_grad():
            v = 0.5 * v + g / g.norm()
            z = torch.clamp(z - 400.0 * v, black, white)
        times.append(NOW[a.clock]())
    return times


def dream(torch, a, net, start, layer, black, white):
    z, times, draw = start, [], np.random.default_rng(0)
    for _ in range(a.steps):
        shift = [int(n) for n in draw.integers(-32, 33, 2)]
        moved = torch.roll(z, shift, (2, 3)).requires_grad_()
        score = 0.5 * (net(moved, layer) ** 2).sum()
        g, = torch.autograd.grad(score, moved)
        with torch.no_grad():
            g = torch.roll(g, [-n for n in shift], (2, 3))
            z = torch.clamp(z + 1.5 * g / g.abs().mean(), black, white)
        times.append(NOW[a.clock]())
    return times


def invert(torch, a, net, start, layer, black, white):
    with torch.no_grad():
        code = net(start, layer)
    energy, z, times = (code ** 2).sum(), (10 * torch.randn_like(start)).requires_grad_(), []
    adam = torch.optim.Adam([z], lr=2.0)
    for _ in range(a.steps):
        adam.zero_grad()
        tv = ((z[:, :, 1:] - z[:, :, :-1]) ** 2).sum() + ((z[:, :, :, 1:] - z[:, :, :, :-1]) ** 2).sum()
        (((net(z, layer) - code) ** 2).sum() / energy + 1e-8 / z.numel() * tv).backward()
        adam.step()
        with torch.no_grad():
            z.copy_(torch.clamp(z, black, white))
        times.append(NOW[a.clock]())
    return times


def pgd(torch, a, net, start, layer, black, white):
    held, z, times = net(start).argmax(1).detach(), start + 8.0 * (2 * torch.rand_like(start) - 1), []
    for _ in range(a.steps):
        z = z.requires_grad_()
        g, = torch.autograd.grad(torch.nn.functional.cross_entropy(net(z), held), z)
        with torch.no_grad():
            z = start + torch.clamp(z + 8.0 / 30 * g.sign() - start, -8.0, 8.0)
            z = torch.clamp(z, black, white)
        times.append(NOW[a.clock]())
    return times


ENGINES = {"minivis": ours, "torch": in_torch}


def one(a):
    """What a process of its own does: one loop of one engine, the seconds of a step."""
    from minivis.kernels.cpu import set_threads
    set_threads(a.threads)
    engine, loop = a.only.split(":")
    times = ENGINES[engine](a, loop)
    print(json.dumps({"seconds": float(np.median(np.diff(times[a.warm:])))}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("network", "squeezenet1_0"), ("loops", ",".join(LOOPS)), ("steps", 40), ("warm", 17),
                          ("threads", 2), ("clock", "wall"), ("only", ""), ("folder", "")):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("-o", metavar="FILE.json")
    a = parser.parse_args()
    if a.only:
        one(a)
        return
    with tempfile.TemporaryDirectory() as folder:
        networks.write(Path(folder), *networks.material(a.network, head=True))
        unit = "steps per second" if a.clock == "wall" else "steps per second of processor time"
        print(f"{a.network}, {a.threads} threads: {unit}")
        rows = []
        for loop in a.loops.split(","):
            per_step = {}
            for engine in ENGINES:
                done = subprocess.run([sys.executable, "-m", "benchmarks.synthesis", *sys.argv[1:], "--only",
                                       f"{engine}:{loop}", "--folder", folder], check=True, stdout=subprocess.PIPE,
                                      text=True)
                per_step[engine] = json.loads(done.stdout)["seconds"]
            mine, theirs = per_step["minivis"], per_step["torch"]
            rows.append({"loop": loop, "seconds": per_step, "ratio": mine / theirs})
            print(f"{loop:10} minivis {1 / mine:6.2f}   torch {1 / theirs:6.2f}   minivis is {theirs / mine:.2f} times "
                  "as fast", flush=True)
    if a.o:
        result = machine.measured(network=a.network, threads=a.threads, clock=a.clock, rows=rows)
        Path(a.o).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
