"""An object cut out of its picture."""
from dataclasses import dataclass, field

import numpy as np

from .attribution import Attribution
from .base import Panel

CERTAIN_OBJECT, CERTAIN_BACKGROUND = (178, 24, 43), (33, 102, 172)


@dataclass(eq=False)
class Segmentation(Attribution):
    """values (H, W): 1 where the object is, 0 elsewhere. saliency (H, W): the map it was found from; seeds (H, W): 0
    certain background, 1 certain object, 2 and 3 what was left to the cut (see minivis.graph_cut)."""

    saliency: np.ndarray = field(default=None, kw_only=True)
    seeds: np.ndarray = field(default=None, kw_only=True)

    def arrays(self):
        return {**super().arrays(), "saliency": self.saliency, "seeds": self.seeds}

    def to_dict(self):
        return {**super().to_dict(), "share": float(self.values.mean())}

    def main_panel(self):
        """The object on white."""
        inside = self.values[:, :, None] > 0
        return Panel("Object", np.where(inside, self.seen.picture, 255).astype(np.uint8))

    def panels(self):
        ground = (self.seen.picture * 0.5 + 127).astype(np.uint8)
        ground[self.seeds == 1] = CERTAIN_OBJECT
        ground[self.seeds == 0] = CERTAIN_BACKGROUND
        shown = self.heat_colours(self.saliency)
        return [Panel("What the network saw", self.seen.picture),
                Panel("Saliency", shown.picture, shown, "largest |gradient| of the three colours"),
                Panel("Seeds", ground, caption="Red: certain object; blue: certain background."), self.main_panel()]
