"""Feed-forward style networks: any picture size, the network's own picture where its strides allow, mixtures."""
import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from minivis import golden, image
from minivis.colours import grey
from minivis.errors import MinivisError
from minivis.layers import Layer, Table
from minivis.network import Network
from minivis.techniques.stylize import stylize
from minivis.tensor import Tensor


@pytest.fixture(scope="module")
def net():
    """Down by 2 and up again, as style networks are; it gives grey levels."""
    layers = Table([
        Layer("input", "input", shape=[None, None, 3]),
        Layer("down", "conv", filters=4, kernel=3, stride=2, pad="same"), Layer("norm", "instance_norm"),
        Layer("relu", "relu"), Layer("up", "conv_transpose", filters=3, kernel=3, stride=2, pad="same"),
        Layer("tanh", "tanh"), Layer("picture", "scale", factor=150.0, offset=127.5)])
    return Network(layers, golden.draw_weights(layers, 3), precision="float64", name="small style",
                   preprocessing={"channels": "RGB", "range": 255, "mean": [0] * 3, "std": [1] * 3})


def picture(height, width):
    return np.random.RandomState(1).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_it_is_the_networks_own_picture_where_the_strides_divide_the_sides(net):
    given = picture(24, 30)
    result = stylize(net, given)
    made = np.clip(net(Tensor(given[None].astype(float)))["picture"].data[0], 0, 255)
    assert np.ptp(made) > 50 and np.array_equal(result.values[0], made)
    assert np.array_equal(result.pictures[0], np.rint(made)) and np.array_equal(result.original, given)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 7), (17, 40), (41, 16)])
def test_any_size_of_picture_comes_out_at_its_size(net, size):
    assert stylize(net, picture(*size)).pictures.shape == (1, *size, 3)


def test_what_lies_beyond_the_border_is_the_mirror_image(net):
    given = picture(7, 9)
    mirrored = np.pad(given, ((0, 1), (0, 1), (0, 0)), mode="reflect")
    assert np.array_equal(stylize(net, given).values[0], stylize(net, mirrored).values[0, :7, :9])


def test_little_memory_makes_the_same_picture_in_bands(net, monkeypatch):
    module = importlib.import_module("minivis.techniques.stylize")
    given, used = picture(203, 60), []
    whole = stylize(net, given).values
    monkeypatch.setattr(module, "_in_bands", lambda *a, own=module._in_bands: used.append(a[2]) or own(*a))
    assert np.abs(stylize(net, given, memory="1.5MB").values - whole).max() < 1e-9 and used == [1_500_000]


def test_strength_mixes_and_luminance_keeps_the_colours(net):
    given = picture(12, 16)
    full = stylize(net, given).values[0]
    assert np.allclose(stylize(net, given, strength=0.25).values[0], 0.25 * full + 0.75 * given)
    assert np.array_equal(stylize(net, given, strength=0.0).pictures[0], given)
    kept = stylize(net, given, colours="luminance").values[0]
    assert np.allclose(kept - grey(kept), given - grey(given)) and np.allclose(grey(kept), grey(full))


def test_a_networks_own_units_become_grey_levels():
    """A network that gives back its input, in BGR and standard deviations, changes nothing."""
    table = Table([Layer("input", "input", shape=[None, None, 3]), Layer("same", "scale")])
    net = Network(table, {}, name="identity", precision="float64", preprocessing={
        "channels": "BGR", "range": 1, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]})
    given = picture(6, 8)
    assert np.array_equal(stylize(net, given, units="network").pictures[0], given)


def test_what_is_no_style_network_and_what_does_not_fit_is_one_clear_error(net, conv_net):
    with pytest.raises(MinivisError, match=r"network conv makes no pictures .it gives 3 numbers.*--network"):
        stylize(conv_net(), picture(12, 10))
    with pytest.raises(MinivisError, match="more than the memory limit of 1 MB, in bands of rows, too; --size") as e:
        stylize(net, picture(400, 400), memory="1MB")
    side = int(str(e.value).split("--size ")[1].split()[0])
    assert 32 < side < 400 and stylize(net, picture(400, 400), size=side, memory="1MB").pictures.shape[1] == side
    with pytest.raises(MinivisError, match="strength 2"):
        stylize(net, picture(4, 4), strength=2)
    halved = Network(Table([Layer("input", "input", shape=[None, None, 3]), Layer("half", "avg_pool", kernel=2)]), {},
                     preprocessing={"channels": "RGB", "range": 255, "mean": [0] * 3, "std": [1] * 3})
    with pytest.raises(MinivisError, match="changes the size"):
        stylize(halved, picture(8, 8))


@pytest.mark.data
def test_a_network_that_others_trained(data_folder):
    from minivis.loading import load_network
    net = load_network(data_folder / "fast_style_wave.h5")
    given = image.read(data_folder / "tubingen.jpg")
    for size in (64, 65, 97):
        result = stylize(net, given, size=size)
        assert result.pictures.shape == (1, round(size * 0.75), size, 3) and result.pictures.std() > 20


def test_a_network_of_one_style_knows_its_name(net):
    named = net.with_weights({})
    named.meta = {**net.meta, "style": "waves"}
    assert np.array_equal(stylize(named, picture(8, 8), style="waves").pictures, stylize(net, picture(8, 8)).pictures)
    with pytest.raises(MinivisError, match="small style has one style, waves: leave out"):
        stylize(named, picture(8, 8), style="mosaic")


def test_without_a_network_it_is_the_style_network_that_ships(monkeypatch):
    module = importlib.import_module("minivis.techniques.stylize")
    assert stylize.network_for() in module.embedded_names() or stylize.network_for() == module.DEFAULT
    monkeypatch.setattr(module, "embedded_names", lambda: ["digits", "minivgg", "style_a", "style_b"])
    assert module.network_for() == "style_a"
    assert module.network_for(SimpleNamespace(style="b")) == "style_b"
    assert module.network_for(SimpleNamespace(style="c")) == "style_a"
    monkeypatch.setattr(module, "embedded_names", lambda: ["minivgg"])
    assert module.network_for() == "minivgg"
