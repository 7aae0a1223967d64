"""One channel's activation laid over the picture."""

from dataclasses import dataclass, field

import numpy as np

from .. import show
from .attribution import Attribution
from .base import Panel, picture_panel
from .layers import TIMES


@dataclass(eq=False)
class UnitMap(Attribution):
    """values (H, W): the channel's map on the input grid; raw (h, w): as the layer computed it.

    centres: (y, x) pixel coordinates of the units' receptive fields' centres; alpha: opacity of a full value.
    """

    raw: np.ndarray = field(default=None, kw_only=True)
    centres: tuple = field(default=((), ()), kw_only=True)
    alpha: float = field(default=0.75, kw_only=True)
    interpolation: str = field(default="bilinear", kw_only=True)

    def shown(self):
        """Full scale: these are values to be read, not a gradient with a few outliers."""
        return (show.signed if self.signed else show.heat)(self.values, percentile=None)

    def arrays(self):
        return {**super().arrays(), "raw": self.raw, "centres_y": np.asarray(self.centres[0]),
                "centres_x": np.asarray(self.centres[1])}

    def to_dict(self):
        return {**super().to_dict(), "raw_shape": list(self.raw.shape), "interpolation": self.interpolation}

    def heading(self):
        channel = (self.target or {}).get("channel")
        return f"{self.layer}, channel {channel}, over the picture"

    def panels(self):
        scale = max(abs(float(self.raw.min())), abs(float(self.raw.max()))) or 1.0
        raw = show.signed(self.raw, scale=scale) if self.signed else show.heat(self.raw, high=scale)
        height, width = self.raw.shape
        found = [*picture_panel(self.seen), Panel(f"The layer's own map, {height} {TIMES} {width}", raw.picture, raw,
                                                  "activation")]
        y, x = self.centres
        step = f"{y[1] - y[0]:g}" if len(y) > 1 else "no"
        how = {"bilinear": "linear between them", "nearest": "each pixel has its nearest centre's value"}
        caption = (f"Each unit at the centre of what it sees: rows {y[0]:g} to {y[-1]:g}, columns {x[0]:g} to "
                   f"{x[-1]:g}, {step} pixels apart; {how[self.interpolation]}; beyond the outermost centres their "
                   "value goes on.")
        main = self.main_panel()
        if main.shown.problem or self.seen is None:
            return [*found, Panel("Over the input", main.picture, main.shown, "activation", caption)]
        return [*found, Panel("Over the picture", show.overlay(self.seen.picture, main.shown, self.values, self.alpha),
                              main.shown, "activation", caption)]
