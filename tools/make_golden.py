"""Write minivis/golden/*.npz: what PyTorch computes in float64 for small networks drawn from np.random.RandomState.

    python -m tools.make_golden [NAME ...]

Needs the extra `bench`. Tests and `minivis verify` read the files and need no PyTorch.
"""
import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch

from minivis import golden
from minivis.layers import Table
from minivis.preprocessing import Preprocessing
from tools import torch_reference

CAFFE = {"size": [22, 24], "resize": None, "crop": "none", "interpolation": "bilinear", "antialias": True,
         "channels": "BGR", "range": 255, "mean": [104, 117, 123], "std": [60, 60, 60]}
TORCH = {**CAFFE, "channels": "RGB", "range": 1, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def conv(name, filters, kernel, inputs=None, **more):
    row = {"name": name, "kind": "conv", "filters": filters, "kernel": [kernel, kernel], **more}
    return row if inputs is None else {**row, "inputs": [inputs]}


def relu(name):
    return {"name": name + "_relu", "kind": "relu"}


INPUT = {"name": "input", "kind": "input", "shape": [22, 24, 3]}
NETS = {
    # what SqueezeNet is made of: branches, overlapping poolings in ceil mode, a global average as logits
    "fire": (CAFFE, "logits", "fire:3", [
        INPUT, conv("conv1", 8, 3, stride=2), relu("conv1"),
        {"name": "pool1", "kind": "max_pool", "kernel": 3, "stride": 2, "ceil": True},
        conv("squeeze", 6, 1), relu("squeeze"), conv("expand1", 5, 1), relu("expand1"),
        conv("expand3", 7, 3, "squeeze_relu", pad=1), relu("expand3"),
        {"name": "fire", "kind": "concat", "inputs": ["expand1_relu", "expand3_relu"]},
        conv("conv2", 4, 1, pad=1), relu("conv2"), {"name": "logits", "kind": "global_avg_pool"}]),
    # what VGG is made of: stacked 3x3, poolings 2x2, a dense head in Caffe's order
    "vgg": (CAFFE, "fc2", "conv2_1:4", [
        INPUT, conv("conv1_1", 6, 3, pad=1), relu("conv1_1"), conv("conv1_2", 6, 3, pad=1), relu("conv1_2"),
        {"name": "pool1", "kind": "max_pool", "kernel": 2}, conv("conv2_1", 9, 3, pad=1), relu("conv2_1"),
        {"name": "pool2", "kind": "max_pool", "kernel": 2},
        {"name": "flatten", "kind": "flatten", "order": "chw"},
        {"name": "fc1", "kind": "linear", "outputs": 12}, relu("fc1"),
        {"name": "fc2", "kind": "linear", "outputs": 5}]),
    # the rest: groups, dilation, LRN, average pooling over padding, "same" with stride, a sum of two branches
    "odd": (TORCH, "scores", "sum:2", [
        INPUT, conv("conv1", 8, 5, stride=2, pad="same"), relu("conv1"),
        {"name": "norm1", "kind": "lrn", "size": 3, "alpha": 0.3, "beta": 0.75, "k": 1.0},
        conv("conv2", 8, 3, groups=2, pad=2, dilation=2), relu("conv2"),
        {"name": "sum", "kind": "add", "inputs": ["norm1", "conv2_relu"]},
        {"name": "pool", "kind": "avg_pool", "kernel": 3, "stride": 2, "pad": 1}, conv("conv3", 6, 3), relu("conv3"),
        {"name": "scores", "kind": "global_avg_pool"}]),
    # batch normalisation; its eps is 0 because zennit, once it has folded one away, still divides by sqrt(1 + eps)
    "normed": (TORCH, "logits", "norm2:3", [
        INPUT, conv("conv1", 8, 3, stride=2, bias=False), {"name": "norm1", "kind": "batch_norm", "eps": 0},
        relu("norm1"),
        {"name": "pool1", "kind": "max_pool", "kernel": 2}, conv("conv2", 9, 3, pad=1),
        {"name": "norm2", "kind": "batch_norm", "eps": 0}, relu("norm2"),
        {"name": "average", "kind": "global_avg_pool"}, {"name": "logits", "kind": "linear", "outputs": 5}]),
}
WINDOW, STRIDE = 7, 5


def compute(name, seed):
    """One file's `about` and arrays."""
    preprocessing, logits_layer, unit, layers = NETS[name]
    weights = golden.draw_weights(Table(layers), seed)
    height, width = preprocessing["size"]
    picture = np.random.RandomState(seed + 1000).randint(0, 256, (height, width, 3)).astype(np.uint8)
    prepare = Preprocessing.from_json(preprocessing)
    x = prepare.apply(picture, np.float64)
    logits = torch_reference.run(layers, weights, torch_reference.as_torch(x))[logits_layer].detach().numpy()[0]
    index = int(logits.argmax())
    layer, channel = unit.split(":")
    starts = {"class": lambda values: values[logits_layer][0, index],
              "unit": lambda values: values[layer][0, int(channel)].max(),
              "channel": lambda values: values[layer][0, int(channel)].sum()}
    arrays = {"picture": picture, "logits": logits}
    for start, score in starts.items():
        for rule in ("plain", "guided", "deconv"):
            g = torch_reference.gradient(layers, weights, x, score, rule)[0]
            arrays[f"{start}_{rule}"] = prepare.to_rgb(g)
    black = prepare.apply(np.zeros_like(picture), np.float64)
    arrays["occlusion"] = occlude(layers, weights, logits_layer, x, black)
    about = {"name": name, "seed": seed, "layers": layers, "logits_layer": logits_layer, "preprocessing": preprocessing,
             "unit": unit, "class": index, "window": WINDOW, "stride": STRIDE, "fill": "black",
             "made_by": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}}
    return about, arrays


def occlude(layers, weights, logits_layer, x, black):
    """Logits with each window black: (rows, columns, classes)."""
    starts = [range(0, -(-(side - WINDOW) // STRIDE) * STRIDE + 1, STRIDE) for side in x.shape[1:3]]
    batch = []
    for top in starts[0]:
        for left in starts[1]:
            hidden = x.copy()
            hidden[:, top:top + WINDOW, left:left + WINDOW] = black[:, top:top + WINDOW, left:left + WINDOW]
            batch.append(hidden[0])
    y = torch_reference.run(layers, weights, torch_reference.as_torch(np.stack(batch)))[logits_layer]
    return y.detach().numpy().reshape(len(starts[0]), len(starts[1]), -1)


def main():
    """All files, or those named on the command line."""
    folder = Path(golden.__file__).parent
    for i, name in enumerate(NETS):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        seed = next(s for s in range(i * 100, i * 100 + 100) if all_alive(*compute(name, s)))
        about, arrays = compute(name, seed)
        file = folder / f"{name}.npz"
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
        print(f"{file}: seed {seed}, {file.stat().st_size} bytes, logits {arrays['logits'].round(3)}")


def all_alive(about, arrays):
    """Whether no map is all zero: a comparison of zeros proves nothing."""
    return all(array.any() for array in arrays.values())


if __name__ == "__main__":
    main()
