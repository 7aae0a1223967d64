"""What layers computed on one picture, channel by channel."""

from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..figures import bar_chart, figure, named_grid, numbered_grid
from ..preprocessing import resize
from .base import Panel, Result, number, picture_panel, seen_line

TIMES = "\N{MULTIPLICATION SIGN}"
SHEET = 1100            # pixels: the width a grid aims at
MOST_TILES = 144        # channels drawn of one layer unless asked otherwise


@dataclass(eq=False)
class Activations(Result):
    """layers: {name: (H, W, C) or (C,)}; a leading batch axis of 1 is dropped.

    scaling: "channel", each channel map from its own least to largest shade, or "layer", one scale for all maps of a
    layer; sort: the order of the channels, by "index", or by their "mean" or "max" value, falling; limit: channels
    drawn of each layer; gamma: a value v is drawn as (|v| / scale) ^ gamma with its sign; seen: what the network saw.
    """

    layers: dict
    scaling: str = field(default="channel", kw_only=True)
    sort: str = field(default="index", kw_only=True)
    limit: int = field(default=MOST_TILES, kw_only=True)
    gamma: float = field(default=1.0, kw_only=True)
    seen: object = field(default=None, kw_only=True)

    def __post_init__(self):
        if self.scaling not in ("channel", "layer"):
            raise ValueError(f"activations: scaling {self.scaling!r} is neither 'channel' nor 'layer'")
        if self.sort not in ("index", "mean", "max"):
            raise ValueError(f"activations: sort {self.sort!r} is none of 'index', 'mean' and 'max'")
        if not self.layers:
            raise ValueError("activations: no layer is given")
        self.layers = {name: _without_batch(name, values) for name, values in self.layers.items()}

    def arrays(self):
        return dict(self.layers)

    def to_dict(self):
        return {"technique": self.recipe.get("technique"), "scaling": self.scaling, "sort": self.sort,
                "layers": [{"name": name, "shape": list(values.shape), **statistics(values)}
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
        numbers = statistics(values)
        summary = (f"least {number(numbers['least'])}, mean {number(numbers['mean'])}, "
                   f"largest {number(numbers['largest'])}; {100 * numbers['zero_share']:.1f} % are zero")
        if values.shape[0] == values.shape[1] == 1:
            vector = values[0, 0]
            best = np.argsort(-vector, kind="stable")[:5]
            strongest = ", ".join(f"{i} ({number(vector[i])})" for i in best)
            return Panel(f"{name}: {len(vector)} units", bar_chart(vector, SHEET), exact=True,
                         caption=f"One bar per unit, from unit 0 at the left. Strongest: {strongest}. "
                                 f"{summary[0].upper()}{summary[1:]}.")
        return self._grid_panel(name, values, summary)

    def order(self, values):
        """Channel numbers in the order they are drawn in."""
        if self.sort == "index":
            return np.arange(values.shape[2])
        size = values.mean(axis=(0, 1), dtype=np.float64) if self.sort == "mean" else values.max(axis=(0, 1))
        return np.argsort(-size, kind="stable")

    def _grid_panel(self, name, values, summary):
        height, width, channels = values.shape
        order = self.order(values)[:self.limit]
        signed, problem = bool(values.min() < 0), show.what_is_wrong(values)
        shown = None
        if self.scaling == "layer" or problem:
            scale = None if problem else show.symmetric_scale(values, None)
            shown = _shade(values.reshape(height, -1), signed, scale)
            tiles = [_shade(values[:, :, c], signed, scale, self.gamma).picture for c in order]
            how = "one scale for all channels"
        else:
            tiles = [_shade(values[:, :, c], signed, None, self.gamma).picture for c in order]
            how = ("each channel on its own scale, " + ("blue below zero, white zero, red above" if signed
                                                        else "black is zero, yellow the channel's largest value"))
        if self.gamma != 1:
            shown = shown if problem else None      # a linear colour bar would be wrong
            how += f", shades raised to the power {self.gamma:g}"
        count = len(order)
        tiles = [_to_side(tile, _tile_side(height, width, count)) for tile in tiles]
        drawn = tiles[0].shape
        rows = -(-count // max(1, SHEET // (drawn[1] + 2)))
        columns = -(-count // rows)                 # as many in the last row as in the others, if possible
        if self.sort == "index":
            sheet, numbers = numbered_grid(tiles, columns), "the first channel's number at the left"
        else:
            sheet = named_grid(tiles, list(map(str, order)), columns)
            numbers = f"by {'mean' if self.sort == 'mean' else 'largest'} value, each channel's number below it"
        first = f"first {count} of {channels} channels" if count < channels else f"all {channels} channels"
        at = f" drawn at {drawn[0]} {TIMES} {drawn[1]}" if drawn[0] < height else ""
        caption = (f"Row by row, {numbers}; maps of {height} {TIMES} {width}{at}; {how}. "
                   f"{summary[0].upper()}{summary[1:]}.")
        return Panel(f"{name}: {first}", sheet, shown, "activation", caption, exact=True)


def _without_batch(name, values):
    values = np.asarray(values.get() if hasattr(values, "get") else values)
    if values.ndim in (2, 4) and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 1:
        values = values[None, None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"activations: {name} has shape {values.shape}, but (H, W, C) or (C,) is wanted")
    return values


def statistics(values):
    """{least, mean, largest, std, zero_share} of an array's finite values, computed in float64."""
    values = np.asarray(values)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return dict.fromkeys(("least", "mean", "largest", "std", "zero_share"), 0.0)
    return {"least": float(finite.min()), "mean": float(finite.mean(dtype=np.float64)), "largest": float(finite.max()),
            "std": float(finite.std(dtype=np.float64)), "zero_share": float(np.mean(values == 0))}


def _shade(values, signed, scale=None, gamma=1.0):
    if gamma != 1 and not show.what_is_wrong(values):
        scale = show.symmetric_scale(values, None) if scale is None else scale
        values, scale = np.sign(values) * (np.abs(values) / scale) ** gamma, 1.0
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
