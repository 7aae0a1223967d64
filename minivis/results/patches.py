"""What drives a unit, or each channel of a layer, most: patches, and what guided backprop makes of them."""
from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..figures import named_grid
from ..preprocessing import resize
from .base import Panel, Result, number
from .neighbours import short, told

TIMES = "\N{MULTIPLICATION SIGN}"
LARGE, SMALL = 132, 34          # pixels: a patch of one channel, and of many
BLOCK_GAP = 10
RANKED = {"max": "ranked by the strongest unit", "mean": "ranked by the mean over places; shown is the strongest unit"}


@dataclass(eq=False)
class Patches(Result):
    """values (channels, count): activations of `layer`, falling in each row; nan where there are fewer.

    channels: which they are; rows: for each channel a list of {"picture": number in the index, "name", "label",
    "value", "row", "column", "box", "exact", "patch", and with guided backprop "guided"; "gradient" for one channel}
    (see indexing/cutting.py); whole: whether the layer was asked for, not one channel; total: pictures looked at;
    sees: (h, w) of a field, None: everything.
    """

    values: np.ndarray
    layer: str
    channels: list
    rows: list
    by: str = field(default="max", kw_only=True)
    sees: tuple | None = field(default=None, kw_only=True)
    total: int = field(default=0, kw_only=True)
    whole: bool = field(default=False, kw_only=True)

    def arrays(self):
        def table(key, dtype=np.int64, missing=-1):
            missing = np.full(np.shape(self._all()[0][key]) if self._all() else (), missing, dtype)
            wide = self.values.shape[1]
            return np.array([[np.asarray(each[key], dtype) for each in some] + [missing] * (wide - len(some))
                             for some in self.rows])
        found = {"values": self.values, "channels": np.array(self.channels), "pictures": table("picture"),
                 "rows": table("row"), "columns": table("column")}
        for key, dtype, missing in (("box", np.int64, -1), ("patch", np.uint8, show.GREY),
                                    ("guided", np.uint8, show.GREY), ("gradient", np.float64, 0)):
            if self._all() and all(key in each for each in self._all()):
                found[{"box": "boxes", "patch": "patches"}.get(key, key)] = table(key, dtype, missing)
        return found

    def _all(self):
        return [each for some in self.rows for each in some]

    def to_dict(self):
        plain = ("picture", "name", "label", "value", "row", "column", "box", "exact")
        return {"technique": self.recipe.get("technique"), "layer": self.layer, "by": self.by, "pictures": self.total,
                "receptive_field": self.sees and list(self.sees), "channels": [
                    {"channel": channel, "patches": [{key: each[key] for key in plain} for each in some]}
                    for channel, some in zip(self.channels, self.rows)], "notes": list(self.notes)}

    def heading(self):
        what = self.layer if self.whole else f"{self.layer} channel {self.channels[0]}"
        return f"What drives {what} most"

    def facts(self):
        sees = "all of the picture" if self.sees is None else f"{self.sees[0]} {TIMES} {self.sees[1]} pixels"
        lines = [f"of {self.total:,} pictures; a unit sees {sees}; {RANKED[self.by]}", self.network_line()]
        if self.whole:
            silent = sum(not some for some in self.rows)
            lines.insert(1, f"channels {self.channels[0]} to {self.channels[-1]}"
                         + (f"; {silent} of them are never active" if silent else ""))
        return lines

    def panels(self):
        if not self._all():
            return [Panel("No patches", np.full((60, 260, 3), 240, np.uint8), exact=True)]
        draw = self._layer_sheet if self.whole else self._channel_sheet
        found = [Panel("Patches", draw("patch"), exact=True, caption=self._caption())]
        if all("guided" in each for each in self._all()):
            found.append(Panel("Guided backprop of the same units", draw("guided"), exact=True,
                               caption="Each on its own scale; grey is 0. Bluish: more blue raises the unit."))
        return found

    def picture(self):
        from ..figures import figure
        panels = self.panels()
        wide = sum(panel.picture.shape[1] for panel in panels) > 1900
        return figure(self.heading(), self.facts(), panels, self.notes, columns=1 if wide else None)

    def _caption(self):
        if self.whole:
            return f"Above each channel's {self.values.shape[1]} strongest patches its number."
        return "Below each its activation, and the picture it is from."

    def _channel_sheet(self, kind):
        some = self.rows[0]
        tiles = [_tile(each[kind], LARGE) for each in some]
        wide = max(tile.shape[1] for tile in tiles)
        names = [short(f"{number(each['value'], 3)}\n{told(each)}", wide) for each in some]
        return named_grid(tiles, names if kind == "patch" else ["\n"] * len(names), _columns(len(some)), padding=6)

    def _layer_sheet(self, kind):
        across = _columns(self.values.shape[1])
        shape = _tile(self._all()[0][kind], SMALL).shape
        empty = np.full(shape, 235, np.uint8)
        blocks = []
        for channel, some in zip(self.channels, self.rows):
            tiles = [_tile(each[kind], SMALL) for each in some]
            tiles += [empty] * (self.values.shape[1] - len(tiles))
            block = show.grid(tiles, across, 1)
            blocks.append(show.stack([show.text_block(str(channel), block.shape[1], size=11), block], 0, gap=1))
        return show.grid(blocks, show.good_columns(len(blocks), *blocks[0].shape[:2]), BLOCK_GAP)


def _columns(count):
    """Nine patches are three rows of three."""
    return max(1, round(np.sqrt(count)))


def _tile(picture, side):
    """Enlarged by a whole number, so that pixels stay whole, or reduced, to about `side`."""
    longest = max(picture.shape[:2])
    if longest <= side:
        return show.enlarge(picture, side // longest)
    return resize(picture, [max(1, round(n * side / longest)) for n in picture.shape[:2]])
