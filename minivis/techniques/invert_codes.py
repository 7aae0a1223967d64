"""Inversion of stored activations: a file of numbers back to a picture, without the picture."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..options import Codes, Layer, Network
from ..provenance import network_identity
from ..results import Reconstructions
from .common import recipe
from .inversion import Inversion, caption, settings_of


def invert_codes(net: Network, codes: Codes, *, layers: list[Layer] | None = None, size: int | None = None,
                 preset: Literal["usual", "mahendran", "johnson"] = "usual", steps: int | None = None,
                 repeats: int | None = None, tv: float | None = None, tv_power: float | None = None,
                 alpha: float | None = None, alpha_weight: float | None = None,
                 parameterization: Literal["pixels", "fourier", "deep", "generator"] | None = None,
                 falloff: float | None = None, generator: Network = None,
                 optimizer: Literal["auto", "adam", "lbfgs", "sgd"] | None = None,
                 rate: float | None = None, momentum: float | None = None, noise: float | None = None,
                 good: float | None = None, rounded: float | None = None, seed=0, monitor=None) -> Reconstructions:
    """A picture from a file that holds nothing but a layer's activations.

    Write the codes by `minivis activations PICTURE --layers ... --raw CODES.npz`. What comes out shows what such a file
    gives away of the picture. Mahendran and Vedaldi 2015, arXiv:1412.0035; the options are those of `invert`.

    pictures (layers x repeats, H, W, 3). The relative error |f(x*) - code| / |code| is measured on the rounded 8-bit
    pictures; there is no picture to give a PSNR against.

    codes         a file of activations; or a dict {layer: (H, W, C) or (N,) array}
    layers        which of its layers; none means all of them
    size          side of the picture in pixels; none means the network's own
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
    codes, notes = dict(codes), []
    about = codes.pop("recipe", None)
    if about and (about.get("network") or {}).get("weights") not in (None, network_identity(net)["weights"]):
        notes.append(f"The codes were written by {about['network'].get('name')} with other weights than {net.name}'s.")
    wanted = _chosen(net, codes, layers)
    side = (size, size) if size else net.input_size
    if side is None:
        raise MinivisError(f"network {net.name} takes pictures of any size; give the side in pixels with --size")
    _check_shapes(net, wanted, side)
    found = Inversion(net, wanted, side, s, seed).run(monitor)
    rows = found.rows()
    return Reconstructions(found.pictures, found.levels, found.history, found.pictures, found.pictures,
                           target="stored activations", numbers={"layers": rows},
                           captions=[caption(row) for row in rows], notes=notes + found.notes,
                           recipe=recipe(invert_codes, net, seed, codes=wanted, layers=list(wanted), size=list(side),
                                         preset=preset, **s))


def _chosen(net, codes, layers):
    """{layer: (1, ...) array in the network's precision} of what is to be inverted."""
    known = {}
    for name, values in codes.items():
        if name in net.table or name in net.aliases:
            known[net.layer_name(name)] = np.asarray(values)
    if not known:
        raise MinivisError(f"none of the arrays {', '.join(sorted(codes))} is named after a layer of {net.name}")
    names = [net.layer_name(name) for name in layers] if layers else list(known)
    for name in names:
        if name not in known:
            raise MinivisError(f"there is no code of layer {name}; there are {', '.join(known)}")
        if known[name].dtype.kind != "f" or not np.isfinite(known[name]).all():
            raise MinivisError(f"the code of layer {name} ({known[name].dtype}) must hold finite decimal numbers")
    one = {name: known[name] if known[name].ndim == net.rank(name) + 1 else known[name][None] for name in names}
    return {name: array.astype(net.dtype) for name, array in one.items()}


def _check_shapes(net, wanted, side):
    shapes = net.shapes(side)
    for name, code in wanted.items():
        if code.shape != (1, *shapes[name]):
            raise MinivisError(f"the code of layer {name} has shape {code.shape}, but a picture of {side[0]} x "
                               f"{side[1]} pixels gives {(1, *shapes[name])}; is it another network's, or of another "
                               "--size?")
