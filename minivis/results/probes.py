"""The accuracy of linear probes, layer by layer."""
from dataclasses import dataclass, field

import numpy as np

from .. import charts
from ..figures import number
from .base import Panel, Result


@dataclass(eq=False)
class Probes(Result):
    """rows: one dict per layer: layer, values (features per picture), accuracy and deviation over the folds. labels:
    the classes; chance: the accuracy of always naming the most frequent one."""

    rows: list
    labels: list
    chance: float
    pictures: int = field(default=0, kw_only=True)
    folds: int = field(default=0, kw_only=True)

    def arrays(self):
        return {"layers": np.array([row["layer"] for row in self.rows]),
                **{key: np.array([row[key] for row in self.rows]) for key in ("accuracy", "deviation", "values")}}

    def to_dict(self):
        return {**super().to_dict(), "chance": self.chance, "classes": self.labels, "pictures": self.pictures,
                "layers": self.rows}

    def heading(self):
        return f"What a linear classifier reads from each layer: {len(self.labels)} classes"

    def facts(self):
        return [f"accuracy on pictures held out, {self.folds} folds of {self.pictures} pictures; always naming the "
                f"most frequent class gives {number(100 * self.chance, 3)} %", self.network_line()]

    def said(self):
        """The best layer in words."""
        best = max(self.rows, key=lambda row: row["accuracy"])
        return f"best: {best['layer']} with {number(100 * best['accuracy'], 3)} %, chance " \
               f"{number(100 * self.chance, 3)} %"

    def panels(self):
        texts = [f"{number(100 * row['accuracy'], 3)} %   of {row['values']} values" for row in self.rows]
        sheet = charts.bars([row["layer"] for row in self.rows], [row["accuracy"] for row in self.rows],
                            [row["deviation"] for row in self.rows], texts, [(self.chance, 0)] * len(self.rows))
        return [Panel("Accuracy of a linear probe", sheet, exact=True,
                      caption="Lines: standard deviation over folds. Red: the most frequent class.")]
