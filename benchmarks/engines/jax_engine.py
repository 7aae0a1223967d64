"""JAX, compiled, in NHWC."""
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import networks
from . import inputs, upstream


def start(threads):
    jax.config.update("jax_platforms", "cpu")           # its threads follow the cores the process may use
    return {"jax": jax.__version__}


def numpy(answer):
    return {name: np.asarray(value) for name, value in answer.items()}


def _net(folder):
    """-> layers, {layer: (HWIO or (in, out) weight, bias)}"""
    layers, weights = networks.read_layers(folder), {}
    for layer in layers:
        w, b = (networks.read_weight(folder, layer["name"], which) for which in ("weight", "bias"))
        if w is not None:
            weights[layer["name"]] = (jnp.asarray(w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T), jnp.asarray(b))
    return layers, weights


def _run(layers, weights, x):
    values = {"input": x}
    for layer in layers:
        name = layer["name"]
        values[name] = _layer(layer, weights.get(name), [values[i] for i in layer["inputs"]])
    return values[name]


def _convolve(x, w, layer):
    pad = layer["pad"]
    return lax.conv_general_dilated(x, w, layer["stride"], [pad[:2], pad[2:]], rhs_dilation=layer["dilation"],
                                    feature_group_count=layer["groups"], dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _layer(layer, weight, xs):
    kind, x = layer["kind"], xs[0]
    if kind == "conv":
        return _convolve(x, weight[0], layer) + weight[1]
    if kind == "relu":
        return jnp.maximum(x, 0)
    if kind in ("max_pool", "avg_pool"):
        return _pool(x, layer)
    if kind == "linear":
        return x @ weight[0] + weight[1]
    if kind == "flatten":
        return x.reshape(x.shape[0], -1)
    if kind == "global_avg_pool":
        return x.mean((1, 2))
    if kind == "concat":
        return jnp.concatenate(xs, 3)
    if kind == "softmax":
        return jax.nn.softmax(x)
    if kind == "dropout":
        return x
    if kind == "lrn":
        size = layer["size"]
        alpha = layer["alpha"] / size if layer["per_size"] else layer["alpha"]
        sums = lax.reduce_window(x * x, 0.0, lax.add, (1, 1, 1, size), (1,) * 4,
                                 [(0, 0)] * 3 + [(size // 2, (size - 1) // 2)])
        return x * (layer["k"] + alpha * sums) ** -layer["beta"]
    raise ValueError(f"jax engine: no layer kind {kind!r}")


def _pool(x, layer):
    pad, out = list(layer["pad"]), []
    for a in (0, 1):                                    # with ceil, pad so far that the last window is whole
        count = networks.windows(x.shape[1 + a], layer["size"][a], a, layer)
        needed = (count - 1) * layer["stride"][a] + layer["size"][a] - x.shape[1 + a] - pad[2 * a]
        out.append((pad[2 * a], max(pad[2 * a + 1] if not layer["ceil"] else 0, needed)))
    shape, strides, padding = (1, *layer["size"], 1), (1, *layer["stride"], 1), [(0, 0), *out, (0, 0)]
    if layer["kind"] == "max_pool":
        return lax.reduce_window(x, -jnp.inf, lax.max, shape, strides, padding)
    ones = jnp.ones((1, x.shape[1], x.shape[2], 1), x.dtype)
    if layer["count_pad"]:
        cells = layer["size"][0] * layer["size"][1]
    else:
        cells = lax.reduce_window(ones, 0.0, lax.add, shape, strides, padding)
    return lax.reduce_window(x, 0.0, lax.add, shape, strides, padding) / cells


def _ready(function, name):
    return lambda: {name: function().block_until_ready()}


def forward(case, folder):
    layers, weights = _net(folder)
    x = jnp.asarray(inputs(case))
    net = jax.jit(lambda x, weights: _run(layers, weights, x))
    return _ready(lambda: net(x, weights), "y")


def gradient(case, folder):
    layers, weights = _net(folder)
    x = jnp.asarray(inputs(case))
    slope = jax.jit(jax.grad(lambda x, weights: _run(layers, weights, x).sum()))
    return _ready(lambda: slope(x, weights), "dx")


def _convolution_backward(case, folder, wanted):
    (layer,), weights = _net(folder)
    x, w = jnp.asarray(inputs(case)), weights[layer["name"]][0]
    y = jax.eval_shape(lambda x, w: _convolve(x, w, layer), x, w)
    dy = jnp.asarray(upstream(y.shape))
    if wanted == "dx":
        pull = jax.jit(lambda x, w, dy: jax.vjp(lambda x: _convolve(x, w, layer), x)[1](dy)[0])
    else:
        pull = jax.jit(lambda x, w, dy: jax.vjp(lambda w: _convolve(x, w, layer), w)[1](dy)[0])
    return _ready(lambda: pull(x, w, dy), wanted)


WORK = {"forward": forward, "gradient": gradient,
        "input_gradient": lambda case, folder: _convolution_backward(case, folder, "dx"),
        "weight_gradient": lambda case, folder: _convolution_backward(case, folder, "dw")}
