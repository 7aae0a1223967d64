"""Occlusion: hide one patch after another and watch the score."""
from typing import Literal

import numpy as np

from ..batching import split
from ..errors import MinivisError
from ..incremental import Incremental
from ..monitor import SilentMonitor, Stop
from ..objectives import Score, class_scores
from ..options import Network, Picture, Target, Unit
from ..results import Comparison, Occlusion
from ..results.base import describe_target
from ..targets import resolve_class
from ..tensor import Tensor
from .common import Positions, begin, cautions, class_dict, look, recipe, stopped_after
from .sampling import all_along, host, score_of

Fill = Literal["mean", "zero", "black", "grey", "white", "blur", "noise"]
FillOrValue = Literal["mean", "zero", "black", "grey", "white", "value", "blur", "noise"]
Method = Literal["incremental", "naive"]
BLUR_SIGMA = 10         # pixels: no shape of a patch's size survives it


def occlusion(net: Network, picture: Picture, *, targets: list[Target] | None = None, unit: Unit = None,
              positions: Positions = "strongest", size: int = 32, stride: int = 16, fill: FillOrValue = "mean",
              value: int = 128, hide: Literal["window", "rest"] = "window", score: Score = "logit",
              aggregate: Literal["mean", "sum", "none"] = "mean", method: Method = "incremental",
              memory=None, seed=0, monitor=None) -> Occlusion | Comparison:
    """Hide a window of the picture, slide it over all positions: where does the score fall, and where does it rise?

    H(p) = score(x) - score(x with window p filled). Above zero the window speaks for the class, below zero against it
    (a distractor). Zeiler, Fergus 2014, arXiv:1311.2901, section 4.2. With hide "rest" the window alone is shown:
    H(p) = score(window p of x, all else filled) - score(all filled).

    values (H, W): H spread to pixels. scores (rows, columns, classes): the scores of *all* classes at each position, so
    one pass answers for any class; with several targets the result is a Comparison of their maps. Of a unit, one score.
    Caution: the map depends on size, stride and fill; a filled window is itself something the network may see.

    targets      classes: indices, WordNet ids or labels; none means the network's first choice
    unit         a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions    which position of a channel: its strongest, the centre, all of them summed, or their mean
    size         side of the square window, in pixels of the network's input
    stride       step from window to window, in pixels; windows at the right and bottom edge may be cut off
    fill         what is put there: the picture's mean colour, the network's zero (usually its training set's mean),
                 black, grey, white, a level, the picture blurred, or noise
    value        with fill "value": the level, 0 to 255
    hide         the window, or all the rest: what does each window show by itself?
    score        logit, or prob / logprob after the softmax
    aggregate    a pixel under several windows gets their mean, their sum, or (none) the map has one value per position
    method       incremental: only what a window can change in each layer is computed again; naive: the whole network.
                 Both give the same scores, to float rounding; a GPU always computes the whole network
    """
    size, stride = _sides(size, "size"), _sides(stride, "stride")
    seen, x = look(net, picture)
    x = x.data
    start = None if unit is None else begin(net, Tensor(x), target=targets, unit=unit, positions=positions)
    clean = answers(net, x, score, start)[0]
    background = filled(net, x, seen, fill, seed, value)
    ground, filling = (x, background) if hide == "window" else (background, x)
    before = clean if hide == "window" else answers(net, ground, score, start)[0]
    slide = hide_incrementally if method == "incremental" and net.device == "cpu" else hide_and_score
    scores = slide(net, ground, filling, size, stride, score, memory, monitor, start)
    places = tuple(window_starts(x.shape[1 + a], size[a], stride[a]) for a in (0, 1))
    how = recipe(occlusion, net, seed, targets=targets, unit=unit, positions=positions, size=size, stride=stride,
                 fill=fill, value=value, hide=hide, score=score, aggregate=aggregate, method=method)
    done = int((~np.isnan(scores).all(axis=2)).sum())
    stopped = stopped_after(done, scores.shape[0] * scores.shape[1], "positions; what none of them hid is 0")
    results = []
    for column, target in asked(net, clean, targets, start):
        result = Occlusion(
            None, None, target, float(clean[column]), score if start is None else start.kind, seen,
            layer=net.logits_layer if start is None else start.layer, signed=True, scores=scores, clean=clean,
            ground=before, positions=places, window=size, column=column, alone=hide == "rest", recipe=how,
            partial=bool(stopped), notes=[said(size, stride, fill, hide, aggregate), *stopped,
                                            *cautions("occlusion")])
        values = np.nan_to_num(result.changes())
        if aggregate != "none":
            values = spread(result.changes(), places, size, x.shape[1:3], aggregate == "mean")
        result.values = values.astype(np.float32) if x.dtype == np.float32 else values
        results.append(result)
    if len(results) == 1:
        return results[0]
    return Comparison(results, [describe_target(r.target) for r in results], recipe=how,
                      title="What speaks for each class: one occlusion pass")


def answers(net, x, score="logit", unit=None):
    """(N, classes): the scores of pictures x (N, H, W, C); with a unit, a Start, (N, 1): its activations."""
    if unit is not None:
        values = score_of(net, x, unit).data
        return host((values * unit.seed).reshape(len(values), -1).sum(axis=1, dtype=np.float64))[:, None]
    scores = class_scores(net(x)[net.logits_layer], score).numpy()
    if scores.ndim != 2:
        raise MinivisError(f"occlusion needs one score per class, but {net.logits_layer} gives {scores.shape[1:]}")
    return scores


def asked(net, clean, targets, unit):
    """[(column of the scores, target as results describe it)]"""
    if unit is not None:
        return [(0, unit.target)]
    chosen = [resolve_class(net, t)[0] for t in targets] if targets else [int(clean.argmax())]
    return [(index, class_dict(net, index)) for index in chosen]


def said(size, stride, fill, hide, aggregate):
    """What was done, one sentence."""
    step = f"{stride[0]}" if stride[0] == stride[1] else f"{stride[0]} down and {stride[1]} across"
    what = f"filled with {FILLS[fill]}" if hide == "window" else f"shown alone, all else {FILLS[fill]}"
    return f"Windows of {size[0]} x {size[1]} pixels every {step}, {what}; aggregate: {aggregate}."


FILLS = {"mean": "the picture's mean colour", "zero": "the network's zero", "black": "black", "grey": "grey",
         "white": "white", "value": "one level", "blur": "the blurred picture", "noise": "noise"}


def hide_and_score(net, x, background, size, stride, score="logit", memory=None, monitor=None, unit=None):
    """Scores of all classes with the window at each position: (rows, columns, classes).

    x, background (1, H, W, C): the window shows `background` in place of x. As many windows at once as memory allows.
    If the monitor says Stop, NaN at the positions not reached, which lie all over the picture. unit: see `answers`.
    """
    tops, lefts = (window_starts(x.shape[1 + a], size[a], stride[a]) for a in (0, 1))
    order = all_along(len(tops) * len(lefts))
    places = [(tops[i // len(lefts)], lefts[i % len(lefts)]) for i in order]
    each = net.bytes_needed((1, *x.shape[1:]), [net.logits_layer if unit is None else unit.layer])
    monitor = monitor or SilentMonitor()
    rows = []
    for part in split(len(places), each, memory):
        batch = np.repeat(x, part.stop - part.start, axis=0) if isinstance(x, np.ndarray) else x.repeat(
            part.stop - part.start, axis=0)
        for picture, (top, left) in zip(batch, places[part]):
            here = slice(top, top + size[0]), slice(left, left + size[1])
            picture[here] = background[0][here]
        rows.append(answers(net, batch, score, unit))
        try:
            monitor.step(part.stop, len(places))
        except Stop:
            break
    return _placed(np.concatenate(rows), order, len(tops), len(lefts))


def hide_incrementally(net, x, background, size, stride, score="logit", memory=None, monitor=None, unit=None):
    """As hide_and_score, but only what each window changes is computed again (minivis.incremental)."""
    H, W = x.shape[1:3]
    tops, lefts = window_starts(H, size[0], stride[0]), window_starts(W, size[1], stride[1])
    order = all_along(len(tops) * len(lefts))
    places = [(tops[i // len(lefts)], lefts[i % len(lefts)]) for i in order]
    boxes = [(top, left, min(top + size[0], H), min(left + size[1], W)) for top, left in places]

    def content(i):
        top, left, bottom, right = boxes[i]
        return background[0, top:bottom, left:right]

    if unit is not None:
        found = Incremental(net, x, unit.layer).run_all(boxes, content, memory, monitor, True, unit.seed)[:, None]
    else:
        logits = Incremental(net, x, net.logits_layer).run_all(boxes, content, memory, monitor, may_stop=True)
        found = class_scores(Tensor(logits), score).numpy()
    return _placed(found, order, len(tops), len(lefts))


def _placed(scores, order, rows, columns):
    """(rows, columns, classes): scores (n, classes) put where they belong; NaN where there is none."""
    found = np.full((rows * columns, scores.shape[1]), np.nan, scores.dtype)
    found[order[:len(scores)]] = scores
    return found.reshape(rows, columns, -1)


def window_starts(length, size, stride):
    """First pixels of the windows along one side: every stride until the far edge is covered; the last may overhang."""
    count = -(-max(0, length - size) // stride) + 1
    return [i * stride for i in range(count) if i * stride < length]


def spread(change, positions, size, shape, mean):
    """One value per window, or NaN -> one per pixel (H, W): the mean or the sum over the windows that cover it."""
    total, cover = np.zeros(shape), np.zeros(shape)
    for i, top in enumerate(positions[0]):
        for j, left in enumerate(positions[1]):
            if np.isnan(change[i, j]):
                continue
            total[top:top + size[0], left:left + size[1]] += change[i, j]
            cover[top:top + size[0], left:left + size[1]] += 1
    return total / np.maximum(cover, 1) if mean else total      # pixels between windows (stride > size) stay 0


def filled(net, x, seen, fill, seed=0, value=128):
    """(1, H, W, C): the whole picture in the filling, from which windows are cut."""
    if fill == "zero":
        return x * 0
    if fill == "mean":
        return x * 0 + x.mean(axis=(1, 2), keepdims=True)
    if fill == "blur":
        from ..ops import gaussian_blur
        return gaussian_blur(x, BLUR_SIGMA).data
    levels = {"black": 0, "grey": 128, "white": 255, "value": value}
    if not 0 <= value <= 255:
        raise MinivisError(f"value {value} is no level of a picture: 0 to 255")
    if fill in levels:
        picture = np.full_like(seen.picture, levels[fill])
    elif fill == "noise":
        rng = np.random.default_rng([seed, 0])
        picture = rng.integers(0, 256, seen.picture.shape, dtype=np.uint8)
    else:
        raise MinivisError(f"no fill {fill!r}; there are {', '.join(FILLS)}")
    return net.preprocessing.normalize(picture, net.dtype)[None]


def _sides(value, what):
    sides = (value, value) if isinstance(value, int) else tuple(int(v) for v in value)
    if len(sides) != 2 or min(sides) < 1:
        raise MinivisError(f"occlusion: {what} {value!r} must be a positive number of pixels, or (height, width)")
    return sides
