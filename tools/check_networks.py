"""Compare whole networks with PyTorch in float64: a weights file's own table, run by both. Needs torch.

    python tools/check_networks.py squeezenet1_0.h5 fast_style_wave.h5 --picture cat.jpg

For each file: the output, and the gradient of its summed squares with respect to the input, by minivis and by a plain
reading of the table with torch.nn.functional. Prints the largest difference relative to the largest value; exits with 1
above 1e-9.
"""
import argparse
import sys

import numpy as np
import torch
import torch.nn.functional as F

import minivis as mv


def run_torch(net, x):
    """The table's layers with torch, NCHW, float64. -> {layer: tensor}"""
    values = {net.table.names[0]: x}
    for layer in net.table.layers[1:]:
        ins = [values[name] for name in net.table.reads[layer.name]]
        weights = {part: torch.tensor(net.weights[f"{layer.name}/{part}"].numpy(), dtype=torch.float64)
                   for part in ("weight", "bias", "scale", "shift") if f"{layer.name}/{part}" in net.weights}
        values[layer.name] = _layer(layer, ins, weights)
    return values


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
    x = mv.Tensor(array, needs_grad=True)
    y = net(x)[net.output_layer]
    dx = mv.gradient((y * y).sum(), x)
    theirs = torch.tensor(array.transpose(0, 3, 1, 2)).requires_grad_()
    out = run_torch(net, theirs)[net.output_layer]
    (out * out).sum().backward()
    pairs = (y.data, _nhwc(out.detach())), (dx, _nhwc(theirs.grad))
    single = net.with_precision("float32")(array.astype(np.float32))[net.output_layer].data
    return [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs], float(np.abs(single - y.data).max())


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
