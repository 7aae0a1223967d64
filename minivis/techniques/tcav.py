"""Concepts: does a class heed a direction that parts pictures of a concept from random ones?"""
from typing import Literal

import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..options import Folder, Layer, Network, Target
from ..representation import concepts, sets
from ..results import Concepts
from ..targets import resolve_class
from ..tensor import Tensor, gradient
from .cka import default_layers
from .common import class_dict, recipe

DRAWS = 53              # this technique's own stream of random numbers
FEWEST = 6              # pictures of a concept, so that some can be held out
SIGNIFICANT = 0.05
MOST_LAYERS = 5         # chosen when none are named


def tcav(net: Network, concept: Folder, random: Folder, *, target: Target, pictures: Folder | None = None,
         layers: list[Layer] | None = None, runs: int = 20, pool: Literal["mean", "none"] = "mean", limit: int = 100,
         memory=None, seed=0, monitor=None) -> Concepts:
    """How far a class heeds a concept that is given by pictures: testing with concept activation vectors.

    In a layer, the plane that parts activations of the concept from those of random pictures has a normal v, the
    concept's direction. The score is the share of pictures on which the logit S of the class rises along it:
    |{x: dS/da . v > 0}| / N. Kim et al. 2018, arXiv:1711.11279. Any two sets have a parting plane, so each score is the
    mean over `runs` planes, each against other random pictures, and is compared with planes that part random pictures
    from other random pictures: a two-sided t test, p values times the number of layers (Bonferroni).

    Caution: a direction is a property of the pictures chosen; a score that differs significantly from chance says that
    the class depends on this direction, not that the network has the concept that people have.

    concept    pictures of the concept: a folder, zip, tar, HDF5 file or list of files
    random     pictures of anything else, at least twice as many as of the concept, better many more
    target     the class whose score is asked about
    pictures   pictures of the class, on which the score is counted; none means the concept's and the random ones
    layers     which layers; none means five of them, from the first to the last
    runs       planes of each kind
    pool       mean: a direction in the means of the channels, wherever in the picture; none: in all values of a layer,
               as in the paper, which takes more pictures and more memory
    limit      of each set, at most so many pictures, drawn at random
    """
    if runs < 2:
        raise MinivisError(f"tcav: runs {runs} must be at least 2, so that chance can be judged")
    index, _ = resolve_class(net, target)
    names = [net.layer_name(n) for n in layers] if layers else spread(below_logits(net), MOST_LAYERS)
    chosen = {"concept": sets.open_set(concept, limit, seed), "random": sets.open_set(random, limit, seed)}
    if pictures is not None:
        chosen["class"] = sets.open_set(pictures, limit, seed)
    sets.check_room(net, names, sum(len(one.names) for one in chosen.values()), pool, memory, copies=4)
    values, slopes = {}, {}
    for key, one in chosen.items():
        values[key], slopes[key] = measure(net, one, names, index, pool, memory, monitor,
                                           wanted=("slopes",) if key == "class" else
                                           ("values",) if pictures is not None else ("values", "slopes"))
    counts = {key: len(values[key][names[0]]) for key in ("concept", "random")}
    size = min(counts["concept"], counts["random"] // 2)
    if size < FEWEST:
        raise MinivisError(f"tcav: {counts['concept']} pictures of the concept and {counts['random']} random ones "
                           f"could be read; at least {FEWEST} and {2 * FEWEST} are needed")
    rows = []
    for layer in names:
        along = slopes["class"][layer] if pictures is not None else np.concatenate([slopes["concept"][layer],
                                                                                    slopes["random"][layer]])
        scores, chance, accuracy = trials(values["concept"][layer], values["random"][layer], along, size, runs, seed)
        p = concepts.significance(scores, chance, tests=len(names))
        rows.append({"layer": layer, "score": float(np.mean(scores)), "deviation": float(np.std(scores)),
                     "chance": float(np.mean(chance)), "chance_deviation": float(np.std(chance)), "p": p,
                     "accuracy": float(np.mean(accuracy)), "significant": bool(p < SIGNIFICANT),
                     "pictures": len(along), "scores": [float(s) for s in scores],
                     "chance_scores": [float(s) for s in chance],
                     "linear": bool(np.ptp(along, axis=0).max() <= 1e-6 * np.abs(along).max())})
    notes = [f"{key}: {note}" for key, one in chosen.items() for note in one.notes()]
    if pictures is None:
        notes.append("Counted on the concept's and the random pictures; with --pictures it is counted on pictures of "
                     "the class.")
    straight = [row["layer"] for row in rows if row["linear"]]
    if straight:
        notes.append(f"{', '.join(straight)}: the class score is the same straight line there on all pictures, so "
                     "that each direction scores 0 or 1.")
    if not any(row["significant"] for row in rows):
        notes.append("No layer's score differs from that of random directions: nothing is shown.")
    return Concepts(rows, class_dict(net, index), runs=runs, size=size, notes=notes,
                    recipe=recipe(tcav, net, seed, concept=concept, random=random, target=target, pictures=pictures,
                                  layers=names, runs=runs, pool=pool, limit=limit))


def below_logits(net):
    """Layers on the way to the class scores, but for the last, which is these scores."""
    return [name for name in default_layers(net) if name != net.logits_layer] or [net.features_layer]


def spread(names, count):
    """So many of the names, from the first to the last."""
    at = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [names[i] for i in at]


def measure(net, chosen, names, index, pool, memory, monitor, wanted):
    """({layer: values (N, D)}, {layer: dS/da (N, D)}) of a set; S is the logit of class `index`.

    With pool "mean" a channel's slope is the sum over its positions: what S gains if all of them rise alike.
    """
    values, slopes = {n: [] for n in names}, {n: [] for n in names}
    asked = list(dict.fromkeys([*names, net.logits_layer]))
    for batch in sets.batches(net, chosen, asked, memory=memory, backward=True, monitor=monitor):
        found = net(Tensor(batch.x, needs_grad=True), layers=asked)
        for n in names:
            if "values" in wanted:
                values[n].append(sets.pooled(sets.host(found[n].data), pool))
        if "slopes" in wanted:
            logits = found[net.logits_layer]
            if logits.ndim != 2:
                raise MinivisError(f"tcav: {net.logits_layer} gives a map of class scores and not one score per class")
            start = kernels.xp(logits.data).zeros_like(logits.data)
            start[:, index] = 1
            for n, g in zip(names, gradient(logits, [found[n] for n in names], seed=start)):
                g = sets.host(g)
                slopes[n].append(g.sum(axis=(1, 2)) if pool == "mean" and g.ndim == 4 else g.reshape(len(g), -1))
    if not any(values[n] or slopes[n] for n in names):
        raise MinivisError(f"none of the pictures of {chosen.source.path} could be read")
    return tuple({n: np.concatenate(a) for n, a in kind.items() if a} for kind in (values, slopes))


def trials(positive, random, slopes, size, runs, seed):
    """(scores, scores by chance, accuracies) of `runs` planes of each kind, all between sets of `size`."""
    scores, chance, accuracy = [], [], []
    for run in range(runs):
        rng = np.random.default_rng([seed, DRAWS, run])
        first, second = concepts.draws(len(random), size, rng)
        some = rng.permutation(len(positive))[:size]
        found = concepts.concept_vector(positive[some], random[first], rng)
        scores.append(concepts.tcav_score(slopes, found.direction))
        accuracy.append(found.accuracy)
        other = concepts.concept_vector(random[second], random[first], rng)
        chance.append(concepts.tcav_score(slopes, other.direction))
    return scores, chance, accuracy
