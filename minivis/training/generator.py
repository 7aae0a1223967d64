"""Training a generator: pictures from the codes of a network that stays as it is.

    task = GeneratorTask(net, "pool5", pictures, batch=32)
    for step in StyleTrainer(task, steps=1500, rate=1e-3):
        print(step.done, step.terms)
    generator = task.trained()

The loss of a remade picture is its distance from the one that was encoded, in pixels and by the eyes of the same
network, each relative to its value on noise: Dosovitskiy and Brox 2016, arXiv:1602.02644, without their discriminator.
"""
import numpy as np

from .. import ops
from ..errors import MinivisError
from ..generator import doublings_of, generator_layers, untrained_generator
from ..optimize import host
from ..parameterize import to_device
from ..provenance import network_identity
from ..tensor import Tensor
from .style import Perceptual

DRAWS = 34                  # a stream of random numbers
SPREAD = 64.0 ** 2          # the variance of a photograph's grey levels, which distances in pixels are relative to
MEASURED = 256              # pictures that the codes' mean and deviation are taken from


class GeneratorTask:
    """What StyleTrainer asks for: batches, losses, weights. pictures: uint8 (N, H, W, 3), square, of one size.

    layer     whose activations are the code; seen   {layer: weight} in which remade pictures are compared
    weights   of the terms: pixels, content (of the layers seen) and tv
    """

    def __init__(self, net, layer, pictures, *, seen, batch=32, width=192, seed=0, weights=None):
        if len(pictures) < 2 or batch < 1:
            raise MinivisError(f"generator: {len(pictures)} pictures and batch {batch}; there must be several pictures")
        self.net_seen, self.layer = net, net.layer_name(layer)
        self.pictures, self.batch, self.seed = pictures, int(batch), seed
        self.weights = {"pixels": 1.0, "content": 1.0, "tv": 0.0, **(weights or {})}
        mean, deviation = self._statistics()
        layers = generator_layers(net.channels(self.layer), doublings_of(net, self.layer), width)
        source = f"codes of {self.layer} of {net.name}, weights {network_identity(net)['weights'][:16]}"
        self.net = untrained_generator(layers, mean, deviation, seed, source)
        self.net.weights.unfreeze()
        self.perceptual = Perceptual(net, {net.layer_name(n): w for n, w in seen.items()}, {}, self.weights)

    def prepare(self, step):
        """uint8 pictures (batch, H, W, 3) for a step, half of them mirrored."""
        draw = np.random.default_rng([self.seed, DRAWS, step])
        chosen = self.pictures[draw.integers(len(self.pictures), size=self.batch)]
        flipped = draw.random(self.batch) < 0.5
        return np.where(flipped[:, None, None, None], chosen[:, :, ::-1], chosen)

    def losses(self, step, pictures):
        """-> ({"pixels", "content", "tv": Tensor (N,)}, {name: Tensor to be moved})"""
        code = self._code(pictures)
        scale, shift = (self.net.weights[f"code/{part}"].data for part in ("scale", "shift"))
        levels = self.net((code - shift) / scale, layers=["picture"])["picture"]
        wanted = to_device(self.net, pictures.astype(self.net.dtype))
        found = self.perceptual(levels, self.perceptual.content_terms(pictures))
        apart = ops.mean(ops.square(levels - wanted), (1, 2, 3)) * (self.weights["pixels"] / SPREAD)
        return {"pixels": apart, **found}, self.tensors()

    def tensors(self):
        return {name: t for name, t in self.net.weights.items() if not name.startswith("code/")}

    def trained(self):
        """The generator as it is now, frozen."""
        return self.net.with_weights({name: t.data.copy() for name, t in self.net.weights.items()})

    def _code(self, pictures):
        x = to_device(self.net_seen, self.net_seen.preprocessing.normalize(pictures, self.net_seen.dtype))
        return self.net_seen(Tensor(x), layers=[self.layer])[self.layer].data

    def _statistics(self):
        """Mean and deviation of each channel of the code over some pictures; 1 where a channel is silent."""
        step = max(1, len(self.pictures) // MEASURED)
        codes = np.concatenate([host(self._code(self.pictures[i:i + 32 * step:step]))
                                for i in range(0, min(len(self.pictures), MEASURED * step), 32 * step)])
        deviation = codes.astype(np.float64).std((0, 1, 2))
        return codes.mean((0, 1, 2)), np.where(deviation > 0, deviation, 1.0)

