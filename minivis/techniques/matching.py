"""What texture and style transfer share: which layers, how much memory, what a weight means, and the run over sizes."""
import math
from typing import NamedTuple

import numpy as np

from .. import kernels, losses, ops
from ..batching import default_budget, parse_bytes
from ..errors import MinivisError
from ..lbfgs import LBFGS
from ..optimize import Adam, Run
from ..parameterize import Units, to_device
from ..results import Synthesis
from ..shapes import infer_shapes
from ..tensor import Tensor
from ..tiling import TiledLoss, Tiles, plan_side
from .synthesis import follow, stacked, to_uint8

NOISE = 23              # the stream of random numbers of noise pictures
FIRST_CHANGE = 1.0      # what L-BFGS first tries, in grey levels: the mean over all pixels and colours
NOISE_LEVELS = 50.0     # their standard deviation in grey levels, about that of photographs
VGG_STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SQUEEZENET = {"style": ("relu1", "fire2", "fire4", "fire5", "fire7"), "content": ("fire5",)}


def default_layers(net, style_loss="gram"):
    """(content layers, style layers) as {layer: weight}: the papers' for VGG; else, for the style, the first whole
    layer at each resolution, and for the content the last one at the second coarsest. Patches are compared at the third
    and fourth style layer only, as Li and Wand do: lower they would be too many."""
    content, style = _default_layers(net)
    names = list(style)
    return content, dict.fromkeys(names[2:4] or names[-1:], 1.0) if style_loss == "patches" else style


def _default_layers(net):
    table = net.table
    if "relu4_2" in table:
        return {"relu4_2": 1.0}, {name: 1.0 for name in VGG_STYLE if name in table}
    if "fire7" in table and "relu1" in table:
        return dict.fromkeys(SQUEEZENET["content"], 1.0), dict.fromkeys(SQUEEZENET["style"], 1.0)
    shapes = infer_shapes(table, (*(net.input_size or (224, 224)), table.layers[0]["shape"][2]))
    by_side = {}
    for layer in table:
        if layer.kind in ("relu", "leaky_relu", "concat", "add") and len(shapes[layer.name]) == 3:
            by_side.setdefault(shapes[layer.name][0], []).append(layer.name)
    if not by_side:
        raise MinivisError(f"network {net.name} has no layers to compare pictures by; name them with --style-layers")
    groups = list(by_side.values())
    return {groups[-2 if len(groups) > 1 else -1][-1]: 1.0}, {names[0]: 1.0 for names in groups}


def named(net, layers):
    """{layer: weight} under the network's own names; an error for a layer without positions."""
    found = {}
    for name, weight in layers.items():
        own = net.layer_name(name)
        if net.rank(own) != 3:
            raise MinivisError(f"layer {name} has no positions: choose convolutions, ReLUs or poolings")
        found[own] = found.get(own, 0.0) + float(weight)
    return found


class Plan(NamedTuple):
    """How a size is worked on within the memory limit: side of the tiles (None: uncut), pairs that L-BFGS keeps."""
    side: int | None
    history: int


class Planner:
    """planner(size) -> Plan, remembered in `plans` {size: Plan}, with remarks in `notes`.

    Arrays of the picture's size that live at once, counted in the code of optimize.py, lbfgs.py and tiling.py: the
    picture, the best so far, the gradient, two pairs of picture and gradient (L-BFGS) or two moments (Adam), and eight
    to work in; L-BFGS keeps two for each step it remembers besides, which may take a third of the memory. `kept` are
    layers whose values for the content are held all the time. whole: the loss takes no picture in tiles.
    """

    def __init__(self, net, layers, optimizer, history, memory, tile=None, wrap=False, kept=(), whole=False):
        if history < 1 or (tile is not None and tile < 1):
            raise MinivisError(f"history {history} and tile {tile} must be at least 1")
        self.net, self.layers, self.optimizer, self.history = net, list(dict.fromkeys(layers)), optimizer, history
        self.budget = default_budget() if memory is None else parse_bytes(memory)
        self.tile, self.wrap, self.kept, self.whole, self.plans, self.notes = tile, wrap, list(kept), whole, {}, []

    def __call__(self, size, plan=None):
        """The Plan for a size; `plan` is that of an interrupted run, kept so that the same bits come out."""
        if plan is None:
            plan = self._plan(size)
        self.plans[size] = plan
        if plan.history < self.history and self.optimizer == "lbfgs":
            self.notes.append(f"L-BFGS remembered {plan.history} steps in place of {self.history}, so that "
                              f"{size[1]} x {size[0]} pixels stay within the memory limit.")
        if plan.side is not None:
            self.notes.append(f"At {size[1]} x {size[0]} pixels the picture was worked on in tiles of {plan.side} "
                              "pixels: exact, but for rounding.")
        return plan

    def _plan(self, size):
        array, history = size[0] * size[1] * 3 * self.net.dtype.itemsize, self.history
        left = self.budget - 15 * array - weight_bytes(self.net, self.layers) - self._kept_bytes(size)
        if self.optimizer == "lbfgs":
            history = min(history, max(2, int(self.budget / 3 // (2 * array))))
            left -= 2 * history * array
        if self.tile:
            return Plan(self.tile, history)
        if self.whole:
            needed = self.net.bytes_needed((1, *size, 3), self.layers, backward=True)
            if needed > left:
                raise MinivisError(f"this style loss takes the picture whole: {size[1]} x {size[0]} pixels need "
                                   f"{needed / 1e6:.0f} MB, more than the {max(0, left) / 1e6:.0f} MB that the memory "
                                   "limit leaves; give a smaller --size or more --memory, or use gram")
            return Plan(None, history)
        side, note = plan_side(self.net, self.layers, size, left, self.wrap)
        self.notes += [note] if note else []
        return Plan(side, history)

    def _kept_bytes(self, size):
        table = self.net.table
        shapes = infer_shapes(table, (*size, table.layers[0]["shape"][2]), names=table.needed(set(self.kept)))
        return sum(math.prod(shapes[name]) for name in self.kept) * self.net.dtype.itemsize

    def used(self):
        """For the recipe: what was decided for each size."""
        return {f"{h} x {w}": plan._asdict() for (h, w), plan in self.plans.items()}


def weight_bytes(net, layers):
    """Bytes of what kernels make of the weights: a 3x3 filter becomes one of 6x6, for each direction."""
    if net.precision != "float32":
        return 0
    names = set(net.table.needed({net.layer_name(name) for name in layers}))
    return 8 * sum(t.data.nbytes for n, t in net.weights.items() if n.endswith("/weight") and n.split("/")[0] in names)


class Painter:
    """A network seen from a picture's side: levels in, tiles and losses out."""

    def __init__(self, net, pool=None):
        self.net, self.pool, self.units = net, pool, Units(net)

    def z(self, picture):
        """(H, W, 3) grey levels -> (1, H, W, 3) levels from the mean colour, where the network lives."""
        return to_device(self.net, np.ascontiguousarray(self.units.levels_from_mean(picture)[None]))

    def noise(self, size, seed, deviation=NOISE_LEVELS):
        """Normal noise around the mean colour, (1, H, W, 3)."""
        drawn = np.random.default_rng([seed, NOISE]).standard_normal((1, *size, 3), np.float32)
        return to_device(self.net, (drawn * np.float32(deviation)).astype(self.net.dtype))

    def levels(self, z):
        """z -> float64 grey levels (H, W, 3), not clipped."""
        return self.units.to_levels(z)[0]

    def tiles(self, layers, z, side=None, wrap=False):
        return Tiles(self.net, list(layers), z.shape[1:3], side, wrap)

    def values(self, z, layers, side=None):
        """{layer: (1, h, w, C)} of a picture."""
        return self.tiles(layers, z, side).values(z, self.units.of, self.pool)

    def grams(self, z, layers, gram="chw", mask=None, side=None, wrap=False):
        """{layer: float64 (1, C, C)} of a picture or, with a mask (H, W), of a region of it."""
        statistic = losses.gram_statistic(gram, mask)
        sums = self.tiles(layers, z, side, wrap).sums(z, self.units.of, [(n, statistic) for n in layers], self.pool)
        return dict(zip(layers, sums))

    def loss(self, size, terms, penalties=(), side=None, wrap=False):
        """The TiledLoss of [(group, weight, Term)] for pictures of `size`."""
        layers = dict.fromkeys(term.layers[0] for _, _, term in terms)
        return TiledLoss(Tiles(self.net, list(layers), size, side, wrap), self.units.of, terms, penalties, self.pool)


def relative(loss, z, weights):
    """The same loss with every term divided by its value at z, a picture of noise, and each group's shares by their
    sum: so weights {group: number} mean the same for every network, layer and size."""
    totals = {}
    for group, weight, _ in loss.terms:
        totals[group] = totals.get(group, 0.0) + weight
    loss.terms = [(group, weights[group] * weight / totals[group] / value if value > 0 else 0.0, term)
                  for (group, weight, term), value in zip(loss.terms, loss.losses(z))]
    loss.penalties = [(name, weights[name] / float(f(Tensor(z)).data[0]), f) for name, _, f in loss.penalties]
    return loss


def resampled(z, size):
    """(1, H, W, 3) at another size."""
    return z if z.shape[1:3] == tuple(size) else ops.resize(Tensor(z), size, "bicubic").data


def optimizer_of(kind, rate, history):
    if kind == "adam":
        return Adam(5.0 if rate is None else rate)
    return LBFGS(1.0 if rate is None else rate, memory=history)


def carried(optimiser, size, history):
    """The optimiser for the next size: Adam's moments at that size; L-BFGS begins anew, as its pairs would not fit."""
    if isinstance(optimiser, Adam):
        new = Adam(optimiser.rate, optimiser.beta1, optimiser.beta2, optimiser.eps)
        if optimiser.mean is not None:
            new.count, new.mean = optimiser.count, resampled(optimiser.mean, size)
            new.square = kernels.xp(new.mean).maximum(ops.resize(Tensor(optimiser.square), size, "bilinear").data, 0)
        return new
    return LBFGS(optimiser.rate, memory=history, first=FIRST_CHANGE * 3 * size[0] * size[1])


def sizes_up_to(size, scales, step=1):
    """[(H, W)] of `scales` sizes, each sqrt(2) times the one before, the last of them `size`; multiples of step."""
    if scales < 1:
        raise MinivisError(f"scales {scales} must be at least 1")
    found = [tuple(max(step, round(n / 2 ** (k / 2) / step) * step) for n in size) for k in reversed(range(scales))]
    if scales > most_scales(size):
        raise MinivisError(f"scales {scales}: the smallest size would be {found[0][1]} x {found[0][0]} pixels; "
                           "take fewer")
    return found


def most_scales(size):
    """How many sizes there may be for the smallest to have at least 32 pixels on its shorter side."""
    return max(1, int(2 * np.log2(min(size) / 32) + 1 + 1e-9)) if min(size) > 32 else 1


def shared(steps, count):
    """`steps` shared out to `count` sizes as evenly as may be, early sizes first: small pictures take least time."""
    return [steps // count + (i < steps % count) for i in range(count)]


def paint(stages, task, z, optimiser, monitor):
    """Run all stages [(size, steps)] from z. task.prepare(size, plan or None) -> (evaluate, Plan).

    Returns (z, history {name: (steps, 1)}, whether it went to the end).
    """
    saved = monitor.load() if monitor else None
    first, past = (int(saved["stage"]), list(saved["past"])) if saved else (0, [])
    total, finished = sum(steps for _, steps in stages), True
    for k in range(first, len(stages)):
        size, steps = stages[k]
        resumed = saved if saved and k == first else None
        evaluate, plan = task.prepare(size, Plan(*resumed["plan"]) if resumed else None)
        z = resampled(z, size)
        optimiser = carried(optimiser, size, plan.history)
        run = Run(evaluate, z, optimiser, steps, start=resumed and resumed["run"])

        def wrap(state, k=k, past=tuple(past), plan=plan):
            return {"stage": k, "past": list(past), "plan": list(plan), "run": state}
        finished = follow(run, monitor, lambda z: to_uint8(task.painter.levels(z)), wrap=wrap, total=total,
                          before=sum(n for _, n in stages[:k]))
        past.append(stacked(run.history))
        z = run.z if finished else run.best
        if not finished:
            break
    names = dict.fromkeys(name for part in past for name in part)
    return z, {name: np.concatenate([part[name] for part in past if name in part]) for name in names}, finished


def painted(levels, history, finished, original, planner, target, recipe):
    """The Synthesis of finished levels (H, W, 3)."""
    notes = [*planner.notes, *([] if finished else ["The run was stopped: this is the best picture so far."])]
    return Synthesis(to_uint8(levels)[None], np.clip(levels, 0, 255)[None], history, original=original, target=target,
                     notes=notes, recipe=recipe,
                     numbers={"steps": len(history.get("loss", ())), "size": list(levels.shape[:2])})
