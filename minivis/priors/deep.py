"""Networks as priors: what is optimised is not the picture but what an image-making network makes it from.

Both are parameterisations, like Pixels and Fourier in minivis.parameterize, and take the same calls.
"""
import numpy as np

from .. import kernels, ops
from ..errors import MinivisError
from ..parameterize import START, Units, to_device
from ..shapes import infer_shapes
from ..tensor import Tensor

CHANNELS = (64, 64, 64, 32, 16)     # of the deep prior's convolutions, the smallest picture first
LEAST = 4                           # the smallest picture's shorter side, in pixels, if the whole one allows


class DeepPrior:
    """z (N, P): the weights of a small convolutional network that turns noise, which stays, into the picture.

    3x3 convolution, instance normalisation, leaky ReLU, twice the size; again and again; then 1x1 and a sigmoid. Such a
    network draws edges and surfaces long before it draws noise, untrained as it is: the "deep image prior" of Ulyanov,
    Vedaldi, Lempitsky 2018, arXiv:1711.10925. Each picture has weights of its own.
    """

    def __init__(self, net, size, count=1, channels=CHANNELS):
        if min(channels) < 1:
            raise MinivisError(f"deep prior: filters {list(channels)} must be at least 1 in every convolution")
        self.net, self.units, self.size, self.count = net, Units(net), tuple(size), count
        channels = tuple(int(c) for c in channels)
        most = max(0, int(np.log2(min(size) / LEAST)))          # a normalisation needs several positions
        self.sizes = [tuple(-(-n // 2 ** min(k, most)) for n in size) for k in reversed(range(len(channels)))]
        self.channels = channels
        self.shapes, self.ones = [], set()              # of the weights in z, in order; which of them begin at 1
        for C, K in zip((channels[0], *channels), channels):
            self.ones.add(len(self.shapes) + 1)
            self.shapes += [(3, 3, C, K), (K,), (K,)]   # filters, scale, shift
        self.shapes += [(1, 1, channels[-1], 3), (3,)]
        self.ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes]).tolist()
        self.noise = None

    def start(self, seed=0, noise=1.0):
        """He-initialised weights and, kept beside them, the noise that is turned into picture n; from (seed, n)."""
        drawn, noises = [], []
        for n in range(self.count):
            draw = np.random.default_rng([seed, START, n])
            noises.append(draw.standard_normal((1, *self.sizes[0], self.channels[0]), np.float32) * np.float32(noise))
            parts = []
            for i, shape in enumerate(self.shapes):
                parts.append(np.full(shape, i in self.ones, np.float32) if len(shape) == 1 else
                             draw.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[:3])) ** 0.5))
            drawn.append(np.concatenate([part.ravel() for part in parts]))
        self.noise = [to_device(self.net, a.astype(self.net.dtype)) for a in noises]
        return to_device(self.net, np.stack(drawn).astype(self.net.dtype))

    def __call__(self, z):
        z = z if isinstance(z, Tensor) else Tensor(z)
        pictures = [self._picture(n, z) for n in range(self.count)]
        levels = pictures[0] if self.count == 1 else ops.concatenate(pictures, axis=0)
        return levels + kernels.xp(z.data).asarray(self.units.black)

    def _picture(self, n, z):
        parts = [ops.reshape(z[n, start:end], *shape)
                 for start, end, shape in zip([0, *self.ends], self.ends, self.shapes)]
        x = Tensor(self.noise[n])
        for k in range(len(self.sizes)):
            w, scale, shift = parts[3 * k:3 * k + 3]
            x = ops.leaky_relu(ops.instance_norm(ops.conv2d(x, w, pad=1), scale, shift), 0.2)
            if k + 1 < len(self.sizes):
                x = x if x.shape[1:3] == self.sizes[k + 1] else ops.resize(x, self.sizes[k + 1])
        return ops.sigmoid(ops.conv2d(x, *parts[-2:])) * 255.0

    def clip(self, z):
        """z itself: the sigmoid keeps every picture between black and white."""
        return z

    def levels(self, z):
        """Float64 RGB grey levels (N, H, W, 3)."""
        return self.units.to_levels(self(z).data)


class GeneratorPrior:
    """z (N, h, w, C): the code from which a trained generator network makes the picture.

    The generator (see minivis.generator) has learnt to turn a network's codes back into the pictures they came from, so
    whatever z it is given, something like a picture comes out: the deep generator network prior of Nguyen et al. 2016,
    arXiv:1605.09304. z counts standard deviations from the code's mean and stays within `bound` of them.
    """

    def __init__(self, net, size, generator, count=1, bound=3.0):
        check_generator(generator)
        if not bound > 0:
            raise MinivisError(f"generator: bound {bound} must be above 0 standard deviations")
        self.bound = float(bound)
        self.net, self.units, self.size = net, Units(net), tuple(size)
        self.generator = generator.with_precision(net.precision)
        C, each = generator.channels("input"), stride(generator)
        self.shape = (count, *(-(-n // each) for n in size), C)

    def start(self, seed=0, noise=0.3):
        """Normal noise around the mean code; picture n draws from (seed, n)."""
        drawn = [np.random.default_rng([seed, START, n]).standard_normal(self.shape[1:], np.float32)
                 for n in range(self.shape[0])]
        return to_device(self.net, (np.stack(drawn) * np.float32(noise)).astype(self.net.dtype))

    def __call__(self, z):
        levels = self.generator(z, layers=["picture"])["picture"]
        levels = levels if levels.shape[1:3] == self.size else ops.resize(levels, self.size)
        return levels + kernels.xp(levels.data).asarray(self.units.black)

    def clip(self, z):
        """z within `bound` standard deviations."""
        return kernels.xp(z).clip(z, -self.bound, self.bound)

    def levels(self, z):
        """Float64 RGB grey levels (N, H, W, 3)."""
        return self.units.to_levels(self(Tensor(z)).data)


def check_generator(generator):
    """One clear error for a network that makes no pictures from codes."""
    if generator is None:
        raise MinivisError("this prior makes pictures by a trained generator; give its file with --generator")
    names = generator.table.names
    if "picture" not in names or generator.channels("picture") != 3:
        raise MinivisError(f"network {generator.name} is no generator: it has no layer 'picture' of three colours")


def stride(generator):
    """Pixels of the picture per position of the code."""
    shape = (1, 1, generator.channels("input"))
    return infer_shapes(generator.table, shape, names=generator.table.names)["picture"][0]
