"""`minivis stylize-film`: a film through a network that was trained to redraw pictures in a style."""
import time
from typing import Literal

import numpy as np

from ..errors import MinivisError
from ..film import open_film, writer
from ..monitor import SilentMonitor, Stop, stops_on_interrupt
from ..options import File, Network, StylePicture
from ..results.report import Report
from ..techniques.stylize import mixed, network_for, painter_of, redrawn
from ..techniques.synthesis import to_uint8

UNCHANGED = 6.0     # grey levels: noise of a camera; a pixel that changed by less counts as still


def stylize_film(net: Network, clip: File, *, out: File, size: int | None = None, strength: float = 1.0,
                 style: str | None = None, styles: list[StylePicture] | None = None, blend: list[float] | None = None,
                 style_size: int = 512, colours: Literal["style", "luminance"] = "style", steady: float = 0.5,
                 rate: float | None = None, frames: int | None = None, memory=None, monitor=None) -> Report:
    """Redraw a film in a style, picture by picture: .gif, .webp, a folder of pictures, or .mp4 and the like.

    Video files need PyAV: pip install "minivis[video]". Each picture goes through `stylize`; what stands still is held
    fast, because a network draws a little differently on every picture and the eye sees that as flicker.

    clip        GIF, WebP or video file, or a folder of pictures in the order of their names
    out         .gif, .webp, .mp4 or another video file; or a folder, with a / at the end
    size        longest side in pixels; none means the film's own
    strength    1 is the network's picture, 0 the given one, between them a mixture
    style       which of a network's styles, by name or by number from 1; none means the first
    styles      pictures whose styles a network for arbitrary styles is to take
    blend       shares of the network's styles, or of `styles`
    style_size  longest side at which `styles` are looked at
    colours     the style's, or each picture's own with the new luminance
    steady      how much of the picture before stays where the film did not change, from 0 to 0.95
    rate        pictures a second of what is written; none means the film's
    frames      no more than so many pictures
    """
    if not 0 <= strength <= 1 or not 0 <= steady <= 0.95:
        raise MinivisError(f"strength {strength} must be from 0 to 1 and steady {steady} from 0 to 0.95")
    if (rate is not None and not 0 < rate <= 1000) or (frames is not None and frames < 1):
        raise MinivisError(f"rate {rate} must be above 0 and at most 1000, frames {frames} at least 1")
    painter, source = painter_of(net, style, styles, blend, style_size), open_film(clip)
    monitor, steadier, done, seconds = monitor or SilentMonitor(), Steadier(steady), 0, 0.0
    total = min(n for n in (source.count, frames, 10**9) if n is not None)
    stopped = False
    with writer(out, rate or source.rate) as write, stops_on_interrupt(monitor):
        for picture in source:
            begun = time.perf_counter()
            shown = net.see(picture, size, "none" if size is None else "longest").picture
            levels = steadier(mixed(redrawn(painter, shown, memory=memory), shown, strength, colours), shown)
            seconds += time.perf_counter() - begun
            write(to_uint8(levels))
            done += 1
            try:
                monitor.step(done, max(total, done), {"pictures a second": done / seconds})
            except Stop:
                stopped = True
            if stopped or done == frames:
                break
    H, W = shown.shape[:2]
    return Report({"pictures": [done], "width": [W], "height": [H], "pictures a second": [round(done / seconds, 2)]},
                  f"{out}: the style of {net.name}", ["stopped before the end"] if stopped else [])


stylize_film.network_for = network_for


class Steadier:
    """Holds what stands still: y = (1 - w) y + w y_before, w = steady * exp(-(largest change of colour / 6)^2)."""

    def __init__(self, steady):
        self.steady, self.before = steady, None

    def __call__(self, levels, shown):
        if self.steady and self.before is not None and self.before[1].shape == shown.shape:
            past, seen = self.before
            change = np.abs(shown.astype(np.float64) - seen).max(axis=2, keepdims=True)
            weight = self.steady * np.exp(-(change / UNCHANGED) ** 2)
            levels = levels * (1 - weight) + past * weight
        self.before = levels, shown
        return levels
