"""Feature inversion: pictures that look the same to a layer, and so what the layer has kept and forgotten."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..options import Layer, Network, Picture
from ..results import Reconstructions
from .common import recipe
from .inversion import Inversion, caption, codes, settings_of


def invert(net: Network, picture: Picture, *, layers: list[Layer] | None = None,
           preset: Literal["usual", "mahendran", "johnson"] = "usual", steps: int | None = None,
           repeats: int | None = None, tv: float | None = None, tv_power: float | None = None,
           alpha: float | None = None, alpha_weight: float | None = None,
           parameterization: Literal["pixels", "fourier", "deep", "generator"] | None = None,
           falloff: float | None = None, generator: Network = None,
           optimizer: Literal["auto", "adam", "lbfgs", "sgd"] | None = None,
           rate: float | None = None, momentum: float | None = None, noise: float | None = None,
           good: float | None = None, rounded: float | None = None, seed=0, monitor=None) -> Reconstructions:
    """From each layer's activations alone, a picture that gives the same activations: a row through the network.

    x* = argmin |f(x) - f(x0)|^2 / |f(x0)|^2 + tv TV(x) + alpha_weight |x|_alpha^alpha, from noise. Mahendran and
    Vedaldi 2015, arXiv:1412.0035. What the row loses on its way up, the layers have thrown away.

    pictures (layers x repeats, H, W, 3). The relative error |f(x*) - f(x0)| / |f(x0)| and the PSNR against the picture
    are measured on the rounded 8-bit pictures.

    layers        which layers; none means six of them, from the first to the last with positions
    preset        whose settings to begin with: those of minivis; of Mahendran and Vedaldi (pixels, momentum, norms); of
                  Johnson et al. 2016 (pixels, L-BFGS, features and total variation)
    steps         steps for each layer; with Adam the last 40 percent become smaller and smaller. The highest layers of
                  a large network come nearer with thousands
    repeats       pictures for each layer, each from its own noise: what they share is what the code says
    tv            penalty for the total variation, in grey levels, divided by the number of values
    tv_power      power of the slope at each pixel in the total variation (beta): 1 allows edges, 2 smooths them
    alpha         power of the norm that keeps colours small
    alpha_weight  its penalty, divided by the number of values
    parameterization   what is optimised: pixels, Fourier coefficients in decorrelated colours, the weights of an
                  untrained network that makes the picture (deep), or the code a trained one makes it from (generator)
    falloff       the power of the frequency that coefficients are divided by (fourier): the higher, the sooner coarse
                  structures move; which is better for a high layer depends on the picture: try 0.75 with rate 0.05
    generator     that trained network: a file made by tools/train_generator.py
    optimizer     Adam, L-BFGS or gradient descent with momentum; auto means L-BFGS for layers whose units see less
                  than three tenths of the picture's side, where it is several times as fast, and Adam above
    rate          size of a step; none means 1 for L-BFGS, for Adam one that suits the parameterisation, and Mahendran
                  and Vedaldi's for sgd
    momentum      share of the last step that is taken again (sgd)
    noise         size of the first picture's noise: grey levels (pixels), of coefficients (fourier), of what the
                  picture is made from (deep), or of the code (generator)
    good          relative error at which a layer is left
    rounded       share of the steps, the last ones, in which the network sees the picture rounded to 8 bits, as it will
                  be kept: a high layer's code is otherwise met by patterns that rounding destroys (not with L-BFGS)
    """
    s = settings_of(preset=preset, steps=steps, repeats=repeats, tv=tv, tv_power=tv_power, alpha=alpha,
                    alpha_weight=alpha_weight, parameterization=parameterization, falloff=falloff, generator=generator,
                    optimizer=optimizer, rate=rate, momentum=momentum, noise=noise, good=good, rounded=rounded)
    seen = net.see(picture)
    names = [net.layer_name(name) for name in layers] if layers else default_layers(net)
    wanted = codes(net, seen.picture, names)
    found = Inversion(net, wanted, seen.picture.shape[:2], s, seed).run(monitor)
    rows = found.rows(seen.picture)
    return Reconstructions(found.pictures, found.levels, found.history, found.pictures, found.pictures,
                           target="the activations of each layer", original=seen.picture,
                           captions=[caption(row) for row in rows], numbers={"layers": rows}, notes=found.notes,
                           recipe=recipe(invert, net, seed, layers=names, preset=preset, **s))


def default_layers(net):
    """Six layers with positions, from the first ReLU or concat (or convolution, if there is none) to the last."""
    names = [layer.name for layer in net.table if layer.kind in ("relu", "concat") and net.rank(layer.name) == 3]
    names = [name for name in names if not name.endswith(("squeeze_relu", "expand1_relu", "expand3_relu"))] or names
    names = names or [layer.name for layer in net.table if layer.kind == "conv"]
    if not names:
        raise MinivisError(f"network {net.name} has no layer with positions to invert; name one with --layers")
    at = np.unique(np.linspace(0, len(names) - 1, 6).round().astype(int))
    return [names[i] for i in at]
