"""The base of all results: recipe, figure, files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import image
from ..errors import MinivisError
from ..figures import Panel, figure, number
from ..files import atomic_write, check_folder
from ..provenance import canonical, jsonable

SPELT = {"lrp": "Layer-wise relevance propagation", "deeplift": "DeepLIFT", "cam": "Class activation map",
         "gradcam": "Grad-CAM", "gradcam_plus_plus": "Grad-CAM++", "xgradcam": "XGrad-CAM", "layercam": "LayerCAM",
         "scorecam": "Score-CAM", "ablation_cam": "Ablation-CAM", "eigencam": "Eigen-CAM", "smoothgrad": "SmoothGrad",
         "bim": "Basic iterative method (BIM)", "fgsm": "Fast gradient sign method (FGSM)", "deepfool": "DeepFool",
         "pgd": "Projected gradient descent (PGD)", "carlini_wagner": "Carlini and Wagner's attack", "cka": "CKA",
         "universal": "Universal perturbation", "fool": "Fooling picture", "invert": "Feature inversion",
         "invert_codes": "Inversion of stored codes", "grabcut": "GrabCut",
         "dream": "DeepDream", "lime": "LIME", "kernel_shap": "KernelSHAP", "rise": "RISE",
         "tcav": "Concept directions (TCAV)", "guided_gradcam": "Guided Grad-CAM",
         "input_x_gradient": "Input \N{MULTIPLICATION SIGN} gradient"}

TIMES = "\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}"


@dataclass(eq=False)
class Result:
    """A technique's numbers with the recipe that made them.

    A subclass says what it holds by `arrays`, `to_dict`, `panels` and `facts`; the rest is here. `recipe` is the dict
    of `make_recipe`; `notes` are cautions and remarks, each one sentence for the reader of the figure.
    """

    recipe: dict = field(default_factory=dict, kw_only=True)
    notes: list = field(default_factory=list, kw_only=True)

    # What a subclass says

    def arrays(self):
        """{name: array} for .npz files."""
        return {}

    def panels(self):
        """The panels of the full figure; the first is shown by `main_panel`."""
        raise TypeError(f"{type(self).__name__} has no figure")

    def main_panel(self):
        """The one panel that stands for this result in a comparison and in `plot`."""
        return self.panels()[0]

    def heading(self):
        return self.technique

    def facts(self):
        """Lines under the heading: target, score, layer, network."""
        return [self.network_line()]

    def to_dict(self):
        """The numbers for --json, without arrays."""
        return {"technique": self.recipe.get("technique"), "notes": list(self.notes)}

    def set_scale(self, scale=None, percentile=None):
        """Where the colours of maps end: at the value `scale`, or at this percentile of |values|, 100 being the
        largest. Without either each figure's colours end where its technique lets them."""
        raise MinivisError(f"{self.technique}: its figure has no colour scale that could be set")

    # What every result can do

    @property
    def technique(self):
        """The technique's name for people: `guided_backprop` -> "Guided backprop"."""
        name = self.recipe.get("technique") or type(self).__name__
        if name in SPELT:
            return SPELT[name]
        return (name[:1].upper() + name[1:]).replace("_", " ").replace("-", " ")

    def network_line(self):
        network = self.recipe.get("network") or {}
        name = network.get("name") or network.get("architecture")
        if not name:
            return ""
        digest = (network.get("weights") or "")[:8]
        precision = self.recipe.get("precision")
        return f"network {name}" + (f", weights {digest}" if digest else "") + (f", {precision}" if precision else "")

    def picture(self):
        """The figure, uint8 (H, W, 3)."""
        return figure(self.heading(), self.facts(), self.panels(), self.notes)

    def plot(self, ax=None):
        """Draw the main panel into matplotlib axes, or into those of a new Figure; returns the axes."""
        panel = self.main_panel()
        if ax is None:
            height, width = panel.picture.shape[:2]
            ax = self.new_axes(6, max(2.5, min(9, 6 * height / width)))
        ax.imshow(panel.picture, interpolation="nearest")
        ax.set_title("\n".join(line for line in [self.heading(), *self.facts()[:1]] if line), fontsize=9, wrap=True)
        ax.set_axis_off()
        if panel.shown is not None and not panel.shown.problem:
            from matplotlib.cm import ScalarMappable
            from matplotlib.colors import Normalize
            scale = ScalarMappable(Normalize(panel.shown.low, panel.shown.high), panel.shown.colours or "gray")
            ax.figure.colorbar(scale, ax=ax, label=panel.unit, fraction=0.046)
        return ax

    @staticmethod
    def new_axes(width, height):
        """Axes of a new Figure, in inches, that pyplot does not know of: no global state is touched."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        canvas = FigureCanvasAgg(Figure(figsize=(width, height), layout="constrained"))
        return canvas.figure.add_subplot()

    def save(self, path):
        """Write a picture of the figure (.png holds the recipe as the text "minivis"), or the arrays (.npz)."""
        suffix = Path(path).suffix.lower()
        if suffix == ".npz":
            self._save_arrays(path)
        elif suffix in image.WRITABLE:
            check_folder(path)
            image.save(self.picture(), path, text=self._text())
        else:
            raise MinivisError(f"cannot write {path}: the extension {suffix or '(none)'!r} is not one of "
                               f".npz {' '.join(sorted(image.WRITABLE))}")

    def _save_arrays(self, path):
        arrays = {name: np.asarray(array) for name, array in self.arrays().items() if array is not None}
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise TypeError(f"{type(self).__name__}.{name} holds Python objects, which .npz must not")
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, recipe=np.array(canonical(jsonable(self.recipe))), **arrays)

    def _text(self):
        return {"minivis": canonical(jsonable(self.recipe))}

    def _repr_png_(self):
        return image.png_bytes(self.picture(), text=self._text())


def describe_target(target):
    """A target in words. Dicts may have label, wnid, index (a class) or layer, channel, position (a unit)."""
    if target is None:
        return ""
    if not isinstance(target, dict):
        return f"class {target}" if isinstance(target, (int, np.integer)) else str(target)
    if target.get("layer") is not None:
        place = target.get("position")
        where = f" at row {place[0]}, column {place[1]}" if place is not None else ""
        channel = target.get("channel")
        return f"{target['layer']}" + (f" channel {channel}" if channel is not None else "") + where
    label, wnid, index = target.get("label"), target.get("wnid"), target.get("index")
    identity = ", ".join(str(part) for part in (wnid, None if index is None else f"class {index}") if part)
    return f"{label} ({identity})" if label and identity else str(label or identity)


def seen_line(seen):
    """Which part of the picture the network saw."""
    if seen is None:
        return ""
    height, width = seen.picture.shape[:2]
    tall, wide = seen.source_size
    if tuple(seen.box) == (0, 0, tall, wide):
        part = "the whole picture" if (height, width) != (tall, wide) else "the picture as it is"
    else:
        top, left, bottom, right = (round(edge) for edge in seen.box)
        part = f"rows {top} to {bottom} and columns {left} to {right}"
    return f"the network saw {part} ({tall}{TIMES}{wide}) at\N{NO-BREAK SPACE}{height}{TIMES}{width}"


def picture_panel(seen, title="What the network saw"):
    return [] if seen is None else [Panel(title, seen.picture)]


__all__ = ["Panel", "Result", "describe_target", "number", "picture_panel", "seen_line"]
