"""Where the time of a step goes: how much of it is convolution, and what the rest is.

    python -m benchmarks.shares [--tasks style,dream,visualize,saliency,occlusion] [--networks vgg16,squeezenet1_0]
                                [--style-side 512] [--threads 2] [-o FILE.json]

Every parallel region of the kernels is timed from the thread that waits for it, under the name of its kernel; what is
left of a step is Python and NumPy (of a style loss also NumPy's matrix products). A fused ReLU or pooling counts as
part of its convolution; what convolution needs of Python does not. style: a step of L-BFGS with the technique's
defaults at one size, on VGG-19's layers where vgg16 is asked for; dream: a step at the network's own size; saliency,
occlusion: the map of a class as the technique draws it, occlusion with its default window. All with random weights,
warm.
"""
import argparse
import collections
import json
import time
from pathlib import Path

from . import machine
from .synthesis import CLASS, Clock, picture

# modules of convolution and dense layers; _product: the dense layer of incremental occlusion
CONVOLUTION = {"winograd_jobs", "winograd_weight", "direct", "general", "taps", "weight_gradient", "linear", "_product"}
TASKS = ("style", "dream", "visualize", "saliency", "occlusion")
STEPS, WARM = 24, 8
SMALL = 0.01                # of the whole: kernels below are not listed singly


class Watch(Clock):
    """Seconds of each kernel, while it watches; also a monitor that begins to count after WARM steps."""

    def __init__(self):
        from minivis.kernels.cpu import threads
        super().__init__(time.perf_counter)
        self.threads, self.run = threads, threads.run
        self.seconds, self.begun, self.inside = collections.Counter(), time.perf_counter(), False

    def __enter__(self):
        self.threads.run = self._run
        return self

    def __exit__(self, *_):
        self.threads.run = self.run

    def _run(self, job, *arguments, **named):
        if self.inside:                     # a region inside another one is a part of that one
            return self.run(job, *arguments, **named)
        self.inside, begun = True, time.perf_counter()
        try:
            return self.run(job, *arguments, **named)
        finally:
            self.inside = False
            self.seconds[getattr(job, "name", getattr(job, "__qualname__", str(job)))] += time.perf_counter() - begun

    def step(self, done, total=None, terms=None, picture=None):
        """After a step or a call. The result that a loop makes of its last step belongs to none."""
        if done == WARM:
            self.seconds.clear()
            self.begun = time.perf_counter()
        self.steps, self.whole, self.parts = done - WARM, time.perf_counter() - self.begun, dict(self.seconds)


def measure(task, network, a):
    """-> seconds of a step or a map, {kernel: its part of them}."""
    import minivis as mv
    net = mv.random_network("vgg19" if (task, network) == ("style", "vgg16") else network)
    photo, watch = picture(net.input_size[0]), Watch()
    with watch:
        if task == "style":
            mv.style(net, picture(a.style_side), styles=[photo], steps=STEPS, size=a.style_side, scales=1,
                     monitor=watch)
        elif task == "dream":
            mv.dream(net, photo, octaves=1, steps=STEPS, monitor=watch)
        elif task == "visualize":
            mv.visualize(net, [str(CLASS)], steps=STEPS, monitor=watch)
        else:
            for call in range(STEPS if task == "saliency" else WARM + 3):
                if task == "saliency":
                    mv.saliency(net, photo, target=str(CLASS))
                else:
                    mv.occlusion(net, photo, targets=[str(CLASS)])
                watch.step(call + 1)
    return watch.whole / watch.steps, {name: seconds / watch.whole for name, seconds in watch.parts.items()}


def row(task, network, seconds, parts):
    inside = sum(part for name, part in parts.items() if name.split(".")[0] in CONVOLUTION)
    rest = {name: part for name, part in parts.items() if name.split(".")[0] not in CONVOLUTION}
    return {"task": task, "network": network, "seconds": seconds, "convolution": inside, "kernels": rest,
            "python": 1 - inside - sum(rest.values())}


def line(found):
    others = ", ".join(f"{name} {part:.1%}" for name, part in
                       sorted(found["kernels"].items(), key=lambda item: -item[1]) if part >= SMALL)
    return (f"{found['task']:10} {found['network']:14} {found['seconds'] * 1e3:9.1f} ms   convolution and dense "
            f"{found['convolution']:5.1%}   other kernels {sum(found['kernels'].values()):5.1%}   Python and NumPy "
            f"{found['python']:5.1%}" + (f"   ({others})" if others else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("tasks", ",".join(TASKS)), ("networks", "vgg16,squeezenet1_0"), ("style-side", 512),
                          ("threads", 2)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("-o", metavar="FILE.json")
    a = parser.parse_args()
    from minivis.kernels.cpu import set_threads
    set_threads(a.threads)
    rows = []
    for network in a.networks.split(","):
        for task in a.tasks.split(","):
            rows.append(row(task, network, *measure(task, network, a)))
            print(line(rows[-1]), flush=True)
    if a.o:
        Path(a.o).write_text(json.dumps(machine.measured(threads=a.threads, rows=rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
