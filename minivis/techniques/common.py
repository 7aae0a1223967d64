"""What techniques share: a picture as the network sees it, a score to explain, and its gradient under a rule."""
import functools
from typing import Literal, NamedTuple

import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..objectives import class_scores
from ..options import caution
from ..provenance import make_recipe
from ..results import Attribution
from ..sparse import field_if_smaller, pixels_of
from ..targets import class_labels, resolve_class, resolve_unit
from ..tensor import Tensor, gradient

Positions = Literal["strongest", "centre", "all", "mean"]       # which units of a channel a target means


class Start(NamedTuple):
    """Where a walk back begins: a tensor of the graph and the weights of its entries, which sum up to one number."""
    tensor: Tensor
    seed: object
    value: float        # that number
    kind: str           # "logit", "prob", "logprob" or "activation"
    layer: str
    target: dict        # as results.describe_target reads it


def look(net, picture, needs_grad=False):
    """-> (Seen, Tensor (1, H, W, 3)): the part of the picture the network sees, and that as its input."""
    seen = net.see(picture)
    return seen, Tensor(net.preprocessing.normalize(seen.picture, net.dtype)[None], needs_grad=needs_grad)


def recipe(technique, net, seed=0, **options):
    """The recipe of a result of `technique`, a function."""
    return make_recipe(technique.__name__, options, net, seed=seed, precision=net.precision, device=net.device)


def class_start(net, values, target, score):
    """Begin at a class's score; target None is the network's first choice."""
    logits = values[net.logits_layer]
    if logits.ndim != 2:
        raise MinivisError(f"{net.logits_layer} gives a map {logits.shape[1:3]} of class scores and not one score per "
                           "class; use a unit of that layer")
    if target is None:
        index = int(logits.numpy()[0].argmax())
    else:
        index, _ = resolve_class(net, target)
    scores = class_scores(logits, score)
    return Start(scores, one_hot(scores, (0, index)), float(scores.data[0, index]), score, net.logits_layer,
                 class_dict(net, index))


def class_dict(net, index):
    """A class as results describe it."""
    labels = class_labels(net)
    wnid, label = labels[index] if labels else (None, None)
    return {"index": int(index), "wnid": wnid, "label": label}


def unit_start(net, values, unit, positions="strongest"):
    """Begin at a unit. `layer` means its strongest unit; `layer:channel` the channel's strongest unit, its centre one,
    the sum of all or their mean, as `positions` says; `layer:channel@row,column` that unit."""
    layer, spot = unit_layer(net, unit)
    tensor = values[layer]
    a = tensor.numpy()[0]
    if spot is None:
        place = np.unravel_index(int(a.argmax()), a.shape)
    elif a.ndim == 1:
        place = (spot.channel,)
    elif spot.row is not None:
        place = (spot.row, spot.column, spot.channel)
        if spot.row >= a.shape[0] or spot.column >= a.shape[1]:
            raise MinivisError(f"{unit}: layer {layer} has {a.shape[0]} rows and {a.shape[1]} columns on this picture")
    elif positions in ("all", "mean"):
        place = (slice(None), slice(None), spot.channel)
    elif positions == "centre":
        place = (a.shape[0] // 2, a.shape[1] // 2, spot.channel)
    else:
        place = (*np.unravel_index(int(a[:, :, spot.channel].argmax()), a.shape[:2]), spot.channel)
    target = {"layer": layer, "channel": int(place[-1])}
    if len(place) == 3 and not isinstance(place[0], slice):
        target["position"] = [int(place[0]), int(place[1])]
    value, seed = float(a[place].sum(dtype=np.float64)), one_hot(tensor, (0, *place))
    if positions == "mean" and isinstance(place[0], slice):
        value, seed = value / a[place].size, seed / seed.dtype.type(a[place].size)
    return Start(tensor, seed, value, "activation", layer, target)


def unit_layer(net, unit):
    """The layer that a unit's name speaks of, and the unit, None if only a layer is named."""
    if ":" not in unit:
        return net.layer_name(unit), None
    spot = resolve_unit(net, unit)
    return spot.layer, spot


def one_hot(tensor, place):
    """An array like the tensor's with 1 at `place` and 0 elsewhere."""
    seed = kernels.xp(tensor.data).zeros_like(tensor.data)
    seed[place] = 1
    return seed


def over_colours(values, ufunc=np.add):
    """(H, W): ufunc.reduce over the three colours of values (H, W, 3). NumPy's own way over so short an axis takes ten
    times as long."""
    return functools.reduce(ufunc, (values[:, :, c] for c in range(values.shape[2])))


def begin(net, x, *, target=None, unit=None, score="logit", positions="strongest", values=None):
    """Forward to a class score, or to a unit if one is named; the Start of the way back. values: the layers of a
    forward pass that was made already, that of top_layer among them."""
    if unit is not None and target is not None:
        raise MinivisError(f"give a class ({target}) or a unit ({unit}), not both")
    values = net(x, layers=[top_layer(net, unit)]) if values is None else values
    return class_start(net, values, target, score) if unit is None else unit_start(net, values, unit, positions)


def top_layer(net, unit=None):
    """The layer where the score is read: a unit's, or the class scores'."""
    if unit is not None:
        return unit_layer(net, unit)[0]
    if net.logits_layer is None:
        raise MinivisError(f"network {net.name} has no class scores (no logits layer); start at a unit")
    return net.logits_layer


def input_gradient(net, x, start, rules="plain"):
    """The start's gradient with respect to the input, (H, W, 3), colours in RGB order, on the host.

    That of a unit which sees little of the picture costs no more than what it sees."""
    field = field_of(net, start, x.shape[1:3])
    if field is None:
        grad = gradient(start.tensor, x, rules=rules, seed=start.seed)[0]
    else:
        pixels = pixels_of(field, x.data)
        grad = field.framed(gradient(field.of(pixels), pixels, rules=rules, seed=seed_at(start)), x.data)[0]
    return net.to_rgb(grad.get() if hasattr(grad, "get") else grad)


def field_of(net, start, size):
    """The UnitField of a start that is one unit and sees less than half of the picture, (H, W), else None."""
    place = start.target.get("position") if start.kind == "activation" else None
    return None if place is None else field_if_smaller(net, start.layer, *place, size)


def seed_at(start):
    """(1, 1, 1, K): the seed of a start that is one unit, at its place."""
    row, column = start.target["position"]
    return start.seed[:, row:row + 1, column:column + 1]


def starting_with(start, what):
    """The start with its score in the place of 1 as the signal that is sent down, if `what` is "score"."""
    return start._replace(seed=start.seed * start.seed.dtype.type(start.value)) if what == "score" else start


def at_relus(rule, relus):
    """The rule for all ReLUs, or for those that the names or globs `relus` mean; the others pass the derivative."""
    return dict.fromkeys(relus, rule) if relus else rule


def attribution(net, seen, start, values, gradient, recipe, notes=(), stopped=(), **more):
    """An Attribution of this start, with its technique's caution; a map that is all zero says why. stopped: what
    stopped_after says."""
    notes = [*notes, *stopped, *([] if np.any(values) else [why_zero(start)]), *cautions(recipe["technique"])]
    more["partial"] = bool(stopped)
    return Attribution(values, gradient, start.target, start.value, start.kind, seen, layer=start.layer, recipe=recipe,
                       notes=notes, **more)


def cautions(name):
    """["Caution: ..."] of the technique of this name, or []."""
    from . import TECHNIQUES, load
    text = caution(load(name)) if name in TECHNIQUES else ""
    return [f"Caution: {text}"] if text else []


def stopped_after(done, total, what):
    """[a sentence] if a run was stopped before its end, else []."""
    return [f"Partial: stopped after {done} of {total} {what}."] if done < total else []


def why_zero(start):
    """A sentence or two for a map without any value."""
    off = f" {start.layer} itself gives exactly 0 here." if start.value == 0 else ""
    return f"The map is all zero: no signal passed the layers on the way down.{off} Start at a unit of a lower layer."
