"""Receptive fields on the table of every architecture: the box of the non-zero gradient, at borders too.

The tables keep their layers and geometry; every layer gets two channels, positive weights that sum to 1 and average
pooling, so that no two paths can cancel and nothing over- or underflows. Then the gradient is not zero exactly where
the unit sees. With signs and max pooling nothing may lie outside. All in float64: Winograd's rounding, in float32,
leaves traces of 1e-7 in the rest of a tile.
"""
import numpy as np
import pytest

from minivis.architectures import TABLES, table
from minivis.layers import Layer, Table
from minivis.network import Network
from minivis.preprocessing import Box
from minivis.receptive_field import pixels_seen
from minivis.shapes import weight_shapes
from minivis.tensor import Tensor, gradient

SIZE = (99, 67)         # every layer has units at all borders, and most fields reach over them


def narrow(name, positive, seed=0):
    """The architecture without dense layers, two channels wide, in float64."""
    rows = []
    for layer in table(name, head=False)["layers"]:
        settings = {**layer.settings, **({"filters": 2} if "filters" in layer.settings else {})}
        rows.append(Layer(layer.name, layer.kind, layer.inputs, **settings))
    layers, random, weights = Table(rows), np.random.default_rng(seed), {}
    for key, shape in weight_shapes(layers).items():
        if not key.endswith("/weight"):
            weights[key] = np.zeros(shape) if key.endswith(("bias", "shift", "mean")) else np.ones(shape)
        elif positive:
            w = random.uniform(0.5, 1, shape)
            weights[key] = w / w.sum(axis=tuple(range(w.ndim - 1)), keepdims=True)
        else:
            weights[key] = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return Network(layers, weights, precision="float64")


def places(shape):
    """Corners, a cell beside each, the middle of each border, the centre."""
    rows, columns = (sorted({0, min(1, n - 1), n // 2, max(0, n - 2), n - 1}) for n in shape[:2])
    return [(i, j) for i in rows for j in columns]


def seen_by_gradient(net, layer, at, x, pool=None):
    """For each unit the box of the pixels at which its gradient is not zero, None if there are none."""
    pixels = Tensor(np.repeat(x, len(at), axis=0), needs_grad=True)
    y = net(pixels, layer, pool=pool)[layer]
    seed = np.zeros(y.shape)
    for n, (i, j) in enumerate(at):
        seed[n, i, j] = 1
    boxes = []
    for g in (gradient(y, pixels, seed=seed) != 0).any(axis=3):
        rows, columns = np.flatnonzero(g.any(axis=1)), np.flatnonzero(g.any(axis=0))
        boxes.append(Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else None)
    return boxes


@pytest.mark.parametrize("name", TABLES)
def test_with_positive_weights_units_see_exactly_where_their_gradient_is_not_zero(name):
    net = narrow(name, positive=True)
    x = np.random.default_rng(1).uniform(0.5, 1, (1, *SIZE, 3))
    checked = 0
    for layer, shape in net.shapes(SIZE).items():
        if len(shape) != 3 or net.table[layer].kind in ("input", "relu", "dropout"):
            continue                    # a ReLU sees what its convolution sees
        at = places(shape)
        for (i, j), box in zip(at, seen_by_gradient(net, layer, at, x, pool="avg")):
            assert box == pixels_seen(net, layer, i, j, SIZE), f"{layer} @{i},{j}"
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("name", TABLES)
def test_with_signed_weights_no_unit_depends_on_a_pixel_outside(name):
    net = narrow(name, positive=False)
    x, some = np.random.default_rng(1).standard_normal((1, *SIZE, 3)), 0
    layers = [layer for layer, shape in net.shapes(SIZE).items() if len(shape) == 3
              and net.table[layer].kind in ("max_pool", "concat", "conv")]
    for layer in layers[-9:]:
        at = places(net.shapes(SIZE)[layer])
        for (i, j), box in zip(at, seen_by_gradient(net, layer, at, x)):
            own = pixels_seen(net, layer, i, j, SIZE)
            if box is not None:
                some += 1
                assert own.top <= box.top and own.left <= box.left, f"{layer} @{i},{j}"
                assert box.bottom <= own.bottom and box.right <= own.right, f"{layer} @{i},{j}"
    assert some > 20


@pytest.mark.data
def test_in_a_real_network_no_unit_depends_on_a_pixel_outside(data_folder):
    from minivis.loading import load_network
    net = load_network(data_folder / "squeezenet1_0.h5", device="cpu", precision="float64")
    x = np.random.default_rng(1).standard_normal((1, *SIZE, 3)) * 50
    for layer in ("relu1", "pool1", "fire3", "fire4", "fire8"):
        at = places(net.shapes(SIZE)[layer])
        for (i, j), box in zip(at, seen_by_gradient(net, layer, at, x)):
            own = pixels_seen(net, layer, i, j, SIZE)
            assert box is not None and own.top <= box.top and own.left <= box.left, f"{layer} @{i},{j}"
            assert box.bottom <= own.bottom and box.right <= own.right, f"{layer} @{i},{j}"
