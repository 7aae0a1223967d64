"""Compare whole networks with PyTorch in float64: a weights file's own table, run by both. Needs torch.

    python tools/check_networks.py squeezenet1_0.h5 fast_style_wave.h5 --picture cat.jpg

For each file: the output for the picture, and for its upper left corner (256 x 256, or what the net takes) the gradient
of the output's summed squares with respect to the input, by minivis and by a plain reading of the table with
torch.nn.functional. Prints the largest difference relative to the largest value; exits with 1 above 1e-9.
"""
import argparse
import sys

import numpy as np
import torch
import torch.nn.functional as F

import minivis as mv


def run_torch(net, x):
    """The output layer by torch, NCHW, float64."""
    values = {net.table.names[0]: x}
    names = net.table.needed([net.output_layer])
    last = {source: name for name in names for source in net.table.reads[name]}
    for layer in (net.table[name] for name in names[1:]):
        ins = [values[name] for name in net.table.reads[layer.name]]
        weights = {part: torch.tensor(net.weights[f"{layer.name}/{part}"].numpy(), dtype=torch.float64)
                   for part in ("weight", "bias", "scale", "shift") if f"{layer.name}/{part}" in net.weights}
        values[layer.name] = _layer(layer, ins, weights)
        for source in net.table.reads[layer.name]:
            if last[source] == layer.name:
                del values[source]              # large pictures fit only if nothing is kept
    return values[net.output_layer]


def _layer(layer, ins, weights):
    x, kind = ins[0], layer.kind
    if kind == "conv":
        w = weights["weight"].permute(3, 2, 0, 1)
        x = F.pad(x, _pads(layer, x))
        return F.conv2d(x, w, weights.get("bias"), stride=layer["stride"], groups=layer["groups"],
                        dilation=layer["dilation"])
    if kind == "conv_transpose":                    # "same": every output cell of a picture `stride` times as large
        w = weights["weight"].permute(2, 3, 0, 1)
        full = F.conv_transpose2d(x, w, weights.get("bias"), stride=layer["stride"])
        sides = [n * layer["stride"] for n in x.shape[2:]]
        first = [(f - n) // 2 for f, n in zip(full.shape[2:], sides)]
        return full[:, :, first[0]:first[0] + sides[0], first[1]:first[1] + sides[1]]
    if kind == "max_pool":
        return F.max_pool2d(x, layer["kernel"], layer["stride"], layer["pad"], ceil_mode=layer["ceil"])
    if kind == "instance_norm":
        return F.instance_norm(x, weight=weights["scale"], bias=weights["shift"], eps=layer["eps"])
    simple = {"relu": F.relu, "dropout": lambda x: x, "tanh": torch.tanh, "global_avg_pool": lambda x: x.mean((2, 3)),
              "softmax": lambda x: x.softmax(1), "scale": lambda x: x * layer["factor"] + layer["offset"],
              "clip": lambda x: x.clamp(layer["low"], layer["high"]), "concat": lambda *xs: torch.cat(xs, 1),
              "add": lambda *xs: sum(xs[1:], xs[0])}
    if kind not in simple:
        raise SystemExit(f"this check does not know the kind {kind!r} of layer {layer.name}")
    return simple[kind](*ins)


def _pads(layer, x):
    """(left, right, top, bottom), TensorFlow's "same" worked out here by itself."""
    if layer["pad"] != "same":
        return [layer["pad"]] * 4
    sides = []
    for n, k in ((x.shape[3], layer["kernel"][1]), (x.shape[2], layer["kernel"][0])):
        s = layer["stride"]
        total = max(k - s, 0) if n % s == 0 else max(k - n % s, 0)
        sides += [total // 2, total - total // 2]
    return sides


def compare(path, picture):
    """(difference of the output, of the input gradient), relative to the largest value; the float32 output's error."""
    net = mv.load_network(path, device="cpu", precision="float64")
    array = net.preprocess(picture)
    y = net(array)[net.output_layer].data
    with torch.no_grad():
        out = _nhwc(run_torch(net, torch.tensor(array.transpose(0, 3, 1, 2))))
    single = net.with_precision("float32")(array.astype(np.float32))[net.output_layer].data
    corner = np.ascontiguousarray(array[:, :256, :256])
    x = mv.Tensor(corner, needs_grad=True)
    score = net(x)[net.output_layer]
    dx = mv.gradient((score * score).sum(), x)
    theirs = torch.tensor(corner.transpose(0, 3, 1, 2)).requires_grad_()
    (run_torch(net, theirs) ** 2).sum().backward()
    pairs = (y, out), (dx, _nhwc(theirs.grad))
    return [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs], float(np.abs(single - y).max())


def _nhwc(t):
    return t.numpy().transpose(0, 2, 3, 1) if t.ndim == 4 else t.numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE.h5")
    parser.add_argument("--picture", required=True)
    arguments = parser.parse_args()
    picture, worst = mv.read_image(arguments.picture), 0.0
    for path in arguments.files:
        differences, single = compare(path, picture)
        worst = max(worst, *differences)
        print(f"{path}: output {differences[0]:.1e}, input gradient {differences[1]:.1e} of the largest value "
              f"(float64); float32 output off by {single:.2g}")
    return int(worst > 1e-9)


if __name__ == "__main__":
    sys.exit(main())
