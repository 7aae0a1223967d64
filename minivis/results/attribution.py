"""Maps over the pixels of one picture: attributions, and occlusion."""

from dataclasses import dataclass, field

import numpy as np

from .. import show
from ..errors import MinivisError
from ..figures import mark_boxes
from ..provenance import jsonable
from .base import Panel, Result, describe_target, number, picture_panel, seen_line

BELOW, ABOVE = (33, 102, 172), (178, 24, 43)    # the ends of the signed colour map


@dataclass(eq=False)
class Attribution(Result):
    """How much each input pixel matters for one score.

    values: the technique's own quantity, (H, W), or (H, W, 3) in RGB order, signed where it has a sign.
    gradient: the raw gradient (H, W, 3) in RGB order, or None. target: index, string, or the dict of `describe_target`.
    score: the target's score of kind `score_kind` ("logit", "prob", "logprob", "activation"), read at `layer`.
    partial: the run was stopped, and the map is made of what there was until then; a note says how much.
    seen: the preprocessing.Seen the network got. gap: sum of values minus what theory says they sum to, or None.
    signed: whether values have a sign; None asks the values. quantity: what one value is, in words. ends: where the
    colours end, as `set_scale` was told.
    """

    values: np.ndarray
    gradient: np.ndarray | None = None
    target: object = None
    score: float | None = None
    score_kind: str = "logit"
    seen: object = None
    gap: float | None = None
    layer: str = field(default="", kw_only=True)
    quantity: str = field(default="", kw_only=True)
    signed: bool | None = field(default=None, kw_only=True)
    partial: bool = field(default=False, kw_only=True)
    ends: dict = field(default_factory=dict, kw_only=True)

    def set_scale(self, scale=None, percentile=None):
        if scale is not None and not scale > 0:
            raise MinivisError(f"scale {scale:g} must be above 0: it is the value at which the colours end")
        if percentile is not None and not 0 < percentile <= 100:
            raise MinivisError(f"percentile {percentile:g} must lie above 0 and be at most 100")
        if scale is not None and percentile is not None:
            raise MinivisError(f"give a scale ({scale:g}) or a percentile ({percentile:g}) for the colours, not both")
        self.ends = {} if percentile is None else {"percentile": None if percentile == 100 else percentile}
        if scale is not None:
            self.ends = {"scale": scale}

    def signed_colours(self, values, **usual):
        """show.signed or show.signed_rgb with the ends that were set, or the usual ones."""
        return (show.signed_rgb if values.ndim == 3 else show.signed)(values, **usual | self.ends)

    def heat_colours(self, values, **usual):
        """show.heat likewise."""
        ends = {"high" if key == "scale" else key: value for key, value in self.ends.items()}
        return show.heat(values, **usual | ends)

    def heading(self):
        return super().heading() + (" (partial: the run was stopped)" if self.partial else "")

    def shown(self):
        """The map as a picture with its scale."""
        signed = bool(np.min(self.values) < 0) if self.signed is None else self.signed
        return self.signed_colours(self.values) if signed or self.values.ndim == 3 else self.heat_colours(self.values)

    def arrays(self):
        seen = {} if self.seen is None else {"seen_picture": self.seen.picture, "seen_box": np.array(self.seen.box)}
        return {"values": self.values, "gradient": self.gradient,
                "score": None if self.score is None else np.float64(self.score), **seen}

    def to_dict(self):
        problem = show.what_is_wrong(self.values)
        numbers = {} if problem else {"least": float(self.values.min()), "largest": float(self.values.max())}
        return {"technique": self.recipe.get("technique"), "target": jsonable(self.target), "layer": self.layer or None,
                "score": jsonable(self.score), "score_kind": self.score_kind, "gap": jsonable(self.gap),
                "shape": list(self.values.shape), **numbers, "problem": problem or None, "partial": self.partial,
                "notes": list(self.notes)}

    def facts(self):
        score = "" if self.score is None else f"{self.score_kind} {number(self.score)}"
        if score and self.layer:
            score += f" at layer {self.layer}"
        target = f"target: {describe_target(self.target)}" if self.target is not None else ""
        first = "; ".join(part for part in (target, score) if part)
        gap = "" if self.gap is None else f"gap (sum of the map minus what it should sum to): {number(self.gap)}"
        second = "; ".join(part for part in (self.network_line(), seen_line(self.seen)) if part)
        return [first, gap, second]

    def main_panel(self):
        shown = self.shown()
        if self.values.ndim == 3:
            unit = (self.quantity or "value") + ", for R, G and B alike; grey is 0"
        else:
            unit = (self.quantity or "value") + ("; red is above 0, blue below" if shown.low < 0 else "")
        return Panel(self._map_title(), shown.picture, shown, unit)

    def _map_title(self):
        return "Map in colour" if self.values.ndim == 3 else "Map"

    def panels(self):
        main = self.main_panel()
        found = [*picture_panel(self.seen), main]
        if self.seen is not None and self.values.ndim == 3:
            found += self._close_up()
        on_its_grid = self.seen is not None and self.values.shape == self.seen.picture.shape[:2]
        if on_its_grid and not main.shown.problem:
            found.append(Panel("Map over the picture", show.overlay(self.seen.picture, main.shown, self.values),
                               caption="Colours as in the map; the stronger the value, the less the picture shows."))
        return found

    def _close_up(self):
        """Picture and map of the part that is not zero, if it is small: what a unit low in the network sees."""
        height, width = self.values.shape[:2]
        rows, columns = (np.flatnonzero(self.values.any(axis=axes)) for axes in ((1, 2), (0, 2)))
        if not len(rows):
            return []
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        if max(bottom - top, right - left) > min(height, width) / 2:
            return []
        part = np.s_[top:bottom, left:right]
        shown = self.signed_colours(self.values[part])
        where = f"Rows {top} to {bottom} and columns {left} to {right}; the map is zero everywhere else."
        return [Panel("Close-up of the picture", self.seen.picture[part], caption=where),
                Panel("Close-up of the map", shown.picture)]


@dataclass(eq=False)
class Occlusion(Attribution):
    """What hiding each part of the picture does to the scores.

    values (H, W): clean score minus hidden score, spread to pixels; above zero where the part speaks *for* the target.
    scores (positions_y, positions_x, classes): the scores with the window at each position; clean (classes,): without.
    positions: (tops, lefts), pixel rows and columns of the windows' upper left corners, on the network's input;
    window: (h, w); column: which of `classes` is the target. alone: all but the window was hidden; the change is then
    counted from `ground` (classes,), the scores with all hidden. path: [((top, left), scores (classes,))] if windows
    were hidden one after another, the first with (None, the clean scores).
    """

    scores: np.ndarray = None
    clean: np.ndarray = None
    positions: tuple = ((), ())
    window: tuple = field(default=(1, 1), kw_only=True)
    column: int = field(default=0, kw_only=True)
    ground: np.ndarray | None = field(default=None, kw_only=True)
    path: list = field(default_factory=list, kw_only=True)
    alone: bool = field(default=False, kw_only=True)

    def shown(self):
        return self.signed_colours(self.values, percentile=None)

    def changes(self):
        """(positions_y, positions_x): clean - hidden of the target, or shown alone - all hidden."""
        scores = self.scores[:, :, self.column]
        return scores - self.ground[self.column] if self.alone else self.clean[self.column] - scores

    def path_scores(self):
        """(steps + 1, classes): the scores before and after each window of the path was hidden."""
        return np.stack([scores for _, scores in self.path])

    def extremes(self, count=3, sign=1):
        """The largest drops (sign 1) or rises (-1): [(change, (top, left, bottom, right))], windows not overlapping."""
        changes = sign * self.changes()
        tops, lefts = (np.asarray(edges) for edges in self.positions)
        height, width = (self.values if self.seen is None else self.seen.picture).shape[:2]
        found = []
        for flat in np.argsort(-changes, axis=None, kind="stable"):
            row, column = np.unravel_index(flat, changes.shape)
            if not changes[row, column] > 0 or len(found) == count:
                break
            top, left = int(tops[row]), int(lefts[column])
            box = (max(0, top), max(0, left), min(height, top + self.window[0]), min(width, left + self.window[1]))
            if all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for _, b in found):
                found.append((float(sign * changes[row, column]), box))
        return found

    def arrays(self):
        return {**super().arrays(), "scores": self.scores, "clean": self.clean, "window": np.array(self.window),
                "positions_y": np.asarray(self.positions[0]), "positions_x": np.asarray(self.positions[1]),
                "ground": self.ground if self.alone else None, "path_scores": self.path_scores() if self.path else None}

    def to_dict(self):
        toward = 1 if not self.alone else -1        # where the score falls, the map is above zero; alone, below

        def rows(sign):
            return [{"change": -toward * change, "box": list(box)} for change, box in self.extremes(sign=sign)]
        path = [{"box": [*at, at[0] + self.window[0], at[1] + self.window[1]], "score": float(scores[self.column])}
                for at, scores in self.path[1:]]
        found = {**super().to_dict(), "drops": rows(toward), "rises": rows(-toward)}
        return found | ({"hidden": path} if path else {})

    def _map_title(self):
        return "What each part shows by itself" if self.alone else "Change of the score when each part is hidden"

    def main_panel(self):
        panel = super().main_panel()
        how = "with the window alone minus with nothing shown" if self.alone else "before minus after hiding"
        panel.unit = self.quantity or f"{self.score_kind} {how}: red speaks for the target, blue against it"
        return panel

    def panels(self):
        panels = super().panels()
        above, below = self.extremes(sign=1), self.extremes(sign=-1)
        lines = [f"Window {self.window[0]} \N{MULTIPLICATION SIGN} {self.window[1]}, {self.scores.shape[0]} "
                 f"\N{MULTIPLICATION SIGN} {self.scores.shape[1]} positions."]
        names = ("R", "D") if self.alone else ("D", "R")
        lines += [self._line(f"{name}{i + 1}", change, box) for name, found in zip(names, (above, below))
                  for i, (change, box) in enumerate(found)]
        doing = "Showing" if self.alone else "Hiding"
        lines += [f"{doing} no part {word} the score." for found, word in
                  zip((above, below), ("raised", "lowered") if self.alone else ("lowered", "raised")) if not found]
        if self.seen is not None:
            boxes = [(box, f"{name}{i + 1}", colour) for name, found, colour in
                     zip(names, (above, below), (ABOVE, BELOW)) for i, (_, box) in enumerate(found)]
            panels[0].picture = mark_boxes(self.seen.picture, boxes)
            panels[0].exact = True
        panels[0].caption = "\n".join(lines)
        return panels

    def _line(self, name, change, box):
        word = "falls" if (change > 0) != self.alone else "rises"
        return (f"{name}: {word} by {number(abs(change))} with rows {box[0]} to {box[2]}, "
                f"columns {box[1]} to {box[3]} {'alone' if self.alone else 'hidden'}")
