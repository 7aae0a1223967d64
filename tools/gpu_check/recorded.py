"""Forward pass and gradient recorded as a CUDA graph: the same bits as without, for other pictures too."""
import importlib

import numpy as np

from . import whole


def cases(small):
    names = ("squeezenet1_1",) if small else ("vgg16", "squeezenet1_1")
    return [(f"{name}, {precision}", lambda name=name, precision=precision: compare(name, precision))
            for name in names for precision in ("float32", "float32-direct", "tf32", "float16", "float64")]


def step_of(net):
    """f(x) -> [output, gradient of its sum]"""
    from minivis import Tensor, gradient

    def step(x):
        t = Tensor(x, needs_grad=True)
        y = net(t)[net.output_layer]
        return [y.data, gradient(y, t)]
    return step


def compare(name, precision):
    from minivis.graphs import Captured
    cupy = importlib.import_module("cupy")
    net = whole.on_gpu(name).with_precision(precision)
    pictures = [cupy.asarray(np.random.default_rng(i).standard_normal((1, 96, 96, 3)).astype(net.dtype))
                for i in range(3)]
    step = step_of(net)
    recorded = Captured(step, pictures[0])
    for number, x in enumerate(pictures):
        for what, got, expected in zip(("output", "gradient"), recorded(x), step(x)):
            got, expected = got.get(), expected.get()
            assert np.abs(expected).max() > 0
            off = np.abs(got - expected).max()
            assert got.tobytes() == expected.tobytes(), f"{what} of picture {number}: {off} off"
