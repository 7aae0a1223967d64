"""Speed on the device: medians of times between events. What a card can do at most comes first: a copy, a product.

VGG-16 is timed as it is launched from Python and as a recorded graph; one picture takes 30.7 GFLOP forward and as many
for the gradient. torch_times.py times PyTorch on the same work.
"""
import functools
import importlib
import statistics

import numpy as np

PRECISIONS = ("float32", "float32-direct", "tf32", "float16")
BATCHES = (1, 16)
STYLE_SIDE = 512
LAYERS = [(224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128), (56, 128, 256), (56, 256, 256), (28, 256, 512),
          (28, 512, 512), (14, 512, 512)]         # side, channels in and out: VGG-16's different convolutions


def cases(small):
    side = 32 if small else 224
    batches = (1,) if small else BATCHES
    found = [("copy", lambda: copy(small)), ("product", lambda: product(small))]
    found += [(f"vgg16 {precision}, batch {batch}", lambda p=precision, b=batch: vgg(p, b, side))
              for precision in PRECISIONS for batch in batches]
    found += [(f"style step, {p}", lambda p=p: style_step(p, 64 if small else STYLE_SIDE))
              for p in ("float32", "tf32")]
    found += [("occlusion vgg16 16/4", lambda: occlusion(small))]
    found += [(f"layers {precision}", lambda p=precision: layers(p, small)) for precision in PRECISIONS]
    return [*found, ("kernels", lambda: kernels(small))]


def milliseconds(function, repeats=20, warm_up=3):
    """Median time on the device between two events."""
    cupy = importlib.import_module("cupy")
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(repeats):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return round(statistics.median(times), 4)


def random(shape, dtype="float32", seed=0):
    return importlib.import_module("cupy").asarray(np.random.default_rng(seed).standard_normal(shape, np.float32)
                                                   .astype(dtype))


def copy(small):
    cupy = importlib.import_module("cupy")
    a = cupy.ones(1 << (16 if small else 30), np.float32)
    b = cupy.empty_like(a)
    ms = milliseconds(lambda: cupy.copyto(b, a), 10)
    return {"ms": ms, "GB/s": rate(2 * a.nbytes, ms, 1e6)}


def product(small):
    from minivis.kernels.gpu import launch
    n = 64 if small else 4096
    a, b, out = random((1, n, n)), random((1, n, n), seed=1), random((1, n, n))
    ms = milliseconds(lambda: launch.product(a, b, out), 10)
    return {"ms": ms, "TFLOP/s": rate(2 * n ** 3, ms, 1e9)}


def rate(amount, ms, unit):
    return round(amount / ms / unit, 2) if ms else None


@functools.cache
def network(name):
    import minivis
    return minivis.random_network(name, head=False).to("gpu")


def vgg(precision, batch, side):
    """The convolutions alone, as most techniques run them."""
    from minivis.graphs import Captured

    from .recorded import step_of
    net = network("vgg16").with_precision(precision)
    x = random((batch, side, side, 3), net.dtype)

    def forward(x):
        return [net(x)[net.output_layer].data]
    both, flop = step_of(net), 30.7e9 * batch * (side / 224) ** 2
    found = {}
    for what, step, times in (("forward", forward, 1), ("with gradient", both, 2)):
        recorded = Captured(step, x)
        for how, run in (("launched", step), ("recorded", recorded)):
            ms = milliseconds(lambda run=run: run(x), 10 if batch > 1 else 20)
            found[f"{what}, {how}"] = {"ms": ms, "TFLOP/s": rate(times * flop, ms, 1e9)}
    return found


def style_step(precision, side):
    """Loss and gradient as `minivis style` computes them: VGG-19, five Gram matrices, one content layer, smoothness."""
    import minivis as mv
    from benchmarks.style import CONTENT, STYLE, WEIGHTS, picture
    from minivis import losses
    from minivis.techniques.matching import Painter
    painter = Painter(mv.random_network("vgg19", head=False).to("gpu").with_precision(precision))
    content, style = (painter.z(picture(side, seed)) for seed in (0, 1))
    values, grams = painter.values(content, [CONTENT]), painter.grams(style, STYLE)
    terms = [("content", WEIGHTS["content"], losses.content(painter.net, CONTENT, values[CONTENT]))]
    terms += [("style", WEIGHTS["style"], losses.style(painter.net, name, grams[name])) for name in STYLE]
    loss = painter.loss((side, side), terms, [("tv", WEIGHTS["tv"], losses.tv)])
    found = {"launched": {"ms": milliseconds(lambda: loss._step(content), 10)}}
    from minivis.graphs import Captured
    recorded = Captured(loss._step, content)
    return found | {"recorded": {"ms": milliseconds(lambda: recorded(content), 10)}}


def occlusion(small):
    """Naive: the whole network at each position."""
    import time

    import minivis as mv
    from minivis.techniques.occlusion import hide_and_score
    net, side = (mv.random_network("squeezenet1_1"), 64) if small else (mv.random_network("vgg16"), 224)
    net = net.to("gpu")
    x = np.random.default_rng(0).standard_normal((1, side, side, 3), np.float32)
    for stride in (64, 16):                 # the first warms up
        begin = time.perf_counter()
        scores = hide_and_score(net, x, x * 0, (16, 16), (stride, stride), memory=8 << 30)
    ms = 1000 * (time.perf_counter() - begin) / (scores.shape[0] * scores.shape[1])
    return {"ms per position": round(ms, 3), "positions": scores.shape[0] * scores.shape[1]}


def layers(precision, small):
    """Single convolutions of VGG-16, batch 16: forward, in TFLOP/s of the direct form; and which algorithm ran."""
    from minivis.kernels import gpu
    from minivis.kernels.gpu import conv_plan
    from minivis.kernels.gpu.choice import algorithm
    found, geometry = {}, ((1, 1), (1, 1, 1, 1), (1, 1), 1)
    dtype = "float16" if precision == "float16" else "float32"
    for side, C, K in LAYERS[-1:] if small else LAYERS:
        batch = 1 if small else 16
        x, w = random((batch, side, side, C), dtype), random((3, 3, C, K), dtype, 1)
        ms = milliseconds(lambda x=x, w=w: gpu.conv2d_forward(x, w, None, *geometry, precision), 5, 2)
        how = algorithm(conv_plan.forward(x.shape, w.shape, *geometry), precision, dtype)
        found[f"{side}x{side} {C}->{K}"] = {"ms": ms, "TFLOP/s": rate(18 * batch * side * side * C * K, ms, 1e9),
                                            "algorithm": str(how)}
    return found


def kernels(small):
    """Memory-bound kernels: what is read and written, once, over the time."""
    from minivis.kernels import gpu
    cupy = importlib.import_module("cupy")
    x = random((1, 8, 8, 128) if small else (32, 112, 112, 128))
    how = ((2, 2), (2, 2), (0, 0, 0, 0), False)
    y, mask = gpu.relu_forward(x)
    small_y, switches = gpu.max_pool_forward(x, *how)
    normal, sums = gpu.lrn_forward(x, 5, 1e-4, 0.75, 1.0, True)
    one, blur = cupy.ones(128, np.float32), cupy.eye(x.shape[1], dtype=np.float32)
    bytes_pooled = x.nbytes + small_y.nbytes + switches.nbytes
    measured = {"relu_forward": (lambda: gpu.relu_forward(x), 2 * x.nbytes),
                "guided_relu_backward": (lambda: gpu.guided_relu_backward(y, mask), 2 * x.nbytes),
                "max_pool_forward": (lambda: gpu.max_pool_forward(x, *how), bytes_pooled),
                "max_pool_backward": (lambda: gpu.max_pool_backward(small_y, switches, x.shape, *how), bytes_pooled),
                "avg_pool_forward": (lambda: gpu.avg_pool_forward(x, *how, True), x.nbytes + small_y.nbytes),
                "lrn_forward": (lambda: gpu.lrn_forward(x, 5, 1e-4, 0.75, 1.0, True), 3 * x.nbytes),
                "lrn_backward": (lambda: gpu.lrn_backward(normal, x, sums, 5, 1e-4, 0.75, True), 4 * x.nbytes),
                "batch_norm_forward": (lambda: gpu.batch_norm_forward(x, one, one, 1e-5, True), 3 * x.nbytes),
                "axis_matmul": (lambda: gpu.axis_matmul(x, blur, 1), 2 * x.nbytes),
                "gram": (lambda: gpu.gram(x), x.nbytes)}
    found = {}
    for name, (function, moved) in measured.items():
        ms = milliseconds(function, 10)
        found[name] = {"ms": ms, "GB/s": rate(moved, ms, 1e6)}
    return found
