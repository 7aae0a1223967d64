"""What lies inside the network: activations of layers, and filters."""

from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..figures import bar_chart, figure, numbered_grid
from ..preprocessing import resize
from .base import Panel, Result, number, picture_panel, seen_line

TIMES = "\N{MULTIPLICATION SIGN}"
SHEET = 1100            # pixels: the width a grid aims at
MOST_TILES = 144        # channels drawn of one layer unless asked otherwise


@dataclass(eq=False)
class Activations(Result):
    """layers: {name: (H, W, C) or (C,)}; a leading batch axis of 1 is dropped.

    scaling: "channel", each channel map from its own least to largest shade, or "layer", one scale for all maps of a
    layer; limit: channels drawn of each layer; seen: what the network saw.
    """

    layers: dict
    scaling: str = field(default="channel", kw_only=True)
    limit: int = field(default=MOST_TILES, kw_only=True)
    seen: object = field(default=None, kw_only=True)

    def __post_init__(self):
        if self.scaling not in ("channel", "layer"):
            raise ValueError(f"activations: scaling {self.scaling!r} is neither 'channel' nor 'layer'")
        if not self.layers:
            raise ValueError("activations: no layer is given")
        self.layers = {name: _without_batch(name, values) for name, values in self.layers.items()}

    def arrays(self):
        return dict(self.layers)

    def to_dict(self):
        return {"technique": self.recipe.get("technique"), "scaling": self.scaling,
                "layers": [{"name": name, "shape": list(values.shape), **_statistics(values)}
                           for name, values in self.layers.items()], "notes": list(self.notes)}

    def heading(self):
        return f"{self.technique} of " + (", ".join(self.layers) if len(self.layers) < 6
                                          else f"{len(self.layers)} layers")

    def facts(self):
        return ["; ".join(part for part in (self.network_line(), seen_line(self.seen)) if part)]

    def main_panel(self):
        return self._panel(*next(iter(self.layers.items())))

    def panels(self):
        return picture_panel(self.seen) + [self._panel(name, values) for name, values in self.layers.items()]

    def picture(self):
        columns = 2 if self.seen is not None and len(self.layers) == 1 else 1
        return figure(self.heading(), self.facts(), self.panels(), self.notes, columns)

    def _panel(self, name, values):
        numbers = _statistics(values)
        summary = (f"least {number(numbers['least'])}, mean {number(numbers['mean'])}, "
                   f"largest {number(numbers['largest'])}; {100 * numbers['zero_share']:.1f} % are zero")
        if values.shape[0] == values.shape[1] == 1:
            vector = values[0, 0]
            best = np.argsort(-vector, kind="stable")[:5]
            strongest = ", ".join(f"{i} ({number(vector[i])})" for i in best)
            return Panel(f"{name}: {len(vector)} units", bar_chart(vector, SHEET), exact=True,
                         caption=f"One bar per unit, from unit 0 at the left. Strongest: {strongest}. {summary}.")
        return self._grid_panel(name, values, summary)

    def _grid_panel(self, name, values, summary):
        height, width, channels = values.shape
        count = min(channels, self.limit)
        part = values[:, :, :count]
        signed = bool(values.min() < 0)
        problem = show.what_is_wrong(values)
        shown = None
        if self.scaling == "layer" or problem:
            shown = _shade(values.reshape(height, -1), signed)
            scale = shown.high
            tiles = [_shade(part[:, :, c], signed, scale).picture for c in range(count)]
            how = "one scale for all channels"
        else:
            tiles = [_shade(part[:, :, c], signed).picture for c in range(count)]
            how = ("each channel on its own scale, " + ("blue below zero, white zero, red above" if signed
                                                        else "black is zero, yellow the channel's largest value"))
        tiles = [_to_side(tile, _tile_side(height, width, count)) for tile in tiles]
        drawn = tiles[0].shape
        rows = -(-count // max(1, SHEET // (drawn[1] + 2)))
        columns = -(-count // rows)                 # as many in the last row as in the others, if possible
        first = f"first {count} of {channels} channels" if count < channels else f"all {channels} channels"
        at = f" drawn at {drawn[0]} {TIMES} {drawn[1]}" if drawn[0] < height else ""
        caption = (f"Row by row, the first channel's number at the left; maps of {height} {TIMES} {width}{at}; {how}. "
                   f"{summary[0].upper()}{summary[1:]}.")
        return Panel(f"{name}: {first}", numbered_grid(tiles, columns), shown, "activation", caption, exact=True)


@dataclass(eq=False)
class Filters(Result):
    """values: the weights (h, w, C, K) of `layer`, HWIO; with three input channels, in RGB order.

    scaling: "filter" (each tile by its own largest |w|), "layer" (one scale) or "minmax" (RGB only, zero not grey).
    limit, inputs: filters and input channels drawn. noise: (K,) share of each filter's energy that is high-frequency.
    """

    values: np.ndarray
    layer: str = ""
    scaling: str = field(default="filter", kw_only=True)
    limit: int = field(default=256, kw_only=True)
    inputs: int = field(default=32, kw_only=True)
    noise: np.ndarray | None = field(default=None, kw_only=True)

    def arrays(self):
        return {"values": self.values, "noise": self.noise}

    def to_dict(self):
        return {"technique": self.recipe.get("technique"), "layer": self.layer, "shape": list(self.values.shape),
                "scaling": self.scaling, **_statistics(self.values),
                "noise": None if self.noise is None else [float(value) for value in self.noise],
                "notes": list(self.notes)}

    def heading(self):
        return f"{self.technique} of {self.layer}" if self.layer else self.technique

    def facts(self):
        height, width, channels, count = self.values.shape
        lines = [f"{count} filters of {height} {TIMES} {width} over {channels} input channels; "
                 f"weights from {number(self.values.min())} to {number(self.values.max())}", self.network_line()]
        if self.noise is not None:
            worst = int(np.argmax(self.noise))
            lines.insert(1, f"high-frequency share of a filter's energy: median {number(np.median(self.noise))}, "
                            f"largest {number(self.noise[worst])} (filter {worst})")
        return lines

    def panels(self):
        return [self._colour_panel() if self.values.shape[2] == 3 else self._slices_panel()]

    def _colour_panel(self):
        count = min(self.limit, self.values.shape[3])
        size = max(20, min(72, round(640 / np.sqrt(1.4 * count))))
        columns = show.good_columns(count)
        tiles, scale = show.filter_tiles(self.values[:, :, :, :count], self.scaling, size)
        how = {"filter": "each filter scaled by its own largest |weight|; grey is 0",
               "layer": "one scale for all filters; grey is 0",
               "minmax": "each filter from its least weight (dark) to its largest; zero is not grey"}[self.scaling]
        first = f"First {count} of {self.values.shape[3]} filters" if count < self.values.shape[3] \
            else f"All {count} filters"
        shown = None if scale is None else show.Shown(None, -scale, scale, "")
        return Panel(f"{first}, R, G and B together", numbered_grid(tiles, columns), shown, "weight",
                     f"Row by row, the first one's number at the left; {how}.", exact=True)

    def _slices_panel(self):
        height, width, channels, count = self.values.shape
        rows, columns = min(count, self.limit, 24), min(channels, self.inputs)
        part = self.values[:, :, :columns, :rows]
        size = max(1, round(26 / max(height, width)))
        whole = show.symmetric_scale(self.values, None)
        tiles = []
        for k in range(rows):
            scale = whole if self.scaling == "layer" else show.symmetric_scale(part[:, :, :, k], None)
            tiles += [show.enlarge(show.signed_rgb(np.repeat(part[:, :, c, k, None], 3, axis=2), scale=scale or 1.0,
                                                   percentile=None).picture, size) for c in range(columns)]
        sheet = numbered_grid(tiles, columns, step=1)
        how = "one scale for all" if self.scaling == "layer" else "each filter scaled by its own largest |weight|"
        shown = show.Shown(None, -whole, whole, "") if self.scaling == "layer" and whole else None
        return Panel(f"First {rows} of {count} filters, first {columns} of {channels} input channels", sheet, shown,
                     "weight", f"A row is one filter, its number at the left; a column is one input channel, from 0; "
                     f"grey is 0, black negative, white positive; {how}. Slices over channels that are not colours "
                     "do not show what the filter detects.", exact=True)


def _without_batch(name, values):
    values = np.asarray(values.get() if hasattr(values, "get") else values)
    if values.ndim in (2, 4) and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 1:
        values = values[None, None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"activations: {name} has shape {values.shape}, but (H, W, C) or (C,) is wanted")
    return values


def _statistics(values):
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"least": 0.0, "mean": 0.0, "largest": 0.0, "zero_share": 0.0}
    return {"least": float(finite.min()), "mean": float(finite.mean(dtype=np.float64)), "largest": float(finite.max()),
            "zero_share": float(np.mean(values == 0))}


def _shade(values, signed, scale=None):
    if signed:
        return show.signed(values, scale=scale, percentile=None)
    return show.heat(values, high=scale, percentile=None)


def _tile_side(height, width, count):
    """Pixels of a tile's longer side: whole multiples of small maps, less than the map for very large ones."""
    side = max(height, width)
    wanted = min(150, max(36, int(SHEET / np.sqrt(1.4 * count))))
    return side * max(1, wanted // side) if side <= wanted * 1.25 else wanted


def _to_side(tile, side):
    longest = max(tile.shape[:2])
    if side >= longest:
        return show.enlarge(tile, side // longest)
    return resize(tile, [max(1, round(length * side / longest)) for length in tile.shape[:2]])
