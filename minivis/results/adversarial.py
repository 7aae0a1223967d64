"""Pictures that a network takes for something else."""
from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..figures import named_grid, number
from ..provenance import jsonable
from ..targets import class_name
from .base import Panel
from .synthesis import Synthesis


@dataclass(eq=False)
class Adversarial(Synthesis):
    """A picture, what it was made of, and what the network says of both.

    norms    of the difference, in grey levels of the re-read 8-bit picture: linf (largest), l2 (Euclidean over all
             values), mean (of absolute values), pixels (how many differ)
    before, after   the network's first choices: rows of index, label, probability, logit; `after` is of the picture as
             it was read again from its PNG file
    success  whether `after` begins with what was wanted
    """

    norms: dict = field(default_factory=dict, kw_only=True)
    before: list = field(default_factory=list, kw_only=True)
    after: list = field(default_factory=list, kw_only=True)
    success: bool = field(default=False, kw_only=True)

    def difference(self):
        """(H, W, 3) signed grey levels."""
        return self.pictures[0].astype(np.int64) - self.original

    def to_dict(self):
        return {**super().to_dict(), "success": self.success, "norms": jsonable(self.norms), "before": self.before,
                "after": self.after}

    def facts(self):
        n = self.norms
        line = (f"difference: at most {n['linf']} grey levels, {number(n['mean'])} on average, Euclidean norm "
                f"{number(n['l2'])}, in {n['pixels']} pixels; read again from the 8-bit picture")
        return [f"{'fooled' if self.success else 'not fooled'}: {self.target}", line, self.network_line()]

    def panels(self):
        scale = max(1, self.norms["linf"])
        return [Panel("Before", self.original, caption=_words(self.before)),
                Panel("Difference", show.signed_rgb(self.difference(), scale=127).picture,
                      caption="As large as it is; grey is no change."),
                Panel("Difference, magnified", show.signed_rgb(self.difference(), scale=scale).picture,
                      caption=f"{number(127 / scale, 3)} times as large: the ends are \N{PLUS-MINUS SIGN}{scale} grey "
                              "levels."),
                Panel("After", self.pictures[0], caption=_words(self.after)), *self.history_panels()]

    def main_panel(self):
        return Panel("After", self.pictures[0], caption=_words(self.after))


@dataclass(eq=False)
class Applied(Synthesis):
    """A change that is made to many pictures (`pictures`: a sticker, a perturbation), and `examples`: uint8 pictures
    with it on them, with what the network says before and after (`names`)."""

    examples: list = field(default_factory=list, kw_only=True)
    names: list = field(default_factory=list, kw_only=True)

    def arrays(self):
        return {**super().arrays(), "examples": np.stack(self.examples)}

    def panels(self):
        columns = show.good_columns(len(self.examples), *self.examples[0].shape[:2])
        return [self.main_panel(), Panel(f"On {len(self.examples)} of the pictures",
                                         named_grid(self.examples, self.names, columns, padding=6), exact=True),
                *self.history_panels()]


def before_and_after(net, before, after):
    """Two classes as the words below an example."""
    return f"{short_label(net, before)}\n\N{RIGHTWARDS ARROW} {short_label(net, after)}"


def short_label(net, index, most=24):
    """A class's first name, cut where it is long."""
    text = class_name(net, index)
    return text if len(text) <= most else text[:most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _words(rows):
    return "\n".join(f"{row['label']}: {100 * row['probability']:.1f} %, logit {number(row['logit'])}" for row in rows)
