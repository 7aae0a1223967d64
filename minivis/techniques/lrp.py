"""Layer-wise relevance propagation: the score handed down to the pixels, layer by layer."""
from typing import Literal

from ..options import Network, Picture, Target, Unit
from ..relevance.canonise import canonised
from ..relevance.composites import composite
from ..results import Attribution
from ..tensor import gradient
from .common import Positions, attribution, begin, look, over_colours, recipe, top_layer
from .sampling import host

NORMS = ("lrn", "batch_norm", "scale")
Preset = Literal["preset_a_flat", "preset_b_flat", "preset_a", "preset_b", "epsilon_gamma_box", "deep_taylor",
                 "bounded_deep_taylor", "epsilon", "gamma", "z_plus", "alpha2_beta1"]


def lrp(net: Network, picture: Picture, *, target: Target = None, unit: Unit = None,
        positions: Positions = "strongest", preset: Preset = "preset_a_flat", layers: str = "",
        stabilizer: float = 1e-6, start_with: Literal["score", "one"] = "score",
        reduce: Literal["sum", "none"] = "sum") -> Attribution:
    """The score is handed down: each layer shares out what it got among its inputs, by how much each contributed.

    R_i = sum over j of (contribution of i to j) / (all contributions to j) * R_j, from R = S at the target down to the
    pixels. Bach et al. 2015, doi:10.1371/journal.pone.0130140; which rule for which layer: Kohlbrenner et al. 2020,
    arXiv:1910.09840 (presets a, b), Montavon et al. 2019 (epsilon_gamma_box), Montavon et al. 2017 (deep Taylor).
    Batch normalisation right behind a layer becomes part of it first. The gap is the relevance that biases and
    stabilisers took on the way.

    values (H, W) signed, or (H, W, 3) with reduce "none".
    Local response normalisation hands relevance on unchanged, so what channels inhibit in each other is not seen.
    Caution: rules that count only what speaks for an output (z_plus, alpha_beta:1:0, deep Taylor) hardly depend on the
    upper weights (Sixt et al. 2020, arXiv:1912.09818).

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    unit      start at a unit instead: LAYER (its strongest), LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN
    positions   which position of a channel: its strongest, the centre, all of them summed, or their mean
    preset    dense layers epsilon:0.1 and convolutions alpha_beta:1:0 (a) or alpha_beta:2:1 (b), with flat on the layer
              that reads the picture; epsilon below gamma above z_box; z_plus with w_square (deep_taylor) or z_box
              (bounded_deep_taylor) on that layer; or one rule everywhere
    layers    rules of single layers, as LAYER=RULE,... with globs: conv1=z_box,fc*=epsilon:0.1; rules are epsilon:E
              gamma:G alpha_beta:A:B z_plus z_box w_square flat
    stabilizer  what keeps denominators from being 0 in rules other than epsilon: 1e-6 is zennit's; with 0 only zeros
              are replaced, as iNNvestigate does
    start_with  the relevance to hand down: the score itself, or one
    reduce    sum over the three colours, or none: keep them
    """
    seen, x = look(net, picture, needs_grad=True)
    start, canonical, folded = begin_keeping(net, x, target=target, unit=unit, positions=positions)
    rules, texts = composite(canonical, start.layer, preset, layers, stabilizer)
    seed = start.seed * start.tensor.data if start_with == "score" else start.seed
    R = host(gradient(start.tensor, x, rules=rules, seed=seed)[0])
    values = net.to_rgb(R)
    notes = [_used(texts), *_norms(net, start.layer, folded)]
    return attribution(net, seen, start, over_colours(values) if reduce == "sum" else values, None, signed=True,
                       quantity="relevance", gap=float(values.sum(dtype="f8")) - float(seed.sum()), notes=notes,
                       recipe=recipe(lrp, net, target=target, unit=unit, positions=positions, preset=preset,
                                     layers=layers, stabilizer=stabilizer, start_with=start_with, reduce=reduce))


def begin_keeping(net, x, *, target=None, unit=None, positions="strongest"):
    """(start as of common.begin, the network in canonical form, {norm folded: into which layer}); the start's tensor
    is of a forward pass of that network, which keeps the inputs of all layers."""
    top = top_layer(net, unit)
    canonical, folded = canonised(net, top)
    values = canonical(x, layers=[top], keep="inputs")
    return begin(net, x, target=target, unit=unit, positions=positions, values=values), canonical, folded


def _used(texts):
    """Which rule which layers had, one sentence."""
    groups = {}
    for name, text in texts.items():
        groups.setdefault(text, []).append(name)

    def span(names):
        return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)})"

    return "Rules: " + "; ".join(f"{text} in {span(names)}" for text, names in groups.items()) + "."


def _norms(net, top, folded):
    """Sentences about the normalisations on the way."""
    passed = [n for n in net.table.needed([top]) if n not in folded and net.table[n].kind in NORMS]
    said = [f"Folded into the layer before: {', '.join(folded)}."] if folded else []
    if passed:
        said.append(f"Handed on unchanged by {', '.join(passed)}: what is normalised there is not shared out.")
    return said
