"""Pictures that an optimisation made."""
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from .. import image, show
from ..figures import LINE, SOFT, named_grid, number
from ..files import check_folder
from ..provenance import jsonable
from .base import Panel, Result

COLOUR_NAMES = ("blue", "red", "green", "violet", "brown")
COLOURS = ((33, 102, 172), (178, 24, 43), (27, 120, 55), (153, 112, 171), (191, 129, 45))


@dataclass(eq=False)
class Synthesis(Result):
    """Pictures and how they came about.

    pictures  uint8 (N, H, W, 3) RGB: what `save` writes. values: float (N, H, W, 3) grey levels before rounding.
    history   {name of a term: (steps, N)}, each read before its step. best: like pictures, those with the least loss
              met; last: those after the last step (pictures are `last`, or `best` where a run was stopped); first:
              those at the step where each goal led for the first time, if all came so far.
    target    what was asked for, in words; captions: a line for each picture; frames: the pictures of a film, or None;
              fps: how many of them a second.
    """

    pictures: np.ndarray
    values: np.ndarray
    history: dict = field(default_factory=dict)
    best: np.ndarray | None = None
    last: np.ndarray | None = None
    target: str = field(default="", kw_only=True)
    captions: list = field(default_factory=list, kw_only=True)
    frames: list | None = field(default=None, kw_only=True)
    fps: float = field(default=12.5, kw_only=True)
    original: np.ndarray | None = field(default=None, kw_only=True)
    first: np.ndarray | None = field(default=None, kw_only=True)
    numbers: dict = field(default_factory=dict, kw_only=True)

    def arrays(self):
        history = {f"history {name}": values for name, values in self.history.items()}
        return {"pictures": self.pictures, "values": self.values, "best": self.best, "last": self.last,
                "first": self.first, "original": self.original, **history}

    def to_dict(self):
        rows = {name: {"first": jsonable(np.asarray(v[0]).tolist()), "last": jsonable(np.asarray(v[-1]).tolist())}
                for name, v in self.history.items() if len(v)}
        return {"technique": self.recipe.get("technique"), "target": self.target or None,
                "shape": list(self.pictures.shape), "history": rows, "captions": list(self.captions),
                **jsonable(self.numbers), "notes": list(self.notes)}

    def facts(self):
        spread = self.numbers.get("spread") if len(self.pictures) > 1 else None
        return [f"target: {self.target}" if self.target else "",
                f"scores of {len(self.pictures)} starts: {number(spread['least'])} to {number(spread['most'])}, mean "
                f"{number(spread['mean'])}, standard deviation {number(spread['deviation'])}" if spread else "",
                self.network_line()]

    def sheet(self):
        """All pictures as one, in rows where they are several."""
        return self.pictures[0] if len(self.pictures) == 1 else show.grid(self.pictures, padding=4)

    def main_panel(self):
        return Panel("Picture" if len(self.pictures) == 1 else f"{len(self.pictures)} pictures", self.sheet(),
                     caption="\n".join(self.captions[:16]))

    def panels(self):
        before = [] if self.original is None else [Panel("Before", self.original)]
        return [*before, self.main_panel(), *self.history_panels()]

    def history_panels(self):
        """The course of the optimisation as a chart, if it had steps."""
        long = {name: np.asarray(v) for name, v in self.history.items() if len(v) > 1}
        if not long:
            return []
        name, values = ("score", long["score"]) if "score" in long else next(iter(long.items()))
        return [Panel(f"Course of the {name}", line_chart(values), exact=True,
                      caption=f"Read before each of {len(values)} steps; one line for each picture.")]

    def save(self, path):
        """Write the picture itself (.png and the like, the recipe inside; several as one sheet), or the arrays (.npz).

        The film, if there is one, is written as .webp or .gif. `result.picture()` is the figure with the numbers.
        """
        suffix = str(path).lower()[-5:]
        if suffix.endswith(".npz"):
            self._save_arrays(path)
        elif self.frames is not None and suffix.endswith((".gif", ".webp")):
            check_folder(path)
            image.save_film(self.frames, path, seconds=1 / self.fps, text=self._text())
        else:
            check_folder(path)
            image.save(self.sheet(), path, text=self._text())


@dataclass(eq=False)
class ChannelSheet(Synthesis):
    """One picture for each of `channels` of a layer, numbered."""

    channels: list = field(default_factory=list, kw_only=True)
    layer: str = field(default="", kw_only=True)

    def arrays(self):
        return {**super().arrays(), "channels": np.array(self.channels)}

    def sheet(self):
        columns = show.good_columns(len(self.pictures), *self.pictures.shape[1:3])
        return named_grid(list(self.pictures), self.channels, columns)

    def history_panels(self):
        return []


@dataclass(eq=False)
class Reconstructions(Synthesis):
    """Pictures made from layers' activations, each named below by its `captions`, after the picture they stand for.
    What is saved is the row, or the picture alone if there is but one."""

    def sheet(self):
        return self.pictures[0] if len(self.pictures) == 1 else self.row()

    def row(self):
        first = [] if self.original is None else [self.original]
        names = ["the picture"] * len(first) + self.captions
        return named_grid([*first, *self.pictures], names, show.good_columns(len(names), *self.pictures.shape[1:3]),
                          padding=8)

    def panels(self):
        return [Panel("From the activations of each layer", self.row(), exact=True)]


def line_chart(values, at=None, ends=None, width=420, height=240):
    """The columns of (points, N) as lines, the ends of both axes named.

    at    (points,) where each row lies on the axis; none means evenly spaced steps. ends: the words at its ends
    """
    values = np.asarray(values, np.float64).reshape(len(values), -1)
    at = np.arange(len(values)) if at is None else np.asarray(at, np.float64)
    along = (at - at.min()) / (np.ptp(at) or 1.0)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    span = (high - low) or 1.0
    face = show.font(12)
    gutter = int(max(face.getlength(number(v)) for v in (low, high))) + 10
    picture = Image.new("RGB", (gutter + width + 12, height + 26), (255,) * 3)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((gutter, 4, gutter + width, 4 + height), outline=LINE)
    for n, column in enumerate(values.T):
        line = [(gutter + x * width, 4 + (high - v) / span * height) for x, v in zip(along, column) if np.isfinite(v)]
        draw.line(line, fill=COLOURS[n % len(COLOURS)], width=2)
    for v, y in ((high, 2), (low, height - 10)):
        draw.text((gutter - 6 - face.getlength(number(v)), y), number(v), SOFT, face)
    first, last = ends or ("step 1", f"step {len(values)}")
    draw.text((gutter, height + 8), first, SOFT, face)
    draw.text((gutter + width - face.getlength(last), height + 8), last, SOFT, face)
    return np.asarray(picture)
