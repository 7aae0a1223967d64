"""Write minivis/golden/perturbation/*.npz: what Captum computes in float64 for perturbation techniques, on the networks
of tools/make_golden.py, and RISE, the masks of tools/torch_masks.py and counter-evidence by their published formulas.

    python -m tools.golden_perturbation

Needs the extras `bench` and `peers`. Captum's LimeBase and KernelShap are fed the samples that minivis draws, and their
casts to float32 are made casts to float64. Captum's KernelShap has a large weight where the theory has an infinite one;
it is raised until it changes nothing. The exact Shapley values (captum.attr.ShapleyValues over every order of the
superpixels) are stored, too.
"""
import itertools
import json
import platform
from pathlib import Path

import captum
import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, LimeBase, Occlusion
from captum.attr._core.lime import default_from_interp_rep_transform

from minivis import golden
from minivis.preprocessing import Preprocessing
from minivis.superpixels import superpixels
from minivis.techniques.kernel_shap import coalitions
from minivis.techniques.lime import shown_at_random
from minivis.techniques.rise import Masks
from tools import torch_masks, torch_reference

SEGMENTS, MASKS, CELLS, KEEP, SEED = 5, 12, 4, 0.4, 7
HIDDEN = 3
EXTREMAL = {"steps": 12, "rate": 0.03, "area": 0.2, "area_weight": 300.0, "smooth": 5.0, "cell": 3, "levels": 4,
            "blur": 6.0, "keep_weight": 1e-3, "variation": 0.01, "jitter": 2, "fill": "blur"}
LIME_SAMPLES, KERNEL_WIDTH, RIDGE, SHAP_SAMPLES, INFINITE = 20, 0.25, 1.0, 10, 1e11


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
    with torch_reference.in_float64():
        found["occlusion_map"] = one_colour(Occlusion(forward).attribute(
            x, (3, window, window), strides=(3, stride, stride), baselines=black, target=index))
    found["occlusion_alone"] = alone(forward, x, black, index, window, stride)
    layer, channel = about["unit"].split(":")

    def unit(batch):
        return torch_reference.run(about["layers"], weights, batch)[layer][:, int(channel)].sum((1, 2))
    found["occlusion_unit"] = torch.stack([unit(with_window(x, black, box)) for box in boxes(x, window, stride)]
                                          ).detach().numpy().reshape(*grid(x, window, stride))
    found["counter_evidence"] = counter_evidence(forward, x, black, window, stride)
    found["shapley"] = shapley(forward, x, black, mask[0, 0], index)
    found["lime"] = lime(forward, x, black, mask, index)
    found["kernel_shap"] = kernel_shap(forward, x, black, mask, index)
    found["rise"] = rise(forward, x, index)
    found |= masks(forward, x, index)
    tools = {**dict.fromkeys(("feature_ablation", "occlusion_map", "lime", "kernel_shap"), "captum"),
             **dict.fromkeys(("occlusion_alone", "occlusion_unit", "counter_evidence", "shapley", "rise",
                              *(key for key in found if key.startswith("extremal_"))), "formula in torch")}
    about = {"segments": SEGMENTS, "masks": MASKS, "cells": CELLS, "keep": KEEP, "seed": SEED, "class": index,
             "window": window, "stride": stride, "unit": about["unit"], "hidden": HIDDEN, "extremal": EXTREMAL,
             "tools": tools, "lime_samples": LIME_SAMPLES, "kernel_width": KERNEL_WIDTH,
             "ridge": RIDGE, "shap_samples": SHAP_SAMPLES,
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


def lime(forward, x, black, mask, index):
    """Captum's LimeBase with ridge regression: the weight of each superpixel for the probability, (K,)."""
    K = int(mask.max()) + 1
    samples = torch.as_tensor(shown_at_random(LIME_SAMPLES, K, SEED))

    def perturb(inputs, **_):
        yield from samples[:, None]

    def similarity(inputs, perturbed, z, **_):
        distance = 1 - torch.nn.functional.cosine_similarity(z.double(), torch.ones(1, K, dtype=torch.float64))
        return (torch.exp(-distance ** 2 / KERNEL_WIDTH ** 2) ** 0.5)[0]

    def probability(batch):
        return torch.softmax(forward(batch), 1)
    method = LimeBase(probability, SkLearnRidge(alpha=RIDGE), similarity, perturb, True,
                      default_from_interp_rep_transform, None)
    with torch_reference.in_float64():
        return method.attribute(x, target=index, n_samples=LIME_SAMPLES, feature_mask=mask, baselines=black,
                                num_interp_features=K).double().numpy().reshape(-1)


def kernel_shap(forward, x, black, mask, index):
    """Captum's KernelShap of drawn coalitions, (K,)."""
    K = int(mask.max()) + 1
    z, weight = coalitions(K, SHAP_SAMPLES, SEED)
    assert len(z) == SHAP_SAMPLES and (weight == 1).all(), "all coalitions were taken: draw fewer"
    rows = [np.ones((1, K), int), np.zeros((1, K), int), *z[:, None]]

    class Fed(KernelShap):
        def kernel_shap_perturb_generator(self, inputs, **_):
            yield from map(torch.as_tensor, rows)
    method = Fed(forward)
    method.inf_weight = INFINITE
    with torch_reference.in_float64():
        values = method.attribute(x, baselines=black, target=index, feature_mask=mask, n_samples=len(rows),
                                  return_input_shape=False)
    return values.double().numpy().reshape(-1)


def rise(forward, x, index):
    """S = 1 / (N p) sum_i softmax(f(x * m_i))_class m_i, the masks being ours (they are random)."""
    masks = Masks(tuple(x.shape[2:]), CELLS, KEEP, SEED)
    m = torch.as_tensor(np.stack([masks(i) for i in range(MASKS)]))
    p = torch.softmax(forward(x * m[:, None]), 1)[:, index]
    return ((p[:, None, None] * m).sum(0) / MASKS / KEEP).detach().numpy()


def grid(x, window, stride):
    """(rows, columns) of the windows."""
    return tuple(-(-max(0, side - window) // stride) + 1 for side in x.shape[2:])


def boxes(x, window, stride):
    """(top, left) of every window, and its side."""
    rows, columns = grid(x, window, stride)
    return [(i * stride, j * stride, window) for i in range(rows) for j in range(columns)]


def with_window(x, other, box):
    """x with the window taken from another picture."""
    top, left, side = box
    made = x.clone()
    made[:, :, top:top + side, left:left + side] = other[:, :, top:top + side, left:left + side]
    return made


def alone(forward, x, black, index, window, stride):
    """(H, W): the score with each window alone shown minus that of black, the mean over the windows of a pixel."""
    total, cover = torch.zeros(x.shape[2:]).double(), torch.zeros(x.shape[2:]).double()
    ground = forward(black)[0, index]
    for box in boxes(x, window, stride):
        top, left, side = box
        total[top:top + side, left:left + side] += forward(with_window(black, x, box))[0, index].detach() - ground
        cover[top:top + side, left:left + side] += 1
    return (total / cover).detach().numpy()


def counter_evidence(forward, x, black, window, stride):
    """(steps + 1, classes): scores as the windows that raise the second choice most are hidden one after another."""
    scores = [forward(x)[0].detach().numpy()]
    second = int(np.argsort(-scores[0], kind="stable")[1])
    for _ in range(HIDDEN):
        tried = [with_window(x, black, box) for box in boxes(x, window, stride)]
        after = forward(torch.cat(tried)).detach().numpy()
        best = int(after[:, second].argmax())
        if not after[best, second] > scores[-1][second]:
            break
        x = tried[best]
        scores.append(after[best])
    return np.stack(scores)


def masks(forward, x, index):
    """Masks found by ascent."""
    ladder = torch_masks.blurred(x, EXTREMAL["levels"], EXTREMAL["blur"])
    found = {f"extremal_{variant}": torch_masks.extremal(forward, ladder, index, variant, **EXTREMAL)
             for variant in ("preserve", "delete", "dual")}
    blurred = [torch_masks.blurred(x, 2, 10.0)[0], x]           # minivis' filling "blur"
    return found | {"extremal_meaningful": torch_masks.meaningful(forward, blurred, index, seed=SEED, **EXTREMAL)}


def main():
    folder = Path(golden.__file__).parent / "perturbation"
    folder.mkdir(exist_ok=True)
    for name in golden.names():
        about, arrays = compute(name)
        np.savez_compressed(folder / f"{name}.npz", about=np.array(json.dumps(about)), **arrays)
        print(name, int(arrays["labels"].max()) + 1, "superpixels", arrays["shapley"].round(3))


if __name__ == "__main__":
    main()
