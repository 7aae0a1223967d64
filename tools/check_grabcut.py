"""How far our GrabCut agrees with OpenCV's from the same seeds: intersection over union, picture by picture.

    python -m tools.check_grabcut NETWORK PICTURE...

Needs opencv-python-headless. Seeds come from the saliency of each picture's first class, as in the technique.
"""
import sys
import time

import cv2
import numpy as np

import minivis as mv
from minivis.graph_cut import grabcut
from minivis.techniques.grabcut import seeds_of
from minivis.techniques.saliency import saliency

GOAL = 0.95


def opencv(picture, seeds, iterations):
    """cv2.grabCut uses the same four numbers for seeds; it wants BGR."""
    mask = seeds.astype(np.uint8).copy()
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(picture[:, :, ::-1]), mask, None, np.zeros((1, 65)), np.zeros((1, 65)), iterations,
                cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))


def overlap(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


def main(network, *files):
    net, found = mv.load_network(network), []
    for file in files:
        result = saliency(net, mv.read_image(file))
        seeds, picture = seeds_of(result.values, 0.95, 0.3), result.seen.picture
        before = time.perf_counter()
        ours = grabcut(picture, seeds)
        seconds = time.perf_counter() - before
        theirs = opencv(picture, seeds, 5)
        found.append(overlap(ours, theirs))
        print(f"{found[-1]:.4f}  ours {ours.mean():.3f} of the picture, OpenCV's {theirs.mean():.3f}; {seconds:.1f} s  "
              f"{file}")
    print(f"median {np.median(found):.4f}, least {min(found):.4f}; goal {GOAL}")
    return 0 if min(found) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
