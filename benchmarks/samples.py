"""Peak memory of techniques that look at many samples: the same for few samples and for many.

    python -m benchmarks.samples [--network vgg16] [--memory 1GB] [--smoothgrad 5,50] [--integrated_gradients 5,50]
                                 [--scorecam 5,50] [--rise 5,4000]

Every run is a process of its own; its peak is the largest resident size the system saw (VmHWM), weights included.
"""
import argparse
import json
import subprocess
import sys
import time

import numpy as np

from .worker import peak_mb

# technique: (what its number of samples is called, how many by default)
TECHNIQUES = {"smoothgrad": ("samples", "5,50"), "integrated_gradients": ("steps", "5,50"),
              "scorecam": ("channels", "5,50"), "rise": ("samples", "5,4000")}


def one(network, technique, samples, memory):
    """Run the technique once and print its peak."""
    import minivis as mv
    from minivis.preprocessing import Preprocessing
    net = mv.random_network(network)
    if not net.has_preprocessing:
        from minivis.network import Network
        net = Network(net.table, net.weights.arrays(), net.logits_layer,
                      preprocessing=Preprocessing(size=net.input_size, range=1))
    picture = np.random.default_rng(0).integers(0, 256, (*net.input_size, 3), dtype=np.uint8)
    before, start = peak_mb(), time.perf_counter()
    getattr(mv, technique)(net, picture, **{TECHNIQUES[technique][0]: samples}, memory=memory)
    print(json.dumps({"peak_mb": peak_mb(), "loaded_mb": before, "seconds": time.perf_counter() - start}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("network", "vgg16"), ("memory", "1GB"), ("one", ""),
                          *((name, counts) for name, (_, counts) in TECHNIQUES.items())):
        parser.add_argument(f"--{name}", default=default)
    a = parser.parse_args()
    if a.one:
        technique, samples = a.one.split(":")
        one(a.network, technique, int(samples), a.memory)
        return
    for technique in TECHNIQUES:
        for samples in filter(None, getattr(a, technique).split(",")):
            done = subprocess.run([sys.executable, "-m", "benchmarks.samples", *sys.argv[1:], "--one",
                                   f"{technique}:{samples}"], check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(done.stdout)
            print(f"{technique:20} {samples:>5} {TECHNIQUES[technique][0]:8}: peak {row['peak_mb']:7.0f} MB, of which "
                  f"network and imports {row['loaded_mb']:5.0f} MB; {row['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
