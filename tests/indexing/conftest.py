"""A small network and small sets of pictures."""
import numpy as np
import pytest
from PIL import Image

from minivis.layers import Layer
from minivis.network import Network
from minivis.preprocessing import Preprocessing

SIZE = (20, 24)


@pytest.fixture(scope="session")
def net():
    """Two convolutions, a pooling, and a global average; made for pictures of 20 x 24, any other are squeezed."""
    random = np.random.RandomState(3)
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=6, kernel=3, pad=1),
              Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2),
              Layer("conv2", "conv", filters=8, kernel=3, pad=1), Layer("relu2", "relu"),
              Layer("gap", "global_avg_pool"), Layer("scores", "linear", outputs=4)]
    weights = {"conv1/weight": random.standard_normal((3, 3, 3, 6)), "conv1/bias": random.standard_normal(6) / 4,
               "conv2/weight": random.standard_normal((3, 3, 6, 8)) / 5, "conv2/bias": np.zeros(8),
               "scores/weight": random.standard_normal((8, 4)), "scores/bias": np.zeros(4)}
    return Network(layers, weights, "scores", preprocessing=Preprocessing(size=SIZE, range=1), name="small")


def smooth(seed, height, width):
    """A picture of coarse blotches: neighbouring pixels are alike, as in photographs."""
    random = np.random.RandomState(seed)
    coarse = Image.fromarray(random.randint(0, 256, (5, 5, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder with 40 pictures in two sub-folders, of many sizes, and three files that only look like pictures."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(40):
        sub = folder / ("cats" if i % 3 else "dogs")
        sub.mkdir(exist_ok=True)
        Image.fromarray(smooth(i, 16 + i % 7, 20 + i % 5)).save(sub / f"{i:02d}.png")
    good = (folder / "cats" / "01.png").read_bytes()
    (folder / "cats" / "04b.png").write_bytes(good[:len(good) // 2])
    (folder / "dogs" / "empty.jpg").write_bytes(b"")
    (folder / "dogs" / "zz.JPEG").write_text("no picture")
    (folder / "readme.txt").write_text("not listed")
    return folder


@pytest.fixture(scope="session")
def same():
    """f(one, two): two Index files hold the same."""
    def equal(one, two):
        assert (one.names, one.labels, one.bad, one.size) == (two.names, two.labels, two.bad, two.size)
        assert np.array_equal(one.label, two.label) and np.array_equal(one.pixels(), two.pixels())
        assert one.layers == two.layers and one.layers
        for name, layer in one.layers.items():
            if layer.width:
                assert np.array_equal(one.features(name), two.features(name)) and one.features(name).any()
            if layer.kept:
                assert all(np.array_equal(a, b) for a, b in zip(one.top(name), two.top(name)))
    return equal
