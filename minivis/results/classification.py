"""The first classes of a picture with probability and logit."""

from dataclasses import dataclass, field

import numpy as np

from ..figures import Panel, probability_table
from ..provenance import jsonable
from .base import Result, picture_panel, seen_line


@dataclass(eq=False)
class Classification(Result):
    """rows: [{index, wnid, label, probability, logit}], the likeliest first; seen: what the network saw, or None."""

    rows: list
    seen: object = field(default=None, kw_only=True)

    def arrays(self):
        return {"index": np.array([row["index"] for row in self.rows]),
                "probability": np.array([row["probability"] for row in self.rows], np.float64),
                "logit": np.array([row["logit"] for row in self.rows], np.float64),
                "wnid": np.array([str(row.get("wnid") or "") for row in self.rows]),
                "label": np.array([str(row.get("label") or "") for row in self.rows])}

    def to_dict(self):
        top = [{name: jsonable(row.get(name)) for name in ("index", "wnid", "label", "probability", "logit")}
               for row in self.rows]
        return {"technique": self.recipe.get("technique"), "top": top, "notes": list(self.notes)}

    def facts(self):
        return ["; ".join(part for part in (self.network_line(), seen_line(self.seen)) if part),
                "probability: softmax over all classes of the network"]

    def plot(self, ax=None):
        """Bars of the probabilities, the likeliest above; returns the axes."""
        ax = self.new_axes(6, 1 + 0.4 * len(self.rows)) if ax is None else ax
        names = [str(row.get("label") or f"class {row['index']}") for row in self.rows]
        places = range(len(self.rows))
        ax.barh(places, [row["probability"] for row in self.rows], color="#2166ac")
        ax.set_yticks(places, [name if len(name) < 40 else name[:37] + "..." for name in names], fontsize=9)
        ax.set(xlim=(0, 1), xlabel="probability", title=self.heading())
        ax.invert_yaxis()
        return ax

    def main_panel(self):
        return Panel(f"The {len(self.rows)} likeliest classes", probability_table(self.rows), exact=True)

    def panels(self):
        return [*picture_panel(self.seen), self.main_panel()]

    def text(self):
        """The rows as lines for a terminal."""
        lines = []
        for row in self.rows:
            name = row.get("label") or f"class {row['index']}"
            which = f"{row['index']:4d}" + (f"  {row['wnid']}" if row.get("wnid") else "")
            lines.append(f"{100 * row['probability']:6.2f} %  logit {row['logit']:7.3f}  {which}  {name}")
        return "\n".join(lines)
