"""A picture and those nearest to it, in features and in pixels."""
from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..dataset import SUFFIXES, printable
from ..figures import named_grid
from ..preprocessing import resize
from ..targets import first_name, imagenet_classes
from .base import Panel, Result, number

TILE = 128          # pixels: the longer side of a picture in a row
COLUMNS = 8
SPACE = {"l2": "L2 distance", "cosine": "cosine distance"}
POOLED = {"mean": ", averaged over places", "max": ", strongest over places", "none": ""}


@dataclass(eq=False)
class Neighbours(Result):
    """values (n,): rising distances in the features of `layer`; pixel_values (n,): those in pixels, side x side.

    rows, pixel_rows: [{"picture": number in the index, "name", "label", "distance"}]; seen: what the network saw of the
    query; pictures, pixel_pictures: what it sees of the neighbours, uint8; total: how many pictures were compared.
    """

    values: np.ndarray
    pixel_values: np.ndarray
    rows: list
    pixel_rows: list
    seen: object
    pictures: list
    pixel_pictures: list
    layer: str = field(default="", kw_only=True)
    metric: str = field(default="l2", kw_only=True)
    pool: str = field(default="", kw_only=True)
    side: int = field(default=0, kw_only=True)
    total: int = field(default=0, kw_only=True)

    def arrays(self):
        return {"values": self.values, "pixel_values": self.pixel_values,
                "neighbours": np.array([row["picture"] for row in self.rows]),
                "pixel_neighbours": np.array([row["picture"] for row in self.pixel_rows]),
                "seen_picture": self.seen.picture}

    def to_dict(self):
        return {"technique": self.recipe.get("technique"), "layer": self.layer, "metric": self.metric,
                "pictures": self.total, "features": self.rows, "pixels": self.pixel_rows, "notes": list(self.notes)}

    def heading(self):
        return f"Nearest neighbours in {self.layer}, and in pixels"

    def facts(self):
        both = {row["picture"] for row in self.rows} & {row["picture"] for row in self.pixel_rows}
        return [f"{self.total:,} pictures compared by {SPACE[self.metric]}; {len(both)} of {len(self.rows)} neighbours "
                "are the same in both", self.network_line()]

    def panels(self):
        query = Panel("Query", _tile(self.seen.picture), exact=True)
        features = Panel(f"Nearest in {self.layer}{POOLED.get(self.pool, '')}", _row(self.pictures, self.rows),
                         exact=True, caption=f"Below each its {SPACE[self.metric]}.")
        pixels = Panel(f"Nearest in pixels, {self.side} \N{MULTIPLICATION SIGN} {self.side}",
                       _row(self.pixel_pictures, self.pixel_rows), exact=True,
                       caption=f"Below each its {SPACE[self.metric]}; a colour's range is 1.")
        return [query, features, pixels]

    def main_panel(self):
        return self.panels()[1]

    def picture(self):
        from ..figures import figure
        return figure(self.heading(), self.facts(), self.panels(), self.notes, columns=1)


def _row(pictures, rows):
    names = [f"{number(row['distance'], 3)}\n{told(row)}" for row in rows]
    return named_grid([_tile(picture) for picture in pictures], [short(name, TILE) for name in names],
                      min(COLUMNS, len(rows)), padding=6)


def _tile(picture):
    factor = TILE / max(picture.shape[:2])
    return resize(picture, [max(1, round(side * factor)) for side in picture.shape[:2]])


def told(row):
    """What a picture is called in figures: its label, of a WordNet id the first of its names, else its file."""
    label = row["label"]
    return printable(row["name"] if label is None else first_name(dict(imagenet_classes()).get(label, label)))


def short(text, width):
    """Each line cut at its beginning to so many pixels in the size of a grid's names: often all begin alike."""
    face, lines = show.font(11), []
    for line in text.split("\n"):
        line = line.rsplit(".", 1)[0] if "/" in line or line.lower().endswith(SUFFIXES) else line
        kept = line
        while kept and face.getlength(kept) > width:
            line = line[1:]
            kept = f"\N{HORIZONTAL ELLIPSIS}{line}"
        lines.append(kept)
    return "\n".join(lines)
