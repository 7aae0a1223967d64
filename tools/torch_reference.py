"""Any layer table run by PyTorch, with the ReLU rules as autograd functions: the other side of our comparisons.

Written from the table alone, with none of our ops: padding "same", pooling and flattening orders are worked out here
again. Pictures are (N, H, W, C) outside and (N, C, H, W) inside.
"""
import contextlib
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F


class _Relu(torch.autograd.Function):
    """max(x, 0); backward dy where x > 0 (plain), dy > 0 (deconv), or both (guided)."""

    @staticmethod
    def forward(ctx, x, rule):
        ctx.save_for_backward(x)
        ctx.rule = rule
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, dy):
        on, up = ctx.saved_tensors[0] > 0, dy > 0
        return dy * {"plain": on, "deconv": up, "guided": on & up}[ctx.rule], None


def run(layers, weights, x, rule="plain"):
    """{layer: torch tensor} of every layer; values with positions stay (N, C, H, W).

    layers     rows as in a weights file's table, as dicts; weights {"conv1/weight": array}; x torch (N, C, H, W)
    """
    values, above = {}, None
    for row in layers:
        name, kind = row["name"], row["kind"]
        ins = [values[n] for n in row.get("inputs", [above])] if kind != "input" else []
        part = {key.split("/")[1]: torch.as_tensor(np.asarray(value), dtype=x.dtype)
                for key, value in weights.items() if key.split("/")[0] == name}
        values[name] = x if kind == "input" else _layer(kind, row, ins, part, rule)
        above = name
    return values


def gradient(layers, weights, x, start, rule="plain"):
    """d start(values) / dx, float64 (N, H, W, C). x: (N, H, W, C) array; start: {layer: tensor} -> scalar tensor."""
    t = as_torch(x).requires_grad_()
    return channels_last(torch.autograd.grad(start(run(layers, weights, t, rule)), t)[0])


def as_torch(x):
    return torch.as_tensor(np.ascontiguousarray(np.moveaxis(np.asarray(x, np.float64), 3, 1)))


def channels_last(t):
    """(N, C, H, W) -> an array (N, H, W, C); others as they are."""
    array = t.detach().numpy()
    return np.moveaxis(array, 1, 3) if array.ndim == 4 else array


def _layer(kind, row, ins, part, rule):
    x = ins[0]
    if kind == "conv":
        w = part["weight"].permute(3, 2, 0, 1)
        x = F.pad(x, _padding(row, x))
        return F.conv2d(x, w, part.get("bias"), stride=row.get("stride", 1), dilation=row.get("dilation", 1),
                        groups=row.get("groups", 1))
    if kind == "conv_transpose":
        return _conv_transpose(row, x, part)
    if kind == "linear":
        return F.linear(x, part["weight"].T, part.get("bias"))
    if kind in ("max_pool", "avg_pool"):
        pad = row.get("pad", 0)
        stride = row.get("stride") or row["kernel"]
        if kind == "max_pool":
            return F.max_pool2d(x, row["kernel"], stride, pad, ceil_mode=row.get("ceil", False))
        return F.avg_pool2d(x, row["kernel"], stride, pad, row.get("ceil", False), row.get("count_pad", True))
    simple = {
        "relu": lambda: _Relu.apply(x, rule),
        "tanh": lambda: torch.tanh(x),
        "sigmoid": lambda: torch.sigmoid(x),
        "softmax": lambda: torch.softmax(x, 1),
        "clip": lambda: torch.clamp(x, row["low"], row["high"]),
        "global_avg_pool": lambda: x.mean(dim=(2, 3)),
        "dropout": lambda: x,
        "concat": lambda: torch.cat(ins, 1),
        "add": lambda: sum(ins[1:], ins[0]),
        "scale": lambda: x * row.get("factor", 1.0) + row.get("offset", 0.0),
        "batch_norm": lambda: F.batch_norm(x, part["mean"], part["var"], part.get("scale"), part.get("shift"),
                                           eps=row.get("eps", 1e-5)),
        "instance_norm": lambda: F.instance_norm(x, weight=part.get("scale"), bias=part.get("shift"),
                                                 eps=row.get("eps", 1e-5)),
        "flatten": lambda: (x.permute(0, 2, 3, 1) if row.get("order", "hwc") == "hwc" else x).flatten(1),
        "lrn": lambda: F.local_response_norm(x, row.get("size", 5), row.get("alpha", 1e-4), row.get("beta", 0.75),
                                             row.get("k", 1.0)),
    }
    if kind not in simple:
        raise ValueError(f"{row['name']}: no reference for layers of kind {kind}")
    return simple[kind]()


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _padding(row, x):
    """(left, right, top, bottom), as F.pad wants it."""
    pad = row.get("pad", 0)
    if pad != "same":
        top, bottom, left, right = (pad,) * 4 if isinstance(pad, int) else pad
        return left, right, top, bottom
    result = []
    both = (_pair(row[key]) if key in row else (1, 1) for key in ("kernel", "stride", "dilation"))
    for size, k, s, d in zip(x.shape[2:], *both):
        total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        result = [total // 2, total - total // 2, *result]
    return result


def _conv_transpose(row, x, part):
    """pad "same": size times stride, cut from the full result where TensorFlow cuts it."""
    full = F.conv_transpose2d(x, part["weight"].permute(2, 3, 0, 1), part.get("bias"), stride=row.get("stride", 1))
    if row.get("pad", 0) != "same":
        raise ValueError(f"{row['name']}: only pad same is compared")
    for axis, (k, s) in enumerate(zip(_pair(row["kernel"]), _pair(row.get("stride", 1)))):
        cut = max(0, k - s) // 2
        full = full.narrow(2 + axis, cut, x.shape[2 + axis] * s)
    return full


@contextlib.contextmanager
def in_float64():
    """Within, what a library calls float, or leaves to PyTorch's default, is double."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double), \
                mock.patch.object(torch, "FloatTensor", torch.DoubleTensor):
            yield
    finally:
        torch.set_default_dtype(usual)
