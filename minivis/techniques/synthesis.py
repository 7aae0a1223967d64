"""What techniques that optimise pictures share: what is to be raised, its gradient, and a run under a monitor."""
import re

import numpy as np

from .. import graphs, kernels
from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..objectives import channel, class_score, layer, unit
from ..ops import softmax
from ..optimize import Adam, Descent, Point, host
from ..targets import label_text
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


def ascent(net, objective, p, views, seed, penalties=(), wake=0):
    """evaluate(z, i) for optimize.Run: loss = -objective(net(view i of the picture of z)) + penalties.

    penalties   [(name, weight, f(levels Tensor, values) -> Tensor (N,))]
    wake        in so many first steps the score's gradient passes the last ReLU, where it is off, to turn it on
    Where the score's gradient is exactly zero because every ReLU on the way is off, it passes the ReLUs as if they were
    on. Both are there because in a picture of noise most units are silent: their true gradient says little or nothing.
    On a GPU with MINIVIS_CUDA_GRAPHS=1 the other steps run the network as a recorded graph (graphs.py).
    """
    last = last_relu(net, objective.layers)
    rules = {last: redirected} if last and wake else None
    replay = _replay(net, objective, p, views, seed, penalties)

    def evaluate(z, i):
        if graphs.wanted(z) and not (rules and i < wake):
            point = replay(z, i)
            if point is not None:
                return point
        t = Tensor(z, needs_grad=True)
        levels = p(t)
        values = net(p.units.of(views(levels, seed, i)), layers=objective.layers)
        score = objective(values)
        loss, terms = -score, {"score": host(score.data).astype(np.float64)}
        for name, weight, f in penalties:
            term = f(levels, values)
            loss = loss + term * weight
            terms[name] = host(term.data).astype(np.float64) * weight
        g = gradient(loss, t) if loss.needs_grad else kernels.xp(z).zeros_like(z)
        if rules and i < wake and score.needs_grad:
            climb = gradient(score, t, rules=rules)
            g = g + (gradient(score, t) if penalties else -g) - climb
        else:
            climb = None
        return Point(host(loss.data).astype(np.float64), _woken(g, score, t, penalties, climb), terms)
    return evaluate


def _replay(net, objective, p, views, seed, penalties):
    """f(z, i) -> the Point of `ascent` without waking, or None where units sleep. From the network's input to the loss
    and back it is one graph; the view, drawn anew in each step, and the parameterisation are left as they are."""
    replays = graphs.Replays()

    def whole(x, levels):
        """[loss, score, penalties..., d loss / dx, d loss / d levels] of the network's input and the grey levels."""
        x, levels = Tensor(x, needs_grad=True), Tensor(levels, needs_grad=True)
        values = net(x, layers=objective.layers)
        score = objective(values)
        loss, terms = -score, []
        for _, weight, f in penalties:
            term = f(levels, values)
            loss = loss + term * weight
            terms.append(term.data)
        return [loss.data, score.data, *terms, *gradient(loss, [x, levels])]

    def evaluate(z, i):
        t = Tensor(z, needs_grad=True)
        levels = p(t)
        x = p.units.of(views(levels, seed, i))
        loss, score, *terms, dx, dlevels = replays(whole, x.data, levels.data)
        loss, score, *terms = (host(a).astype(np.float64) for a in (loss, score, *terms))
        if not np.abs(score).min() > 0:
            return None
        seeds = {x._node(): dx, levels._node(): dlevels} if penalties else {x._node(): dx}
        g, = walk(seeds, [t._node()])
        found = {"score": score} | {name: term * weight for (name, weight, _), term in zip(penalties, terms)}
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
                 settle=None):
    """The optimiser that an option's word means. settle: see Adam."""
    if kind == "adam":
        return Adam(rate, settle=settle)
    if kind == "sgd":
        return Descent(rate, momentum, normalize, policy, progress)
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
        x = net.preprocessing.normalize(picture, net.dtype)[None]
        try:
            logits = net(Tensor(x), layers=[net.logits_layer])[net.logits_layer]
        except MinivisError:            # a dense layer wants another size
            return []
        if logits.ndim != 2:
            return []
        p = softmax(logits).numpy()[0]
        said.append((int(p.argmax()), label_text(net, int(p.argmax())), float(p.max())))
    return said
