"""What another tool computed for small networks that anybody can draw again, for tests and `minivis verify`.

A file NAME.npz holds `about` (JSON: layer table, seed, what was computed with which versions), the picture, and results
of PyTorch in float64. Weights are not stored: `network` draws them from np.random.RandomState, whose stream NumPy
promises never to change. tools/make_golden.py writes the files.
"""
import importlib.resources
import json

import numpy as np


def names():
    """Names of the stored files."""
    return sorted(p.name[:-4] for p in importlib.resources.files(__package__).iterdir() if p.name.endswith(".npz"))


def load(name):
    """(about, {array name: array}) of one file."""
    with importlib.resources.files(__package__).joinpath(f"{name}.npz").open("rb") as file, np.load(file) as arrays:
        arrays = {key: arrays[key] for key in arrays.files}
    return json.loads(str(arrays.pop("about"))), arrays


def network(about, precision="float64"):
    """The Network that a file's numbers belong to."""
    from ..layers import Table
    from ..network import Network
    table = Table(about["layers"])
    return Network(table, draw_weights(table, about["seed"]), about["logits_layer"], precision=precision,
                   preprocessing=about["preprocessing"], name=about["name"])


def draw_weights(table, seed):
    """{name: float64 array}: normal, with variance 2 / fan_in for weights and 0.01 for biases, in the table's order.

    A batch normalisation's variance is the exponential of such a number, and what it scales by ten of them: some change
    the sign."""
    from ..shapes import weight_shapes
    random, weights = np.random.RandomState(seed), {}
    for name, shape in weight_shapes(table).items():
        spread = 0.1 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[:-1]))
        weights[name] = random.standard_normal(shape) * spread
        if name.endswith("/var"):
            weights[name] = np.exp(weights[name])
        elif name.endswith("/scale"):
            weights[name] *= 10
    return weights


def training_batch(about):
    """(x float64 (N, H, W, 3), classes (N,)) that the numbers of golden/training belong to."""
    random = np.random.RandomState(about["seed"] + 1)
    x = random.standard_normal(about["batch"])
    return x, random.randint(0, _class_count(about), about["batch"][0])


def _class_count(about):
    """How many classes the network has."""
    return next(row["outputs"] for row in about["layers"] if row["name"] == about["logits_layer"])


def shipped_picture(net):
    """uint8 (96, 96, 3), or of the size of a small network: what the logits of golden/shipped belong to."""
    side = min(96, *net.input_size)
    return np.random.RandomState(1).randint(0, 256, (side, side, 3)).astype(np.uint8)
