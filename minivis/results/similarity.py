"""How alike layers are, as a table of shades."""
from dataclasses import dataclass, field

import numpy as np

from .. import charts, show
from .base import Panel, Result


@dataclass(eq=False)
class Similarity(Result):
    """values (R, C): the similarity of layer rows[i] of one network and columns[j] of the other; NaN where undefined.

    estimate "minibatch" or "full"; batches of `batch` out of `pictures` pictures.
    """

    values: np.ndarray
    rows: list
    columns: list
    name: str = ""
    other: str = ""
    pictures: int = field(default=0, kw_only=True)
    estimate: str = field(default="minibatch", kw_only=True)
    batch: int = field(default=0, kw_only=True)
    batches: int = field(default=0, kw_only=True)

    def arrays(self):
        return {"values": self.values, "rows": np.array(self.rows), "columns": np.array(self.columns)}

    def to_dict(self):
        return {**super().to_dict(), "rows": self.rows, "columns": self.columns, "network": self.name,
                "other": self.other, "estimate": self.estimate, "pictures": self.pictures,
                "values": [[float(v) if np.isfinite(v) else None for v in row] for row in self.values]}

    def heading(self):
        return f"Similarity of layers: {self.name} and {self.other}" if self.name != self.other \
            else f"Similarity of the layers of {self.name}"

    def facts(self):
        how = f"unbiased, averaged over {self.batches} batches of about {self.batch}" if self.estimate == "minibatch" \
            else "all at once"
        return [f"linear centred kernel alignment on {self.pictures} pictures, {how}", self.network_line()]

    def panels(self):
        picture = charts.table(self.values, self.rows, self.columns)
        return [Panel(f"{self.name} (rows) and {self.other} (columns)", picture, show.Shown(None, 0.0, 1.0, "viridis"),
                      "CKA", "1: the same but for a rotation and a factor; 0: nothing in common.", exact=True)]
