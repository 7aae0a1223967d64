"""Logits, gradients under three rules, occlusion: PyTorch."""
from ..techniques import load

CLASS_RULES = {"plain": ("saliency", {"reduce": "none"}), "guided": ("guided_backprop", {}),
               "deconv": ("deconvnet", {})}


def compute(net, picture, about, arrays, key):
    if key == "logits":
        return net(net.preprocess(picture))[net.logits_layer].numpy()[0]
    if key == "occlusion":
        return load("occlusion")(net, picture, size=about["window"], stride=about["stride"], fill=about["fill"]).scores
    start, _, rule = key.partition("_")
    if start == "class":
        technique, options = CLASS_RULES[rule]
        return load(technique)(net, picture, **options).values
    if start in ("unit", "channel"):
        positions = "strongest" if start == "unit" else "all"
        return load("unit_gradient")(net, picture, about["unit"], rule=rule, positions=positions).values
    return None
