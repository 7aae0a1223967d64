"""Networks by file or by name, and networks of random weights."""
import os

import numpy as np

from . import kernels
from .errors import MinivisError
from .layer_ops import check_precision
from .layers import Table, did_you_mean
from .network import Network
from .shapes import weight_shapes

DEFAULT = "minivgg"             # the embedded network: what one gets who names none


def load_network(name=DEFAULT, device="auto", precision="float32"):
    """The network in a weights file of any form, or one known by name: embedded in minivis, or published and fetched.

    device       "cpu", "gpu", "gpu:1" or "auto": the GPU if there is one that works
    precision    "float32", "float32-direct" (no Winograd), "float64"; on a GPU also "tf32", "float16"
    """
    from .checkpoints import open_network
    from .devices import choose
    text = os.fspath(name)
    path = text if os.path.exists(text) else embedded(text) or published(text)
    if path is None:
        looks_like_file = os.path.sep in text or os.path.splitext(text)[1] in (".h5", ".hdf5", ".pth", ".npz", ".onnx")
        if looks_like_file:
            raise MinivisError(f"{text} does not exist")
        names = embedded_names()
        have = f"embedded are {', '.join(names)}" if names else "none is embedded"
        raise MinivisError(f"no network {text!r}{did_you_mean(text, names)}; name a weights file ({have})")
    device = choose(device)
    check_precision(precision, device.partition(":")[0])
    if device == "cpu":
        kernels.prepare()
    return open_network(path, precision).to(device)


def random_network(architecture, head=True, seed=0, precision="float32"):
    """A network of a known architecture with He's initialisation: for tests and benchmarks, and for sanity checks.

    Weights are normal with variance 2 / fan_in (He et al. 2015, arXiv:1502.01852), biases and shifts 0, scales and
    variances 1. The numbers come from np.random.RandomState(seed), whose stream NumPy promises never to change, in the
    order of the table. Pictures are taken in RGB, 0..1, with ImageNet's mean and deviation.
    """
    from . import architectures
    table = architectures.table(architecture, head)
    kernels.prepare()
    fields = {key: table[key] for key in ("logits_layer", "features_layer")}
    layers = Table(table["layers"])
    size = layers.layers[0]["shape"][:2]
    preprocessing = {"size": None if None in size else list(size), "resize": None if None in size else 256,
                     "crop": "none" if None in size else "centre", "interpolation": "bilinear", "antialias": True,
                     "channels": "RGB", "range": 1, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return Network(layers, random_weights(layers, seed), **fields, preprocessing=preprocessing, precision=precision,
                   meta={"architecture": architecture, "source": f"random, seed {seed}", "licence": ""})


def random_weights(layers, seed=0):
    """{name: float32 array} for a table, as random_network draws them."""
    layers = layers if isinstance(layers, Table) else Table(layers)
    random, weights = np.random.RandomState(seed), {}
    for name, shape in weight_shapes(layers).items():
        part = name.split("/")[1]
        if part != "weight":
            weights[name] = np.full(shape, 1 if part in ("scale", "var") else 0, np.float32)
            continue
        # what meets in one output value: of a transposed convolution, a window's share
        fan_in = shape[2] * shape[0] * shape[1] if len(shape) == 4 else shape[0]
        weights[name] = _normal(random, shape, np.sqrt(2 / fan_in))
    return weights


def _normal(random, shape, scale):
    """Normal numbers, drawn in pieces: the same stream as at once, without a float64 copy of it all."""
    array = np.empty(shape, np.float32)
    flat = array.reshape(-1)
    for start in range(0, flat.size, 2**20):
        part = flat[start:start + 2**20]
        part[:] = random.standard_normal(part.size) * scale
    return array


def published(name):
    """The path of published weights that have been fetched; None for a name that is not published."""
    from .checkpoints import registry
    if name not in registry.entries():
        return None
    path = registry.cached(name)
    if path is None:
        size = registry.entry(name).size_text
        raise MinivisError(f"{name} has not been fetched yet: `minivis weights get {name}` does it ({size})")
    return path


def embedded_names():
    """Names of the networks that come with minivis."""
    return sorted(file[:-3] for file in os.listdir(_folder()) if file.endswith(".h5"))


def embedded(name):
    """The path of an embedded network, or None."""
    return os.path.join(_folder(), f"{name}.h5") if name in embedded_names() else None


def _folder():
    from . import weights
    return os.path.dirname(os.path.abspath(weights.__file__))
