"""How one filter meets a picture: its response everywhere, and single places taken apart."""

from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..centres import over_picture
from ..figures import mark_boxes
from .base import Panel, Result, number, seen_line
from .layers import TIMES

TILE = 132              # pixels: the side a filter, a patch and a product are enlarged towards
MOST_SLICES = 8         # input channels drawn where these are not colours
MARKS = {"chosen": ("C", (90, 90, 90)), "strongest": ("S", (178, 24, 43)), "most negative": ("N", (33, 102, 172)),
         "weakest": ("W", (33, 102, 172))}


@dataclass(eq=False)
class FilterMatches(Result):
    """values: the filter (h, w, C), RGB order if `colours`; response (H', W'): <filter, patch> + bias at every place.

    places: [{name, row, column, value, dot, bias, box, patch (h, w, C), product (h, w, C)}]: value = dot + bias, before
    the ReLU; product = filter * patch, which sums to dot. centres: (y, x) of the response's units on the input grid.
    """

    values: np.ndarray
    response: np.ndarray
    places: list
    layer: str
    channel: int
    seen: object = field(default=None, kw_only=True)
    colours: bool = field(default=True, kw_only=True)
    centres: tuple = field(default=((), ()), kw_only=True)

    def arrays(self):
        arrays = {"values": self.values, "response": self.response, "seen_picture": self.seen.picture,
                  "seen_box": np.array(self.seen.box)}
        for i, place in enumerate(self.places):
            arrays |= {f"place{i}_patch": place["patch"], f"place{i}_product": place["product"]}
        return arrays

    def to_dict(self):
        places = [{key: place[key] for key in ("name", "row", "column", "value", "dot", "bias")}
                  | {"box": [int(edge) for edge in place["box"]]} for place in self.places]
        return {"technique": self.recipe.get("technique"), "layer": self.layer, "channel": self.channel,
                "response_shape": list(self.response.shape), "least": float(self.response.min()),
                "largest": float(self.response.max()), "mean": float(self.response.mean(dtype=np.float64)),
                "places": places, "notes": list(self.notes)}

    def heading(self):
        return f"Filter {self.channel} of {self.layer} meets the picture"

    def facts(self):
        height, width, channels = self.values.shape
        return [f"response = <filter, patch> + bias, before the ReLU; filter of {height} {TIMES} {width} over "
                f"{channels} input channels; bias {number(self.places[0]['bias'])}",
                "; ".join(part for part in (self.network_line(), seen_line(self.seen)) if part)]

    def main_panel(self):
        size = self.seen.picture.shape[:2]
        shown = show.signed(over_picture(self.response, self.centres, size), percentile=None,
                            scale=show.symmetric_scale(self.response, None) or None)
        height, width = self.response.shape
        return Panel("Response everywhere", shown.picture, shown, "response",
                     f"{height} {TIMES} {width} places, each at the centre of its patch. Red: the filter's pattern; "
                     "blue: its negative.")

    def panels(self):
        boxes = [(place["box"], *MARKS[place["name"]]) for place in self.places]
        marked = mark_boxes(self.seen.picture, boxes)
        picture = Panel("What the network saw", marked, exact=True,
                        caption="Frames: the patches that are taken apart below.")
        return [picture, self.main_panel(), *[self._place_panel(place) for place in self.places]]

    def picture(self):
        from ..figures import figure
        return figure(self.heading(), self.facts(), self.panels(), self.notes, columns=2)

    def _place_panel(self, place):
        """Filter, patch and product of one place side by side, and the sum that they make."""
        kinds = {"filter": self.values, "patch": place["patch"], "product": place["product"]}
        factor = max(1, round(TILE / max(self.values.shape[:2])))
        if self.colours:
            picks = {name: [array] for name, array in kinds.items()}
            told = "Colours of filter, patch and product around grey, which is 0, each on its own scale."
        else:
            order = np.argsort(-np.abs(place["product"].sum(axis=(0, 1))), kind="stable")[:MOST_SLICES]
            picks = {name: [np.repeat(array[:, :, c, None], 3, axis=2) for c in order] for name, array in kinds.items()}
            factor = max(1, factor // 3)
            told = (f"From left to right the {len(order)} input channels that add most: {', '.join(map(str, order))}; "
                    "grey is 0, white positive.")
        columns = []
        for name, arrays in picks.items():
            scale = max(np.abs(array).max() for array in arrays) or 1.0
            tiles = [show.enlarge(show.signed_rgb(a, scale=scale, percentile=None).picture if a.any() else
                                  np.full(a.shape, show.GREY, np.uint8), factor) for a in arrays]
            strip = show.grid(tiles, len(tiles), 2)
            title = show.text_block(name, max(60, strip.shape[1]), size=12)
            columns.append(show.stack([title, strip], 0, gap=2))
        body = show.stack(columns, 1 if self.colours else 0, gap=14 if self.colours else 6)
        value, dot, bias = (number(place[key]) for key in ("value", "dot", "bias"))
        caption = f"The product sums to {dot}; with the bias {bias}: {value}. {told}"
        where = f"row {place['row']}, column {place['column']}"
        title = f"{MARKS[place['name']][0]}: {place['name']}, {value} at {where}"
        return Panel(title, body, caption=caption, exact=True)
