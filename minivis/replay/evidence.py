"""How well a map keeps its promises: Captum's infidelity and sensitivity, pytorch-grad-cam's ROAD, RISE's curves."""
import numpy as np

from .. import evidence
from ..techniques import load
from ..techniques.hiding import hiding


def compute(net, picture, about, arrays, key):
    values = arrays["map"]
    if key == "infidelity":
        masks = arrays["masks"]
        h = hiding(net, picture, "black", target=about["class"])
        dropped = h.start.value - h.scores(lambda i: 1 - masks[i], len(masks))
        promised = (masks * values).sum(axis=(1, 2))
        return np.array([evidence.infidelity(promised, dropped, scaled=False),
                         evidence.infidelity(promised, dropped) * (dropped ** 2).mean()])
    if key in ("deletion", "insertion"):
        h = hiding(net, picture, "black", target=about["class"], score="prob")
        scores, area = getattr(evidence, key)(h, values, step=about["step"])
        return np.append(scores, area)
    if key == "road":
        h = hiding(net, picture, "black", target=about["class"])
        return np.array([evidence.road(h, values, shares=about["shares"], seed=about["seed"])])
    if key == "imputed":
        return net.to_rgb(evidence.impute(net.preprocess(picture)[0], arrays["masks"][0] > 0, about["seed"]))
    if key == "sensitivity":
        def explain(p):
            return load("saliency")(net, p, target=about["class"], reduce="none").values
        return np.array([evidence.sensitivity(explain, picture, explain(picture), about["radius"], about["samples"],
                                              about["seed"])])
    return None
