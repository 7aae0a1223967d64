"""Filters of a network beside filters learnt from patches."""
from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..figures import figure, number
from .base import Panel, Result

TITLES = {"kmeans": "k-means", "ica": "Independent components (FastICA)", "dictionary": "Sparse dictionary"}
SHEET = 420             # about the side of a panel
MOST = 100              # filters drawn


@dataclass(eq=False)
class PatchFilters(Result):
    """filters   {"network" or learner: (K, s, s, 3)}; orientation {the same: (K,)}, 0 blob to 1 grating
    layer        where the network's come from; photographs, patches: learnt from; size: side of a patch
    """

    filters: dict
    orientation: dict
    layer: str = ""
    photographs: int = field(default=0, kw_only=True)
    patches: int = field(default=0, kw_only=True)
    size: int = field(default=0, kw_only=True)

    def arrays(self):
        return {**self.filters, **{f"{name} orientation": v for name, v in self.orientation.items()}}

    def to_dict(self):
        return {**super().to_dict(), "layer": self.layer, "patches": self.patches, "photographs": self.photographs,
                "size": self.size, "filters": {name: {"count": len(v), "orientation": float(np.median(v))}
                                               for name, v in self.orientation.items()}}

    def heading(self):
        return "What learners find in patches of photographs"

    def facts(self):
        return [f"{self.patches} patches of {self.size} \N{MULTIPLICATION SIGN} {self.size} from {self.photographs} "
                "photographs, brightness and contrast taken out, whitened", self.network_line()]

    def panels(self):
        return [self._panel(name, f) for name, f in self.filters.items()]

    def picture(self):
        return figure(self.heading(), self.facts(), self.panels(), self.notes, columns=2)

    def _panel(self, name, filters):
        shown = filters[:MOST]
        about = show.good_columns(len(shown))
        columns = min(range(max(1, about - 2), about + 3), key=lambda c: (-len(shown) % c, abs(c - about)))
        tiles, _ = show.filter_tiles(np.moveaxis(shown, 0, 3), "filter", max(12, round(SHEET / columns)))
        title = f"{self.layer}: the network's own" if name == "network" else TITLES[name]
        oriented = float(np.median(self.orientation[name]))
        more = f"; {len(shown)} of {len(filters)} shown" if len(shown) < len(filters) else ""
        return Panel(title, show.grid(tiles, columns, 2), exact=True,
                     caption=f"{len(filters)} filters{more}. Orientation, median: {number(oriented, 2)} (0 blob, 1 "
                             "grating). Each scaled by its largest value; grey is 0.")
