"""`minivis compare`: several techniques on one picture, in one figure, with a table of how far each can be trusted."""
import inspect
import time
from pathlib import Path

import numpy as np

from .. import evidence
from .. import techniques as known
from ..errors import MinivisError
from ..image import check_writable, read
from ..monitor import SilentMonitor
from ..objectives import Score
from ..options import File, Mask, Network, Target, caution, reserved
from ..results import Attribution, Comparison
from ..results.report import Report
from ..techniques.common import class_dict, recipe
from ..techniques.hiding import hiding

BASELINES = ("random", "edges")
GOOD = {"deletion": "low", "insertion": "high", "road": "high", "infidelity": "low", "like edges": "near 0",
        "randomised": "near 0"}


def compare(net: Network, image: File, *, techniques: str = "saliency,occlusion", target: Target = None,
            score: Score = "prob", mask: Mask | None = None, out: File | None = None, quick: bool = False,
            shifts: int = 0, memory=None, seed=0, monitor=None) -> Report:
    """Several techniques on one picture: one figure of their maps, one table of the evidence for each.

    image        the picture file
    techniques   names, separated by commas; a random map and an edge detector are always added to the table
    target       the class that all explain: an index, a WordNet id or a label; none means the network's first choice
    score        what hiding pixels is measured by: prob, logprob or logit
    mask         where the object is: a picture of the same size, white there and black elsewhere; does each map's
                 largest value lie on it, or at most 15 pixels off (the pointing game)?
    out          where the figure goes: FILE.png; default: IMAGE's name with .compare.png, in this folder
    quick        with the settings of a demonstration, of a few seconds each
    shifts       also explain this many slightly noisy copies of the picture (max-sensitivity)
    """
    names = [name.strip().replace("-", "_") for name in techniques.split(",") if name.strip()]
    file = out or f"{Path(image).stem}.compare.png"
    check_writable(file)
    result, table = examine(net, read(image), names, target=target, score=score, mask=mask, quick=quick,
                            shifts=shifts, memory=memory, seed=seed, monitor=monitor)
    result.save(file)
    return Report(table, result.title, [*result.notes, f"wrote {file}"])


def examine(net, picture, names, *, target=None, score="prob", mask=None, quick=False, shifts=0, memory=None, seed=0,
            monitor=None):
    """(Comparison, table): the maps of the techniques `names` and of the baselines, and a row of numbers for each."""
    explainers = {name: Explainer(name, quick, memory, seed) for name in dict.fromkeys(names)}
    if not explainers:
        raise MinivisError("compare: name at least one technique")
    h = hiding(net, picture, "mean", target=target, score=score)
    region = None if mask is None else region_seen(net, mask, picture)
    index, monitor = h.start.target["index"], monitor or SilentMonitor()
    results, rows, total = [], [], len(explainers) + len(BASELINES)
    for name, explain in explainers.items():
        before = time.perf_counter()
        result = explain(net, picture, index)
        seconds = time.perf_counter() - before
        if not isinstance(result, Attribution) or result.values.shape[:2] != h.x.shape[1:3]:
            raise MinivisError(f"compare: {name} gives no map over the pixels of the network's input")
        rows.append({"technique": name, **numbers(h, result.values, seed, memory, region),
                     **robust(net, picture, index, explain, result, shifts, seed), "gap": result.gap,
                     "seconds": round(seconds, 2)})
        result.seen = h.seen                    # the same for all: shown once
        result.notes = [note for note in result.notes if not note.startswith("Caution: ")]      # below, for all
        results.append(result)
        monitor.step(len(rows), total)
    first = results[0]
    for name, values in zip(BASELINES, (evidence.random_map(h.x.shape[1:3], seed), evidence.edge_map(h.seen.picture))):
        rows.append({"technique": f"({name})", **numbers(h, values, seed, memory, region)})
        results.append(Attribution(values, None, first.target, first.score, first.score_kind, h.seen, signed=False,
                                   layer=first.layer, recipe=first.recipe,
                                   quantity=f"{name}: knows nothing of the network"))
        monitor.step(len(rows), total)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = {key: [rounded(row.get(key)) for row in rows] for key in columns}
    captions = [f"{row['technique']}: deletion {rounded(row['deletion'])}, insertion {rounded(row['insertion'])}"
                for row in rows]
    notes = [f"deletion, insertion: area under the {score} as pixels go or come; road: gain over chance when pixels "
             "are removed unseen; infidelity: 0 promises of the map kept, 1 none. Good: "
             + ", ".join(f"{key} {value}" for key, value in GOOD.items()) + ".",
             "like edges: rank correlation with an edge detector; randomised: rank correlation with the map of a "
             "network whose weights are all random (after its top layer alone: top).",
             *(f"{name}: {e.caution()}" for name, e in explainers.items() if e.caution())]
    how = recipe(compare, net, seed, techniques=list(explainers), target=target, score=score, mask=mask,
                 quick=quick, shifts=shifts)
    label = class_dict(net, index)["label"] or f"class {index}"
    comparison = Comparison(results, captions, title=f"What speaks for {label}: {len(explainers)} techniques compared",
                            recipe=how, notes=notes)
    return comparison, table


class Explainer:
    """A technique with its settings: (net, picture, class index) -> its result."""

    def __init__(self, name, quick, memory, seed):
        self.name, self.function = name, known.load(name)
        takes = inspect.signature(self.function).parameters
        if "picture" not in takes or not {"target", "targets"} & set(takes):
            raise MinivisError(f"compare: {name} does not explain a class of a picture")
        self.options = dict(known.TECHNIQUES[name].demo) if quick else {}
        self.options |= {key: value for key, value in (("memory", memory), ("seed", seed))
                         if key in reserved(self.function)}
        self.many = "targets" in takes

    def __call__(self, net, picture, index):
        target = {"targets": [index]} if self.many else {"target": index}
        return self.function(net, picture, **target, **self.options)

    def caution(self):
        """The technique's caution, or ""."""
        return caution(self.function)


def region_seen(net, mask, picture):
    """(H, W) bool: where the object is in what the network sees. mask (h, w) bool, of the picture's size."""
    if mask.shape != picture.shape[:2]:
        raise MinivisError(f"compare: the mask is {mask.shape[0]} x {mask.shape[1]} pixels, the picture "
                           f"{picture.shape[0]} x {picture.shape[1]}; they must be of the same size")
    region = net.see(np.repeat(mask[:, :, None] * np.uint8(255), 3, axis=2)).picture[:, :, 0] > 127
    if not region.any():
        raise MinivisError("compare: the mask has no white pixel in the part of the picture that the network sees")
    return region


def numbers(h, values, seed, memory, region=None):
    """What can be said of any map, whoever made it; with the object's region whether it points there."""
    points = {} if region is None else {
        "pointing": "hit" if evidence.pointing_game(evidence.flat(values), region) else "miss"}
    return points | {"deletion": evidence.deletion(h, values, memory=memory)[1],
            "insertion": evidence.insertion(h, values, memory=memory)[1],
            "road": evidence.road(h, values, seed=seed, memory=memory),
            "infidelity": evidence.infidelity_of(h, values, seed=seed, memory=memory),
            "like edges": evidence.rank_correlation(evidence.flat(values), evidence.edge_map(h.seen.picture))}


def robust(net, picture, index, explain, result, shifts, seed):
    """What takes more maps of the same technique: of randomised networks, of slightly other pictures."""
    counts = [1, sum(name.endswith("/weight") for name in net.weights)]
    (_, _, top), (_, likeness, all_layers) = evidence.cascade(
        lambda other: explain(other, picture, index).values, net, result.values, counts, seed)
    found = {"top": top, "randomised": all_layers, "SSIM": likeness}
    if shifts:
        found["sensitivity"] = evidence.sensitivity(lambda p: explain(net, p, index).values, picture, result.values,
                                                    samples=shifts, seed=seed)
    return found


def rounded(value):
    """Three digits are all the evidence there is."""
    if isinstance(value, float):
        return float(f"{value:.3g}") if np.isfinite(value) else None
    return value
