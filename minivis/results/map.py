"""Pictures on a map: as dots, as thumbnails, as a grid."""
from dataclasses import dataclass, field

import numpy as np

from .. import charts, show
from ..figures import figure, number
from .base import Panel, Result

VIEWS = ("scatter", "thumbnails", "grid")
MOST_NAMED = 40         # labels that a legend lists
SHEET = 1000            # about the side of a sheet of thumbnails


@dataclass(eq=False)
class Map(Result):
    """points    (N, 2) float64: where each picture lies; x to the right, y up
    names       N names of the pictures
    method      "pca", "tsne", ...; space: what was mapped, in words; quality {name: number}: see representation
    label       (N,) which of `labels` each picture has, -1 for none; value (N,): a number each, named value_name
    thumbs      (N, s, s, 3) uint8, or None if there are no pictures
    grid        (rows, columns, cells (N,)) or None; explained (k,): shares of variance (PCA); views: what is drawn
    """

    points: np.ndarray
    names: list
    method: str = "tsne"
    space: str = ""
    quality: dict = field(default_factory=dict)
    label: np.ndarray | None = field(default=None, kw_only=True)
    labels: list = field(default_factory=list, kw_only=True)
    value: np.ndarray | None = field(default=None, kw_only=True)
    value_name: str = field(default="value", kw_only=True)
    thumbs: np.ndarray | None = field(default=None, kw_only=True)
    grid: tuple | None = field(default=None, kw_only=True)
    explained: np.ndarray | None = field(default=None, kw_only=True)
    views: tuple = field(default=("scatter",), kw_only=True)

    def arrays(self):
        rows, columns, cells = self.grid or (0, 0, None)
        return {"points": self.points, "names": np.array(self.names), "label": self.label, "value": self.value,
                "labels": np.array(self.labels) if self.labels else None, "explained": self.explained,
                "cells": cells, "rows_columns": np.array([rows, columns]) if self.grid else None}

    def to_dict(self):
        return {**super().to_dict(), "pictures": len(self.points), "method": self.method, "space": self.space,
                "quality": {name: None if v is None else float(v) for name, v in self.quality.items()},
                "explained": None if self.explained is None else [float(v) for v in self.explained]}

    def heading(self):
        return f"{len(self.points)} {self._what}s by {METHOD_NAMES.get(self.method, self.method)} of {self.space}"

    @property
    def _what(self):
        return "point" if self.thumbs is None else "picture"

    def facts(self):
        return [self.said(), self.network_line()]

    def said(self):
        """The numbers that judge the map, in one line."""
        first = [n for n in ("KL divergence", "trustworthiness") if n in self.quality]
        return "; ".join(f"{name} {number(100 * v, 3)} %" if name.startswith(("variance", "share")) else
                         f"{name} {number(v)}" for name in [*first, *(n for n in self.quality if n not in first)]
                         if (v := self.quality[name]) is not None)

    def panels(self):
        return [getattr(self, f"_{view}")() for view in self.views]

    def picture(self):
        return figure(self.heading(), self.facts(), self.panels(), self.notes, columns=2)

    def colours(self):
        """((N, 3) uint8, [labels that are there], their colours, show.Shown of the value or None)"""
        N = len(self.points)
        if self.value is not None:
            finite = self.value[np.isfinite(self.value)]
            low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
            index = np.clip(255 * (self.value - low) / ((high - low) or 1), 0, 255)
            colours = show.colour_table("viridis")[np.nan_to_num(index).astype(int)]
            colours[~np.isfinite(self.value)] = 200
            return colours, [], [], show.Shown(None, low, high, "viridis") if high > low else None
        if self.label is None or not (self.label >= 0).any():
            return np.full((N, 3), (33, 102, 172), np.uint8), [], [], None
        present = np.unique(self.label[self.label >= 0])
        table = charts.palette(len(present))
        colours = np.full((N, 3), 190, np.uint8)
        colours[self.label >= 0] = table[np.searchsorted(present, self.label[self.label >= 0])]
        return colours, [self.labels[k] for k in present], table, None

    def _scatter(self):
        colours, labels, table, shown = self.colours()
        short = [self.labels[k] if k >= 0 else "?" for k in self.label] if labels else []
        marks = short if labels and max(map(len, labels)) == 1 else None        # digits stand for themselves
        sheet = charts.scatter(self.points, colours, marks=marks)
        if 0 < len(labels) <= MOST_NAMED and not marks:
            sheet = show.stack([sheet, charts.legend(labels, table, height=sheet.shape[0])], 1, 10)
        many = f"{len(labels)} labels, too many to name." if len(labels) > MOST_NAMED else ""
        caption = " ".join(part for part in (self._axes(), many) if part)
        return Panel(f"Every {self._what} {'as its label' if marks else 'a dot'}", sheet, shown,
                     self.value_name if shown else "", caption, exact=True)

    def _axes(self):
        if self.method == "pca" and self.explained is not None and len(self.explained) > 1:
            across, up = (f"{100 * share:.3g} %" for share in self.explained[:2])
            return f"To the right: first component ({across} of the variance); upwards: second ({up})."
        return "Only who is near whom has a meaning: not the axes, and not how far groups lie apart."

    def _thumbnails(self):
        colours, labels, _, shown = self.colours()
        frames = colours if labels or shown else None
        return Panel("Every picture at its place", charts.thumbnails(self.points, self.thumbs, SHEET, frames),
                     shown, self.value_name if shown else "", self._framed(labels), exact=True)

    def _grid(self):
        colours, labels, _, shown = self.colours()
        rows, columns, cells = self.grid
        size = int(np.clip(SHEET // max(rows, columns), 12, 96))
        tiles = np.stack([charts.at_size(picture, size) for picture in self.thumbs])
        sheet = charts.board(tiles, rows, columns, cells, frames=colours if labels or shown else None)
        return Panel(f"The map on a grid of {rows} \N{MULTIPLICATION SIGN} {columns}", sheet, shown,
                     self.value_name if shown else "", self._framed(labels), exact=True)

    def _framed(self, labels):
        return "Frames have the colours of the labels." if labels else ""


METHOD_NAMES = {"pca": "principal components", "tsne": "t-SNE", "opentsne": "t-SNE (openTSNE)", "umap": "UMAP"}
