"""Whole networks in every precision against float64 on the CPU: outputs, and gradients by every rule for ReLUs.

Errors are |found - true| / |true|, lengths of the whole array. A gradient in float32 differs by more than rounding
where a unit within rounding of zero is off in one and on in the other.
"""
import functools
import importlib

import numpy as np

RULES = ("plain", "guided", "deconv")
ALLOWED = {     # precision: (output, gradient)
    "float64": (1e-11, 1e-9), "float32": (1e-5, 2e-2), "float32-direct": (1e-5, 2e-2), "tf32": (5e-3, 0.15),
    "float16": (1e-2, 0.25)}
NETWORKS = {"vgg16": 64, "squeezenet1_1": 96, "alexnet_caffe": 131, "minivgg": 64}


class Off(AssertionError):
    """Beyond what is allowed; `found` is what was found."""

    def __init__(self, text, found):
        super().__init__(text)
        self.found = found


def cases(small):
    names = ("squeezenet1_1",) if small else NETWORKS
    return [(f"{name}, {precision}", lambda name=name, precision=precision: compare(name, precision))
            for name in names for precision in ALLOWED]


@functools.cache
def network(name):
    import minivis
    if name == "minivgg":
        return minivis.load_network(name, device="cpu")
    return minivis.random_network(name, head=False)


def inputs(name):
    side = NETWORKS[name]
    return np.random.default_rng(0).standard_normal((2, side, side, 3))


@functools.cache
def seed(name, shape):
    return np.random.default_rng(1).standard_normal(shape)


def run(net, x, name):
    """[output, gradient by each rule] on the host, float64; the gradient of <output, random numbers>."""
    from minivis import Tensor, gradient
    t = Tensor(x, needs_grad=True)
    y = net(t)[net.output_layer]
    weight = seed(name, y.shape).astype(y.dtype)
    arrays = [y.data, *(gradient(y, t, rules=rule, seed=weight) for rule in RULES)]
    return [(a.get() if hasattr(a, "get") else a).astype(np.float64) for a in arrays]


@functools.cache
def truth(name):
    return run(network(name).with_precision("float64"), inputs(name), name)


@functools.cache
def on_gpu(name):
    return network(name).to("gpu")


def compare(name, precision):
    net = on_gpu(name).with_precision(precision)
    cupy = importlib.import_module("cupy")
    found = run(net, cupy.asarray(inputs(name).astype(net.dtype)), name)
    errors = {what: float(np.linalg.norm(a - b) / np.linalg.norm(b)) if np.isfinite(a).all() else None
              for what, a, b in zip(("output", *RULES), found, truth(name))}
    for what, error in errors.items():
        allowed = ALLOWED[precision][what != "output"]
        if error is None or not error <= allowed:
            raise Off(f"{what}: relative error {error}, allowed {allowed}", {"errors": errors})
    again = run(net, cupy.asarray(inputs(name).astype(net.dtype)), name)
    if any(a.tobytes() != b.tobytes() for a, b in zip(found, again)):
        raise Off("a second run gave other bits: a race, or a sum without an order", {"errors": errors})
    return {"errors": errors}
