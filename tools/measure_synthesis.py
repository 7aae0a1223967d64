"""Measure what optimised pictures achieve on a real network, a line for each check and PASS or FAIL.

    python -m tools.measure_synthesis NETWORK.h5 FOLDER_OF_PICTURES [classes] [fooling] [inversion] [--save FOLDER]

classes     20 classes: the logit of the visualisation against 1.5 times the class's largest logit over the pictures,
            and its rank after a shift of 4 pixels
fooling     50 pictures, each towards another class within 8 grey levels, judged on the re-read PNG
inversion   5 pictures, every layer of a row through the network (--layers names others): PSNR of the first's, relative
            error of each
All with the techniques' defaults, but for --steps of the inversion (the highest layers need thousands). --only picks
classes or pictures by number; --save keeps what was made. Minutes to hours on two cores.
"""
import argparse
from pathlib import Path

import numpy as np

from minivis import image
from minivis.loading import load_network
from minivis.tensor import Tensor

WORST, LEAST_PSNR, CLASSES = 0.2, 25.0, range(25, 1000, 49)


def logits_of(net, pictures):
    return np.stack([net(Tensor(net.preprocess(p)), layers=[net.logits_layer])[net.logits_layer].numpy()[0]
                     for p in pictures])


def stages(net):
    """Every layer with positions that ends a stage: the first convolutions and poolings, all ReLUs but those inside a
    fire module, the concats, and the last convolution."""
    kinds = ("conv", "relu", "max_pool", "avg_pool", "concat")
    names = [layer.name for layer in net.table if layer.kind in kinds and net.rank(layer.name) == 3]
    return [name for name in names if not any(part in name for part in ("squeeze", "expand"))]


def classes(net, pictures, a):
    """The logit of each visualisation, and whether it ranks first when shifted."""
    from minivis.techniques.visualize import visualize
    most, good, chosen = logits_of(net, pictures).max(0), 0, a.only or CLASSES
    for index in chosen:
        result = visualize(net, [str(index)])
        keep(a, f"class_{index:03d}.png", result)
        shifted = np.roll(result.pictures[0], (4, 4), (0, 1))
        x = [net.preprocessing.normalize(p, net.dtype)[None] for p in (result.pictures[0], shifted)]
        score, moved = (net(Tensor(v), layers=[net.logits_layer])[net.logits_layer].numpy()[0] for v in x)
        rank = int((moved > moved[index]).sum()) + 1
        fine = score[index] >= 1.5 * most[index] and rank == 1
        good += fine
        print(f"class {index}: logit {score[index]:.1f}, largest over the pictures {most[index]:.1f}, rank after a "
              f"shift {rank}: {'PASS' if fine else 'FAIL'}", flush=True)
    print(f"classes: {good} of {len(chosen)}", flush=True)


def fooling(net, pictures, a):
    from minivis.techniques.pgd import pgd
    good, chosen = 0, a.only or range(min(50, len(pictures)))
    for i in chosen:
        first = int(logits_of(net, [pictures[i]])[0].argmax())
        result = pgd(net, pictures[i], target=(first + 37 + 17 * i) % 1000, epsilon=8.0)
        keep(a, f"fooling_{i:03d}.png", result)
        good += result.success and result.norms["linf"] <= 8
        if not result.success:
            print(f"picture {i} was not fooled: {result.after[0]}", flush=True)
    print(f"fooling: {good} of {len(chosen)} within 8 grey levels", flush=True)


def inversion(net, pictures, a):
    from minivis.techniques.invert import invert
    good, chosen = 0, a.only or range(5)
    for i in chosen:
        result = invert(net, pictures[i], layers=a.layers or stages(net), steps=a.steps)
        keep(a, f"inversion_{i:03d}.png", result)
        rows = result.numbers["layers"]
        fine = all(r["error"] <= WORST for r in rows)
        fine = fine and all(r["psnr"] >= LEAST_PSNR for r in rows if r["layer"] == "relu1")
        good += fine
        said = ", ".join(f"{r['layer']} {r['error']:.3f} ({r['psnr']:.1f} dB)" for r in rows)
        print(f"picture {i}: {said}: {'PASS' if fine else 'FAIL'}", flush=True)
    print(f"inversion: {good} of {len(chosen)}", flush=True)


def keep(a, name, result):
    if a.save:
        Path(a.save).mkdir(parents=True, exist_ok=True)
        result.save(Path(a.save) / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("pictures")
    parser.add_argument("checks", nargs="*", help="classes, fooling, inversion (default: all)")
    parser.add_argument("--only", nargs="+", type=int)
    parser.add_argument("--layers", nargs="+")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--save")
    a = parser.parse_args()
    net = load_network(a.network)
    pictures = [image.read(f) for f in sorted(Path(a.pictures).glob("*.jpg"))[:100]]
    for name in a.checks or ("classes", "fooling", "inversion"):
        {"classes": classes, "fooling": fooling, "inversion": inversion}[name](net, pictures, a)


if __name__ == "__main__":
    main()
