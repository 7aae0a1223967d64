"""The whole network on one page: activations, gradients and weights of every layer."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from .. import show
from ..figures import SOFT
from ..provenance import jsonable
from .base import Panel, Result, describe_target, number, seen_line
from .layers import TIMES, statistics

ROW, THUMB, SHOWN = 46, 40, 5           # pixels of a row and of a thumbnail; channels drawn of each layer
COLUMNS = [("layer", 168), ("activation a", 0), ("least", 66), ("mean", 66), ("largest", 66), ("std", 66), ("zero", 48),
           ("dS/da", 0), ("least", 84), ("mean", 84), ("largest", 84), ("std", 84), ("zero", 48), ("weights", 0),
           ("largest |w|", 76), ("std", 62)]


@dataclass(eq=False)
class EveryLayer(Result):
    """rows: [{name, kind, weights_of, activation (H, W, C) or (C,), gradient like it or None, weights or None}].

    gradient is dS/da for the score S of `target`; weights are those of the layer `weights_of`.
    """

    rows: list
    target: object = None
    score: float | None = None
    score_kind: str = "logit"
    layer: str = ""
    seen: object = field(default=None, kw_only=True)

    def arrays(self):
        arrays = {"score": None if self.score is None else np.float64(self.score), "seen_picture": self.seen.picture,
                  "seen_box": np.array(self.seen.box)}
        for row in self.rows:
            arrays |= {f"{row['name']}_activation": row["activation"], f"{row['name']}_gradient": row["gradient"]}
        return arrays

    def table(self):
        """One dict per layer: name, kind, shape, and statistics of activation, gradient and weights."""
        return [{"name": row["name"], "kind": row["kind"], "shape": list(row["activation"].shape),
                 "weights_of": row["weights_of"],
                 **{what: None if row[what] is None else statistics(row[what])
                    for what in ("activation", "gradient", "weights")}} for row in self.rows]

    def to_dict(self):
        return {"technique": self.recipe.get("technique"), "target": jsonable(self.target), "score": self.score,
                "score_kind": self.score_kind, "layer": self.layer, "layers": self.table(), "notes": list(self.notes)}

    def heading(self):
        return f"{len(self.rows)} layers, forward and backward"

    def facts(self):
        score = f"S = {self.score_kind} {number(self.score)} at layer {self.layer}"
        return [f"target: {describe_target(self.target)}; {score}",
                "; ".join(part for part in (self.network_line(), seen_line(self.seen)) if part)]

    def main_panel(self):
        head = _draw_row(None)
        sheet = show.stack([head, *[_draw_row(row, numbers) for row, numbers in zip(self.rows, self.table())]], 0)
        return Panel("", sheet, exact=True, caption=(
            f"Thumbnails: the {SHOWN} channels of largest activation, the same for a and for dS/da, each layer on one "
            f"scale that ends at the {show.PERCENTILE:g}th percentile; black to yellow from zero up; blue, white and "
            "red below, at and above zero; bars for layers without positions. zero: the share of exact zeros. Weights: "
            "those of the convolution or dense layer that the row ends."))

    def panels(self):
        return [self.main_panel()]


def _draw_row(row, numbers=None):
    """One line of the table, or its head when row is None."""
    pictures = SHOWN * (THUMB + 2) + 12
    widths = [pictures if name in ("activation a", "dS/da") else 8 if name == "weights" else wide
              for name, wide in COLUMNS]
    image = Image.new("RGB", (sum(widths), 38 if row is None else ROW), (255,) * 3)
    draw, face, small = ImageDraw.Draw(image), show.font(12), show.font(11)
    left = 0
    for i, ((name, _), wide) in enumerate(zip(COLUMNS, widths)):
        if row is None:
            if name in ("activation a", "dS/da"):
                draw.text((left + 6, 20), name, show.INK, show.font(12, True))
            elif name == "weights":
                draw.text((left + 16, 2), "weights", show.INK, show.font(12, True))
            elif name == "layer":
                draw.text((0, 20), name, show.INK, show.font(12, True))
            else:
                draw.text((left + wide - face.getlength(name), 20), name, SOFT, face)
        elif name == "layer":
            shape = f" {TIMES} ".join(map(str, row["activation"].shape))
            draw.text((0, 4), show.wrap(row["name"], wide, face)[0], show.INK, face)
            draw.text((0, 21), shape, SOFT, small)
        elif name in ("activation a", "dS/da"):
            part = row["activation"] if name == "activation a" else row["gradient"]
            if part is not None:
                drawn = _thumbnails(part, _picked(row["activation"]), name == "dS/da")
                image.paste(Image.fromarray(drawn), (left + 6, 3))
        elif name != "weights":
            text = _cell(i, name, numbers)
            draw.text((left + wide - face.getlength(text), 13), text, show.INK, face)
        left += wide
    draw.line((0, image.height - 1, image.width, image.height - 1), fill=(215, 215, 215))
    return np.asarray(image)


def _cell(i, name, numbers):
    """The text of a number's column."""
    what = "activation" if i < 7 else "gradient" if i < 13 else "weights"
    if numbers[what] is None:
        return ""
    if name == "zero":
        return f"{100 * numbers[what]['zero_share']:.0f} %"
    if name == "largest |w|":
        return number(max(-numbers[what]["least"], numbers[what]["largest"]), 3)
    return number(numbers[what][name], 3)


def _picked(activation):
    """The channels with the largest values, the largest first."""
    return np.argsort(-activation.reshape(-1, activation.shape[-1]).max(axis=0), kind="stable")[:SHOWN]


def _thumbnails(values, channels, slope):
    """(THUMB, SHOWN tiles wide, 3): maps of some channels on one scale; for a vector all its units as bars."""
    if values.ndim == 1 or values.shape[0] * values.shape[1] == 1:
        return _bars(values.reshape(-1), SHOWN * (THUMB + 2) - 2)
    part = values[:, :, channels]
    flat = part.reshape(len(part), -1)
    shown = show.signed(flat) if slope or flat.min() < 0 else show.heat(flat)
    width = part.shape[1]
    tiles = [shown.picture.reshape(len(part), width, len(channels), 3)[:, :, i] for i in range(len(channels))]
    side = max(part.shape[:2])
    size = [max(1, round(THUMB * length / side)) for length in part.shape[:2]]
    rows, columns = (np.arange(n) * length // n for n, length in zip(size, part.shape[:2]))
    return show.grid([_shrunk(tile, size, rows, columns) for tile in tiles], len(tiles), 2)


def _shrunk(tile, size, rows, columns):
    """Small maps enlarged cell by cell, large ones averaged."""
    if tile.shape[0] > size[0]:
        from ..preprocessing import resize
        return resize(np.ascontiguousarray(tile), size)
    return tile[rows][:, columns]


def _bars(vector, width):
    sheet = np.full((THUMB, width, 3), 250, np.uint8)
    edges = np.linspace(0, len(vector), width + 1).astype(int)
    extreme = np.array([max(vector[a:max(b, a + 1)], key=abs) for a, b in pairwise(edges)], np.float64)
    high, low = max(0.0, extreme.max()), min(0.0, extreme.min())
    span = (high - low) or 1.0
    zero = round((THUMB - 1) * high / span)
    for i, value in enumerate(extreme):
        y = round((THUMB - 1) * (high - value) / span)
        if value:
            sheet[min(y, zero):max(y, zero) + 1, i] = (178, 24, 43) if value > 0 else (33, 102, 172)
    sheet[zero] = 120
    return sheet
