"""`digits`: a network one can train while one waits. Read it, run it, change it.

    from minivis.training.digits import train_digits
    net, history = train_digits(width=16, seed=0)

scikit-learn's handwritten digits are 1797 pictures of 8 x 8 pixels. A fifth is held out, the same fifth always.
"""
import numpy as np

from .. import architectures
from ..layers import Table
from ..loading import random_weights
from ..network import Network
from .data import Pictures
from .fold import folded
from .optimisers import SGD
from .trainer import Phase, Trainer

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LABELS = [(str(i), name) for i, name in enumerate(NAMES)]


def digits_data():
    """(training, held out): Pictures of the digits, white on black, three equal channels."""
    from sklearn.datasets import load_digits
    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    pictures = np.repeat(grey[..., None], 3, axis=3)
    order = np.random.RandomState(0).permutation(len(pictures))
    held = len(pictures) // 5
    return (Pictures(pictures[order[held:]], digits.target[order[held:]], LABELS),
            Pictures(pictures[order[:held]], digits.target[order[:held]], LABELS))


def untrained_digits(width=16, seed=0):
    """Two blocks of two 3x3 convolutions, `width` and then twice as many filters, with batch normalisation."""
    table = architectures.minivgg(widths=(width, 2 * width), depths=(2, 2), classes=10, norm=True)
    layers = Table(table.pop("layers"))
    preprocessing = {"size": [8, 8], "resize": 8, "crop": "centre", "interpolation": "bilinear", "antialias": True,
                     "channels": "RGB", "range": 255, "mean": [77.8] * 3, "std": [95.9] * 3}
    return Network(layers, random_weights(layers, seed), **table, preprocessing=preprocessing, labels=LABELS,
                   meta={"architecture": "digits", "licence": "the weights: public domain (CC0)"})


def train_digits(width=16, seed=0, epochs=30, rate=0.05, batch=32, progress=None):
    """(network ready for use, history of the training). progress: called with every trainer Step."""
    net = untrained_digits(width, seed)
    net.weights.unfreeze()
    shifted = {"sharp": 1.0, "flip": 0.0, "colour": 0.1}        # a digit in the mirror is another one, or none
    trainer = Trainer(net, digits_data()[0], [Phase(epochs, 8)], SGD(0.9, 5e-4), rate, batch=batch, seed=seed,
                      augment=shifted)
    for step in trainer:
        if progress:
            progress(step)
    return folded(trainer.trained()), trainer.history
