"""Measure what optimised pictures achieve on a real network, a line for each check and PASS or FAIL.

    python -m tools.measure_synthesis NETWORK.h5 FOLDER_OF_PICTURES [classes] [fooling] [inversion]

classes     20 classes: the logit of the visualisation against 1.5 times the class's largest logit over the pictures,
            and its rank after a shift of 4 pixels
fooling     50 pictures, each towards another class within 8 grey levels, judged on the re-read PNG
inversion   5 pictures: PSNR of the inversion from the first ReLU, relative error of six layers'
Minutes to an hour on two cores.
"""
import sys
from pathlib import Path

import numpy as np

from minivis import image
from minivis.loading import load_network
from minivis.tensor import Tensor

LAYERS = ("relu1", "fire3", "fire5", "fire7", "fire9", "relu10")


def logits_of(net, pictures):
    return np.stack([net(Tensor(net.preprocess(p)), layers=[net.logits_layer])[net.logits_layer].numpy()[0]
                     for p in pictures])


def classes(net, pictures):
    """The logit of each visualisation, and whether it ranks first when shifted."""
    from minivis.techniques.visualize import visualize
    most = logits_of(net, pictures).max(0)
    good = 0
    for index in range(25, 1000, 49):
        result = visualize(net, [str(index)])
        shifted = np.roll(result.pictures[0], (4, 4), (0, 1))
        x = [net.preprocessing.normalize(p, net.dtype)[None] for p in (result.pictures[0], shifted)]
        score, moved = (net(Tensor(a), layers=[net.logits_layer])[net.logits_layer].numpy()[0] for a in x)
        rank = int((moved > moved[index]).sum()) + 1
        fine = score[index] >= 1.5 * most[index] and rank == 1
        good += fine
        print(f"class {index}: logit {score[index]:.1f}, largest over the pictures {most[index]:.1f}, rank after a "
              f"shift {rank}: {'PASS' if fine else 'FAIL'}", flush=True)
    print(f"classes: {good} of 20", flush=True)


def fooling(net, pictures):
    from minivis.techniques.pgd import pgd
    good = 0
    for i, picture in enumerate(pictures[:50]):
        first = int(logits_of(net, [picture])[0].argmax())
        result = pgd(net, picture, target=(first + 37 + 17 * i) % 1000, epsilon=8.0)
        good += result.success and result.norms["linf"] <= 8
        if not result.success:
            print(f"picture {i} was not fooled: {result.after[0]}", flush=True)
    print(f"fooling: {good} of {len(pictures[:50])} within 8 grey levels", flush=True)


def inversion(net, pictures):
    from minivis.techniques.invert import invert
    for i, picture in enumerate(pictures[:5]):
        result = invert(net, picture, layers=list(LAYERS))
        rows = result.numbers["layers"]
        said = ", ".join(f"{r['layer']} PSNR {r['psnr']:.1f} dB error {r['error']:.3f}" for r in rows)
        print(f"picture {i}: {said}:",
              "PASS" if rows[0]["psnr"] >= 25 and all(r["error"] <= 0.2 for r in rows) else "FAIL", flush=True)


def main():
    net = load_network(sys.argv[1])
    files = sorted(Path(sys.argv[2]).glob("*.jpg"))[:100]
    pictures = [image.read(f) for f in files]
    for name in sys.argv[3:] or ("classes", "fooling", "inversion"):
        {"classes": classes, "fooling": fooling, "inversion": inversion}[name](net, pictures)


if __name__ == "__main__":
    main()
