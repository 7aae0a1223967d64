"""The filters of one layer as tiles."""

from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..figures import named_grid, numbered_grid
from .base import Panel, Result, number
from .layers import TIMES, statistics

MOST_ROWS = 24          # filters drawn as rows of grey slices
HOW = {"filter": "each filter scaled by its own largest |weight|; grey is 0",
       "layer": "one scale for all filters; grey is 0",
       "minmax": "each filter from its least weight (dark) to its largest; zero is not grey"}


@dataclass(eq=False)
class Filters(Result):
    """values: the weights (h, w, C, K) of `layer`, HWIO; if their inputs are colours, in RGB order.

    scaling: "filter" (each tile by its own largest |w|), "layer" (one scale) or "minmax" (zero not grey).
    limit, inputs: filters and input channels drawn. noise: (K,) spread of each filter's spectrum, 0 to 1 (see
    techniques/filters.py), or None; norm: (K,) length of its weight vector. order: (K,) filter numbers as they are
    drawn, after what `sort` says: "index", "noise" or "norm". colours: whether inputs are colours; None: if 3.
    """

    values: np.ndarray
    layer: str = ""
    scaling: str = field(default="filter", kw_only=True)
    limit: int = field(default=256, kw_only=True)
    inputs: int = field(default=32, kw_only=True)
    noise: np.ndarray | None = field(default=None, kw_only=True)
    norm: np.ndarray | None = field(default=None, kw_only=True)
    order: np.ndarray | None = field(default=None, kw_only=True)
    sort: str = field(default="index", kw_only=True)
    colours: bool | None = field(default=None, kw_only=True)

    def __post_init__(self):
        if self.scaling not in HOW:
            raise ValueError(f"filters: scaling {self.scaling!r} is none of {', '.join(HOW)}")
        if self.order is None:
            self.order = np.arange(self.values.shape[3])
        if self.colours is None:
            self.colours = self.values.shape[2] == 3

    def arrays(self):
        return {"values": self.values, "noise": self.noise, "norm": self.norm, "order": self.order}

    def to_dict(self):
        def listed(values):
            return None if values is None else [float(value) for value in values]
        return {"technique": self.recipe.get("technique"), "layer": self.layer, "shape": list(self.values.shape),
                "scaling": self.scaling, "sort": self.sort, **statistics(self.values), "noise": listed(self.noise),
                "norm": listed(self.norm), "notes": list(self.notes)}

    def heading(self):
        return f"{self.technique} of {self.layer}" if self.layer else self.technique

    def facts(self):
        height, width, channels, count = self.values.shape
        lines = [f"{count} filters of {height} {TIMES} {width} over {channels} input channels; "
                 f"weights from {number(self.values.min())} to {number(self.values.max())}", self.network_line()]
        if self.noise is not None and self.colours:
            worst = int(np.argmax(self.noise))
            lines.insert(1, f"spread of the spectrum (smooth or striped: below 0.3; random numbers: about "
                            f"{channels / (channels + 1):.2g}): median {number(np.median(self.noise), 2)}, largest "
                            f"{number(self.noise[worst], 2)} (filter {worst})")
        return lines

    def panels(self):
        return [self._colour_panel() if self.colours else self._slices_panel()]

    def _colour_panel(self):
        total = self.values.shape[3]
        order = self.order[:self.limit]
        size = max(20, min(72, round(640 / np.sqrt(1.4 * len(order)))))
        tiles, scale = show.filter_tiles(self.values[:, :, :, order], self.scaling, size)
        columns = show.good_columns(len(order))
        sheet, told = self._sheet(tiles, order, columns)
        first = f"{self._first()} {len(order)} of {total} filters" if len(order) < total else f"All {total} filters"
        shown = None if scale is None else show.Shown(None, -scale, scale, "")
        return Panel(f"{first}, R, G and B together", sheet, shown, "weight",
                     f"Row by row, {told}; {HOW[self.scaling]}.", exact=True)

    def _first(self):
        return {"index": "First", "noise": "Noisiest", "norm": "Longest"}[self.sort]

    def _sheet(self, tiles, order, columns):
        """(tiles in rows, in words where the numbers stand)"""
        if self.sort == "index":
            return numbered_grid(tiles, columns), "the first one's number at the left"
        measure = self.noise if self.sort == "noise" else self.norm
        names = [str(k) if measure is None else f"{k}\n{number(measure[k], 2)}" for k in order]
        what = "spread of spectrum" if self.sort == "noise" else "length"
        return named_grid(tiles, names, columns), f"below each its number and {what}, falling"

    def _slices_panel(self):
        height, width, channels, count = self.values.shape
        order, columns = self.order[:min(self.limit, MOST_ROWS)], min(channels, self.inputs)
        part = self.values[:, :, :columns]
        size = max(1, round(26 / max(height, width)))
        whole = show.symmetric_scale(self.values, None)
        tiles = []
        for k in order:
            w, scale = part[:, :, :, k], whole
            if self.scaling == "filter":
                scale = show.symmetric_scale(w, None)
            elif self.scaling == "minmax":
                w, scale = w - (w.min() + w.max()) / 2, np.ptp(w) / 2
            tiles += [show.enlarge(show.signed_rgb(np.repeat(w[:, :, c, None], 3, axis=2), scale=scale or 1.0,
                                                   percentile=None).picture, size) for c in range(columns)]
        sheet = numbered_grid(tiles, columns, numbers=order)
        shown = show.Shown(None, -whole, whole, "") if self.scaling == "layer" and whole else None
        sorted_by = {"index": "", "noise": ", the noisiest first", "norm": ", the longest first"}[self.sort]
        return Panel(f"{self._first()} {len(order)} of {count} filters, first {columns} of {channels} input channels",
                     sheet, shown, "weight", f"A row is one filter, its number at the left{sorted_by}; a column is one "
                     f"input channel, from 0; black is least, white most; {HOW[self.scaling]}. Slices over channels "
                     "that are not colours do not show what the filter detects.", exact=True)
