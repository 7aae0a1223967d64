"""PyTorch with cuDNN on the work of times.py: frozen weights, benchmark mode, channels_last, CUDA graphs too."""
import functools
import statistics

from .times import BATCHES, STYLE_SIDE, rate

SETTINGS = {"float32": ("float32", False), "tf32": ("float32", True), "float16": ("float16", True)}


def cases(small):
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    found = [(f"vgg16 {precision}, batch {batch}", lambda p=precision, b=batch: vgg(p, b))
             for precision in SETTINGS for batch in BATCHES]
    found += [(f"style step, {p}", lambda p=p: style_step(p, STYLE_SIDE)) for p in ("float32", "tf32")]
    return [*found, ("occlusion vgg16 16/4, captum", captum_occlusion)]


def configure(precision):
    import torch
    dtype, tf32 = SETTINGS[precision]
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    return torch, getattr(torch, dtype)


@functools.cache
def convolutions(blocks, dtype):
    """VGG's convolutions as nn.Sequential on the card, frozen, in channels_last."""
    import torch
    layers, C = [], 3
    for depth, K in zip(blocks, (64, 128, 256, 512, 512)):
        for _ in range(depth):
            layers += [torch.nn.Conv2d(C, K, 3, padding=1), torch.nn.ReLU(inplace=True)]
            C = K
        layers += [torch.nn.MaxPool2d(2)]
    net = torch.nn.Sequential(*layers).to("cuda", dtype, memory_format=torch.channels_last).eval()
    return net.requires_grad_(False)


def milliseconds(function, repeats=20, warm_up=5):
    import torch
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return round(statistics.median(times), 4)


def recorded(function):
    """The function as a CUDA graph."""
    import torch
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def vgg(precision, batch):
    torch, dtype = configure(precision)
    net = convolutions((2, 2, 3, 3, 3), dtype)
    x = torch.randn(batch, 3, 224, 224, device="cuda", dtype=dtype).contiguous(memory_format=torch.channels_last)
    t = x.clone(memory_format=torch.preserve_format).requires_grad_()

    def forward():
        with torch.no_grad():
            return net(x)

    def both():
        return torch.autograd.grad(net(t).sum(), t)
    found = {}
    for what, step, times in (("forward", forward, 1), ("with gradient", both, 2)):
        for how, run in (("launched", step), ("recorded", recorded(step))):
            ms = milliseconds(run, 10 if batch > 1 else 20)
            found[f"{what}, {how}"] = {"ms": ms, "TFLOP/s": rate(times * 30.7e9 * batch, ms, 1e9)}
    return found


def style_step(precision, side):
    torch, dtype = configure(precision)
    net = convolutions((2, 2, 4, 4, 4), dtype)
    wanted, names = {}, {}
    block, conv = 1, 0
    for i, layer in enumerate(net):
        if isinstance(layer, torch.nn.ReLU):
            conv += 1
            names[i] = f"relu{block}_{conv}"
        elif isinstance(layer, torch.nn.MaxPool2d):
            block, conv = block + 1, 0
    style = {i for i, name in names.items() if name.endswith("_1")}
    content = next(i for i, name in names.items() if name == "relu4_2")
    t = torch.randn(1, 3, side, side, device="cuda").contiguous(memory_format=torch.channels_last).requires_grad_()

    def look(x):
        found = {}
        for i, layer in enumerate(net):
            x = layer(x)
            if i in style:
                flat = x.flatten(2)[0]
                found[i] = flat @ flat.T / flat.numel()
            elif i == content:
                found[i] = x
            if i == max(style):
                return found
    with torch.no_grad():
        wanted = {i: a * 0.9 for i, a in look(t).items()}

    def step():
        found = look(t)
        loss = sum(((found[i] - wanted[i]) ** 2).mean() * (5.0 if i == content else 100.0) for i in found)
        loss = loss + 1e-3 * (((t[..., 1:, :] - t[..., :-1, :]) ** 2).sum() + ((t[..., 1:] - t[..., :-1]) ** 2).sum())
        return torch.autograd.grad(loss, t)
    return {"launched": {"ms": milliseconds(step, 10)}, "recorded": {"ms": milliseconds(recorded(step), 10)}}


def captum_occlusion():
    """Captum's Occlusion at a part of the positions, eight at a time as its users do and 64; skipped without captum."""
    try:
        from captum.attr import Occlusion
    except ImportError:
        return {"skipped": "captum is not installed"}
    import time
    torch, dtype = configure("float32")
    net = torch.nn.Sequential(*convolutions((2, 2, 3, 3, 3), dtype), torch.nn.Flatten(),
                              torch.nn.Linear(25088, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 4096),
                              torch.nn.ReLU(), torch.nn.Linear(4096, 1000)).cuda().eval().requires_grad_(False)
    x, found = torch.randn(1, 3, 224, 224, device="cuda"), {}
    for at_once in (8, 64):
        for stride in (64, 16):             # the first warms up
            torch.cuda.synchronize()
            begin = time.perf_counter()
            Occlusion(net).attribute(x, (3, 16, 16), (3, stride, stride), target=0, perturbations_per_eval=at_once)
            torch.cuda.synchronize()
        positions = (-(-(224 - 16) // 16) + 1) ** 2
        found[f"{at_once} at once"] = {"ms per position": round(1000 * (time.perf_counter() - begin) / positions, 3),
                                       "positions": positions}
    return found
