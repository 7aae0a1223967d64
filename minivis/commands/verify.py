"""`minivis verify`: what other tools computed for networks that anybody can draw, computed again here and compared."""
import numpy as np

from .. import golden
from ..errors import MinivisError
from ..evidence import infidelity
from ..options import parameters
from ..results.report import Report
from ..techniques import load
from ..techniques.hiding import hiding

TOLERANCE = 1e-9        # of the largest value, in float64
ROUNDED = {"integrated_gradients_": 1e-6, "occlusion_map": 1e-7}    # Captum rounds to float32 on its way
FOLDERS = ("", "attribution/", "perturbation/")
CLASS_RULES = {"plain": ("saliency", {"reduce": "none"}), "guided": ("guided_backprop", {}),
               "deconv": ("deconvnet", {})}


def verify() -> Report:
    """Compute again what PyTorch, Captum, zennit and others gave for small networks, and print every difference.

    A difference is relative to the largest value stored; all is float64. Every network is drawn from a seed, so nothing
    is fetched. Exits with an error if any difference is too large.
    """
    rows, makers = [], {}
    for name in golden.names():
        about, first = golden.load(name)
        net, picture = golden.network(about), first["picture"]
        for folder in FOLDERS:
            try:
                about, arrays = golden.load(folder + name)
            except FileNotFoundError:
                continue
            makers.update(about.get("made_by", {}))
            for key in sorted(arrays):
                got = compute(net, picture, about, arrays, folder, key)
                if got is not None:
                    allowed = next((t for start, t in ROUNDED.items() if key.startswith(start)), TOLERANCE)
                    rows.append((name, key, difference(got, arrays[key]), allowed))
    bad = [f"{name} {key} by {error:.1e}" for name, key, error, allowed in rows if not error <= allowed]
    if bad:
        raise MinivisError(f"{len(bad)} of {len(rows)} results differ by more than is allowed: {'; '.join(bad)}")
    table = {"network": [row[0] for row in rows], "what": [row[1] for row in rows],
             "difference": [f"{row[2]:.1e}" for row in rows], "allowed": [f"{row[3]:.0e}" for row in rows],
             "": ["ok"] * len(rows)}
    versions = ", ".join(f"{tool} {version}" for tool, version in makers.items())
    return Report(table, f"{len(rows)} results of other tools, in float64", [
        f"all {len(rows)} agree; stored results made by {versions}"])


def difference(got, wanted):
    """Largest difference over the largest value; infinite if the shapes differ or nothing but zeros is compared."""
    if np.shape(got) != np.shape(wanted) or not np.any(wanted):
        return float("inf")
    error = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    return error if np.isfinite(error) else float("inf")


def compute(net, picture, about, arrays, folder, key):
    """What is stored under `key`, computed here; None if it is an input, or no result of a technique alone."""
    return {"": basic, "attribution/": attributed, "perturbation/": perturbed}[folder](net, picture, about, arrays, key)


def basic(net, picture, about, arrays, key):
    """Logits, gradients under three rules, occlusion."""
    if key == "logits":
        return net(net.preprocess(picture))[net.logits_layer].numpy()[0]
    if key == "occlusion":
        return load("occlusion")(net, picture, size=about["window"], stride=about["stride"], fill=about["fill"]).scores
    start, _, rule = key.partition("_")
    if start == "class":
        technique, options = CLASS_RULES[rule]
        return load(technique)(net, picture, **options).values
    if start in ("unit", "channel"):
        positions = "strongest" if start == "unit" else "all"
        return load("unit_gradient")(net, picture, about["unit"], rule=rule, positions=positions).values
    return None


def attributed(net, picture, about, arrays, key):
    """Maps of which each pixel's colours are stored in the network's own order."""
    options = {"baseline": "black", "reduce": "none"}
    if key == "input_x_gradient":
        technique, options = key, {"reduce": "none"}
    elif key.startswith("integrated_gradients"):
        technique = "integrated_gradients"
        options |= {"steps": about["steps"], "method": key[len(technique) + 1:] or "gausslegendre"}
    elif key.startswith("deeplift"):
        technique, options = "deeplift", options | ({"unit": about["deeplift_unit"]} if key.endswith("unit") else {})
    elif key.startswith("lrp_"):
        technique, options = "lrp", {"preset": key[4:], "reduce": "none"}
        if options["preset"] not in _presets():
            return None
    elif key.startswith("smoothgrad_"):
        technique = "smoothgrad"
        options = {"samples": about["samples"], "noise": about["noise"], "variant": key[11:], "reduce": "none"}
    else:
        return None         # one layer's part of a map: compared in the tests
    values = load(technique)(net, picture, **options).values
    return net.to_rgb(values)                   # its own inverse


def _presets():
    return next(p.choices for p in parameters(load("lrp")) if p.name == "preset")


def perturbed(net, picture, about, arrays, key):
    """Parts hidden, superpixels valued, masks weighted, and how well a map keeps its promises."""
    hide = {"target": about["class"], "fill": "black"}
    if key == "feature_ablation":
        return load(key)(net, picture, segments=about["segments"], **hide).values
    if key == "occlusion_map":
        return load("occlusion")(net, picture, targets=[about["class"]], size=about["window"], stride=about["stride"],
                                 fill="black").values
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
    if key == "infidelity":
        masks, values = arrays["infidelity_masks"], arrays["infidelity_values"]
        h = hiding(net, picture, "black", target=about["class"])
        dropped = h.start.value - h.scores(lambda i: 1 - masks[i], len(masks))
        promised = (masks * values).sum(axis=(1, 2))
        return np.array([infidelity(promised, dropped, scaled=False),
                         infidelity(promised, dropped) * (dropped ** 2).mean()])
    return None
