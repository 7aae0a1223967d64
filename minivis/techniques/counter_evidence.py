"""Counter-evidence: which parts of the picture keep the class down?"""
import numpy as np

from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..objectives import Score, class_scores
from ..options import Network, Picture, Target
from ..results import Occlusion
from ..targets import class_labels, resolve_class
from .common import class_dict, look, recipe, stopped_after
from .occlusion import FILLS, Fill, filled, hide_and_score, hide_incrementally, spread, window_starts


def counter_evidence(net: Network, picture: Picture, *, target: Target = None, size: int = 32, stride: int = 16,
                     count: int = 3, fill: Fill = "mean", score: Score = "logit", memory=None, seed=0,
                     monitor=None) -> Occlusion:
    """Hide patches one after another, each the one that raises the class most: what spoke against it, and how much?

    Step s hides argmax over p of score(x_s with window p filled), x_s being the picture with s windows hidden, as long
    as that raises the score. The distractors of Zeiler, Fergus 2014, arXiv:1311.2901, section 4.2, taken together.

    values (H, W): min(0, score(x) - score(x with window p filled)), spread to pixels: 0 where hiding only hurts.
    Caution: the filling itself may look like something; compare fills.

    target    the class: an index, a WordNet id or a label; none means the network's *second* choice, which asks what
              the picture would need to lose for it to win
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
    logits = net(x)[net.logits_layer]
    clean = class_scores(logits, score).numpy()[0]
    if clean.ndim != 1:
        raise MinivisError(f"counter_evidence needs one score per class, but {net.logits_layer} gives {clean.shape}")
    index = int(np.argsort(-clean, kind="stable")[:2][-1]) if target is None else resolve_class(net, target)[0]
    background, window, step = filled(net, x, seen, fill, seed), (size, size), (stride, stride)
    hide = hide_incrementally if net.device == "cpu" else hide_and_score
    positions = tuple(window_starts(x.shape[1 + a], size, stride) for a in (0, 1))
    first, now, path, monitor, stopped = None, x, [(None, clean)], monitor or SilentMonitor(), []
    try:
        for i in range(count):
            scores = hide(net, now, background, window, step, score, memory)
            first = scores if first is None else first
            row, column = np.unravel_index(int(scores[:, :, index].argmax()), scores.shape[:2])
            if not scores[row, column, index] > path[-1][1][index]:
                break
            top, left = positions[0][row], positions[1][column]
            where = np.s_[:, top:top + size, left:left + size]
            now = now.copy()
            now[where] = background[where]
            path.append(((top, left), scores[row, column]))
            monitor.step(i + 1, count)
    except Stop:
        stopped = stopped_after(len(path) - 1, count, "windows")
    values = np.minimum(0, spread(clean[index] - first[:, :, index], positions, window, x.shape[1:3], mean=True))
    how = recipe(counter_evidence, net, seed, target=target, size=size, stride=stride, count=count, fill=fill,
                 score=score)
    notes = [f"Windows of {size} x {size} pixels, filled with {FILLS[fill]}.", *story(net, path, index, score),
             *stopped]
    return Occlusion(values.astype(net.dtype), None, class_dict(net, index), float(clean[index]), score, seen,
                     layer=net.logits_layer, signed=True, scores=first, clean=clean, positions=positions,
                     window=window, column=index, recipe=how, notes=notes, partial=bool(stopped))


def story(net, path, index, score):
    """What happened as windows were hidden, in sentences."""
    labels = class_labels(net)

    def name(i):
        return labels[i][1].split(",")[0] if labels else f"class {i}"
    if len(path) == 1:
        return [f"Hiding any one window does not raise {name(index)}: nothing of this size speaks against it."]
    lines = [f"Step {i}: the window at row {at[0]}, column {at[1]} hidden, {score} {before[index]:.4g} -> "
             f"{after[index]:.4g}" for i, ((at, after), (_, before)) in enumerate(zip(path[1:], path), 1)]
    was, now = int(path[0][1].argmax()), int(path[-1][1].argmax())
    change = f"stays {name(was)}" if was == now else f"changes from {name(was)} to {name(now)}"
    return [*[line + "." for line in lines], f"The network's first choice {change}."]
