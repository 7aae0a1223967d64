"""Class and unit visualisation: the picture that a class, a unit, a channel or a layer likes best."""
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..figures import number
from ..objectives import Score, class_score
from ..optimize import Run
from ..options import Network, Picture
from ..parameterize import parameterization as make_parameterization
from ..priors import regularizers as prior
from ..results import Synthesis
from ..transforms import Views
from .common import recipe
from .presets import settings
from .synthesis import (
    ascent,
    follow,
    leader_of,
    objective_of,
    optimizer_of,
    said_of,
    scores_of,
    spread_of,
    stacked,
    the_class,
    to_uint8,
)

DEFAULT_SIDE = 224
WAKE = 16           # steps in which silent units are woken: see synthesis.ascent


def visualize(net: Network, what: list[str], *,
              preset: Literal["lucid", "simonyan", "yosinski1", "yosinski2", "yosinski3", "yosinski4",
                              "cs231n", "deep", "generator"] = "lucid",
              count: int = 1, size: int | None = None, steps: int | None = None, start: Picture = None,
              negative: bool = False, score: Score = "logit", positions: Literal["all", "centre"] | None = None,
              parameterization: Literal["pixels", "fourier", "deep", "generator"] | None = None,
              falloff: float | None = None, decorrelate: bool | None = None, generator: Network = None,
              bound: float | None = None, filters: list[int] | None = None,
              optimizer: Literal["sgd", "adam", "lbfgs"] | None = None, rate: float | None = None,
              settle: bool | None = None, momentum: float | None = None,
              normalize: Literal["none", "l2", "l1", "rms"] | None = None,
              policy: Literal["constant", "progress", "progress01"] | None = None, progress: float | None = None,
              noise: float | None = None, l2: float | None = None, tv: float | None = None,
              decay: float | None = None, blur: float | None = None, blur_every: int | None = None,
              rivals: float | None = None, clip_values: float | None = None,
              clip_by: Literal["norm", "entry"] | None = None, clip_contributions: float | None = None,
              clip_signed: bool | None = None, clip: bool | None = None, jitter: int | None = None,
              scale: float | None = None, angle: float | None = None, margin: int | None = None,
              diversity: float = 0.0, seed=0, monitor=None) -> Synthesis:
    """The picture that raises a class score, a unit, a channel, a layer, or a weighted sum of such goals the most.

    x* = argmax s(x) - l2 |x|^2 - tv TV(x), climbed from noise. Simonyan et al. 2014, arXiv:1312.6034; Yosinski et al.
    2015, arXiv:1506.06579; Olah, Mordvintsev, Schubert 2017, doi:10.23915/distill.00007. A preset is a published set of
    options; every option that is given replaces the preset's. Different priors give very different pictures of the
    same unit: what they have in common is the network's, the rest is the prior's.

    pictures (count, H, W, 3); history: score and penalties of each picture, before every step, and whether the class
    (or the channel in its layer) led in the view of that step; first: the picture where it led first.

    what        [WEIGHT*]NAME...: NAME is a class (index, WordNet id, label), LAYER:CHANNEL, LAYER:CHANNEL@ROW,COLUMN or
                LAYER; several are added, so weighted channels of one layer are a direction in it
    preset      whose settings to begin with
    count       how many pictures, each from its own noise; how far apart their scores end is reported
    size        side of the pictures in pixels; none means the network's own
    steps       how many steps
    start       a picture to add the noise to and to begin with; none means the mean colour (pixels, fourier)
    negative    go down instead: what the network takes for the opposite
    score       of classes: logit, or prob / logprob after the softmax
    positions   of LAYER:CHANNEL: the mean over all, or the unit in the centre
    parameterization   what is optimised: pixels, Fourier coefficients in decorrelated colours, the weights of an
                untrained network that makes the picture (deep), or the code a trained one makes it from (generator)
    falloff     the power of the frequency that coefficients are divided by: the higher, the smoother (fourier)
    decorrelate   optimise along the colour axes of photographs, not red, green and blue (fourier)
    generator   that trained network: a file made by tools/train_generator.py
    bound       how far a code may go from the mean, in standard deviations (generator)
    filters     of the untrained network's convolutions, the smallest picture first (deep)
    optimizer   gradient descent with momentum, Adam or L-BFGS
    rate        size of a step: of the gradient, of the normalised gradient, or Adam's
    settle      let the rate fall over the last 40 percent of the steps (adam)
    momentum    share of the last step that is taken again (sgd)
    normalize   divide each gradient by its Euclidean norm, mean absolute value or root mean square (sgd)
    policy      progress limits every step to a predicted gain, progress01 for probabilities (sgd)
    progress    that gain
    noise       size of the first picture's noise: grey levels (pixels), or of coefficients (fourier); 0 for none
    l2          penalty for the sum of squared grey levels from the mean colour
    tv          penalty for the squared differences of neighbours, in grey levels
    rivals      of a class: penalty for -log P(class), which is the lead of other classes over it, and nothing once it
                leads; without it a picture may please a similar class even more
    decay       share by which pixels shrink towards the mean colour, or a code towards the mean code, in each step
    blur        standard deviation of a Gaussian blur, in pixels; 0 for none
    blur_every  steps from one blur to the next
    clip_values   percentage of pixels, those of the smallest norm, set to the mean colour in each step
    clip_by     whose size clip_values goes by: a pixel's norm over its colours, or each entry's by itself
    clip_contributions   percentage of pixels, those that add least to the score, set to the mean colour in each step
    clip_signed   count what a pixel adds with its sign: those that lower the score go first
    clip        keep pixels between black and white, and codes within their bound, after every step
    jitter      random shift of every view, in pixels
    scale       random scale of every view: 0.1 means from 0.9 to 1.1
    angle       random rotation of every view, in degrees
    margin      pixels around the view that a shift or rotation may uncover
    diversity   penalty for pictures that look alike to the layer (mean cosine of Gram matrices); needs count > 1
    """
    given = {"positions": positions, "parameterization": parameterization, "falloff": falloff,
             "decorrelate": decorrelate, "bound": bound, "filters": filters, "optimizer": optimizer, "rate": rate,
             "settle": settle, "momentum": momentum, "normalize": normalize, "policy": policy, "progress": progress,
             "noise": noise, "l2": l2, "tv": tv, "decay": decay, "blur": blur, "blur_every": blur_every,
             "rivals": rivals, "clip_values": clip_values, "clip_by": clip_by, "clip_contributions": clip_contributions,
             "clip_signed": clip_signed, "clip": clip, "jitter": jitter, "scale": scale, "angle": angle,
             "margin": margin, "steps": steps}
    s = settings(preset, **given)
    what = [what] if isinstance(what, str | int) else what
    goal = objective_of(net, what, score, s["positions"])
    side = (size, size) if size else net.input_size or (DEFAULT_SIDE, DEFAULT_SIDE)
    if count < 1 or min(side) < 1:
        raise MinivisError(f"visualize: count {count} and size {side} must be at least 1")
    p = make_parameterization(s["parameterization"], net, [n + 2 * s["margin"] for n in side], count,
                              falloff=s["falloff"], decorrelate=s["decorrelate"], generator=generator,
                              bound=s["bound"], filters=s["filters"])
    views = Views(s["margin"], s["jitter"], s["scale"], s["angle"], s["wrap"])
    penalties = _penalties(s, goal, diversity) + _against_rivals(net, s, what, score, negative)
    leads = None if negative else leader_of(net, what, s["positions"])
    evaluate = ascent(net, -goal if negative else goal, p, views, seed, penalties, WAKE, leads)
    random = bool(s["jitter"] or s["scale"] or s["angle"])
    optimiser = optimizer_of(s["optimizer"], s["rate"], s["momentum"], s["normalize"], s["policy"], s["progress"],
                             fresh=random, settle=s["steps"] if s["settle"] else None)
    run = Run(evaluate, _beginning(net, p, s, seed, start, side), optimiser, s["steps"],
              after=prior.in_turn(_after(s, p)), start=monitor and monitor.load(),
              event=None if leads is None else "leads")

    def pictures(z):
        return to_uint8(views.window(p.levels(z)))
    finished = follow(run, monitor, lambda z: pictures(z)[0])
    last, best = pictures(run.z), pictures(run.best)
    chosen = last if finished else best
    said, reached = said_of(net, chosen), scores_of(net, -goal if negative else goal, chosen)
    rows = [{"score": float(v), **({} if leads is None else {"first_led": int(n) or None})}
            for v, n in zip(reached, run.first_at)]
    for row, (index, label, probability) in zip(rows, said):
        row["said"] = {"index": index, "label": label, "probability": probability}
    return Synthesis(chosen, views.window(p.levels(run.z if finished else run.best)), stacked(run.history), best, last,
                     target=("minus " if negative else "") + goal.name, captions=[_caption(row) for row in rows],
                     numbers={"steps": run.done, "pictures": rows, "spread": spread_of(reached)},
                     first=pictures(run.first) if run.first_at.all() and leads is not None else None,
                     notes=[] if finished else ["The run was stopped: these are the best pictures so far."],
                     recipe=recipe(visualize, net, seed, what=what, preset=preset, count=count, size=list(side),
                                   negative=negative, score=score, start=start, diversity=diversity,
                                   generator=generator, **s))


def _beginning(net, p, s, seed, start, side):
    """The first z: noise, on a picture if one was given."""
    z = p.start(seed, s["noise"])
    if start is None:
        return z
    if s["parameterization"] not in ("pixels", "fourier"):
        raise MinivisError(f"visualize: a start works with pixels and fourier, not with {s['parameterization']}")
    m = s["margin"]
    seen = net.see(start, None if side == net.input_size else min(side)).picture
    return z + p.from_picture(np.pad(seen, ((m, m), (m, m), (0, 0)), "reflect" if m < min(seen.shape[:2]) else "edge"))


def _caption(row):
    """What a finished picture reaches, in words."""
    led = row.get("first_led")
    parts = [f"score {number(row['score'])}" + (f", leading since step {led}" if led else "")]
    if "said" in row:
        said = row["said"]
        parts.append(f"the network says {said['label']} (class {said['index']}), {100 * said['probability']:.1f} %")
    return "; ".join(parts) + "."


def _penalties(s, goal, diversity):
    found = []
    if s["l2"]:
        found.append(("l2", s["l2"], lambda levels, values: prior.power_norm(levels)))
    if s["tv"]:
        from ..ops import total_variation
        found.append(("tv", s["tv"], lambda levels, values: total_variation(levels)))
    if diversity:
        found.append(("alike", diversity, lambda levels, values: prior.diversity(values[goal.layers[0]])))
    return found


def _against_rivals(net, s, what, score, negative):
    """The penalty on other classes, for a picture of one class that climbs its logit."""
    name = the_class(net, what)
    if not s["rivals"] or name is None or score != "logit" or negative:
        return []
    against = -class_score(net, name, "logprob")
    return [("rivals", s["rivals"], lambda levels, values: against(values))]


def _after(s, p):
    """Yosinski's operations, in the order of his code: decay, blur, small values, small contributions."""
    on = {"decay": ("pixels", "generator"), "blur": ("pixels",), "clip_values": ("pixels",),
          "clip_contributions": ("pixels",)}
    wrong = [name for name, kinds in on.items() if s[name] and s["parameterization"] not in kinds]
    if wrong:
        raise MinivisError(f"{', '.join(wrong)}: these work on pixels; give --parameterization pixels")
    return [prior.Decay(s["decay"]) if s["decay"] else None,
            prior.Blur(s["blur"], s["blur_every"]) if s["blur"] else None,
            prior.ClipSmallValues(s["clip_values"], s["clip_by"]) if s["clip_values"] else None,
            prior.ClipSmallContributions(s["clip_contributions"], s["clip_signed"]) if s["clip_contributions"]
            else None, (lambda z, point, i: p.clip(z)) if s["clip"] else None]
