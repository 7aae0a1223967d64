"""Predicted and measured effect of a step along the sign of the gradient."""
from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..figures import figure, number
from .base import Panel, Result
from .synthesis import COLOUR_NAMES, line_chart


@dataclass(eq=False)
class LinearExplanation(Result):
    """original, fooling  uint8 (H, W, 3): the picture and its largest step; gradient (H, W, 3) RGB.
    table     columns epsilon, predicted and measured change of the lead, the two logits, the network's choice
    logits    (epsilons, classes); named: {class: label} of those that matter on the way, the most important first
    growth    rows size, inputs, slope, mean; transfer  rows network, cosine, before, after, fooled
    """

    original: np.ndarray
    fooling: np.ndarray
    gradient: np.ndarray
    table: dict
    logits: np.ndarray
    named: dict
    growth: list = field(default_factory=list)
    transfer: list = field(default_factory=list)
    before: list = field(default_factory=list, kw_only=True)
    after: list = field(default_factory=list, kw_only=True)
    first: int = field(default=0, kw_only=True)
    other: int = field(default=0, kw_only=True)
    biggest: float = field(default=0.0, kw_only=True)

    def arrays(self):
        return {"original": self.original, "fooling": self.fooling, "gradient": self.gradient,
                "logits": self.logits, **{name: np.asarray(column) for name, column in self.table.items()}}

    def to_dict(self):
        return {**super().to_dict(), "first": self.first, "other": self.other, "before": self.before,
                "after": self.after, "table": self.table, "growth": self.growth, "transfer": self.transfer}

    def facts(self):
        t = self.table
        pairs = ", ".join(f"{number(e, 3)}: {number(p, 3)} / {number(m, 3)}"
                          for e, p, m in zip(t["epsilon"], t["predicted"], t["measured"]) if e)
        grown = "; ".join(f"{r['size']} px: {number(r['slope'], 3)} in all, {number(r['mean'], 3)} a value"
                          for r in self.growth)
        carried = "; ".join(f"{r['network']}: cosine {number(r['cosine'], 3)}, {r['before']['label']} becomes "
                            f"{r['after']['label']}" for r in self.transfer)
        return [f"change of the lead by epsilon grey levels, predicted / measured: {pairs}",
                f"change for one grey level, by the side of the picture: {grown}" if grown else "",
                f"the same picture for other networks: {carried}" if carried else "", self.network_line()]

    def panels(self):
        at = self.table["epsilon"]
        axis = {"at": at, "ends": [f"{number(end, 3)} grey levels" for end in (min(at), max(at))]}
        lead = line_chart(np.stack([self.table["predicted"], self.table["measured"]], 1), **axis)
        shown = list(self.named)
        words = ", ".join(f"{colour}: {self.named[k]}" for colour, k in zip(COLOUR_NAMES, shown))
        found = [Panel("Before", self.original, caption=self.before[0]["label"]),
                 Panel("Sign of the gradient", show.signed_rgb(np.sign(self.gradient), scale=1.0).picture),
                 Panel(f"After {number(self.biggest, 3)} grey levels", self.fooling, caption=self.after[0]["label"]),
                 Panel("Change of the lead along the way", lead, exact=True, caption="Blue: predicted, red: measured."),
                 Panel("Logits along the way", line_chart(self.logits[:, shown], **axis), exact=True,
                       caption=words[:1].upper() + words[1:] + ".")]
        if len(self.growth) > 1:
            sides = [row["size"] for row in self.growth]
            chart = line_chart([[row["slope"]] for row in self.growth], at=sides,
                               ends=[f"{side} px" for side in (min(sides), max(sides))])
            found.append(Panel("Change of the lead for one grey level", chart, exact=True,
                               caption="|g|\N{SUBSCRIPT ONE}, a sum over all inputs, by the side of the picture; "
                                       "where scores are means over places it need not grow."))
        return found

    def picture(self):
        return figure(self.heading(), self.facts(), self.panels(), self.notes, columns=3)
