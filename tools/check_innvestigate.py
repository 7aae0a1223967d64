"""Compare with iNNvestigate's reference files (tests/references/layer/*.hdf5 of its repository): prints each error.

    python -m tools.check_innvestigate FOLDER

One layer each, eight pictures, the target is the largest output, relevance starts with its value. Errors are relative
to the largest value of each attribution; upstream's own tolerance is 1e-2. Not compared: SmoothGrad, whose noise is not
stored, and LRPZPlusFast, a shortcut that holds for inputs above 0 only, which these are not.
"""
import sys
from pathlib import Path

import h5py
import numpy as np

from minivis.layers import Layer
from minivis.network import Network
from minivis.relevance import lrp
from minivis.techniques.integrated_gradients import quadrature
from minivis.tensor import Tensor, gradient

DENSE, CONV = [Layer("conv", "conv", filters=5, kernel=1)], [Layer("conv", "conv", filters=5, kernel=3)]
RELU = [Layer("relu", "relu")]
CASES = {"Dense": DENSE, "Dense_relu": DENSE + RELU, "Conv2D": CONV, "Conv2D_relu": CONV + RELU,
         "AveragePooling2D": [Layer("pool", "avg_pool", kernel=2)],
         "MaxPooling2D": [Layer("pool", "max_pool", kernel=2)]}
TINY = 1e-7         # iNNvestigate's stabiliser
A1, A2 = (lrp.alpha_beta(a, a - 1, TINY) for a in (1.0, 2.0))
A1_NO_BIAS, A2_NO_BIAS = (lrp.alpha_beta(a, a - 1, TINY, bias=False) for a in (1.0, 2.0))
RULES = {       # file: (rule of Dense, rule of Conv2D)
    "LRPZ": lrp.epsilon(1e-12), "LRPEpsilon": lrp.epsilon(TINY), "LRPZPlus": A1_NO_BIAS,
    "LRPZIgnoreBias": lrp.epsilon(1e-12, bias=False), "LRPEpsilonIgnoreBias": lrp.epsilon(TINY, bias=False),
    "LRPAlpha1Beta0": A1, "LRPAlpha1Beta0IgnoreBias": A1_NO_BIAS, "LRPAlpha2Beta1": A2,
    "LRPAlpha2Beta1IgnoreBias": A2_NO_BIAS, "LRPFlat": lrp.flat(TINY), "LRPWSquare": lrp.w_square(TINY),
    "LRPSequentialPresetA": (lrp.epsilon(0.1), A1), "LRPSequentialPresetB": (lrp.epsilon(0.1), A2),
    "LRPSequentialPresetAFlat": lrp.flat(TINY), "LRPSequentialPresetBFlat": lrp.flat(TINY),
    "DeepTaylor": A1_NO_BIAS, "BoundedDeepTaylor": lrp.z_box(np.full(3, -128.0), np.full(3, 128.0), TINY),
    "LRPZ_Flat_input_layer_rule": lrp.flat(TINY),
    "LRPZ_boxed_input_layer_rule": lrp.z_box(np.full(3, -10.0), np.full(3, 10.0), TINY),
}


def network(case, group):
    layers = [Layer("input", "input", shape=[10, 10, 3]), *CASES[case], Layer("flat", "flatten")]
    weights = {}
    if len(group["weights"]):
        w = group["weights/0"][()].astype(np.float64)
        weights = {"conv/weight": w if w.ndim == 4 else w[None, None], "conv/bias": group["weights/1"][()].astype("f8")}
    return Network(layers, weights, "flat", precision="float64")


def largest(y):
    """One at the largest output of every picture, shared equally where several are (as TensorFlow's maximum does)."""
    best = y.numpy() == y.numpy().max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def relevance(net, case, name, x):
    t = Tensor(x, needs_grad=True)
    y = net(t, keep="inputs")["flat"]
    rule = RULES[name]
    rule = rule[0 if case.startswith("Dense") else 1] if isinstance(rule, tuple) else rule
    rules = {"conv": rule, "relu": lrp.passed_relu, "pool": lrp.average}
    average = case.startswith("Average") and not name.endswith("DeepTaylor")   # there its derivative is taken
    there = {layer.name for layer in CASES[case]}
    rules = {key: r for key, r in rules.items() if key in there and (key != "pool" or average)}
    return gradient(y, t, rules=rules, seed=largest(y) * y.numpy())


def by_gradient(net, name, x):
    t = Tensor(x, needs_grad=True)
    if name == "IntegratedGradients":           # 64 steps; without biases the largest output is the same at each
        seed = largest(net(t)["flat"])
        places, weights = quadrature("left", 64)
        total = 0
        for place, weight in zip(places, weights):
            t = Tensor(x * place, needs_grad=True)
            y = net(t)["flat"]
            total = total + weight * gradient(y, t, seed=seed)
        return x * total
    y = net(t)["flat"]
    if name in ("Gradient", "InputTimesGradient"):
        return gradient(y, t, seed=largest(y)) * (x if name == "InputTimesGradient" else 1)
    rule = {"GuidedBackprop": "guided", "Deconvnet": "deconv"}[name]
    return gradient(y, t, rules=rule, seed=largest(y) * y.numpy())


def main(folder):
    worst = 0.0
    for path in sorted(Path(folder).glob("*.hdf5")):
        name = path.stem
        known = name in RULES or name in ("Gradient", "InputTimesGradient", "IntegratedGradients", "GuidedBackprop",
                                          "Deconvnet")
        if not known:
            print(f"{name:30s} not compared")
            continue
        errors = []
        with h5py.File(path) as file:
            x = file["input"][()].astype(np.float64)
            for case in CASES:
                net, wanted = network(case, file[case]), file[case]["attribution"][()]
                got = relevance(net, case, name, x) if name in RULES else by_gradient(net, name, x)
                errors.append(np.abs(got - wanted).max() / np.abs(wanted).max())
        worst = max(worst, *errors)
        print(f"{name:30s} " + "  ".join(f"{case} {error:.1e}" for case, error in zip(CASES, errors)))
    print(f"largest error {worst:.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
