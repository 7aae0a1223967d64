"""A small set of pictures in two sub-folders, and a network to look at them."""
import numpy as np
import pytest
from PIL import Image

from minivis.layers import Layer
from minivis.network import Network
from minivis.preprocessing import Preprocessing


@pytest.fixture(scope="session")
def small_net():
    """build(seed=0, size=(16, 16), classes=3): two convolutions with ReLUs, a global average, class scores."""
    def build(seed=0, size=(16, 16), name="small", classes=3):
        random = np.random.RandomState(seed)
        layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=6, kernel=3, pad=1),
                  Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2),
                  Layer("conv2", "conv", filters=8, kernel=3, pad=1), Layer("relu2", "relu"),
                  Layer("gap", "global_avg_pool"), Layer("scores", "linear", outputs=classes)]
        weights = {"conv1/weight": random.standard_normal((3, 3, 3, 6)) / 3, "conv1/bias": np.full(6, 0.1),
                   "conv2/weight": random.standard_normal((3, 3, 6, 8)) / 5, "conv2/bias": np.full(8, 0.1),
                   "scores/weight": random.standard_normal((8, classes)), "scores/bias": np.zeros(classes)}
        return Network(layers, weights, "scores", preprocessing=Preprocessing(size=size, range=1), name=name,
                       labels=[(f"n{i}", label) for i, label in enumerate(("cat", "dog", "bird")[:classes])])
    return build


@pytest.fixture(scope="session")
def two_folders(tmp_path_factory):
    """A folder with the sub-folders red and stripes of twelve pictures each, and one file that is no picture."""
    path = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(0)
    for i in range(12):
        red = random.randint(0, 60, (20, 20, 3)) + [150, 0, 0]
        across = np.sin(np.arange(20) * random.uniform(1.5, 2.5) + random.uniform(0, 6)) > 0
        stripes = np.repeat(np.where(across, 200, 20)[None, :, None], 20, axis=0) + random.randint(0, 40, (20, 20, 3))
        for name, picture in (("red", red), ("stripes", stripes)):
            (path / name).mkdir(exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(path / name / f"{i:02d}.png")
    (path / "red" / "broken.png").write_bytes(b"no picture")
    return path
