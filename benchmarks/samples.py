"""Peak memory of techniques that look at many samples: the same for few samples and for many.

    python -m benchmarks.samples [--network vgg16] [--memory 1GB] [--rise 5,4000] [--smoothgrad 5,50]

Every run is a process of its own; its peak is the largest resident size the system saw (VmHWM), weights included.
"""
import argparse
import json
import subprocess
import sys
import time

import numpy as np

from .worker import peak_mb


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
    getattr(mv, technique)(net, picture, samples=samples, memory=memory)
    print(json.dumps({"peak_mb": peak_mb(), "loaded_mb": before, "seconds": time.perf_counter() - start}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("network", "vgg16"), ("memory", "1GB"), ("rise", "5,4000"), ("smoothgrad", "5,50"),
                          ("one", "")):
        parser.add_argument(f"--{name}", default=default)
    a = parser.parse_args()
    if a.one:
        technique, samples = a.one.split(":")
        one(a.network, technique, int(samples), a.memory)
        return
    for technique in ("smoothgrad", "rise"):
        for samples in filter(None, getattr(a, technique).split(",")):
            done = subprocess.run([sys.executable, "-m", "benchmarks.samples", *sys.argv[1:], "--one",
                                   f"{technique}:{samples}"], check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(done.stdout)
            print(f"{technique:11} {samples:>5} samples: peak {row['peak_mb']:7.0f} MB, of which network and imports "
                  f"{row['loaded_mb']:5.0f} MB; {row['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
