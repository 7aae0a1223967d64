"""A network on a picture in bands of rows: what comes out is what the whole picture gives."""
import numpy as np
import pytest

from minivis import bands as banded
from minivis import golden
from minivis.bands import Bands, Moments
from minivis.layers import Layer, Table
from minivis.network import Network
from minivis.style_networks import style_network, transformer
from minivis.tensor import Tensor


def drawn(layers, **more):
    table = Table([Layer("input", "input", shape=[None, None, 3]), *layers])
    return Network(table, golden.draw_weights(table, 3), precision="float64", **more)


NETS = {
    "ours": lambda: style_network(transformer(4, 2), 1).with_precision("float64"),
    "two rows of scales": lambda: style_network(transformer(3, 1, styles=2), 1).with_precision("float64"),
    "others'": lambda: drawn([
        Layer("conv1", "conv", filters=4, kernel=9, pad="same", bias=False), Layer("norm1", "instance_norm"),
        Layer("relu1", "relu"), Layer("conv2", "conv", filters=6, kernel=3, stride=2, pad="same"),
        Layer("norm2", "instance_norm"), Layer("relu2", "relu"),
        Layer("conv3", "conv", filters=6, kernel=3, pad="same"), Layer("norm3", "instance_norm", affine=False),
        Layer("sum", "add", ["norm3", "relu2"]),
        Layer("up", "conv_transpose", filters=4, kernel=3, stride=2, pad="same"), Layer("norm4", "instance_norm"),
        Layer("both", "concat", ["norm4", "relu1"]), Layer("leaky", "leaky_relu", slope=0.1),
        Layer("last", "conv", filters=3, kernel=[3, 5], pad=(1, 1, 2, 2), dilation=1), Layer("tanh", "tanh")]),
    "without normalisation": lambda: drawn([
        Layer("pad1", "pad", pad=(3, 2, 1, 4), mode="edge"), Layer("conv1", "conv", filters=5, kernel=4),
        Layer("pad2", "pad", pad=1), Layer("conv2", "conv", filters=3, kernel=3, dilation=2, pad=(2, 1, 2, 1)),
        Layer("larger", "upsample", factor=3),
        Layer("up", "conv_transpose", filters=3, kernel=4, stride=2, pad=1, output_pad=1)]),
}
SIZES = {"ours": [(64, 36), (92, 24)], "two rows of scales": [(64, 36)], "others'": [(70, 22), (32, 18)],
         "without normalisation": [(41, 17), (9, 30)]}


def in_bands(net, x, budget, monkeypatch, band=4000):
    monkeypatch.setattr(banded, "_BAND", band)
    monkeypatch.setattr(banded, "_FEWEST", 3)
    bands = Bands(net, x.shape[1:3], budget)
    assert bands.fits
    pieces = list(bands.run(lambda first, end: x[:, first:end]))
    return bands, pieces


@pytest.mark.parametrize("name, size", [(name, size) for name, sizes in SIZES.items() for size in sizes])
@pytest.mark.parametrize("little", [False, True])
def test_bands_equal_the_whole(name, size, little, monkeypatch):
    net = NETS[name]()
    x = np.random.RandomState(0).standard_normal((1, *size, 3))
    whole = net(Tensor(x))[net.output_layer].data
    monkeypatch.setattr(Bands, "_peak", (lambda self, kept: 10**9 if kept else 0) if little else Bands._peak)
    bands, pieces = in_bands(net, x, 10**8, monkeypatch)
    assert len(pieces) > 2 and bool(bands.plan.kept) == (bool(bands.norms) and not little)
    assert whole.std() > 0.01 and np.abs(np.concatenate(pieces, 1) - whole).max() < 1e-12 * np.abs(whole).max() + 1e-12


def test_what_is_held_stays_within_the_plan(monkeypatch):
    """As the budget falls, less is kept, and at every stage no more than the plan says."""
    net = NETS["ours"]()
    x = np.random.RandomState(0).standard_normal((1, 640, 16, 3))
    monkeypatch.setattr(banded, "_FEWEST", 3)
    plans, most = set(), []
    own = Bands._stage

    def stage(self, name):
        own(self, name)
        most.append(sum(a.nbytes for a in self.values.values()) / self.plan.peak)
    monkeypatch.setattr(Bands, "_stage", stage)
    for budget in (10**7, 4 * 10**5, 3 * 10**5):
        bands = Bands(net, x.shape[1:3], budget)
        if bands.fits:
            list(bands.run(lambda first, end: x[:, first:end]))
            plans.add(bands.plan.kept)
    assert len(plans) >= 2 and 0.99 < max(most) <= 1
    assert not Bands(net, x.shape[1:3], 1000).fits


def test_moments_of_parts_are_those_of_the_whole():
    a = np.random.RandomState(0).standard_normal((1, 10, 7, 3)) + [1e3, 0, -5]
    moments = Moments()
    for first, end in ((0, 1), (1, 6), (6, 10)):
        moments.add(a[:, first:end])
    assert np.allclose(moments.mean, a.mean(axis=(0, 1, 2)), rtol=1e-13)
    assert np.allclose(moments.variance, a.var(axis=(0, 1, 2)), rtol=1e-10)


def test_a_layer_that_sees_everything_cannot_be_cut():
    net = drawn([Layer("pool", "max_pool", kernel=2), Layer("conv", "conv", filters=3, kernel=1)])
    bands = Bands(net, (8, 8), 10**9)
    assert not bands.fits and bands.wrong == "pool"
