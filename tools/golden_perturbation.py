"""Write minivis/golden/perturbation/*.npz: what Captum computes in float64 for perturbation techniques and evidence, on
the networks of tools/make_golden.py, and RISE by its published formula.

    python -m tools.golden_perturbation

Needs the extras `bench` and `peers`. Captum's KernelShap and Lime draw their samples themselves and fit in float32, so
what they estimate is stored: the exact Shapley values (captum.attr.ShapleyValues over every order of the superpixels).
"""
import itertools
import json
import platform
from pathlib import Path

import captum
import numpy as np
import torch
from captum.attr import FeatureAblation, Occlusion
from captum.metrics import infidelity

from minivis import golden
from minivis.preprocessing import Preprocessing
from minivis.superpixels import superpixels
from minivis.techniques.rise import Masks
from tools import torch_reference

SEGMENTS, MASKS, CELLS, KEEP, SEED = 5, 12, 4, 0.4, 7


def compute(name):
    """(about, arrays) of one network."""
    about, arrays = golden.load(name)
    weights = golden.draw_weights(golden.network(about).table, about["seed"])
    prepare = Preprocessing.from_json(about["preprocessing"])
    picture, index, logits = arrays["picture"], about["class"], about["logits_layer"]
    x = torch_reference.as_torch(prepare.apply(picture, np.float64))
    black = torch_reference.as_torch(prepare.apply(np.zeros_like(picture), np.float64))
    labels = superpixels(picture, SEGMENTS)
    mask = torch.as_tensor(labels)[None, None]

    def forward(batch):
        return torch_reference.run(about["layers"], weights, batch)[logits]
    found = {"labels": labels}
    found["feature_ablation"] = one_colour(FeatureAblation(forward).attribute(
        x, baselines=black, target=index, feature_mask=mask))
    window, stride = about["window"], about["stride"]
    found["occlusion_map"] = one_colour(Occlusion(forward).attribute(
        x, (3, window, window), strides=(3, stride, stride), baselines=black, target=index))
    found["shapley"] = shapley(forward, x, black, mask[0, 0], index)
    found["rise"] = rise(forward, x, index)
    found |= fidelity(forward, x, black, index)
    about = {"segments": SEGMENTS, "masks": MASKS, "cells": CELLS, "keep": KEEP, "seed": SEED, "class": index,
             "window": window, "stride": stride,
             "made_by": {"captum": captum.__version__, "torch": torch.__version__, "numpy": np.__version__,
                         "python": platform.python_version()}}
    return about, found


def one_colour(t):
    """(H, W) of a map that is the same for all three colours."""
    t = t.detach()[0]
    assert (t - t[:1]).abs().max() <= 1e-12 * t.abs().max()
    return t[0].numpy()


def shapley(forward, x, black, labels, index):
    """Shapley values of the superpixels, (K,), over all orders. captum.attr.ShapleyValues in small."""
    K = int(labels.max()) + 1
    value = {}
    for shown in itertools.product([False, True], repeat=K):
        mask = torch.as_tensor(np.array(shown)[labels.numpy()])
        value[shown] = float(forward(torch.where(mask, x, black))[0, index].detach())
    phi = np.zeros(K)
    orders = list(itertools.permutations(range(K)))
    for order in orders:
        shown = [False] * K
        for k in order:
            before = value[tuple(shown)]
            shown[k] = True
            phi[k] += value[tuple(shown)] - before
    return phi / len(orders)


def rise(forward, x, index):
    """S = 1 / (N p) sum_i softmax(f(x * m_i))_class m_i, the masks being ours (they are random)."""
    masks = Masks(tuple(x.shape[2:]), CELLS, KEEP, SEED)
    m = torch.as_tensor(np.stack([masks(i) for i in range(MASKS)]))
    p = torch.softmax(forward(x * m[:, None]), 1)[:, index]
    return ((p[:, None, None] * m).sum(0) / MASKS / KEEP).detach().numpy()


def fidelity(forward, x, black, index):
    """Captum's infidelity of the map "distance from black" for given masks, as it is and normalized."""
    random = np.random.RandomState(SEED)
    masks = (random.rand(MASKS, *x.shape[2:]) < 0.3).astype(np.float64)
    values = random.standard_normal(x.shape[2:])
    hide = torch.as_tensor(masks)[:, None].expand(-1, 3, -1, -1)

    def perturb(inputs):
        return hide / 3, inputs * (1 - hide) + black * hide
    t = torch.as_tensor(values)[None, None].expand(1, 3, -1, -1)
    plain, normalized = (float(infidelity(forward, perturb, x, t, target=index, n_perturb_samples=MASKS,
                                          max_examples_per_batch=MASKS, normalize=n).detach()) for n in (False, True))
    return {"infidelity_masks": masks, "infidelity_values": values, "infidelity": np.array([plain, normalized])}


def main():
    folder = Path(golden.__file__).parent / "perturbation"
    folder.mkdir(exist_ok=True)
    for name in golden.names():
        about, arrays = compute(name)
        np.savez_compressed(folder / f"{name}.npz", about=np.array(json.dumps(about)), **arrays)
        print(name, int(arrays["labels"].max()) + 1, "superpixels", arrays["shapley"].round(3), arrays["infidelity"])


if __name__ == "__main__":
    main()
