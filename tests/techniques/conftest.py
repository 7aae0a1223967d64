"""Networks small enough to solve by hand, and pictures for them."""
import numpy as np
import pytest

from minivis.layers import Layer
from minivis.network import Network
from minivis.preprocessing import Preprocessing

LABELS = [("n01", "cat"), ("n02", "dog"), ("n03", "bird")]


def preprocessing(size, channels="RGB"):
    """x = level / 255: network units are picture units, but for the order of the channels."""
    return Preprocessing(size=size, channels=channels, range=1)


@pytest.fixture
def picture():
    return np.random.RandomState(5).randint(0, 256, (12, 10, 3)).astype(np.uint8)


@pytest.fixture
def linear_net():
    """build(channels="RGB") -> (net, w): scores = sum over pixels and colours of x * w[:, :, :, class] + (0, 1, 2).

    w (12, 10, 3, 3) is in RGB order, whatever order the network eats.
    """
    def build(channels="RGB", precision="float64"):
        w = np.random.RandomState(0).standard_normal((12, 10, 3, 3))
        eaten = w[:, :, ::-1] if channels == "BGR" else w
        layers = [Layer("input", "input", shape=[12, 10, 3]), Layer("flat", "flatten"),
                  Layer("scores", "linear", outputs=3)]
        weights = {"scores/weight": eaten.reshape(-1, 3), "scores/bias": np.arange(3.0)}
        return Network(layers, weights, "scores", preprocessing=preprocessing((12, 10), channels), labels=LABELS,
                       precision=precision, name="linear"), w
    return build


@pytest.fixture
def conv_net():
    """build(**changes) -> a net with two convolutions, ReLUs, a max pooling and a global average; biases as given."""
    def build(channels="RGB", precision="float64", bias=0.0, positive=False, classes=3, seed=1):
        random = np.random.RandomState(seed)

        def draw(*shape):
            w = random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
            return np.abs(w) if positive else w
        layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=5, kernel=3, pad=1),
                  Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2),
                  Layer("conv2", "conv", filters=classes, kernel=3), Layer("relu2", "relu"),
                  Layer("scores", "global_avg_pool")]
        weights = {"conv1/weight": draw(3, 3, 3, 5), "conv1/bias": np.full(5, bias),
                   "conv2/weight": draw(3, 3, 5, classes), "conv2/bias": np.full(classes, bias)}
        return Network(layers, weights, "scores", preprocessing=preprocessing((12, 10), channels),
                       labels=LABELS[:classes], precision=precision, name="conv")
    return build
