"""Parts hidden, superpixels valued, masks weighted and found: Captum, and published formulas in PyTorch."""
import numpy as np

from ..techniques import load


def compute(net, picture, about, arrays, key):
    hide = {"target": about["class"], "fill": "black"}
    if key == "feature_ablation":
        return load(key)(net, picture, segments=about["segments"], **hide).values
    if key in ("occlusion_map", "occlusion_alone"):
        how = {"hide": "rest"} if key.endswith("alone") else {}
        return load("occlusion")(net, picture, targets=[about["class"]], size=about["window"], stride=about["stride"],
                                 fill="black", **how).values
    if key == "occlusion_unit":
        return load("occlusion")(net, picture, unit=about["unit"], positions="all", size=about["window"],
                                 stride=about["stride"], fill="black").scores[:, :, 0]
    if key == "counter_evidence":
        return load(key)(net, picture, size=about["window"], stride=about["stride"], count=about["hidden"],
                         fill="black").path_scores()
    if key in ("shapley", "kernel_shap", "lime"):
        technique, options = "kernel_shap", {"segments": about["segments"], "seed": about["seed"], **hide}
        if key == "lime":
            technique = key
            options |= {"samples": about["lime_samples"], "kernel_width": about["kernel_width"],
                        "ridge": about["ridge"], "score": "prob"}
        else:
            options["samples"] = 2 ** len(arrays[key]) if key == "shapley" else about["shap_samples"]
        values = load(technique)(net, picture, **options).values
        return values.reshape(-1)[np.unique(arrays["labels"], return_index=True)[1]]
    if key == "rise":
        return load(key)(net, picture, target=about["class"], samples=about["masks"], cells=about["cells"],
                         keep=about["keep"], seed=about["seed"]).values
    if key.startswith("extremal_"):
        return load("extremal_perturbation")(net, picture, target=about["class"], variant=key[9:],
                                             seed=about["seed"], **about["extremal"]).values
    return None
