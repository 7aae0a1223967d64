"""Previews and a film of a run, while it goes on: a monitor around the monitor.

A film of a run that was killed and resumed is complete: what was filmed lies in the saved state.
"""
import math

import numpy as np
from PIL import Image

from . import image
from .provenance import canonical, jsonable

FRAMES = 60         # frames of a film where nothing else is said


class Recorder:
    """Passes everything on to `monitor`, and looks at the picture every so many steps.

    film      where `finish` writes the film (.webp or .gif), or None
    preview   the file that always shows the latest picture looked at, or None
    every     steps from one look to the next; None: so many that a film has about FRAMES frames. The first step and the
              last are looked at in any case.
    """

    def __init__(self, monitor, film=None, preview=None, every=None):
        self.monitor, self.film, self.preview, self.every = monitor, film, preview, every
        self.frames, self.state = [], None

    def step(self, done, total, terms=None, picture=None):
        every = self.every or max(1, math.ceil(total / FRAMES))
        if picture is not None and (self.film or self.preview) and (done % every == 0 or done in (1, total)):
            self._look(np.asarray(picture() if callable(picture) else picture))
        if self.state is not None:
            state, self.state = self.state, None
            self.monitor.save(lambda: {"run": state() if callable(state) else state, "film": list(self.frames)})
        self.monitor.step(done, total, terms, picture)

    def save(self, state):
        """Kept until `step`, so that state and film are of the same step."""
        self.state = state

    def load(self):
        saved = self.monitor.load()
        if saved is None:
            return None
        self.frames = list(saved["film"])
        return saved["run"]

    def finish(self, recipe=None):
        """Write the film, if one was asked for and a step was seen, the recipe inside. Returns whether it was."""
        if not self.film or not self.frames:
            return False
        H, W = self.frames[-1].shape[:2]            # a dream begins small: all frames get the last one's size
        image.save_film([f if f.shape[:2] == (H, W) else np.asarray(Image.fromarray(f).resize((W, H), Image.BICUBIC))
                         for f in self.frames], self.film, text={"minivis": canonical(jsonable(recipe or {}))})
        return True

    def _look(self, picture):
        if self.film:
            self.frames.append(picture)
        if self.preview:
            image.save(picture, self.preview)

    def __getattr__(self, name):
        return getattr(self.monitor, name)
