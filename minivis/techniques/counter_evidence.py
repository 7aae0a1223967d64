"""Counter-evidence: which parts of the picture keep the class down?"""
import numpy as np

from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..objectives import Score
from ..options import Network, Picture, Target, Unit
from ..results import Occlusion
from ..results.base import describe_target
from ..targets import class_name, resolve_class
from ..tensor import Tensor
from .common import Positions, begin, cautions, class_dict, look, recipe, stopped_after
from .occlusion import FILLS, Fill, answers, filled, hide_and_score, hide_incrementally, spread, window_starts

ROUNDING = 32           # units in the last place by which a score must rise: less is rounding


def counter_evidence(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
                     positions: Positions = "strongest", size: int = 32, stride: int = 16, count: int = 3,
                     fill: Fill = "mean", score: Score = "logit", memory=None, seed=0, monitor=None) -> Occlusion:
    """Hide patches one after another, each the one that raises the class most: what spoke against it, and how much?

    Step s hides argmax over p of score(x_s with window p filled), x_s being the picture with s windows hidden, as long
    as that raises the score. The distractors of Zeiler, Fergus 2014, arXiv:1311.2901, section 4.2, taken together.

    values (H, W): min(0, score(x) - score(x with window p filled)), spread to pixels: 0 where hiding only hurts.
    Caution: the filling itself may look like something; compare fills.

    target    the class: an index, a WordNet id or a label; none means the network's *second* choice, which asks what
              the picture would need to lose for it to win
    unit      a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    size      side of the square window, in pixels of the network's input
    stride    step from window to window, in pixels
    count     how many windows to hide at most
    fill      what is put there: mean, zero, black, grey, white, blur or noise
    score     logit, or prob / logprob after the softmax
    """
    if min(size, stride, count) < 1:
        raise MinivisError(f"counter_evidence: size {size}, stride {stride} and count {count} must be at least 1")
    seen, x = look(net, picture)
    x = x.data
    start = None if unit is None else begin(net, Tensor(x), target=target, unit=unit, positions=positions)
    clean = answers(net, x, score, start)[0]
    if start is not None:
        index, described, layer = 0, start.target, start.layer
    else:
        index = int(np.argsort(-clean, kind="stable")[:2][-1]) if target is None else resolve_class(net, target)[0]
        described, layer = class_dict(net, index), net.logits_layer
    background, window, step = filled(net, x, seen, fill, seed), (size, size), (stride, stride)
    hide = hide_incrementally if net.device == "cpu" else hide_and_score
    places = tuple(window_starts(x.shape[1 + a], size, stride) for a in (0, 1))
    first, now, path, monitor, stopped = None, x, [(None, clean)], monitor or SilentMonitor(), []
    hidden = np.zeros([len(edges) for edges in places], bool)
    try:
        for i in range(count):
            scores = hide(net, now, background, window, step, score, memory, unit=start)
            first = scores if first is None else first
            after = np.where(hidden, -np.inf, scores[:, :, index])
            row, column = np.unravel_index(int(after.argmax()), after.shape)
            rise = after[row, column] - path[-1][1][index]
            if not rise > ROUNDING * np.finfo(scores.dtype).eps * np.abs(path[-1][1]).max():
                break
            hidden[row, column] = True
            top, left = places[0][row], places[1][column]
            where = np.s_[:, top:top + size, left:left + size]
            now = now.copy()
            now[where] = background[where]
            path.append(((top, left), scores[row, column]))
            monitor.step(i + 1, count)
    except Stop:
        stopped = stopped_after(len(path) - 1, count, "windows")
    values = np.minimum(0, spread(clean[index] - first[:, :, index], places, window, x.shape[1:3], mean=True))
    how = recipe(counter_evidence, net, seed, target=target, unit=unit, positions=positions, size=size, stride=stride,
                 count=count, fill=fill, score=score)
    kind = score if start is None else start.kind
    notes = [f"Windows of {size} x {size} pixels, filled with {FILLS[fill]}.",
             *story(path, index, kind, (lambda i: class_name(net, i)) if start is None else None, described), *stopped,
             *cautions("counter_evidence")]
    return Occlusion(values.astype(net.dtype), None, described, float(clean[index]), kind, seen, layer=layer,
                     signed=True, scores=first, clean=clean, positions=places, window=window, column=index, path=path,
                     recipe=how, notes=notes, partial=bool(stopped))


def story(path, index, score, name, target):
    """What happened as windows were hidden, in sentences; name: of a class, None for a unit."""
    if len(path) == 1:
        who = name(index) if name else describe_target(target)
        return [f"Hiding any one window does not raise {who}: nothing of this size speaks against it."]
    lines = [f"Step {i}: the window at row {at[0]}, column {at[1]} hidden, {score} {before[index]:.4g} -> "
             f"{after[index]:.4g}." for i, ((at, after), (_, before)) in enumerate(zip(path[1:], path), 1)]
    if name is None:
        return lines
    was, now = int(path[0][1].argmax()), int(path[-1][1].argmax())
    change = f"stays {name(was)}" if was == now else f"changes from {name(was)} to {name(now)}"
    return [*lines, f"The network's first choice {change}."]
