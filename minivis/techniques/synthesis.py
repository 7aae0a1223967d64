"""What techniques that optimise pictures share: what is to be raised, its gradient, and a run under a monitor."""
import re

import numpy as np

from .. import graphs, kernels
from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..objectives import channel, class_score, layer, unit
from ..ops import softmax
from ..optimize import Adam, Descent, Point, host
from ..parameterize import to_device
from ..targets import label_text, resolve_class, resolve_unit
from ..tensor import Tensor, gradient, walk


def objective_of(net, what, score="logit", positions="all"):
    """A sum of named goals -> one Objective.

    what    a list of [WEIGHT*]NAME. NAME is LAYER:CHANNEL@ROW,COLUMN (a unit), LAYER:CHANNEL (a channel: its mean with
            positions "all", its middle unit with "centre"), LAYER (the Euclidean norm of all its values), or a
            class: an index, a WordNet id or a label. Several channels of a layer with weights are a direction in it.
    """
    if not what:
        raise MinivisError("nothing is asked for: name a class, LAYER:CHANNEL or LAYER")
    total = None
    for text in what:
        weight, name = _weighed(str(text))
        goal = _goal(net, name, score, positions)
        goal = goal if weight == 1 else weight * goal
        total = goal if total is None else total + goal
    return total


def _weighed(text):
    found = re.fullmatch(r"\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)\s*\*\s*(.+)", text)
    return (float(found[1]), found[2].strip()) if found else (1.0, text.strip())


def the_class(net, what):
    """The class that a list of goals consists of, if it is just one class that is to be raised; else None."""
    weight, name = _weighed(str(what[0]))
    alone = len(what) == 1 and weight > 0 and ":" not in name and not (name in net.table or name in net.aliases)
    return name if alone else None


def _goal(net, name, score, positions):
    if ":" in name:
        if "@" in name or positions == "centre":
            return unit(net, name)
        return channel(net, name, "mean")
    if name in net.table or name in net.aliases:
        return layer(net, name, "l2")
    return class_score(net, name, score)


def leader_of(net, what, positions="all"):
    """f(values) -> (N,) bool on the host: whether the class, or the channel among those of its layer, is the first of
    all. None where `what` is not just one of these."""
    weight, name = _weighed(str(what[0]))
    if len(what) > 1 or weight <= 0 or (":" not in name and the_class(net, what) is None):
        return None
    if ":" not in name:
        index = resolve_class(net, name)[0]
        return lambda values: host(values[net.logits_layer].data).argmax(1) == index
    spot = resolve_unit(net, name)

    def leads(values):
        a = host(values[spot.layer].data)
        if a.ndim == 4:
            H, W = a.shape[1:3]
            middle = (H // 2, W // 2) if spot.row is None else (spot.row, spot.column)
            everywhere = spot.row is None and positions == "all"
            a = a.mean((1, 2), dtype=np.float64) if everywhere else a[:, middle[0], middle[1]]
        return (a.argmax(1) == spot.channel) & (a[:, spot.channel] > 0)
    return leads


def ascent(net, objective, p, views, seed, penalties=(), wake=0, leads=None):
    """evaluate(z, i) for optimize.Run: loss = -objective(net(view i of the picture of z)) + penalties.

    penalties   [(name, weight, f(levels Tensor, values) -> Tensor (N,))]
    leads       f(values) -> (N,) bool: a term "leads" then tells it
    wake        in so many first steps the score's gradient passes the last ReLU, where it is off, to turn it on
    Where the score's gradient is exactly zero because every ReLU on the way is off, it passes the ReLUs as if they were
    on. Both are there because in a picture of noise most units are silent: their true gradient says little or nothing.
    On a GPU with MINIVIS_CUDA_GRAPHS=1 the other steps run the network as a recorded graph (graphs.py).
    """
    last = last_relu(net, objective.layers)
    rules = {last: redirected} if last and wake else None
    replay = _replay(net, objective, p, views, seed, penalties, leads)

    def evaluate(z, i):
        if graphs.wanted(z) and not (rules and i < wake):
            point = replay(z, i)
            if point is not None:
                return point
        t = Tensor(z, needs_grad=True)
        levels = p(t)
        values = net(p.units.of(views(levels, seed, i)), layers=objective.layers)
        score = objective(values)
        against, terms = None, {"score": host(score.data).astype(np.float64)}
        if leads is not None:
            terms["leads"] = leads(values).astype(np.float64)
        for name, weight, f in penalties:
            term = f(levels, values)
            against = term * weight if against is None else against + term * weight
            terms[name] = host(term.data).astype(np.float64) * weight
        loss = -score if against is None else against - score
        losses = host(loss.data).astype(np.float64)
        if rules and i < wake and score.needs_grad:
            climb = gradient(score, t, rules=rules)
            g = -climb if against is None or not against.needs_grad else gradient(against, t) - climb
        else:
            climb = None
            g = gradient(loss, t) if loss.needs_grad else kernels.xp(z).zeros_like(z)
        return Point(losses, _woken(g, score, t, penalties, climb), terms)
    return evaluate


def _replay(net, objective, p, views, seed, penalties, leads=None):
    """f(z, i) -> the Point of `ascent` without waking, or None where units sleep. From the network's input to the loss
    and back it is one graph; the view, drawn anew in each step, and the parameterisation are left as they are."""
    replays = graphs.Replays()
    watched = [] if leads is None else list(objective.layers)

    def whole(x, levels):
        """[loss, score, penalties..., watched activations..., d loss / dx, d loss / d levels] of the network's input
        and the grey levels."""
        x, levels = Tensor(x, needs_grad=True), Tensor(levels, needs_grad=True)
        values = net(x, layers=objective.layers)
        score = objective(values)
        loss, terms = -score, []
        for _, weight, f in penalties:
            term = f(levels, values)
            loss = loss + term * weight
            terms.append(term.data)
        return [loss.data, score.data, *terms, *(values[name].data for name in watched), *gradient(loss, [x, levels])]

    def evaluate(z, i):
        t = Tensor(z, needs_grad=True)
        levels = p(t)
        x = p.units.of(views(levels, seed, i))
        loss, score, *rest, dx, dlevels = replays(whole, x.data, levels.data)
        terms, activations = rest[:len(penalties)], rest[len(penalties):]
        loss, score, *terms = (host(a).astype(np.float64) for a in (loss, score, *terms))
        if not np.abs(score).min() > 0:
            return None
        seeds = {x._node(): dx, levels._node(): dlevels} if penalties else {x._node(): dx}
        g, = walk(seeds, [t._node()])
        found = {"score": score} | {name: term * weight for (name, weight, _), term in zip(penalties, terms)}
        if leads is not None:
            found["leads"] = leads({name: Tensor(a) for name, a in zip(watched, activations)}).astype(np.float64)
        return Point(loss, g, found)
    return evaluate


def _woken(g, score, t, penalties, climb):
    """g, with the gradient through sleeping ReLUs added for the pictures whose score has none."""
    xp = kernels.xp(g)
    if float(xp.abs(score.data).min()) > 0 or not score.needs_grad:
        return g
    plain = climb if climb is not None else gradient(score, t) if penalties else g      # redirected: awake if not zero
    axes = tuple(range(1, g.ndim))
    asleep = ~xp.any(plain != 0, axis=axes, keepdims=True)
    if not bool(asleep.any()):
        return g
    return g - xp.where(asleep, gradient(score, t, rules={"relu": through}), 0).astype(g.dtype)


def last_relu(net, layers):
    """The ReLU that the values of `layers` come from with nothing but averages and the like between, or None."""
    name = layers[0] if len(layers) == 1 else None
    while name is not None and net.table[name].kind != "relu":
        passes = net.table[name].kind in ("global_avg_pool", "avg_pool", "max_pool", "flatten", "dropout", "softmax")
        name = net.table.reads[name][0] if passes else None
    return name


def redirected(dy, positive):
    """dx = dy where x > 0 or dy > 0: a ReLU that is off passes what would turn it on. After the redirected ReLU of Olah
    et al. 2017 (Lucid)."""
    return kernels.xp(dy).where(positive | (dy > 0), dy, 0).astype(dy.dtype)


def through(dy, positive):
    """dx = dy: a ReLU as if it were always on."""
    return dy


def optimizer_of(kind, rate, momentum=0.0, normalize="none", policy="constant", progress=2.0, fresh=False,
                 settle=None, stages=()):
    """The optimiser that an option's word means. settle: see Adam; stages: see Descent."""
    if kind == "adam":
        return Adam(rate, settle=settle)
    if kind == "sgd":
        return Descent(rate, momentum, normalize, policy, progress, stages)
    if kind == "lbfgs":
        from ..lbfgs import LBFGS
        return LBFGS(rate, fresh=fresh)
    raise MinivisError(f"no optimiser {kind!r}; there are sgd, adam and lbfgs")


def follow(run, monitor, picture, *, wrap=lambda state: state, before=0, total=None):
    """Take all of a run's steps under a monitor. Returns whether it went to the end (False: the monitor said Stop).

    picture   f(z) -> uint8, made only if someone looks. wrap: what is saved, made of the run's state.
    before, total   for a run that is a part of a longer one: the steps done before it, and all of them
    """
    monitor = monitor or SilentMonitor()
    total = run.steps if total is None else total
    try:
        for step in run:
            monitor.save(lambda: wrap(run.state()))
            monitor.step(before + step.done, total, {k: float(np.mean(v)) for k, v in step.terms.items()},
                         picture=lambda z=step.z: picture(z))
    except Stop:
        return False
    return True


def to_uint8(levels):
    """Grey levels, clipped to 0..255 and rounded half to even."""
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def stacked(history):
    """{name: [(N,), ...]} -> {name: (steps, N)}"""
    return {name: np.stack(rows) for name, rows in history.items()}


def said_of(net, pictures):
    """What the network says of finished uint8 pictures (N, H, W, 3), as they are: [(index, label, probability)]; empty
    if it gives no class scores for them."""
    if net.logits_layer is None:
        return []
    said = []
    for picture in pictures:
        try:
            logits = net(_input(net, picture), layers=[net.logits_layer])[net.logits_layer]
        except MinivisError:            # a dense layer wants another size
            return []
        if logits.ndim != 2:
            return []
        p = softmax(logits).numpy()[0]
        said.append((int(p.argmax()), label_text(net, int(p.argmax())), float(p.max())))
    return said


def scores_of(net, objective, pictures):
    """[the objective of each finished uint8 picture, as it is]"""
    return [float(host(objective(net(_input(net, picture), layers=objective.layers)).data)[0]) for picture in pictures]


def _input(net, picture):
    return Tensor(to_device(net, net.preprocessing.normalize(picture, net.dtype)[None]))


def spread_of(values):
    """{mean, deviation, least, most} of the values that several starts ended with."""
    values = np.asarray(values, np.float64)
    return {"mean": float(values.mean()), "deviation": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
            "least": float(values.min()), "most": float(values.max())}
