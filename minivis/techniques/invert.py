"""Feature inversion: pictures that look the same to a layer, and so what the layer has kept and forgotten."""
from typing import Literal

import numpy as np

from .. import kernels, ops
from ..errors import MinivisError
from ..monitor import SilentMonitor
from ..optimize import Point, Run, host
from ..options import Layer, Network, Picture
from ..parameterize import parameterization as make_parameterization
from ..priors.regularizers import in_turn, power_norm
from ..receptive_field import field
from ..results import Synthesis
from ..tensor import Tensor, gradient
from .common import recipe
from .synthesis import follow, optimizer_of, stacked, to_uint8

# parameterisation: (Adam's rate, size of the noise to begin with)
USUAL = {"pixels": (2.0, 10.0), "fourier": (0.03, 0.01), "deep": (0.01, 1.0), "generator": (0.1, 0.3)}


def invert(net: Network, picture: Picture, *, layers: list[Layer] | None = None, steps: int = 800,
           tv: float = 1e-8, alpha: float = 6.0, alpha_weight: float = 0.0,
           parameterization: Literal["pixels", "fourier", "deep", "generator"] = "fourier", generator: Network = None,
           optimizer: Literal["auto", "adam", "lbfgs", "sgd"] = "auto", rate: float | None = None,
           noise: float | None = None, good: float = 0.05, seed=0, monitor=None) -> Synthesis:
    """From each layer's activations alone, a picture that gives the same activations: a row through the network.

    x* = argmin |f(x) - f(x0)|^2 / |f(x0)|^2 + tv TV(x) + alpha_weight |x|_alpha^alpha, from noise. Mahendran and
    Vedaldi 2015, arXiv:1412.0035. What the row loses on its way up, the layers have thrown away.

    pictures (layers, H, W, 3). The relative error |f(x*) - f(x0)| / |f(x0)| and the PSNR against the picture are
    measured on the rounded 8-bit pictures.

    layers        which layers; none means six of them, from the first to the last with positions
    steps         steps for each layer; with Adam the last 40 percent become smaller and smaller
    tv            penalty for the squared differences of neighbours, in grey levels, divided by the number of values
    alpha         power of the norm that keeps colours small
    alpha_weight  its penalty, divided by the number of values
    parameterization   what is optimised: pixels, Fourier coefficients in decorrelated colours, the weights of an
                  untrained network that makes the picture (deep), or the code a trained one makes it from (generator)
    generator     that trained network: a file made by tools/train_generator.py
    optimizer     Adam, L-BFGS or gradient descent with momentum 0.9; auto means L-BFGS for layers whose units see less
                  than half of the picture's side, where it is several times as fast, and Adam above
    rate          size of a step; none means 1 for L-BFGS and for Adam one that suits the parameterisation
    noise         size of the first picture's noise: grey levels (pixels), of coefficients (fourier), of what the
                  picture is made from (deep), or of the code (generator)
    good          relative error at which a layer is left
    """
    seen = net.see(picture)
    names = [net.layer_name(name) for name in layers] if layers else default_layers(net)
    wanted = codes(net, seen.picture, names)
    settings = {"tv": tv, "alpha": alpha, "alpha_weight": alpha_weight, "parameterization": parameterization,
                "generator": generator, "optimizer": optimizer, "steps": steps, "rate": rate, "noise": noise,
                "good": good}
    found = Inversion(net, wanted, seen.picture.shape[:2], settings, seed).run(monitor)
    rows = rows_of(net, wanted, found.pictures, seen.picture)
    captions = [f"{r['layer']}: relative error {r['error']:.3f}, PSNR {r['psnr']:.1f} dB." for r in rows]
    return Synthesis(found.pictures, found.levels, found.history, found.pictures, found.pictures,
                     target="the activations of each layer", original=seen.picture, captions=captions,
                     numbers={"layers": rows}, notes=found.notes,
                     recipe=recipe(invert, net, seed, layers=names, **settings))


class Inversion:
    """Layer after layer of `wanted` {layer: code (1, ...)}: the codes alone say what is looked for.

    After `run`: levels (layers, H, W, 3) float, pictures uint8, history, notes.
    """

    def __init__(self, net, wanted, size, settings, seed):
        self.net, self.wanted, self.size, self.settings, self.seed = net, wanted, size, settings, seed

    def run(self, monitor=None):
        monitor = monitor or SilentMonitor()
        saved = monitor.load() or {"levels": [], "histories": [], "run": None}
        found, histories, inner = [np.asarray(a) for a in saved["levels"]], list(saved["histories"]), saved["run"]
        steps, names, finished = self.settings["steps"], list(self.wanted), True
        for n, name in enumerate(names[len(found):], len(found)):
            run, p = reconstruction(self.net, name, self.wanted[name], self.size, seed=self.seed, start=inner,
                                    **self.settings)
            inner = None
            finished = follow(run, monitor, lambda z, p=p: to_uint8(p.levels(z)[0]), before=n * steps,
                              total=steps * len(names), wrap=lambda state: {"levels": found, "histories": histories,
                                                                            "run": state})
            found.append(p.levels(run.best)[0])
            histories.append({key: rows[:, 0] for key, rows in stacked(run.history).items()})
            if not finished:
                break
        self.levels, self.pictures = np.stack(found), to_uint8(np.stack(found))
        self.history = {f"{name} loss": h["loss"][:, None] for name, h in zip(names, histories)}
        self.notes = [] if finished else ["The run was stopped; layers above are missing."]
        return self


def rows_of(net, wanted, pictures, original=None):
    """[{"layer", "error", and where there is an original "psnr"}] of uint8 pictures, one for each layer."""
    return [{"layer": name, **quality(net, name, wanted[name], original, got)}
            for name, got in zip(wanted, pictures)]


def default_layers(net):
    """Six layers with positions, from the first ReLU or concat (or convolution, if there is none) to the last."""
    names = [layer.name for layer in net.table if layer.kind in ("relu", "concat") and net.rank(layer.name) == 3]
    names = [name for name in names if not name.endswith(("squeeze_relu", "expand1_relu", "expand3_relu"))] or names
    names = names or [layer.name for layer in net.table if layer.kind == "conv"]
    if not names:
        raise MinivisError(f"network {net.name} has no layer with positions to invert; name one with --layers")
    at = np.unique(np.linspace(0, len(names) - 1, 6).round().astype(int))
    return [names[i] for i in at]


def codes(net, picture, names):
    """{layer: activations (1, ...)} of a uint8 picture of the network's size."""
    values = net(Tensor(net.preprocessing.normalize(picture, net.dtype)[None]), layers=list(names))
    return {name: values[name].data for name in names}


class UntilGood:
    """A Run that ends once the relative error is `good`."""

    def __init__(self, run, good):
        self.run, self.good = run, good

    def __iter__(self):
        while self.run.done < self.run.steps and not self._there():
            yield self.run.advance()

    def _there(self):
        met = self.run.history.get("match")
        return bool(met) and float(met[-1].max()) <= self.good ** 2

    def __getattr__(self, name):
        return getattr(self.run, name)


def best_optimizer(net, layer, size, parameterization):
    """L-BFGS where a code says much of the picture and the problem is nearly convex, Adam where little is left."""
    seen = field(net, layer, size).size
    shallow = seen is not None and max(seen) < 0.5 * min(size)
    return "lbfgs" if shallow and parameterization in ("pixels", "fourier") else "adam"


def reconstruction(net, layer, code, size, *, steps, tv, alpha, alpha_weight, parameterization, optimizer="auto",
                   rate=None, noise=None, generator=None, good=0.0, seed=0, start=None):
    """(Run, parameterisation) that looks for a picture of `size` whose activations at `layer` are `code` (1, ...): all
    that is left of the picture, so a stored code will do."""
    p = make_parameterization(parameterization, net, size, generator=generator)
    usual_rate, usual_noise = USUAL[parameterization]
    if optimizer == "auto":
        optimizer = best_optimizer(net, layer, size, parameterization)
    rate = rate or (1.0 if optimizer == "lbfgs" else usual_rate)
    noise = usual_noise if noise is None else noise
    energy, count = float((code.astype("float64") ** 2).sum()), 3 * size[0] * size[1]
    if not energy > 0:
        raise MinivisError(f"invert: all activations of {layer} are zero, so nothing can be found from them")

    def evaluate(z, i):
        t = Tensor(z, needs_grad=True)
        levels = p(t)
        d = net(p.units.of(levels), layers=[layer])[layer] - code
        match = ops.sum(ops.square(d), tuple(range(1, d.ndim))) * (1 / energy)
        loss, terms = match, {"match": host(match.data).astype(np.float64)}
        for name, weight, f in (("tv", tv, ops.total_variation),
                                ("alpha", alpha_weight, lambda v: power_norm(v, alpha))):
            if weight:
                term = f(levels) * (weight / count)
                loss, terms[name] = loss + term, host(term.data).astype(np.float64)
        return Point(host(loss.data).astype(np.float64), gradient(loss, t), terms)
    optimiser = optimizer_of(optimizer, rate, momentum=0.9, settle=steps)
    run = Run(evaluate, p.start(seed, noise), optimiser, steps, after=in_turn([lambda z, point, i: p.clip(z)]),
              start=start)
    return UntilGood(run, good), p


def quality(net, layer, code, picture, found):
    """{error: |f(found) - code| / |code|, psnr: in dB against the picture, if there is one} of a uint8 picture."""
    got = codes(net, found, [layer])[layer]
    xp = kernels.xp(got)
    norm = float(xp.sqrt((code.astype("float64") ** 2).sum()))
    error = {"error": float(xp.sqrt(((got.astype("float64") - code) ** 2).sum())) / norm}
    if picture is None:
        return error
    mse = float(((found.astype(np.float64) - picture) ** 2).mean())
    return {**error, "psnr": float(10 * np.log10(255 ** 2 / mse)) if mse else float("inf")}
