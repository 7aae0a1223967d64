"""Pictures per second of `minivis index`, against the same job written with PyTorch and Pillow.

    python -m benchmarks.index [--network squeezenet1_0] [--count 192] [--rounds 3] [--engines ours,torch,torch-2]

The job: read JPEG files, resize and crop them as the network wants, run the network, keep for some layers the nine
strongest activations of every channel with picture and position, and for one layer the mean over places of every
picture; write it all to a file. The pictures are crops of 500 x 375 out of scikit-learn's two photographs. The rival
is a DataLoader (torch-N: with N worker processes) and channels_last; each engine runs in processes of its own, in
turn, warmed up by a batch. Its answers are compared with ours: the features, and the pictures found strongest. Beside
pictures per second stands the processor time of a picture, all threads and workers together, which a busy machine
disturbs less.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from . import networks

BATCH, KEEP, SMALL = 32, 9, 64
SIZE, SIDE = (375, 500), 224
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def write_pictures(folder, count):
    """JPEG files, each another crop of a photograph."""
    from PIL import Image
    from sklearn.datasets import load_sample_images
    photos, random = load_sample_images().images, np.random.default_rng(0)
    for i in range(count):
        photo = photos[i % len(photos)]
        top, left = (random.integers(0, have - want + 1) for have, want in zip(photo.shape, SIZE))
        Image.fromarray(photo[top:top + SIZE[0], left:left + SIZE[1]]).save(folder / f"{i:05d}.jpg", quality=90)


def job(network):
    """(layers whose strongest activations are kept, the layer of the features)"""
    from minivis.indexing.making import default_layers
    layers = default_layers(our_network(network))
    return layers, layers[-1]


def our_network(name):
    """Without dense layers, and with the usual preprocessing, which the rival does by hand."""
    import minivis as mv
    net = mv.random_network(name, head=False)
    how = mv.Preprocessing(size=(SIDE, SIDE), resize=256, crop="centre", range=1, mean=MEAN.tolist(), std=STD.tolist())
    return mv.Network(net.table, net.weights.arrays(), preprocessing=how, meta=net.meta)


def ours(a, layers, features):
    """(seconds, processor seconds, features, pictures found strongest)"""
    from minivis.indexing import build, extract, open_index
    net, out = our_network(a.network), Path(a.folder) / "index.h5"
    how = {"keep": KEEP, "pixels": SMALL}
    extract(net, Path(a.folder) / "warm", [features], layers, **how)
    watch = Watch()
    build(net, Path(a.folder) / "pictures", out, layers, [features], **how)
    times = watch.read()
    index = open_index(out)
    return *times, index.features(features), {layer: active(*index.top(layer)[:2]) for layer in layers}


class Watch:
    """Seconds, and processor seconds of this process and of its children that have ended, since it was made."""

    def __init__(self):
        self.begin = self._now()

    def read(self):
        return tuple(now - then for now, then in zip(self._now(), self.begin))

    @staticmethod
    def _now():
        return time.perf_counter(), sum(os.times()[:4])


def active(values, pictures):
    """The pictures, -1 where the activation is 0: there all pictures are alike, and which one is kept means nothing."""
    return np.where(values > 0, pictures, -1)


class Files:
    """What a DataLoader reads: (input (3, H, W) float32, small picture)."""

    def __init__(self, folder):
        self.files = sorted(Path(folder).iterdir())

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        import torch
        from PIL import Image
        with Image.open(self.files[i]) as image:
            image = image.convert("RGB")
        factor = 256 / min(image.size)
        image = image.resize([round(side * factor) for side in image.size], Image.Resampling.BILINEAR)
        left, top = ((side - SIDE) // 2 for side in image.size)
        image = image.crop((left, top, left + SIDE, top + SIDE))
        x = (np.asarray(image, np.float32) / 255 - MEAN) / STD
        small = np.array(image.resize((SMALL, SMALL), Image.Resampling.BILINEAR))
        return torch.from_numpy(x.transpose(2, 0, 1)), torch.from_numpy(small)


def rival(a, layers, features):
    """Like `ours`, with as many DataLoader workers as the engine's name says."""
    import torch

    from .engines import torch_engine
    torch_engine.start(a.threads, channels_last=True)
    net = torch_engine.Net(a.folder).eval()
    workers = int(a.only.partition("-")[2] or 0)
    with torch.inference_mode():
        run_rival(net, Path(a.folder) / "warm", workers, layers, features)
        watch = Watch()
        means, small, tops = run_rival(net, Path(a.folder) / "pictures", workers, layers, features)
        np.savez(Path(a.folder) / "rival.npz", features=means, small=small,
                 **{f"{name}/{part}": t.numpy() for name, top in tops.items() for part, t in zip("vpi", top)})
        times = watch.read()
    return *times, means, {name: active(top[0].numpy(), top[1].numpy()) for name, top in tops.items()}


def run_rival(net, folder, workers, layers, features):
    import torch
    loader = torch.utils.data.DataLoader(Files(folder), BATCH, num_workers=workers)
    tops, means, smalls, first = {}, [], [], 0
    for x, small in loader:
        x = x.contiguous(memory_format=torch.channels_last)
        for name, a in values_of(net, x, {*layers, features}):
            if name in layers:
                tops[name] = stronger(tops.get(name), a, first)
            if name == features:
                means.append(a.mean((2, 3)).numpy())
        smalls.append(small.numpy())
        first += len(x)
    return np.concatenate(means), np.concatenate(smalls), tops


def values_of(net, x, wanted):
    """Yield (layer, value) while running; what has been read last is dropped, as in Net.forward."""
    values = {"input": x}
    for i, layer in enumerate(net.layers):
        name, sources = layer["name"], layer["inputs"]
        alone = sources[0] in net.single and sources[0] not in wanted
        values[name] = net.run(layer, [values[s] for s in sources], alone)
        if name in wanted:
            yield name, values[name]
        for s in sources:
            if net.last_reader[s] == i:
                del values[s]


def stronger(top, a, first):
    """(values, pictures, positions), (C, KEEP) each, of these activations and those before."""
    import torch
    value, position = a.flatten(2).max(2)                       # (n, C)
    picture = torch.arange(first, first + len(a))[:, None].expand_as(value)
    new = [t.T for t in (value, picture, position)]
    if top is not None:
        new = [torch.cat(pair, 1) for pair in zip(top, new)]
    best = new[0].topk(min(KEEP, new[0].shape[1]), 1).indices
    return [t.gather(1, best) for t in new]


def one(a):
    """What a process of its own does: time one engine, write its answers."""
    layers, features = job(a.network)
    seconds, busy, means, tops = (ours if a.only == "ours" else rival)(a, layers, features)
    np.savez(Path(a.folder) / f"{a.only}.npz", features=means, **tops)
    print(json.dumps({"seconds": seconds, "busy": busy}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("network", "squeezenet1_0"), ("count", 192), ("rounds", 3), ("threads", 2), ("only", ""),
                          ("engines", "ours,torch,torch-1,torch-2"), ("folder", "")):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    a = parser.parse_args()
    if a.only:
        one(a)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("pictures", a.count), ("warm", BATCH)):
            (Path(folder) / name).mkdir()
            write_pictures(Path(folder) / name, count)
        networks.write(folder, *networks.material(a.network))
        rates = {engine: [] for engine in a.engines.split(",")}
        busy = {engine: [] for engine in rates}
        for _ in range(a.rounds):
            for engine, rate in rates.items():
                done = subprocess.run([sys.executable, "-m", "benchmarks.index", *sys.argv[1:], "--only", engine,
                                       "--folder", folder], check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout)
                rate.append(a.count / found["seconds"])
                busy[engine].append(1000 * found["busy"] / a.count)
        report(rates, busy, Path(folder))


def report(rates, busy, folder):
    middle = {engine: statistics.median(rate) for engine, rate in rates.items()}
    for engine, rate in rates.items():
        print(f"{engine:10} {middle[engine]:7.1f} pictures/s, {statistics.median(busy[engine]):7.1f} ms of processor "
              f"time a picture  (rounds: {', '.join(f'{r:.1f}' for r in rate)})"
              + (f"  ours / {engine}: {middle['ours'] / middle[engine]:.2f}" if "ours" in rates and engine != "ours"
                 else ""))
    other = next((engine for engine in rates if engine != "ours"), None)
    if "ours" in rates and other:
        with np.load(folder / "ours.npz") as a, np.load(folder / f"{other}.npz") as b:
            worst = np.abs(a["features"] - b["features"]).max() / np.abs(a["features"]).max()
            names = [name for name in a.files if name != "features"]
            same = np.mean([(a[name] == b[name]).mean() for name in names])
        print(f"largest difference of a feature: {worst:.1e} of the largest; {100 * same:.2f} % of the strongest "
              "patches lie in the same picture")


if __name__ == "__main__":
    main()
