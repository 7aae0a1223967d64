"""A picture in tiles has the loss and the gradient of the whole picture, and a torus has no beginning."""
import numpy as np
import pytest

from minivis import losses
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.loading import random_network, random_weights
from minivis.network import Network
from minivis.techniques.matching import Painter
from minivis.tiling import Part, Tiles, plan_side

VGG = ["relu1_1", "relu2_1", "relu3_1"]
SQUEEZENET = ["relu1", "fire2", "fire4", "fire5"]       # an unpadded convolution with stride 2; pooling in ceil mode


def problem(name, layers, size, precision="float64", mask=True, content=True):
    """(painter, z, terms)"""
    net = random_network(name, head=False, precision=precision)
    painter, random = Painter(net), np.random.RandomState(0)
    z, other = (50 * random.standard_normal((1, *size, 3)).astype(net.dtype) for _ in range(2))
    terms = []
    if content:
        values = painter.values(other, layers[-1:])
        terms = [("content", 1.0, losses.content(net, layers[-1], values[layers[-1]]))]
    guide = random.rand(40, 50) if mask else None
    grams = painter.grams(other, layers)
    terms += [("style", 100.0, losses.style(net, layer, grams[layer], mask=guide)) for layer in layers]
    return painter, z, terms


@pytest.mark.parametrize("name, layers, size, sides", [
    ("vgg19", VGG, (96, 128), (32, 64)),
    ("vgg19", VGG, (75, 91), (16, 48)),                 # sides that no stride divides
    ("squeezenet1_0", SQUEEZENET, (97, 140), (32, 64)),
    ("squeezenet1_0", SQUEEZENET, (110, 71), (48,)),
])
def test_tiled_equals_whole(name, layers, size, sides):
    painter, z, terms = problem(name, layers, size)
    whole = painter.loss(size, terms)(z)
    assert np.abs(whole.gradient).max() > 0
    for side in sides:
        loss = painter.loss(size, terms, side=side)
        assert len(loss.tiles.tiles) > 1
        tiled = loss(z)
        assert np.allclose(tiled.loss, whole.loss, rtol=1e-12)
        assert np.abs(tiled.gradient - whole.gradient).max() <= 1e-12 * np.abs(whole.gradient).max()
        assert all(np.allclose(tiled.terms[key], whole.terms[key], rtol=1e-12) for key in ("content", "style"))


def test_in_float32_they_differ_by_rounding_alone():
    painter, z, terms = problem("vgg19", VGG, (96, 96), "float32")
    whole, tiled = painter.loss((96, 96), terms)(z), painter.loss((96, 96), terms, side=32)(z)
    assert np.abs(tiled.gradient - whole.gradient).max() <= 1e-4 * np.abs(whole.gradient).max()


def test_the_whole_is_the_objective_itself():
    """Two passes with sums in between give what a walk back through the objective gives."""
    from minivis.tensor import Tensor, gradient
    painter, z, terms = problem("squeezenet1_0", SQUEEZENET, (64, 80))
    t = Tensor(z, needs_grad=True)
    total = sum((weight * term for _, weight, term in terms[1:]), terms[0][1] * terms[0][2])
    value = total(painter.net(painter.units.of(t), layers=total.layers))
    wanted, got = gradient(value, t), painter.loss((64, 80), terms)(z)
    assert np.allclose(got.loss, value.data, rtol=1e-12)
    assert np.abs(got.gradient - wanted).max() <= 1e-12 * np.abs(wanted).max()


@pytest.mark.parametrize("name, layers", [("vgg19", VGG), ("squeezenet1_0", SQUEEZENET)])
def test_a_torus_has_no_beginning(name, layers):
    """Shifted round the torus by a multiple of the stride, the loss is the same and the gradient moves along."""
    painter, z, terms = problem(name, layers, (64, 96), mask=False, content=False)
    loss = painter.loss((64, 96), terms, wrap=True)
    here, there = loss(z), loss(np.roll(z, (16, -32), (1, 2)))
    largest = np.abs(here.gradient).max()
    assert largest > 0 and np.allclose(here.loss, there.loss, rtol=1e-12)
    assert np.abs(np.roll(here.gradient, (16, -32), (1, 2)) - there.gradient).max() <= 1e-12 * largest
    tiled = painter.loss((64, 96), terms, side=32, wrap=True)(z)
    assert np.abs(tiled.gradient - here.gradient).max() <= 1e-12 * largest
    assert np.abs(painter.loss((64, 96), terms)(z).gradient - here.gradient).max() > 1e-3 * largest


@pytest.mark.parametrize("size, side, wrap", [((97, 140), 32, False), ((33, 200), 64, False), ((64, 96), 32, True)])
def test_every_cell_belongs_to_one_tile(size, side, wrap):
    net = random_network("squeezenet1_0", head=False)
    tiles, shapes = Tiles(net, SQUEEZENET, size, side, wrap), net.shapes(size)
    for layer in SQUEEZENET:
        parts = [tile.parts[layer][0] for tile in tiles.tiles if layer in tile.parts]
        count = np.zeros((parts[0].height, parts[0].width), int)
        assert wrap or count.shape == shapes[layer][:2]
        for part in parts:
            count[part.rows, part.columns] += 1
        assert (count == 1).all()


def test_values_are_put_together_from_tiles():
    painter, z, _ = problem("squeezenet1_0", SQUEEZENET, (97, 140))
    whole, tiled = painter.values(z, SQUEEZENET), painter.values(z, SQUEEZENET, side=48)
    assert all(np.abs(whole[n] - tiled[n]).max() <= 1e-12 * np.abs(whole[n]).max() for n in SQUEEZENET)


def test_less_memory_makes_smaller_tiles():
    net = random_network("vgg19", head=False)
    sides = [plan_side(net, VGG, (1024, 1024), budget)[0] for budget in (8e9, 4e8, 2e8, 1e8)]
    assert sides[0] is None and sides[1] > sides[2] > sides[3]
    for side, budget in zip(sides[1:], (4e8, 2e8, 1e8)):
        assert net.bytes_needed((1, *Tiles(net, VGG, (1024, 1024), side).largest, 3), VGG, backward=True) <= budget
    side, note = plan_side(net, VGG, (1024, 1024), 1e6)
    assert side <= 128 and "more than the 1 MB" in note


def test_what_cannot_be_cut_says_why():
    def net(*layers):
        table = [Layer("input", "input", shape=[None, None, 3]), *layers]
        return Network(table, random_weights(table), preprocessing={"channels": "RGB", "range": 1, "mean": [0.5] * 3,
                                                                    "std": [0.5] * 3})
    same = net(Layer("a", "conv", filters=2, kernel=3, stride=2, pad="same"))
    with pytest.raises(MinivisError, match="layer a pads by an amount that depends on the picture's size"):
        Tiles(same, ["a"], (64, 64), 32)
    normed = net(Layer("a", "conv", filters=2, kernel=3), Layer("b", "instance_norm"))
    with pytest.raises(MinivisError, match="a cell of layer b sees the whole picture"):
        Tiles(normed, ["b"], (64, 64), 32)
    assert Tiles(normed, ["b"], (64, 64)).tiles[0].parts["b"][0] == Part.whole(62, 62)
    with pytest.raises(MinivisError, match="multiples of 4, not 64 x 66"):
        Tiles(random_network("vgg19", head=False), VGG, (64, 66), wrap=True)
