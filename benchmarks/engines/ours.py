"""minivis itself: whole networks through Network and the tape, single convolutions through the kernels."""
import numpy as np

from .. import networks
from . import Unsupported, inputs, upstream

_dtype = np.float32


def start(threads, dtype="float32"):
    global _dtype
    _dtype = np.dtype(dtype)
    import minivis
    return {"minivis": minivis.__version__, "numpy": np.__version__}


def numpy(answer):
    return {name: np.asarray(getattr(value, "data", value)) for name, value in answer.items()}


def _network(case):
    import minivis as mv
    net = mv.random_network(case.network, head=case.head)
    precision = "float64" if _dtype == np.float64 else case.precision
    net = net if precision == "float32" else net.with_precision(precision)
    return net.with_memory(case.memory) if case.memory else net


def forward(case, folder):
    if case.conv or case.network == "vgg16-chain":
        return _kernel_forward(case, folder)
    net, x = _network(case), inputs(case).astype(_dtype)
    last = net.output_layer
    return lambda: {"y": net(x)[last]}


def gradient(case, folder):
    if case.network == "vgg16-chain":
        return _chain_gradient(case, folder)
    import minivis as mv
    net, x = _network(case), mv.Tensor(inputs(case).astype(_dtype), needs_grad=True)
    last = net.output_layer
    return lambda: {"dx": mv.gradient(net(x)[last], x)}


def attribution_map(case, folder):
    from .our_maps import build
    return build(case, _network(case))


def _steps(folder):
    """The layers on disk as the kernels want them: steps, weights [(HWIO, bias) or None]."""
    from minivis.kernels.chain import Step
    steps, weights = [], []
    for layer in networks.read_layers(folder):
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in layer.items()
                    if k not in ("name", "kind", "inputs")}
        steps.append(Step(layer["kind"], settings))
        w, b = (networks.read_weight(folder, layer["name"], which) for which in ("weight", "bias"))
        weights.append(None if w is None else
                       (np.ascontiguousarray(w.transpose(2, 3, 1, 0), dtype=_dtype), b.astype(_dtype)))
    return steps, weights


def _kernel_forward(case, folder):
    from minivis import kernels
    (steps, weights), x = _steps(folder), inputs(case).astype(_dtype)
    k = kernels.of(x)
    if case.conv:
        return lambda: {"y": k.conv2d_forward(x, *weights[0], **steps[0].settings)}
    cache = {}
    return lambda: {"y": k.chain_forward(x, steps, weights, False, case.precision, None, cache)[0]}


def _chain_gradient(case, folder):
    from minivis import kernels
    (steps, weights), x = _steps(folder), inputs(case).astype(_dtype)
    k, cache = kernels.of(x), {}
    rules = ["plain" if step.kind == "relu" else None for step in steps]

    def run():
        y, saved = k.chain_forward(x, steps, weights, True, case.precision, None, cache)
        return {"dx": k.chain_backward_input(np.ones_like(y), saved, rules)}
    return run


def _convolution(case, folder):
    from minivis import kernels
    if not case.conv:
        raise Unsupported(f"{case.work} is for single convolutions")
    (steps, weights), x = _steps(folder), inputs(case).astype(_dtype)
    w, settings = weights[0][0], steps[0].settings
    (kh, kw), (sh, sw), pad, (dh, dw) = w.shape[:2], settings["stride"], settings["pad"], settings["dilation"]
    height = (x.shape[1] + pad[0] + pad[1] - dh * (kh - 1) - 1) // sh + 1
    width = (x.shape[2] + pad[2] + pad[3] - dw * (kw - 1) - 1) // sw + 1
    return kernels.of(x), x, w, upstream((x.shape[0], height, width, w.shape[3])).astype(_dtype), settings


def input_gradient(case, folder):
    k, x, w, dy, settings = _convolution(case, folder)
    return lambda: {"dx": k.conv2d_backward_input(dy, w, x.shape, **settings)}


def weight_gradient(case, folder):
    k, x, w, dy, settings = _convolution(case, folder)
    return lambda: {"dw": k.conv2d_backward_weight(dy, x, w.shape, **settings)}


WORK = {"forward": forward, "gradient": gradient, "map": attribution_map, "input_gradient": input_gradient,
        "weight_gradient": weight_gradient}
