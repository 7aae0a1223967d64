"""Looking for pictures with given activations: what `invert` and `invert_codes` share."""
import numpy as np

from .. import kernels, ops
from ..errors import MinivisError
from ..figures import number
from ..monitor import SilentMonitor
from ..optimize import Point, Run, host
from ..parameterize import parameterization as make_parameterization
from ..priors.regularizers import in_turn, power_norm
from ..receptive_field import field
from ..tensor import Tensor, gradient
from .synthesis import follow, optimizer_of, stacked, to_uint8

# parameterisation: (Adam's rate, size of the noise to begin with)
USUAL = {"pixels": (2.0, 10.0), "fourier": (0.03, 0.01), "deep": (0.01, 1.0), "generator": (0.1, 0.3)}
SHALLOW = 0.3           # of the picture's side: what units below see less of, L-BFGS finds
DEVIATION = 64.0        # of a photograph's grey levels from the mean colour

PRESETS = {
    "usual": {"parameterization": "fourier", "falloff": 1.0, "optimizer": "auto", "steps": 800, "repeats": 1,
              "tv": 1e-8, "tv_power": 2.0, "alpha": 6.0, "alpha_weight": 0.0, "rate": None, "momentum": 0.9,
              "noise": None, "good": 0.05, "rounded": 0.45},
}
# Mahendran and Vedaldi's: everything is relative to the energy of a photograph, count * DEVIATION^2; their weights are
# 1, 10, 100 (total variation, for the lower, middle and upper layers) and 8e-10 (alpha), halved, and so is ours
PRESETS["mahendran"] = {**PRESETS["usual"], "parameterization": "pixels", "optimizer": "sgd", "steps": 400,
                        "tv": None, "alpha_weight": 8e-10 / (2 * DEVIATION ** 2), "noise": DEVIATION, "good": 0.0,
                        "rounded": 0.0}
# Johnson, Alahi, Fei-Fei 2016, arXiv:1603.08155, section 3.1: features and total variation, by L-BFGS
PRESETS["johnson"] = {**PRESETS["usual"], "parameterization": "pixels", "optimizer": "lbfgs", "steps": 500,
                      "tv": 1e-4, "good": 0.0, "rounded": 0.0}
STAGES = ((0.25, 1.0), (0.5, 0.1), (0.25, 0.01))        # Mahendran and Vedaldi's: shares of the steps, rates
STEP = 0.004                                            # their first rate


def settings_of(preset, **given):
    """A preset's options with those that were given (not None) in place of its own."""
    s = {**PRESETS[preset], "staged": preset == "mahendran", "generator": None}
    s |= {name: value for name, value in given.items() if value is not None}
    if s["steps"] < 1 or s["repeats"] < 1:
        raise MinivisError(f"inversion: steps {s['steps']} and repeats {s['repeats']} must be at least 1")
    if not 0 <= s["rounded"] <= 1:
        raise MinivisError(f"inversion: rounded {s['rounded']} is a share of the steps: give 0 to 1")
    return s


class Inversion:
    """Layer after layer of `wanted` {layer: code (1, ...)}: the codes alone say what is looked for.

    After `run`: levels (layers x repeats, H, W, 3) float, pictures uint8, names (the layer of each), history, notes.
    """

    def __init__(self, net, wanted, size, settings, seed):
        self.net, self.wanted, self.size, self.settings, self.seed = net, wanted, size, settings, seed

    def run(self, monitor=None):
        monitor = monitor or SilentMonitor()
        saved = monitor.load() or {"levels": [], "histories": [], "run": None}
        found, histories, inner = [np.asarray(a) for a in saved["levels"]], list(saved["histories"]), saved["run"]
        steps, layers, finished = self.settings["steps"], list(self.wanted), True
        for n, name in enumerate(layers[len(found):], len(found)):
            run, p = reconstruction(self.net, name, self.wanted[name], self.size, seed=self.seed, start=inner,
                                    **self.settings)
            inner = None
            finished = follow(run, monitor, lambda z, p=p: to_uint8(p.levels(z)[0]), before=n * steps,
                              total=steps * len(layers), wrap=lambda state: {"levels": found, "histories": histories,
                                                                             "run": state})
            found.append(p.levels(run.best))
            histories.append(stacked(run.history))
            if not finished:
                break
        self.levels = np.concatenate(found)
        self.pictures, self.names = to_uint8(self.levels), np.repeat(layers[:len(found)], len(found[0])).tolist()
        self.history = {f"{name} loss": h["loss"] for name, h in zip(layers, histories)}
        self.notes = [] if finished else ["The run was stopped; layers above are missing."]
        return self

    def rows(self, original=None):
        """[{"layer", "error", and where there is an original "psnr"}], one for each picture, measured on its 8 bits."""
        return [{"layer": name, **quality(self.net, name, self.wanted[name], original, got)}
                for name, got in zip(self.names, self.pictures)]


def caption(row):
    """A row of `rows` in two short lines."""
    psnr = f", {row['psnr']:.1f} dB" if "psnr" in row else ""
    return f"{row['layer']}\nerror {number(row['error'], 2)}{psnr}"


def codes(net, picture, names):
    """{layer: activations (1, ...)} of a uint8 picture of the network's size."""
    values = net(Tensor(net.preprocessing.normalize(picture, net.dtype)[None]), layers=list(names))
    return {name: values[name].data for name in names}


class UntilGood:
    """A Run that ends once the relative error of every picture is `good`."""

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
    shallow = seen is not None and max(seen) < SHALLOW * min(size)
    return "lbfgs" if shallow and parameterization in ("pixels", "fourier") else "adam"


def usual_tv(net, layer):
    """Mahendran and Vedaldi's weight of total variation: the higher the layer, the larger."""
    names = [name for name in net.table.names if net.table[name].kind != "input"]
    depth = (names.index(layer) + 1) / len(names) if layer in names else 0
    return (1.0 if depth <= 0.3 else 10.0 if depth <= 0.6 else 100.0) / (2 * DEVIATION ** 2)


def reconstruction(net, layer, code, size, *, steps, tv, alpha, alpha_weight, parameterization, falloff=1.0,
                   tv_power=2.0, optimizer="auto", rate=None, momentum=0.9, staged=False, noise=None, generator=None,
                   repeats=1, good=0.0, rounded=0.0, seed=0, start=None):
    """(Run, parameterisation) that looks for `repeats` pictures of `size` whose activations at `layer` are `code`
    (1, ...): all that is left of the picture, so a stored code will do."""
    p = make_parameterization(parameterization, net, size, repeats, generator=generator, bounded=False, falloff=falloff)
    usual_rate, usual_noise = USUAL[parameterization]
    if optimizer == "auto":
        optimizer = best_optimizer(net, layer, size, parameterization)
    energy, count = float((code.astype("float64") ** 2).sum()), 3 * size[0] * size[1]
    if not energy > 0:
        raise MinivisError(f"invert: all activations of {layer} are zero, so nothing can be found from them")
    rate = rate or {"lbfgs": 1.0, "sgd": STEP * count * DEVIATION ** 2}.get(optimizer, usual_rate)
    noise = usual_noise if noise is None else noise
    tv = usual_tv(net, layer) if tv is None else tv
    rounded_from = steps if optimizer == "lbfgs" else round(steps * (1 - rounded))      # its line search needs slopes

    def variation(levels):
        return ops.total_variation(levels) if tv_power == 2 else ops.total_variation(levels, "beta", tv_power)

    def evaluate(z, i):
        t = Tensor(z, needs_grad=True)
        levels = p(t)
        seen = p.units.rounded(levels) if i >= rounded_from else levels
        match = ops.squared_distance(net(p.units.of(seen), layers=[layer])[layer], code) * (1 / energy)
        loss, terms = match, {"match": host(match.data).astype(np.float64)}
        for name, weight, f in (("tv", tv, variation), ("alpha", alpha_weight, lambda v: power_norm(v, alpha))):
            if weight:
                term = f(levels) * (weight / count)
                loss, terms[name] = loss + term, host(term.data).astype(np.float64)
        return Point(host(loss.data).astype(np.float64), gradient(loss, t), terms)
    stages = [(round(share * steps), factor) for share, factor in STAGES] if staged and optimizer == "sgd" else ()
    optimiser = optimizer_of(optimizer, rate, momentum=momentum, settle=steps, stages=stages)
    run = Run(evaluate, p.start(seed, noise), optimiser, steps, after=in_turn([lambda z, point, i: p.clip(z)]),
              start=start, best_from=rounded_from)
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
