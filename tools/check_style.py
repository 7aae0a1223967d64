"""Style transfer on real networks and real pictures against PyTorch: values, gradients, 50 steps of L-BFGS, tiles.

    python -m tools.check_style DATA_FOLDER [--side 192] [--steps 50]

DATA_FOLDER holds squeezenet1_0.h5, tubingen.jpg and starry_night.jpg; minivgg is the other network. Needs the extra
`bench`. Limits:
    every loss and its gradient, float64, within 1e-9 of PyTorch's
    the gradient in tiles, float64, within 1e-9 of that of the whole; in float32 99 of 100 of its values within 1e-4 of
        the largest (a ReLU or pooling within rounding of a tie may decide otherwise and moves what lies below it)
    the loss after the steps, begun with the content, at most 5 % above torch.optim.LBFGS's. Each term is divided by its
        value on noise; ours runs in float32, torch's in float64, and PyTorch in float64 reads both.
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from minivis import image, losses
from minivis.lbfgs import LBFGS
from minivis.loading import embedded, load_network
from minivis.optimize import Run
from minivis.techniques.matching import FIRST_CHANGE, Painter, default_layers
from minivis.tensor import Tensor, gradient
from tools import torch_reference
from tools.check_against_torch import Report, read_table

WEIGHTS = {"content": 1.0, "style": 8.0, "tv": 0.02}
HISTORY = 20


class Theirs:
    """The losses written out with torch alone, of grey levels from the network's mean colour, float64 (1, H, W, 3)."""

    def __init__(self, path, units, layers, content, painting):
        self.rows, self.weights = read_table(path)
        self.flip, self.per_level = units.flip, torch.tensor(np.asarray(units.per_level, np.float64))
        self.content_layers, self.style_layers = layers
        with torch.no_grad():
            values = self.values(torch.tensor(content))
            self.contents = {name: values[name] for name in self.content_layers}
            values = self.values(torch.tensor(painting))
            self.grams = {name: self.gram(values[name]) for name in self.style_layers}

    def values(self, z):
        x = (z.flip(3) if self.flip else z) * self.per_level
        return torch_reference.run(self.rows, self.weights, x.permute(0, 3, 1, 2))

    @staticmethod
    def gram(a):
        flat = a[0].flatten(1)
        return flat @ flat.T / a[0].numel()

    def terms(self, z):
        values, (H, W) = self.values(z), z.shape[1:3]
        found = {f"content {n}": ((values[n] - self.contents[n])**2).mean() for n in self.content_layers}
        found |= {f"style {n}": ((self.gram(values[n]) - self.grams[n])**2).mean() for n in self.style_layers}
        down, across = z[:, 1:, :-1] - z[:, :-1, :-1], z[:, :-1, 1:] - z[:, :-1, :-1]
        return {**found, "tv": ((down**2).sum() + (across**2).sum()) / 2 * 512**2 / (H * W)}

    def weigh(self, z):
        """Give each term its weight, divided by its value at z."""
        with torch.no_grad():
            self.shares = {n: WEIGHTS[n.split()[0]] / float(v) for n, v in self.terms(torch.tensor(z)).items()}

    def total(self, z):
        return sum(self.shares[name] * value for name, value in self.terms(z).items())

    def lbfgs(self, start, steps):
        z = torch.tensor(start).requires_grad_()
        optimiser = torch.optim.LBFGS([z], lr=1, max_iter=1, history_size=HISTORY, line_search_fn="strong_wolfe",
                                      tolerance_grad=0, tolerance_change=0)

        def closure():
            optimiser.zero_grad()
            loss = self.total(z)
            loss.backward()
            return loss
        for done in range(steps):       # its first trial as long as ours; with its own it would hardly move
            optimiser.param_groups[0]["lr"] = 1 if done else FIRST_CHANGE * z.numel()
            optimiser.step(closure)
        return self.read(z.detach().numpy())

    def read(self, z):
        with torch.no_grad():
            return float(self.total(torch.tensor(np.asarray(z, np.float64))))


def ours(net, layers, content, painting):
    """(Painter, [Term]) for pictures uint8."""
    painter = Painter(net)
    values = painter.values(painter.z(content), layers[0])
    grams = painter.grams(painter.z(painting), layers[1])
    terms = [losses.content(net, name, values[name]) for name in layers[0]]
    return painter, terms + [losses.style(net, name, grams[name]) for name in layers[1]]


def check(report, path, data, side, steps):
    net = load_network(path)
    layers = tuple(map(list, default_layers(net)))
    content, painting = (net.see(image.read(data / f"{name}.jpg"), side, "longest").picture
                         for name in ("tubingen", "starry_night"))
    double = net.with_precision("float64")
    painter, terms = ours(double, layers, content, painting)
    start = painter.noise(content.shape[:2], seed=0)        # no loss is zero there
    theirs = Theirs(path, painter.units, layers, painter.z(content), painter.z(painting))
    z = torch.tensor(start).requires_grad_()
    wanted = theirs.terms(z)
    for name, value in wanted.items():
        t = Tensor(start, needs_grad=True)
        term = next((term for term in terms if term.name == name), None)
        mine = losses.tv(t) if term is None else term(double(painter.units.of(t), layers=term.layers))
        report.compare(f"{net.name} {name}", mine.data.sum(), float(value.detach()), 1e-9)
        slope, = torch.autograd.grad(value, z, retain_graph=True)
        report.compare(f"{net.name} {name}, gradient", gradient(mine, t), slope.numpy(), 1e-9)
    theirs.weigh(start)
    weighed = [(term.name.split()[0], theirs.shares[term.name], term) for term in terms]
    in_tiles(report, painter, weighed, [("tv", theirs.shares["tv"], losses.tv)], painter.z(content))
    descend(report, net, layers, content, painting, theirs, steps)


def in_tiles(report, painter, terms, tv, z):
    side, name = max(z.shape[1:3]) // 3, painter.net.name
    whole, tiled = (painter.loss(z.shape[1:3], terms, tv, side=s) for s in (None, side))
    a, b = whole(z).gradient, tiled(z).gradient
    what = f"{name}: gradient in {len(tiled.tiles.tiles)} tiles, {z.dtype}"
    if z.dtype == np.float64:
        report.compare(what, b, a, 1e-9)
    else:
        error = np.abs(b - a) / np.abs(a).max()
        report.line(what, float(np.percentile(error, 99)), 1e-4, f"of 99 %; the worst is off by {error.max():.1e}")


def descend(report, net, layers, content, painting, theirs, steps):
    painter, terms = ours(net, layers, content, painting)
    terms = [(term.name.split()[0], theirs.shares[term.name], term) for term in terms]
    start, tv = painter.z(content), [("tv", theirs.shares["tv"], losses.tv)]
    loss = painter.loss(start.shape[1:3], terms, tv)
    in_tiles(report, painter, terms, tv, start)
    began = time.process_time()
    run = Run(loss, start, LBFGS(memory=HISTORY, first=FIRST_CHANGE * start.size), steps)
    for _ in run:
        pass
    mine, seconds = theirs.read(run.z), time.process_time() - began
    other = theirs.lbfgs(np.asarray(start, np.float64), steps)
    report.line(f"{net.name}: loss after {steps} steps, above torch's by", mine / other - 1, 0.05,
                f"{theirs.read(start):.6g} -> {mine:.6g}, torch {other:.6g}; {seconds:.1f} s of processors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--steps", type=int, default=50)
    a = parser.parse_args()
    report = Report()
    for path in (a.folder / "squeezenet1_0.h5", Path(embedded("minivgg"))):
        check(report, path, a.folder, a.side, a.steps)
    print(f"{report.failed} above their limits, {report.zero} all zero")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
