"""Techniques on a real network and real pictures against PyTorch in float64; prints every error, exits 1 above a limit.

    python -m tools.check_against_torch DATA_FOLDER [--pictures 3] [--only squeezenet|style]

DATA_FOLDER holds squeezenet1_0.h5, imagenet_samples/, fast_style_wave.h5 and tubingen.jpg. Needs the extra `bench`.
Limits: float64 1e-9 of the largest value; float32 forward 1e-5; float32 backward with the ReLU and pooling decisions of
float64 1e-5; the style network's picture in float32 within 0.05 grey levels.
"""
import argparse
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import torch

from minivis import image
from minivis.golden.decisions import decided
from minivis.loading import load_network
from minivis.techniques.compare_rules import compare_rules
from minivis.techniques.deconvnet import deconvnet
from minivis.techniques.guided_backprop import guided_backprop
from minivis.techniques.occlusion import occlusion
from minivis.techniques.saliency import saliency
from minivis.techniques.unit_gradient import unit_gradient
from minivis.tensor import Tensor, gradient
from tools import torch_reference

RULES = ("plain", "guided", "deconv")
LAYERS = ("fire3", "fire5", "fire9")
WINDOW, STRIDE = 75, 50


class Report:
    """Errors relative to the largest value, printed as they come."""

    def __init__(self):
        self.failed, self.zero = 0, 0

    def compare(self, what, got, wanted, limit):
        largest = float(np.abs(wanted).max())
        if not largest:             # proves nothing, so it does not count; but ours must be zero too
            self.zero += 1
            self.line(what, float(np.abs(got).max()), 0.0, "all zero")
            return
        self.line(what, float(np.abs(got - wanted).max()) / largest, limit, f"largest {largest:.4g}")

    def line(self, what, error, limit, remark=""):
        self.failed += error > limit
        print(f"{'FAIL' if error > limit else 'ok  '} {what:<58} {error:9.2e}  limit {limit:g}  {remark}", flush=True)


def read_table(path):
    """(rows, {name: float64 array}) straight from the file, not through our reader."""
    with h5py.File(path) as f:
        rows = json.loads(f["table"][()])["layers"]
        weights = {f"{layer}/{part}": data[()].astype(np.float64) for layer, group in f["layers"].items()
                   for part, data in group.items()}
    return rows, weights


def squeezenet(folder, count, report):
    """Saliency, unit gradient, guided backprop, deconvnet, their comparison and occlusion, from class and units."""
    rows, weights = read_table(folder / "squeezenet1_0.h5")
    net32 = load_network(folder / "squeezenet1_0.h5")
    net = net32.with_precision("float64")
    files = sorted((folder / "imagenet_samples").glob("*.jpg"))
    for path in files[::len(files) // count][:count]:
        picture = image.read(path)
        x = net.preprocess(picture)
        values = {k: torch_reference.channels_last(v)
                  for k, v in torch_reference.run(rows, weights, torch_reference.as_torch(x)).items()}
        logits = values["logits"][0]
        best = int(logits.argmax())
        ours = {k: v.numpy() for k, v in net(x, layers=net.table.names).items()}
        name = path.stem[:3]
        report.compare(f"{name} logits, float64", ours["logits"], values["logits"], 1e-9)
        report.compare(f"{name} logits, float32", net32(x)["logits"].numpy(), values["logits"], 1e-5)
        wanted = {rule: torch_gradient(net, rows, weights, x,
                                       lambda v, best=best: v["logits"][0, best], rule) for rule in RULES}
        report.compare(f"{name} saliency", saliency(net, picture, reduce="none").values, wanted["plain"], 1e-9)
        report.compare(f"{name} guided backprop from the class", guided_backprop(net, picture).values, wanted["guided"],
                       1e-9)
        report.compare(f"{name} deconvnet from the class", deconvnet(net, picture).values, wanted["deconv"], 1e-9)
        for layer in LAYERS:
            from_unit(net, net32, rows, weights, picture, x, layer, values, ours, name, report)
        black = net.preprocess(np.zeros_like(picture))
        hidden = torch_occlusion(rows, weights, x, black)
        scores = occlusion(net, picture, size=WINDOW, stride=STRIDE, fill="black").scores
        places = f"{hidden.shape[0]} x {hidden.shape[1]} places"
        report.compare(f"{name} occlusion, all classes at {places}", scores, hidden, 1e-9)


def from_unit(net, net32, rows, weights, picture, x, layer, values, ours, name, report):
    """All rules from the strongest unit of a layer; float32 with the decisions of float64."""
    place = np.unravel_index(values[layer][0].argmax(), values[layer][0].shape)

    def start(v):
        return v[layer][0, int(place[2]), int(place[0]), int(place[1])]
    compared = {r.recipe["technique"]: r.values for r in compare_rules(net, picture, unit=layer).results}
    for rule in RULES:
        wanted = torch_gradient(net, rows, weights, x, start, rule)
        if not wanted.any():
            report.line(f"{name} {rule} from {layer}", 1.0, 0.0, "nothing to compare")
        report.compare(f"{name} compare_rules {rule} from {layer}", compared[rule], wanted, 1e-9)
        got = unit_gradient(net, picture, layer, rule=rule).values
        report.compare(f"{name} unit_gradient {rule} from {layer}", got, wanted, 1e-9)
        x32 = Tensor(x.astype(np.float32), needs_grad=True)
        tensor = net32(x32, layers=layer, keep="inputs")[layer]
        seed = np.zeros(tensor.shape, np.float32)
        seed[(0, *place)] = 1
        g = net.to_rgb(gradient(tensor, x32, rules=decided(net, layer, ours, rule), seed=seed)[0])
        report.compare(f"{name} {rule} from {layer}, float32, decisions of float64", g, wanted, 1e-5)
    guided, deconv = guided_backprop(net, picture, unit=layer).values, deconvnet(net, picture, unit=layer).values
    report.line(f"{name} guided_backprop, deconvnet from {layer} = compare_rules",
                float(max(np.abs(guided - compared["guided"]).max(), np.abs(deconv - compared["deconv"]).max())), 0.0)


def torch_gradient(net, rows, weights, x, start, rule):
    return net.to_rgb(torch_reference.gradient(rows, weights, x, start, rule)[0])


def torch_occlusion(rows, weights, x, black):
    """Logits of every class with each window black, one forward pass per place: (rows, columns, classes)."""
    starts = [range(0, -(-(side - WINDOW) // STRIDE) * STRIDE + 1, STRIDE) for side in x.shape[1:3]]
    found = np.empty((len(starts[0]), len(starts[1]), 1000))
    for i, top in enumerate(starts[0]):
        for j, left in enumerate(starts[1]):
            hidden, window = x.copy(), np.s_[:, top:top + WINDOW, left:left + WINDOW]
            hidden[window] = black[window]
            with torch.no_grad():
                found[i, j] = torch_reference.run(rows, weights, torch_reference.as_torch(hidden))["logits"][0].numpy()
    return found


def style(folder, report):
    """The feed-forward style network's picture."""
    rows, weights = read_table(folder / "fast_style_wave.h5")
    net32 = load_network(folder / "fast_style_wave.h5")
    net = net32.with_precision("float64")
    x = net.preprocess(image.read(folder / "tubingen.jpg"))
    with torch.no_grad():
        wanted = torch_reference.channels_last(
            torch_reference.run(rows, weights, torch_reference.as_torch(x))[net.output_layer])
    report.compare(f"style {x.shape[1]} x {x.shape[2]}, float64", net(x)[net.output_layer].numpy(), wanted, 1e-9)
    got = net32(x)[net32.output_layer].numpy()
    report.line("style, float32, largest difference in grey levels", float(np.abs(got - wanted).max()), 0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--only", choices=("squeezenet", "style"))
    args = parser.parse_args()
    report = Report()
    if args.only != "style":
        squeezenet(args.folder, args.pictures, report)
    if args.only != "squeezenet":
        style(args.folder, report)
    print(f"{report.failed} failed; {report.zero} comparisons of zero with zero, which prove nothing")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
