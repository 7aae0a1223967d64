"""PyTorch: eager in NCHW or channels_last, compiled, or in float64 as the reference. Weights are frozen."""
import torch
import torch.nn.functional as F

from .. import networks
from . import Unsupported, inputs, upstream

_dtype, _format, _compiled = torch.float32, torch.contiguous_format, False


def start(threads, channels_last=False, compiled=False, dtype="float32"):
    global _dtype, _format, _compiled
    _dtype, _compiled = getattr(torch, dtype), compiled
    _format = torch.channels_last if channels_last else torch.contiguous_format
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "mkldnn": torch.backends.mkldnn.is_available()}


def numpy(answer):
    return {name: (value.permute(2, 3, 1, 0) if name == "dw" else
                   value.permute(0, 2, 3, 1) if value.ndim == 4 else value).detach().numpy()
            for name, value in answer.items()}


def _placed(array):
    """A weight or activation (already NCHW or OIHW) in this engine's type and memory format."""
    tensor = torch.from_numpy(array).to(_dtype)
    return tensor.contiguous(memory_format=_format) if tensor.ndim == 4 else tensor


def _x(case):
    return _placed(inputs(case).transpose(0, 3, 1, 2).copy())


class Net(torch.nn.Module):
    """Runs the layer table in order. As in torchvision's models, ReLUs work in place, and a value lives only until its
    last reader has run."""

    def __init__(self, folder):
        super().__init__()
        self.layers = networks.read_layers(folder)
        for layer in self.layers:
            for which in ("weight", "bias"):
                array = networks.read_weight(folder, layer["name"], which)
                if array is not None:
                    self.register_buffer(f"{layer['name']}_{which}", _placed(array))
        readers = {}
        for i, layer in enumerate(self.layers):
            for name in layer["inputs"]:
                readers.setdefault(name, []).append(i)
        self.last_reader = {name: max(where) for name, where in readers.items()}
        self.single = {name for name, where in readers.items() if len(where) == 1}

    def forward(self, x):
        values = {"input": x}
        del x
        for i, layer in enumerate(self.layers):
            name, sources = layer["name"], layer["inputs"]
            values[name] = self.run(layer, [values[s] for s in sources], sources[0] in self.single)
            for s in sources:
                if self.last_reader[s] == i:
                    del values[s]
        return values[name]

    def run(self, layer, xs, may_overwrite):
        kind, x = layer["kind"], xs[0]
        w, b = (getattr(self, f"{layer['name']}_{which}", None) for which in ("weight", "bias"))
        if kind == "conv":
            x, pad = _padded(x, layer["pad"])
            return F.conv2d(x, w, b, layer["stride"], pad, layer["dilation"], layer["groups"])
        if kind == "relu":
            overwrite = may_overwrite and layer["inputs"][0] != "input"
            return F.relu(x, inplace=overwrite)
        if kind == "max_pool":
            x, pad = _padded(x, layer["pad"], -torch.inf)
            return F.max_pool2d(x, layer["size"], layer["stride"], pad, ceil_mode=layer["ceil"])
        if kind == "avg_pool":
            pad = layer["pad"]
            return F.avg_pool2d(x, layer["size"], layer["stride"], (pad[0], pad[2]), layer["ceil"],
                                layer["count_pad"])
        if kind == "linear":
            return F.linear(x, w, b)
        if kind == "flatten":                       # our dense weights are for (H, W, C) order
            return x.permute(0, 2, 3, 1).flatten(1)
        if kind == "global_avg_pool":
            return x.mean((2, 3))
        if kind == "concat":
            return torch.cat(xs, 1)
        if kind == "softmax":
            return F.softmax(x, 1)
        if kind == "lrn":
            alpha = layer["alpha"] if layer["per_size"] else layer["alpha"] * layer["size"]
            return F.local_response_norm(x, layer["size"], alpha, layer["beta"], layer["k"])
        if kind == "dropout":
            return x
        raise ValueError(f"torch engine: no layer kind {kind!r}")


def _padded(x, pad, value=0.0):
    """torch pads symmetrically inside its layers; anything else is padded before."""
    if pad[0] == pad[1] and pad[2] == pad[3]:
        return x, (pad[0], pad[2])
    return F.pad(x, (pad[2], pad[3], pad[0], pad[1]), value=value), (0, 0)


def _net(folder):
    net = Net(folder).eval()
    return torch.compile(net) if _compiled else net


def forward(case, folder):
    net, x = _net(folder), _x(case)

    def run():
        with torch.inference_mode():
            return {"y": net(x)}
    return run


def gradient(case, folder):
    net, x = _net(folder), _x(case).requires_grad_(True)

    def run():
        x.grad = None
        y = net(x)
        y.backward(torch.ones_like(y))
        return {"dx": x.grad}
    return run


def attribution_map(case, folder):
    if _compiled:
        raise Unsupported("the libraries' hooks are for eager modules")
    from .torch_maps import build
    return build(case, folder, _placed)


def _convolution_backward(case, folder, wanted):
    """The two gradients of a convolution one by one, as autograd itself calls them."""
    layer = networks.read_layers(folder)[0]
    w, x = _placed(networks.read_weight(folder, layer["name"], "weight")), _x(case)
    pad = (layer["pad"][0], layer["pad"][2])
    with torch.inference_mode():
        shape = F.conv2d(x, w, None, layer["stride"], pad, layer["dilation"], layer["groups"]).shape
    dy = _placed(upstream((shape[0], shape[2], shape[3], shape[1])).transpose(0, 3, 1, 2).copy())
    mask = [wanted == "dx", wanted == "dw", False]

    def run():
        with torch.inference_mode():
            dx, dw, _ = torch.ops.aten.convolution_backward(
                dy, x, w, [w.shape[0]], layer["stride"], pad, layer["dilation"], False, [0, 0], layer["groups"], mask)
        return {"dx": dx} if wanted == "dx" else {"dw": dw}
    return run


WORK = {"forward": forward, "gradient": gradient, "map": attribution_map,
        "input_gradient": lambda case, folder: _convolution_backward(case, folder, "dx"),
        "weight_gradient": lambda case, folder: _convolution_backward(case, folder, "dw")}
