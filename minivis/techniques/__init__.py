"""The techniques, and the only list of them.

To add one: write `minivis/techniques/NAME.py` with a function NAME(net, ..., *, options...) -> Result whose parameters
are annotated with the words of minivis.options, and add its line here. Command line, demo page, help and tests follow.
"""
import importlib
from typing import NamedTuple


class Entry(NamedTuple):
    """One technique: the family of checklist it belongs to, one line for lists of techniques, and settings for `demo`
    that take about 3 s on two cores."""
    family: str
    summary: str
    demo: dict = {}


FAMILIES = {
    "A": "Weights and activations",
    "B": "Representation space",
    "C": "Data sets",
    "D": "Perturbation",
    "E": "Gradients",
    "F": "Optimising the picture",
    "G": "Adversarial pictures",
    "H": "DeepDream",
    "I": "Texture and style",
}

TECHNIQUES = {
    "classify": Entry("A", "what the network says: the most probable classes"),
    "filters": Entry("A", "the weights of a convolution, as pictures"),
    "activations": Entry("A", "what a layer computes on a picture, channel by channel"),
    "occlusion": Entry("D", "hide one patch after another: which ones does the score need?"),
    "saliency": Entry("E", "the gradient of a class score with respect to every pixel"),
    "unit_gradient": Entry("E", "the gradient of one unit or channel anywhere in the network"),
    "deconvnet": Entry("E", "go back through a deconvolutional network: which shapes drove a unit?"),
    "guided_backprop": Entry("E", "the gradient with negative signal cut at every ReLU"),
    "compare_rules": Entry("E", "plain gradient, deconvnet and guided backprop side by side, from one forward pass"),
}


def load(name):
    """The function of a technique; its module is imported only now."""
    if name not in TECHNIQUES:
        raise KeyError(f"no technique {name!r}; there are {', '.join(TECHNIQUES)}")
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)
