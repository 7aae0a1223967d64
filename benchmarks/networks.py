"""The networks of the cases, in a form that every engine can read: layers as dicts, weights as one .npy file each.

The table and the weights are those of minivis (random_network, seed 0), so all engines compute the same function.
Weights are written in the frameworks' layout (convolution OIHW, dense (out, in)): they load them without a copy.

Layer kinds used: conv linear relu max_pool avg_pool global_avg_pool concat flatten lrn dropout softmax. Settings are
spelt out: stride, dilation, size are pairs, pad is (top, bottom, left, right).
"""
import json
import math
from pathlib import Path

import numpy as np

VGG16_PLAN = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"


def material(network, head=False, conv=None, channels=3, seed=0):
    """-> layers, weights {"NAME/weight": HWIO or (in, out) array, "NAME/bias": array}, for a network or one `conv`."""
    if conv is not None:
        return _single_convolution(conv, channels, seed)
    if network == "vgg16-chain":
        return _vgg_chain(VGG16_PLAN, seed)
    import minivis as mv
    from minivis.layers import KINDS
    net = mv.random_network(network, head=head, seed=seed)
    used = net.table.layers[:net.table.names.index(net.output_layer) + 1]
    layers = [spelt_out(layer.name, layer.kind, layer.inputs, {s: layer[s] for s in KINDS[layer.kind]})
              for layer in used]
    return _linked(layers), {name: w.data for name, w in net.weights.items()}


def spelt_out(name, kind, inputs=None, settings=None):
    """A layer as a plain dict with every setting given in full."""
    given, full = dict(settings or {}), {}
    if kind in ("conv", "max_pool", "avg_pool"):
        if given.get("pad") == "same":
            raise ValueError(f"benchmarks: layer {name} pads 'same', which the rival engines here do not do")
        full = {"stride": _pair(given.get("stride") or 1), "pad": _four(given.get("pad", 0))}
        if kind == "conv":
            full |= {"dilation": _pair(given.get("dilation", 1)), "groups": given.get("groups", 1)}
        else:
            full |= {"size": _pair(given["kernel"]), "ceil": bool(given.get("ceil", False))}
            full["stride"] = _pair(given.get("stride") or given["kernel"])
        if kind == "avg_pool":
            full["count_pad"] = bool(given.get("count_pad", False))
    elif kind == "lrn":
        full = {key: given[key] for key in ("size", "alpha", "beta", "k", "per_size")}
    elif kind == "flatten" and given.get("order", "hwc") != "hwc":
        raise ValueError(f"benchmarks: layer {name} flattens as {given['order']!r}; only 'hwc' is known here")
    return {"name": name, "kind": kind, "inputs": list(inputs) if inputs else None, **full}


def _linked(layers):
    """inputs None means the layer above: write its name. The input layer itself is called "input"."""
    above = "input"
    linked = []
    for layer in layers:
        if layer["kind"] == "input":
            above = layer["name"] = "input"
            continue
        linked.append({**layer, "inputs": layer["inputs"] or [above]})
        above = layer["name"]
    return linked


def _single_convolution(conv, C, seed):
    K, kernel, stride, pad, groups = conv
    layer = spelt_out("conv", "conv", settings={"stride": stride, "pad": pad, "groups": groups})
    return _linked([layer]), _he_weights({"conv": (kernel, kernel, C // groups, K)}, seed)


def _vgg_chain(plan, seed):
    layers, shapes, C = [], {}, 3
    for i, word in enumerate(plan.split(), 1):
        if word == "M":
            layers.append(spelt_out(f"pool_{i}", "max_pool", settings={"kernel": 2}))
        else:
            layers += [spelt_out(f"conv_{i}", "conv", settings={"pad": 1}), spelt_out(f"relu_{i}", "relu")]
            shapes[f"conv_{i}"] = (3, 3, C, int(word))
            C = int(word)
    return _linked(layers), _he_weights(shapes, seed)


def _he_weights(shapes, seed):
    """Normal with variance 2 / fan-in (He et al. 2015, arXiv:1502.01852); small biases, so that they count."""
    weights = {}
    for i, (name, shape) in enumerate(shapes.items()):
        rng = np.random.default_rng([seed, i])
        scale = np.float32(math.sqrt(2 / math.prod(shape[:3])))
        weights[f"{name}/weight"] = rng.standard_normal(shape, np.float32) * scale
        weights[f"{name}/bias"] = rng.standard_normal(shape[3], np.float32) * np.float32(0.1)
    return weights


def _pair(value):
    return [value, value] if isinstance(value, int) else list(value)


def _four(value):
    if isinstance(value, int):
        return [value] * 4
    return [value[0], value[0], value[1], value[1]] if len(value) == 2 else list(value)


def write(folder, layers, weights):
    """Lay the network down for other processes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, w in weights.items():
        w = np.asarray(w)
        turned = w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T
        np.save(folder / (name.replace("/", "~") + ".npy"), np.ascontiguousarray(turned, dtype=np.float32))
    (folder / "layers.json").write_text(json.dumps(layers))


def read_layers(folder):
    return json.loads((Path(folder) / "layers.json").read_text())


def read_weight(folder, layer, which):
    """One array in the frameworks' layout, or None if the layer has none."""
    file = Path(folder) / f"{layer}~{which}.npy"
    return np.load(file) if file.exists() else None


def weight_shapes(weights):
    return {name.removesuffix("/weight"): tuple(w.shape) for name, w in weights.items() if name.endswith("/weight")}


def gflop(layers, shapes, x_shape):
    """10^9 floating point operations of one forward pass, counted as direct convolution does them: 2 per product.

    shapes: {layer: HWIO or (in, out) shape}. A gradient down to the input takes the same number once more. Winograd
    does fewer; its GFLOP/s are quoted as if it did these.
    """
    size, total = {"input": tuple(x_shape)}, 0
    for layer in layers:
        N, H, W, C = size[layer["inputs"][0]]
        name, kind = layer["name"], layer["kind"]
        if kind in ("conv", "max_pool", "avg_pool"):
            window = shapes[name][:2] if kind == "conv" else layer["size"]
            H, W = (windows(n, k, a, layer) for a, (n, k) in enumerate(zip((H, W), window)))
            if kind == "conv":
                C = shapes[name][3]
                total += 2 * N * H * W * math.prod(shapes[name])
        elif kind == "linear":
            H, W, C = 1, 1, shapes[name][1]
            total += 2 * N * math.prod(shapes[name])
        elif kind == "global_avg_pool":
            H, W = 1, 1
        elif kind == "concat":
            C = sum(size[i][3] for i in layer["inputs"])
        size[name] = (N, H, W, C)
    return total / 1e9


def windows(n, kernel, axis, layer):
    """How many windows fit along an axis."""
    before, after = layer["pad"][2 * axis:2 * axis + 2]
    stride, dilation = layer["stride"][axis], layer.get("dilation", [1, 1])[axis]
    room = n + before + after - dilation * (kernel - 1) - 1
    if not layer.get("ceil"):
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= n + before else count
