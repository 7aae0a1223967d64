"""How far a class heeds a concept, layer by layer."""
from dataclasses import dataclass, field

import numpy as np

from .. import charts
from ..figures import number
from .base import Panel, Result, describe_target


@dataclass(eq=False)
class Concepts(Result):
    """rows    one dict per layer: layer, score and its deviation over `runs` planes, chance and chance_deviation, p,
               significant, accuracy of the planes on held-out pictures, pictures that were counted
    target     the class; size: pictures on each side of a plane
    """

    rows: list
    target: dict
    runs: int = field(default=0, kw_only=True)
    size: int = field(default=0, kw_only=True)

    def arrays(self):
        return {"layers": np.array([row["layer"] for row in self.rows]),
                **{key: np.array([row[key] for row in self.rows]) for key in ("score", "chance", "p", "accuracy",
                                                                              "scores", "chance_scores")}}

    def to_dict(self):
        return {**super().to_dict(), "target": self.target, "runs": self.runs, "size": self.size, "layers": self.rows}

    def heading(self):
        return f"Does {describe_target(self.target)} heed the concept?"

    def facts(self):
        return [f"share of {self.rows[0]['pictures']} pictures whose logit rises along the concept's direction, over "
                f"{self.runs} planes between {self.size} and {self.size} pictures", self.network_line()]

    def said(self):
        """A line per layer."""
        return "\n".join(f"{row['layer']}: {number(row['score'], 3)}, by chance {number(row['chance'], 3)}, "
                         f"p {number(row['p'], 2)}; planes right on {number(100 * row['accuracy'], 3)} %"
                         for row in self.rows)

    def panels(self):
        texts = [f"p {number(row['p'], 2)}{' *' if row['significant'] else ''}   plane "
                 f"{number(100 * row['accuracy'], 3)} %" for row in self.rows]
        sheet = charts.bars([row["layer"] for row in self.rows], [row["score"] for row in self.rows],
                            [row["deviation"] for row in self.rows], texts,
                            [(row["chance"], row["chance_deviation"]) for row in self.rows],
                            emphasised=[row["significant"] for row in self.rows])
        return [Panel("Score of the concept in each layer", sheet, exact=True,
                      caption="Dark bars and *: differs from chance, p < 0.05 after Bonferroni. Red: the same for "
                              "planes between random pictures. Lines: standard deviation over planes. Plane: how often "
                              "it is right on pictures held out; 50 % is a guess.")]
