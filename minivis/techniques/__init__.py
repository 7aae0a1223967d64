"""The techniques, and the only list of them.

To add one: write `minivis/techniques/NAME.py` with a function NAME(net, ..., *, options...) -> Result whose parameters
are annotated with the words of minivis.options, and add its line here. Command line, demo page, help and tests follow.
"""
import importlib
from typing import NamedTuple


class Entry(NamedTuple):
    """One technique: the family of checklist it belongs to, one line for lists of techniques, settings for `demo` that
    take 3 s at most on two cores (photographs by name: portrait, flower, temple), and the seconds its defaults take."""
    family: str
    summary: str
    demo: dict = {}
    seconds: float = 0.5


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

MAPS = "DE"             # families whose result is a map over the pixels
MAKING = "FGHI"         # families whose result is a picture of its own, made in many steps

TECHNIQUES = {
    "classify": Entry("A", "what the network says: the most probable classes"),
    "filters": Entry("A", "the weights of a convolution, as pictures"),
    "activations": Entry("A", "what a layer computes on a picture, channel by channel"),
    "map": Entry("B", "pictures laid out by likeness: PCA, t-SNE or UMAP, as dots, thumbnails or a grid",
                 {"data": "digits", "limit": 600, "views": ["scatter", "thumbnails"]}),
    "activation_atlas": Entry("B", "what a layer can see, sorted by likeness, each place drawn by the network",
                              {"steps": 40, "columns": 4}, 20),
    "cka": Entry("B", "how alike the layers of two networks see the same pictures (centred kernel alignment)"),
    "compare_networks": Entry("A", "the same figure for several networks",
                              {"technique": "filters", "others": ["digits"]}),
    "tcav": Entry("B", "does a class heed a concept that you give by pictures? (concept activation vectors)",
                  {"concept": "textures/mosaic", "random": "cutouts", "target": 0, "runs": 10}),
    "probe": Entry("B", "how well a linear classifier reads the labels of pictures from each layer",
                   {"data": "digits", "limit": 400}),
    "patch_filters": Entry("A", "the first filters beside what k-means, ICA and dictionaries find in photographs",
                           {"patches": 3000, "learners": ["kmeans", "ica"]}),
    "occlusion": Entry("D", "hide one patch after another: which ones does the score need?"),
    "counter_evidence": Entry("D", "hide what keeps a class down, patch after patch", {"stride": 32}),
    "feature_ablation": Entry("D", "hide one superpixel after another"),
    "rise": Entry("D", "random masks, each weighted by the score it leaves", {"samples": 150}, 14),
    "lime": Entry("D", "a linear model of the score around the picture, by superpixels", {"samples": 150}, 4),
    "kernel_shap": Entry("D", "what each superpixel adds on average over all orders (Shapley)", {"samples": 150}, 4),
    "extremal_perturbation": Entry("D", "the small part that, shown alone, keeps the score; or, hidden, takes it away",
                                   {"steps": 30}, 17),
    "saliency": Entry("E", "the gradient of a class score with respect to every pixel"),
    "unit_gradient": Entry("E", "the gradient of one unit or channel anywhere in the network"),
    "deconvnet": Entry("E", "go back through a deconvolutional network: which shapes drove a unit?"),
    "guided_backprop": Entry("E", "the gradient with negative signal cut at every ReLU"),
    "grabcut": Entry("E", "cut the object of a class out of the picture, seeded by its saliency", {"iterations": 1}),
    "compare_rules": Entry("E", "plain gradient, deconvnet and guided backprop side by side, from one forward pass"),
    "neighbours": Entry("B", "the pictures of an index nearest to yours: in a layer's features, and in pixels"),
    "patches": Entry("C", "the patches of a whole data set that drive a unit most, beside their guided backprop"),
    "slide": Entry("C", "slide a unit's receptive field over a picture: its activation at every place, as numbers"),
    "input_x_gradient": Entry("E", "what each pixel contributes to first order: its value times the gradient"),
    "integrated_gradients": Entry("E", "the gradient collected on the way from a baseline to the picture",
                                  {"steps": 20}),
    "smoothgrad": Entry("E", "the gradient averaged over noisy copies; SmoothGrad-squared, VarGrad", {"samples": 25}),
    "expected_gradients": Entry("E", "integrated gradients averaged over a folder of baselines",
                                {"samples": 25, "baselines": "temple"}),
    "deeplift": Entry("E", "differences from a baseline in the place of derivatives (rescale rule)"),
    "lrp": Entry("E", "the score handed down layer by layer: LRP with presets a, b, deep Taylor and rules per layer"),
    "excitation_backprop": Entry("E", "which places win when every winner draws among what excites it"),
    "full_gradient": Entry("E", "what the input and every bias contribute"),
    "cam": Entry("E", "class activation map of a network that ends in an average over places"),
    "gradcam": Entry("E", "a layer's channels, weighted by their mean gradient"),
    "gradcam_plus_plus": Entry("E", "Grad-CAM that counts every place at which a channel speaks for the class"),
    "xgradcam": Entry("E", "Grad-CAM whose map adds up to what the layer contributes"),
    "layercam": Entry("E", "every activation weighted by its own positive gradient"),
    "scorecam": Entry("E", "channels weighted by the score of the picture masked with each", {"channels": 24}),
    "ablation_cam": Entry("E", "channels weighted by what the score loses without each", {"channels": 256}),
    "eigencam": Entry("E", "the strongest common pattern of a layer's channels, whatever the class"),
    "guided_gradcam": Entry("E", "guided backprop where Grad-CAM says the class is"),
    "visualize": Entry("F", "the picture that a class, a unit, a channel or a layer likes best",
                       {"what": ["goldfish"], "steps": 160}, 3),
    "layer_sheet": Entry("F", "what each channel of a layer likes best, as a sheet",
                         {"layer": "unit", "limit": 12, "steps": 48, "size": 64}, 4),
    "invert": Entry("F", "from a layer's activations back to a picture: what the layer has kept", {"steps": 60}, 25),
    "invert_codes": Entry("F", "from a file of stored activations alone back to a picture", {"steps": 60}, 5),
    "fool": Entry("G", "the picture, changed a little until the network takes it for a class you name",
                  {"target": "goldfish"}),
    "fgsm": Entry("G", "one step along the sign of the gradient"),
    "bim": Entry("G", "small steps along the sign of the gradient"),
    "pgd": Entry("G", "the strongest attack within a distance: projected steps from a random start"),
    "deepfool": Entry("G", "the shortest way to another class, over the nearest boundary"),
    "carlini_wagner": Entry("G", "the least change that fools, found by optimisation", {"searches": 2, "steps": 30}, 3),
    "universal": Entry("G", "one small change that fools the network on most pictures", {"passes": 3}),
    "adversarial_patch": Entry("G", "a sticker that makes the network see one class wherever it lies",
                               {"target": "goldfish", "steps": 60}, 5),
    "linear_explanation": Entry("G", "why tiny changes fool: predicted and measured effect, growth, transfer"),
    "dream": Entry("H", "DeepDream: what a layer sees in the picture, it sees more",
                   {"picture": "temple", "size": 384, "octaves": 4}, 2),
    "texture": Entry("I", "a new piece of the picture's texture, of any size, from noise",
                     {"picture": "flower", "source_size": 160, "steps": 60}, 8),
    "style": Entry("I", "style transfer: the picture painted like others",
                   {"picture": "temple", "size": 288, "steps": 40, "scales": 1}, 14),
    "style_strip": Entry("I", "style transfer with less and with more weight on the style, side by side",
                         {"picture": "temple", "size": 144, "steps": 20}, 11),
    "stylize": Entry("I", "fast style transfer: through a network that has learnt one style", {"size": 512}),
}


def load(name):
    """The function of a technique; its module is imported only now."""
    if name not in TECHNIQUES:
        raise KeyError(f"no technique {name!r}; there are {', '.join(TECHNIQUES)}")
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)
