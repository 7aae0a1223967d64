"""What is optimised when a picture is: its grey levels, or its Fourier coefficients in colours without correlation.

A parameterisation has `start(...) -> z`, an array (N, ...), and turns a Tensor z into a picture by
`p(z) -> Tensor (N, H, W, 3)` of grey levels, 0 to 255, RGB, counted from the network's mean colour; `p.units.of` makes
these the network's input. So a step, a decay or a smoothness means the same for every network, whatever its own units
and channel order.
"""
import numpy as np

from . import kernels, ops
from .errors import MinivisError
from .tensor import Op, Tensor

START = 21                  # the stream of random numbers that pictures begin with
PICTURE_SCALE = 4.0         # Olah et al.'s divisor: noise of size 0.01 gives a faint picture

# Columns: the directions in which colours of photographs vary independently, times the standard deviation there, for
# colours from 0 to 1. From the covariance of the pixels of a hundred ImageNet pictures.
COLOURS = np.array([[-0.25398, -0.10986, 0.02014], [-0.25990, 0.01072, -0.04837], [-0.26186, 0.09591, 0.02847]])


class Units:
    """Grey levels <-> the network's units."""

    def __init__(self, net):
        p = net.preprocessing
        self.flip, self.dtype = p.channels == "BGR", net.dtype
        order = slice(None, None, -1) if self.flip else slice(None)
        self.per_level = np.array(p.range / 255 / np.array(p.std), net.dtype)       # (3,), in the network's order
        self.mean = np.array(p.mean)[order] * 255 / p.range                         # (3,) RGB grey levels
        self.black, self.white = (np.asarray(v - self.mean, net.dtype) for v in (0.0, 255.0))

    def of(self, levels):
        """Tensor of grey levels from the mean colour, RGB -> Tensor of network input."""
        return (ops.flip(levels, 3) if self.flip else levels) * kernels.kept(self.per_level, levels.data)

    def rounded(self, levels):
        """Tensor of grey levels from the mean colour, as a file of 8 bits holds them; the gradient passes unchanged."""
        black = kernels.kept(self.black, levels.data)
        return ops.round_through(levels - black, 0, 255) + black

    def levels_from_mean(self, picture):
        """(..., 3) grey levels RGB -> the same from the mean colour, in the network's dtype."""
        return np.asarray(np.asarray(picture, np.float64) - self.mean, self.dtype)

    def to_levels(self, z):
        """Levels from the mean colour -> float64 RGB grey levels, neither clipped nor rounded."""
        z = z.get() if hasattr(z, "get") else z
        return np.asarray(z, np.float64) + self.mean


def to_device(net, array):
    """The array in the memory in which the network's weights lie."""
    some = next(iter(net.weights.values()), None)
    return array if some is None else kernels.xp(some.data).asarray(array)


class Pixels:
    """z (N, H, W, 3): grey levels from the network's mean colour."""

    def __init__(self, net, size, count=1):
        self.net, self.units, self.shape = net, Units(net), (count, *size, 3)

    def start(self, seed=0, noise=10.0):
        """The mean colour with normal noise of `noise` grey levels; picture n draws from (seed, n)."""
        drawn = [np.random.default_rng([seed, START, n]).standard_normal(self.shape[1:], np.float32)
                 for n in range(self.shape[0])]
        return to_device(self.net, (np.stack(drawn) * np.float32(noise)).astype(self.net.dtype))

    def from_picture(self, picture):
        """(H, W, 3) grey levels -> z."""
        z = self.units.levels_from_mean(picture)[None]
        return to_device(self.net, np.ascontiguousarray(np.broadcast_to(z, self.shape)))

    def __call__(self, z):
        return z

    def clip(self, z):
        """z within black and white."""
        xp = kernels.xp(z)
        return xp.clip(z, xp.asarray(self.units.black), xp.asarray(self.units.white))

    def levels(self, z):
        """Float64 RGB grey levels (N, H, W, 3)."""
        return self.units.to_levels(z)


class Fourier:
    """z (N, h, w // 2 + 1, 3, 2): real and imaginary parts of the picture's spectrum, in decorrelated colours.

    rgb = sigmoid(C irfft2(scale z) / 4), scale = sqrt(h w) / max(frequency, 1 / max(h, w))^falloff: every frequency has
    the size it has in photographs, so that a step changes coarse and fine structures alike. Olah, Mordvintsev, Schubert
    2017, doi:10.23915/distill.00007 (preconditioning). decorrelate False: C = 1, and colours move each on its own.
    bounded False: the sigmoid's tangent at grey in its place, so that a loss that is nearly quadratic in the picture
    stays so; colours may then leave 0 to 255, and it is for a penalty to keep them.
    (h, w) is the least size from (H, W) up whose transform is fast, and the picture its middle: a transform of a prime
    number of rows (227, ImageNet's) takes ten times as long.
    """

    def __init__(self, net, size, count=1, falloff=1.0, decorrelate=True, bounded=True):
        H, W = size
        self.bounded = bounded
        self.net, self.units, self.size, self.canvas = net, Units(net), (H, W), tuple(fast_length(n) for n in size)
        h, w = self.canvas
        self.shape = (count, h, w // 2 + 1, 3, 2)
        self.before = tuple((n - m) // 2 for n, m in zip(self.canvas, size))    # rows and columns cut off before it
        frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
        scale = np.sqrt(h * w) / np.maximum(frequency, 1 / max(h, w)) ** falloff / PICTURE_SCALE
        self.scale = scale[None, :, :, None, None].astype(net.dtype)
        colours = COLOURS / np.linalg.norm(COLOURS, axis=0).max() if decorrelate else np.eye(3)
        self.colours = np.ascontiguousarray(colours.T.astype(net.dtype))    # rgb = v @ colours, a 1x1 convolution

    def start(self, seed=0, noise=0.01):
        """Normal noise; picture n draws from (seed, n)."""
        drawn = [np.random.default_rng([seed, START, n]).standard_normal(self.shape[1:], np.float32)
                 for n in range(self.shape[0])]
        return to_device(self.net, (np.stack(drawn) * np.float32(noise)).astype(self.net.dtype))

    def from_picture(self, picture):
        """(H, W, 3) grey levels -> z; black and white become nearly so, as no z makes them quite."""
        part = np.asarray(picture, np.float64) / 255
        inside = np.clip(part, 0.02, 0.98)
        plain = np.log(inside / (1 - inside)) if self.bounded else 4 * part - 2
        plain = plain @ np.linalg.inv(self.colours.astype(np.float64))
        around = [(b, n - m - b) for b, n, m in zip(self.before, self.canvas, self.size)]
        spectrum = np.fft.rfft2(np.pad(plain, [*around, (0, 0)], "edge"), axes=(0, 1))
        z = np.stack([spectrum.real, spectrum.imag], -1)[None] / self.scale
        return to_device(self.net, np.ascontiguousarray(np.broadcast_to(z, self.shape), self.net.dtype))

    def __call__(self, z):
        xp = kernels.xp(z.data)
        (H, W), (down, right) = self.size, self.before
        plain = InverseFourier(*self.canvas)(z * xp.asarray(self.scale))
        if self.canvas != self.size:
            plain = plain[:, down:down + H, right:right + W]
        mixed = ops.conv2d(plain, xp.asarray(self.colours[None, None]))
        part = ops.sigmoid(mixed) if self.bounded else mixed * 0.25 + 0.5
        return part * 255.0 + xp.asarray(self.units.black)

    def clip(self, z):
        """z itself: the sigmoid keeps every picture between black and white."""
        return z

    def levels(self, z):
        """Float64 RGB grey levels (N, H, W, 3)."""
        return self.units.to_levels(self(Tensor(z)).data)


def fast_length(n):
    """The least number from n up without a prime factor above 11."""
    def rest(m):
        for p in (2, 3, 5, 7, 11):
            while m % p == 0:
                m //= p
        return m
    while rest(n) > 1:
        n += 1
    return n


class InverseFourier(Op):
    """y (N, H, W, C) = irfft2 of the spectrum a + i b given as x (N, H, W // 2 + 1, C, 2).

    y = (1 / H W) sum over the frequencies k, l of a full spectrum; a column 0 < l < W / 2 stands for two of them, l and
    -l, and so counts twice: dx = m_l rfft2(dy) / (H W), m_l = 1 for l = 0 and l = W / 2 and 2 between.
    """

    def __init__(self, H, W):
        self.H, self.W = H, W

    def forward(self, x):
        if x.shape[1:3] != (self.H, self.W // 2 + 1) or x.ndim != 5:
            raise ValueError(f"inverse Fourier: x {x.shape} must be (N, {self.H}, {self.W // 2 + 1}, C, 2)")
        xp = kernels.xp(x)
        spectrum = x[..., 0] + 1j * x[..., 1]
        return xp.ascontiguousarray(xp.fft.irfft2(spectrum, s=(self.H, self.W), axes=(1, 2)).astype(x.dtype))

    def backward(self, dy):
        xp = kernels.xp(dy)
        g = xp.fft.rfft2(dy, axes=(1, 2)) / (self.H * self.W)
        columns = np.arange(self.W // 2 + 1)
        twice = np.where((columns > 0) & (2 * columns != self.W), 2.0, 1.0)[None, None, :, None]
        g = g * xp.asarray(twice)
        return xp.stack([g.real, g.imag], axis=-1).astype(dy.dtype)


KINDS = ("pixels", "fourier", "deep", "generator")


def parameterization(kind, net, size, count=1, *, falloff=1.0, decorrelate=True, bounded=True,
                     generator=None, bound=3.0, filters=None):
    """The parameterisation of one of the KINDS. falloff, decorrelate and bounded are Fourier's, generator and bound the
    generator's, filters the deep prior's."""
    if kind == "pixels":
        return Pixels(net, size, count)
    if kind == "fourier":
        return Fourier(net, size, count, falloff, decorrelate, bounded)
    if kind in KINDS:
        from .priors.deep import CHANNELS, DeepPrior, GeneratorPrior
        if kind == "deep":
            return DeepPrior(net, size, count, filters or CHANNELS)
        return GeneratorPrior(net, size, generator, count, bound)
    raise MinivisError(f"no parameterisation {kind!r}; there are {', '.join(KINDS)}")
