"""A receptive field slid over a picture: what one channel answers at each place, as numbers."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from .. import show
from ..figures import fit
from .base import Panel, Result, describe_target, number, picture_panel, seen_line

TIMES = "\N{MULTIPLICATION SIGN}"
TILE = 96           # pixels: the side of a patch in the row of the strongest
WIDEST = 800        # pixels: the picture with numbers


@dataclass(eq=False)
class Slide(Result):
    """values (h, w): the channel's activation with its receptive field at each place that was visited.

    rows, columns: which units those are; centres: (y, x) pixels of their fields' centres; size: (h, w) pixels of a
    field; patches: [{"row", "column", "value", "box", "picture"}] of the strongest, strongest first.
    """

    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    centres: tuple
    size: tuple
    patches: list
    layer: str
    channel: int
    seen: object = None
    printed: int = field(default=12, kw_only=True)      # at most so many numbers side by side

    def arrays(self):
        return {"values": self.values, "rows": self.rows, "columns": self.columns, "centres_y": self.centres[0],
                "centres_x": self.centres[1], "seen_picture": None if self.seen is None else self.seen.picture}

    def to_dict(self):
        return {"technique": self.recipe.get("technique"), "layer": self.layer, "channel": self.channel,
                "receptive_field": list(self.size), "shape": list(self.values.shape),
                "strongest": [{k: v for k, v in p.items() if k != "picture"} for p in self.patches],
                "notes": list(self.notes)}

    def heading(self):
        target = describe_target({"layer": self.layer, "channel": self.channel})
        return f"The receptive field of {target}, slid over the picture"

    def facts(self):
        high, wide = self.size
        return [f"receptive field {high} {TIMES} {wide} pixels; {len(self.rows)} {TIMES} {len(self.columns)} places; "
                f"activation {number(self.values.min())} to {number(self.values.max())}",
                "; ".join(part for part in (self.network_line(), seen_line(self.seen)) if part)]

    def shown(self):
        return show.signed(self.values, percentile=None) if self.values.min() < 0 else show.heat(self.values,
                                                                                                 percentile=None)

    def main_panel(self):
        step = self._step()
        rows, columns = self.rows[::step[0]], self.columns[::step[1]]
        caption = "Each number stands at the centre of the field it was measured in."
        if max(step) > 1:
            caption += (f" Every {_nth(step[0])} row and {_nth(step[1])} column is printed: {len(rows)} {TIMES} "
                        f"{len(columns)}; the frame is the strongest place of all.")
        return Panel("Activation at each place", self._numbered(step), self.shown(), "activation", caption, exact=True)

    def panels(self):
        found = [*picture_panel(self.seen), self.main_panel()]
        if self.patches:
            tiles = [np.asarray(Image.fromarray(p["picture"]).resize((TILE, TILE), Image.Resampling.NEAREST))
                     for p in self.patches]
            titles = [f"{number(p['value'])} @{p['row']},{p['column']}" for p in self.patches]
            found.append(Panel("Where it answers most", show.montage(tiles, titles, columns=3, size=11), exact=True,
                               caption="What lies in the field there, with the activation and the unit's row and "
                                       "column; white is padding."))
        return found

    def _step(self):
        return tuple(max(1, -(-len(places) // self.printed)) for places in (self.rows, self.columns))

    def _numbered(self, step):
        """The greyed picture with a number at each printed place, coloured by its value."""
        picture = fit(self.seen.picture)
        if max(picture.shape[:2]) < WIDEST:
            picture = show.enlarge(self.seen.picture, max(1, WIDEST // max(self.seen.picture.shape[:2])))
        factor = len(picture) / len(self.seen.picture)
        grey = picture @ np.array([0.299, 0.587, 0.114])
        image = Image.fromarray(np.rint(np.repeat((130 + grey * 125 / 255)[:, :, None], 3, axis=2)).astype(np.uint8))
        draw, face = ImageDraw.Draw(image), show.font(12, True)
        colours = self.shown().picture
        best = np.unravel_index(int(self.values.argmax()), self.values.shape)
        y, x = (centre[at] for centre, at in zip(self.centres, best))
        box = [(x - self.size[1] / 2) * factor, (y - self.size[0] / 2) * factor,
               (x + self.size[1] / 2) * factor, (y + self.size[0] / 2) * factor]
        draw.rectangle(box, outline=(255, 255, 255), width=5)
        draw.rectangle(box, outline=(178, 24, 43), width=3)
        for i in range(0, len(self.rows), step[0]):
            for j in range(0, len(self.columns), step[1]):
                text = number(self.values[i, j], 3)
                left = (self.centres[1][j] + 0.5) * factor - face.getlength(text) / 2
                top = (self.centres[0][i] + 0.5) * factor - 8
                colour = tuple(int(c) for c in colours[i, j])
                draw.rectangle((left - 3, top - 1, left + face.getlength(text) + 3, top + 16), fill=colour)
                bright = colour[0] * 0.3 + colour[1] * 0.59 + colour[2] * 0.11 > 130
                draw.text((left, top), text, (0, 0, 0) if bright else (255, 255, 255), face)
        self._label(draw, face, box, number(self.values[best], 3))
        return np.asarray(image)

    @staticmethod
    def _label(draw, face, box, text):
        """The strongest value at the upper left corner of its frame."""
        left, top = max(0, box[0]), max(0, box[1])
        draw.rectangle((left, top, left + face.getlength(text) + 8, top + 19), fill=(178, 24, 43))
        draw.text((left + 4, top + 3), text, (255, 255, 255), face)


def _nth(step):
    return {1: "single", 2: "second", 3: "third"}.get(step, f"{step}th")
