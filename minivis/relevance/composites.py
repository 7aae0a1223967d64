"""Composites: which rule each layer of a network gets.

A rule is written NAME or NAME:NUMBER[:NUMBER], such as epsilon:0.1, gamma:0.25, alpha_beta:2:1, z_box.
"""
import fnmatch

from ..errors import MinivisError
from ..layers import did_you_mean
from . import lrp

RULES = {       # name: (maker of the rule, how many numbers it takes)
    "epsilon": (lrp.epsilon, 1), "gamma": (lrp.gamma, 1), "alpha_beta": (lrp.alpha_beta, 2),
    "z_plus": (lrp.z_plus, 0), "z_box": (None, 0), "w_square": (lrp.w_square, 0), "flat": (lrp.flat, 0),
}

PRESETS = {     # name: (rule of dense layers, of convolutions, of the layer that reads the picture; None: as the rest)
    "epsilon": ("epsilon", "epsilon", None),
    "gamma": ("gamma", "gamma", None),
    "z_plus": ("z_plus", "z_plus", None),
    "alpha2_beta1": ("alpha_beta:2:1", "alpha_beta:2:1", None),
    "preset_a": ("epsilon:0.1", "alpha_beta:1:0", None),
    "preset_b": ("epsilon:0.1", "alpha_beta:2:1", None),
    "preset_a_flat": ("epsilon:0.1", "alpha_beta:1:0", "flat"),
    "preset_b_flat": ("epsilon:0.1", "alpha_beta:2:1", "flat"),
    "epsilon_gamma_box": ("epsilon", "gamma:0.25", "z_box"),
    "deep_taylor": ("z_plus", "z_plus", "w_square"),
    "bounded_deep_taylor": ("z_plus", "z_plus", "z_box"),
}


def composite(net, start, preset, layers="", stabilizer=lrp.STABILIZER):
    """{layer: rule} for every layer from the picture to `start`, and {layer: the rule's text} of those with weights.

    layers       "GLOB=RULE,GLOB=RULE": rules of single layers, before those of the preset; the last match wins
    stabilizer   what keeps denominators from being 0 in rules other than epsilon
    """
    if not stabilizer >= 0:
        raise MinivisError(f"stabilizer {stabilizer} must be at least 0")
    dense, conv, first = PRESETS[preset]
    named = read_layers(layers)
    rules, texts = {}, {}
    for name in net.table.needed([start]):
        kind = net.table[name].kind
        if kind in lrp.LINEAR:
            text = dense if kind == "linear" else conv
            if first and net.table.reads[name][0] == net.table.names[0]:
                text = first
            for glob, own in named:
                text = own if fnmatch.fnmatchcase(name, glob) else text
            texts[name], rules[name] = text, make_rule(net, text, stabilizer)
        elif kind in lrp.FIXED:
            rules[name] = lrp.fixed(kind, stabilizer)
        elif kind not in lrp.PLAIN:
            raise MinivisError(f"layer {name}: there is no way to share relevance out through a {kind} layer; "
                               "start at a unit below it")
    for glob, _ in named:
        if not fnmatch.filter(texts, glob):
            raise MinivisError(f"layers: {glob!r} is no convolution or dense layer below {start}"
                               f"{did_you_mean(glob, texts)}")
    return rules, texts


def read_layers(text):
    """[(glob, rule text)] of "conv1=z_box,fc*=epsilon:0.1"."""
    pairs = []
    for part in filter(None, (p.strip() for p in (text or "").split(","))):
        glob, equals, rule = (p.strip() for p in part.partition("="))
        if not equals or not glob or not rule:
            raise MinivisError(f"layers: {part!r} must be LAYER=RULE, such as conv1=z_box or fc*=epsilon:0.1")
        pairs.append((glob, rule))
    return pairs


def make_rule(net, text, stabilizer=lrp.STABILIZER):
    """The rule that a text such as "alpha_beta:2:1" stands for; z_box takes its box from the network's colours."""
    name, *numbers = text.split(":")
    if name not in RULES:
        raise MinivisError(f"no rule {name!r}{did_you_mean(name, RULES)}; there are {', '.join(RULES)}")
    maker, count = RULES[name]
    try:
        numbers = [float(n) for n in numbers]
    except ValueError:
        raise MinivisError(f"rule {text!r}: what follows {name} must be numbers, such as epsilon:0.1") from None
    if len(numbers) > count:
        raise MinivisError(f"rule {text!r}: {name} takes at most {count} number(s)")
    if name == "z_box":
        black, white = net.preprocessing.limits()
        return lrp.z_box(black, white, stabilizer)
    try:
        return maker(*numbers) if name == "epsilon" else maker(*numbers, epsilon=stabilizer)
    except ValueError as error:
        raise MinivisError(str(error)) from None
