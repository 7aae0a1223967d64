"""Layer names of other tools for the same layers: Keras' `block4_conv2`, torchvision's `features.21`.

An alias names the layer that holds those weights. Mind the difference in Keras: a layer there includes its ReLU, so
what Keras returns for `block4_conv2` is our `relu4_2`, while the alias is `conv4_2`, the value before the ReLU.
Likewise its `fc1` is `fc6` here (the value after ReLU: `relu6`) and `predictions` is `fc8` (the probabilities: `prob`).
"""
import re


def aliases(table):
    """{other tool's name: our name} for VGG, AlexNet and SqueezeNet tables; empty for others."""
    names = [name for name in table.names if table[name].kind not in ("input", "softmax", "flatten")]
    if "conv1_1" in table:
        return _torchvision(table, names) | _keras_vgg(names)
    if "fire2" in table:
        return _torchvision_squeezenet(names)
    if "conv1" in table and "pool5" in table and "norm1" not in table:
        return _torchvision(table, names)
    return {}


def _torchvision(table, names):
    """Two lists, numbered: `features` up to the flatten, `classifier` after it."""
    flat = next((i for i, name in enumerate(table.names) if table[name].kind == "flatten"), None)
    dense = set() if flat is None else set(table.names[flat:])
    features = [name for name in names if name not in dense]
    classifier = [name for name in names if name in dense]
    return {f"features.{i}": name for i, name in enumerate(features)} | \
           {f"classifier.{i}": name for i, name in enumerate(classifier)}


def _keras_vgg(names):
    found = {}
    for name in names:
        if match := re.fullmatch(r"conv(\d)_(\d)", name):
            found[f"block{match[1]}_conv{match[2]}"] = name
        elif match := re.fullmatch(r"pool(\d)", name):
            found[f"block{match[1]}_pool"] = name
    dense = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}
    return found | {theirs: ours for theirs, ours in dense.items() if ours in names}


_FIRE_PARTS = {"squeeze": "squeeze", "squeeze_relu": "squeeze_activation", "expand1": "expand1x1",
               "expand1_relu": "expand1x1_activation", "expand3": "expand3x3", "expand3_relu": "expand3x3_activation"}


def _torchvision_squeezenet(names):
    """As _torchvision, but a whole fire module has one number: features.3.squeeze."""
    found, number, module = {}, -1, None
    classifier = [name for name in names if name in ("drop9", "conv10", "relu10", "logits")]
    for name in (n for n in names if n not in classifier):
        fire = re.match(r"fire\d+", name)
        if fire is None or fire[0] != module:
            number, module = number + 1, fire and fire[0]
        part = name[len(module) + 1:] if module else ""
        found[f"features.{number}" + (f".{_FIRE_PARTS[part]}" if part in _FIRE_PARTS else "")] = name
    return found | {f"classifier.{i}": name for i, name in enumerate(classifier)}
