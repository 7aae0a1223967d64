"""Occlusion: hide one patch after another and watch the score."""
from typing import Literal

import numpy as np

from ..batching import split
from ..errors import MinivisError
from ..incremental import Incremental
from ..monitor import SilentMonitor, Stop
from ..objectives import Score, class_scores
from ..options import Network, Picture, Target
from ..results import Comparison, Occlusion
from ..results.base import describe_target
from ..targets import resolve_class
from ..tensor import Tensor
from .common import class_dict, look, recipe, stopped_after
from .sampling import all_along

Fill = Literal["mean", "zero", "black", "grey", "white", "blur", "noise"]
FillOrValue = Literal["mean", "zero", "black", "grey", "white", "value", "blur", "noise"]
Method = Literal["incremental", "naive"]
BLUR_SIGMA = 10         # pixels: no shape of a patch's size survives it


def occlusion(net: Network, picture: Picture, *, targets: list[Target] | None = None, size: int = 32, stride: int = 16,
              fill: FillOrValue = "mean", value: int = 128, score: Score = "logit",
              aggregate: Literal["mean", "sum", "none"] = "mean", method: Method = "incremental",
              memory=None, seed=0, monitor=None) -> Occlusion | Comparison:
    """Hide a window of the picture, slide it over all positions: where does the score fall, and where does it rise?

    H(p) = score(x) - score(x with window p filled). Above zero the window speaks for the class, below zero against it
    (a distractor). Zeiler, Fergus 2014, arXiv:1311.2901, section 4.2.

    values (H, W): H spread to pixels. scores (rows, columns, classes): the scores of *all* classes at each position, so
    one pass answers for any class; with several targets the result is a Comparison of their maps.
    Caution: the map depends on size, stride and fill; a filled window is itself something the network may see.

    targets      classes: indices, WordNet ids or labels; none means the network's first choice
    size         side of the square window, in pixels of the network's input
    stride       step from window to window, in pixels; windows at the right and bottom edge may be cut off
    fill         what is put there: the picture's mean colour, the network's zero (usually its training set's mean),
                 black, grey, white, a level, the picture blurred, or noise
    value        with fill "value": the level, 0 to 255
    score        logit, or prob / logprob after the softmax
    aggregate    a pixel under several windows gets their mean, their sum, or (none) the map has one value per position
    method       incremental: only what a window can change in each layer is computed again; naive: the whole network.
                 Both give the same scores, to float rounding; a GPU always computes the whole network
    """
    size, stride = _sides(size, "size"), _sides(stride, "stride")
    seen, x = look(net, picture)
    x = x.data
    clean = class_scores(net(x)[net.logits_layer], score).numpy()[0]
    if clean.ndim != 1:
        raise MinivisError(f"occlusion needs one score per class, but {net.logits_layer} gives {clean.shape}")
    chosen = [resolve_class(net, t)[0] for t in targets] if targets else [int(clean.argmax())]
    background = filled(net, x, seen, fill, seed, value)
    hide = hide_incrementally if method == "incremental" and net.device == "cpu" else hide_and_score
    scores = hide(net, x, background, size, stride, score, memory, monitor)
    positions = tuple(window_starts(x.shape[1 + a], size[a], stride[a]) for a in (0, 1))
    how = recipe(occlusion, net, seed, targets=targets, size=size, stride=stride, fill=fill, value=value,
                 score=score, aggregate=aggregate, method=method)
    done = int((~np.isnan(scores).all(axis=2)).sum())
    stopped = stopped_after(done, scores.shape[0] * scores.shape[1], "positions; what none of them hid is 0")
    results = []
    for index in chosen:
        change = clean[index] - scores[:, :, index]
        values = np.nan_to_num(change)
        if aggregate != "none":
            values = spread(change, positions, size, x.shape[1:3], aggregate == "mean")
        results.append(Occlusion(
            values.astype(np.float32) if x.dtype == np.float32 else values, None,
            class_dict(net, index), float(clean[index]), score, seen,
            layer=net.logits_layer, signed=True, scores=scores, clean=clean, positions=positions, window=size,
            column=index, recipe=how, partial=bool(stopped), notes=[
                f"Windows of {size[0]} x {size[1]} pixels every {stride[0]}, filled with {FILLS[fill]}; aggregate: "
                f"{aggregate}.", *stopped]))
    if len(results) == 1:
        return results[0]
    return Comparison(results, [describe_target(r.target) for r in results], recipe=how,
                      title="What speaks for each class: one occlusion pass")


FILLS = {"mean": "the picture's mean colour", "zero": "the network's zero", "black": "black", "grey": "grey",
         "white": "white", "value": "one level", "blur": "the blurred picture", "noise": "noise"}


def hide_and_score(net, x, background, size, stride, score="logit", memory=None, monitor=None):
    """Scores of all classes with the window at each position: (rows, columns, classes).

    x, background (1, H, W, C): the window shows `background` in place of x. As many windows at once as memory allows.
    If the monitor says Stop, NaN at the positions not reached, which lie all over the picture.
    """
    tops, lefts = (window_starts(x.shape[1 + a], size[a], stride[a]) for a in (0, 1))
    order = all_along(len(tops) * len(lefts))
    places = [(tops[i // len(lefts)], lefts[i % len(lefts)]) for i in order]
    each = net.bytes_needed((1, *x.shape[1:]), [net.logits_layer])
    monitor = monitor or SilentMonitor()
    rows = []
    for part in split(len(places), each, memory):
        batch = np.repeat(x, part.stop - part.start, axis=0) if isinstance(x, np.ndarray) else x.repeat(
            part.stop - part.start, axis=0)
        for picture, (top, left) in zip(batch, places[part]):
            here = slice(top, top + size[0]), slice(left, left + size[1])
            picture[here] = background[0][here]
        rows.append(class_scores(net(batch)[net.logits_layer], score).numpy())
        try:
            monitor.step(part.stop, len(places))
        except Stop:
            break
    return _placed(np.concatenate(rows), order, len(tops), len(lefts))


def hide_incrementally(net, x, background, size, stride, score="logit", memory=None, monitor=None):
    """As hide_and_score, but only what each window changes is computed again (minivis.incremental)."""
    H, W = x.shape[1:3]
    tops, lefts = window_starts(H, size[0], stride[0]), window_starts(W, size[1], stride[1])
    order = all_along(len(tops) * len(lefts))
    places = [(tops[i // len(lefts)], lefts[i % len(lefts)]) for i in order]
    boxes = [(top, left, min(top + size[0], H), min(left + size[1], W)) for top, left in places]

    def content(i):
        top, left, bottom, right = boxes[i]
        return background[0, top:bottom, left:right]

    logits = Incremental(net, x, net.logits_layer).run_all(boxes, content, memory, monitor, may_stop=True)
    return _placed(class_scores(Tensor(logits), score).numpy(), order, len(tops), len(lefts))


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
