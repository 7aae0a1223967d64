"""An activation atlas: icons on a grid, and photographs on the same grid."""
from dataclasses import dataclass, field

import numpy as np

from .. import charts
from ..figures import number
from .base import Panel, Result

SHEET = 900             # about the side of a sheet


@dataclass(eq=False)
class Atlas(Result):
    """icons (n, s, s, 3) uint8 of the filled cells row * columns + column of a grid (rows, columns) of `layer`.

    points (M, 2), cells (M,): where each vector lies; means (n, C): the mean vector of each cell drawn; photographs
    (n, t, t, 3): the picture whose vector is nearest to it; captions: what the network says most often in each cell.
    """

    icons: np.ndarray
    filled: np.ndarray
    grid: tuple
    layer: str
    points: np.ndarray = field(kw_only=True)
    cells: np.ndarray = field(kw_only=True)
    means: np.ndarray = field(kw_only=True)
    photographs: np.ndarray = field(kw_only=True)
    captions: list = field(default_factory=list, kw_only=True)
    quality: dict = field(default_factory=dict, kw_only=True)
    history: dict = field(default_factory=dict, kw_only=True)
    pictures: int = field(default=0, kw_only=True)

    def arrays(self):
        return {"icons": self.icons, "filled": self.filled, "points": self.points, "cells": self.cells,
                "means": self.means, **{f"history {name}": values for name, values in self.history.items()}}

    def to_dict(self):
        columns = self.grid[1]
        return {**super().to_dict(), "layer": self.layer, "pictures": self.pictures,
                "quality": {name: None if v is None else float(v) for name, v in self.quality.items()},
                "cells": [{"row": int(c) // columns, "column": int(c) % columns, "said": said,
                           "vectors": int((self.cells == c).sum())} for c, said in zip(self.filled, self.captions)]}

    def heading(self):
        return f"Activation atlas of {self.layer}"

    def facts(self):
        return [f"{len(self.points)} activations of {self.pictures} pictures, {len(self.icons)} cells; " + self.said(),
                self.network_line()]

    def said(self):
        """The numbers that judge the layout."""
        return "; ".join(f"{name} {number(v)}" for name, v in self.quality.items() if v is not None)

    def panels(self):
        rows, columns = self.grid
        side = int(np.clip(SHEET // max(rows, columns), 16, self.icons.shape[1]))
        photographs = np.stack([charts.at_size(p, side) for p in self.photographs])
        icons = np.stack([charts.at_size(p, side) for p in self.icons])
        drawn, seen = (charts.board(tiles, rows, columns, self.filled) for tiles in (icons, photographs))
        return [Panel("What the layer sees there, drawn by the network", drawn, exact=True,
                      caption="Each icon is optimised towards the mean activation of its cell; cells side by side are "
                              "alike to the layer."),
                Panel("The picture nearest to each mean", seen, exact=True,
                      caption="Whole pictures; the activation was taken at one random place in each.")]
