"""Array -> picture: heat, signed, signed colour, overlay, grid, montage. Everything here is uint8 (H, W, 3) RGB.

Maps become a `Shown`: the picture and the values that its darkest and brightest colours stand for, so that a figure can
print its scale. A map without any scale (all zero, or not finite) comes back flat with a `problem` that says why.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .preprocessing import resize

SIGNED = "RdBu_r"       # blue - white - red: its ends differ for every common form of colour blindness
HEAT = "inferno"        # perceptually uniform, black = least
PERCENTILE = 99.5       # of |values|: a few extreme pixels must not make the rest invisible
GREY = 128
INK = (30, 30, 30)


class Shown(NamedTuple):
    """A map as a picture. low and high: the values at the ends of the colour scale; clipped: the share beyond them."""

    picture: np.ndarray
    low: float
    high: float
    colours: str
    clipped: float = 0.0
    problem: str = ""


def colour_table(name):
    """A matplotlib colour map as a uint8 table (256, 3)."""
    return _colour_table(name).copy()


@functools.cache
def _colour_table(name):
    import matplotlib
    return np.rint(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)


def what_is_wrong(values):
    """Why a map has no scale, or "": for figures and warnings."""
    values = np.asarray(values)
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        return f"{bad} of {values.size} values are not finite"
    return "" if np.any(values) else "the map is zero everywhere"


def symmetric_scale(values, percentile=PERCENTILE):
    """The s of a scale -s..s: a percentile of those |values| that are not zero, or the largest if percentile is None.

    Zeros do not count: a unit low in the network sees a hundredth of the picture, and the scale is for what it sees.
    """
    size = np.abs(np.asarray(values, np.float64))
    size = size[size > 0]
    if not size.size:
        return 0.0
    return float(size.max() if percentile is None else np.percentile(size, percentile))


def signed(values, *, scale=None, percentile=PERCENTILE, colours=SIGNED):
    """Diverging colours of a map (H, W), zero in the middle, linear from -scale to scale."""
    values = np.asarray(values, np.float64)
    problem = what_is_wrong(values)
    if problem:
        return _flat(values.shape, colours, 128, problem)
    scale = symmetric_scale(values, percentile) if scale is None else float(scale)
    if not scale > 0:
        return _flat(values.shape, colours, 128, f"a scale of {scale:g} was asked for")
    index = np.rint(128 + 127 * np.clip(values / scale, -1, 1)).astype(np.intp)     # 128 is exactly zero, 1..255 used
    clipped = np.count_nonzero(np.abs(values) > scale) / values.size
    return Shown(_colour_table(colours)[index], -scale, scale, colours, clipped)


def heat(values, *, low=0.0, high=None, percentile=PERCENTILE, colours=HEAT):
    """Sequential colours of a map (H, W), linear from `low` (None: its least value) to `high` (None: percentile)."""
    values = np.asarray(values, np.float64)
    problem = what_is_wrong(values)
    if problem:
        return _flat(values.shape, colours, 0, problem)
    low = float(values.min()) if low is None else float(low)
    if high is None:
        above = values[values > low] if percentile is not None else values
        high = np.percentile(above, percentile) if percentile is not None and above.size else values.max()
        high = high if high > low else values.max()
    if not high > low:
        return _flat(values.shape, colours, 0, f"no value lies above {low:g}")
    index = np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.intp)
    clipped = np.count_nonzero((values < low) | (values > high)) / values.size
    return Shown(_colour_table(colours)[index], low, float(high), colours, clipped)


def signed_rgb(gradient, *, scale=None, percentile=PERCENTILE):
    """A gradient (H, W, 3) around grey, one scale for all three channels and never its magnitude: where it is bluish,
    more blue raises the score, where it is yellowish, less blue does."""
    gradient = np.asarray(gradient, np.float64)
    problem = what_is_wrong(gradient)
    if problem:
        return Shown(np.full(gradient.shape, GREY, np.uint8), 0.0, 0.0, "", 0.0, problem)
    scale = symmetric_scale(gradient, percentile) if scale is None else float(scale)
    picture = np.rint(GREY + 127 * np.clip(gradient / scale, -1, 1)).astype(np.uint8)
    return Shown(picture, -scale, scale, "", np.count_nonzero(np.abs(gradient) > scale) / gradient.size)


def _flat(shape, colours, index, problem):
    return Shown(np.full((*shape, 3), _colour_table(colours)[index], np.uint8), 0.0, 0.0, colours, 0.0, problem)


def overlay(picture, shown, values=None, alpha=0.75):
    """A map's colours over the greyed picture; with `values` the opacity is alpha * |value| / scale, so that what
    matters little stays the picture, without them it is alpha everywhere."""
    height, width = picture.shape[:2]
    grey = picture @ np.array([0.299, 0.587, 0.114])
    colours = resize(shown.picture, (height, width)).astype(np.float64)
    opacity = np.full((height, width, 1), float(alpha))
    if values is not None:
        top = max(abs(shown.low), abs(shown.high)) or 1.0
        size = np.clip(np.abs(np.asarray(values, np.float64)) / top, 0, 1)
        size = np.rint(255 * size).astype(np.uint8)[:, :, None].repeat(3, axis=2)
        opacity = alpha * resize(size, (height, width))[:, :, :1] / 255.0
    return np.rint(grey[:, :, None] * (1 - opacity) + colours * opacity).astype(np.uint8)


def enlarge(picture, factor):
    """Every pixel as factor x factor pixels: what is there, with nothing interpolated."""
    return np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)


def good_columns(count, height=1, width=1):
    """Columns that make a grid of `count` tiles of height x width about 1.4 times as wide as high."""
    return max(1, min(count, round(math.sqrt(1.4 * count * height / width))))


def grid(tiles, columns=None, padding=1, ground=255):
    """Tiles (uint8, all (h, w, 3)) in rows, `padding` pixels of `ground` between them but not around."""
    tiles = list(tiles)
    if not tiles:
        raise ValueError("grid: there is no tile to show")
    height, width = tiles[0].shape[:2]
    if any(tile.shape != (height, width, 3) for tile in tiles):
        raise ValueError(f"grid: tiles differ in shape: {sorted({tile.shape for tile in tiles})}")
    columns = columns or good_columns(len(tiles), height, width)
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + padding) - padding, columns * (width + padding) - padding, 3), ground, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + padding), i % columns * (width + padding)
        sheet[top:top + height, left:left + width] = tile
    return sheet


def filter_tiles(weights, scaling="filter", side=24):
    """First-layer filters (h, w, 3, K), RGB order, as ([K tiles], scale); scale is None when each has its own.

    scaling: "filter" each symmetric about grey by its own largest |w|; "layer" one scale for all; "minmax" each from
    its least value to its largest, whose grey is then not zero. side: about the side of a tile in pixels.
    """
    weights = np.asarray(weights, np.float64)
    if scaling not in ("filter", "layer", "minmax"):
        raise ValueError(f"filters: scaling {scaling!r} is not filter, layer or minmax")
    scale = symmetric_scale(weights, None) if scaling == "layer" else None
    factor = max(1, round(side / max(weights.shape[:2])))
    tiles = []
    for w in np.moveaxis(weights, 3, 0):
        if scaling == "minmax":
            picture = np.rint(255 * (w - w.min()) / (np.ptp(w) or 1.0)).astype(np.uint8)
        else:
            picture = signed_rgb(w, scale=scale, percentile=None).picture
        tiles.append(enlarge(picture, factor))
    return tiles, scale


def filters(weights, scaling="filter", columns=None, side=24):
    """First-layer filters as one picture, nearest-neighbour enlarged: see `filter_tiles`."""
    return grid(filter_tiles(weights, scaling, side)[0], columns, padding=2)


# Text and titled pictures --------------------------------------------------------------------------------------------

@functools.cache
def font(size, bold=False):
    """DejaVu Sans, which comes with matplotlib and has the letters of most languages."""
    import matplotlib
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)


def wrap(text, width, face):
    """Lines of `text` no wider than `width` pixels, broken at spaces (but no-break ones, nor before a percent sign), or
    inside a word that is too long alone."""
    lines = []
    for paragraph in str(text).split("\n"):
        line = ""
        for word in filter(None, paragraph.replace(" %", "\N{NO-BREAK SPACE}%").split(" ")):
            joined = f"{line} {word}" if line else word
            if line and face.getlength(joined) > width:
                lines.append(line)
                joined = word
            while len(joined) > 1 and face.getlength(joined) > width:
                cut = next((n for n in range(len(joined) - 1, 1, -1) if face.getlength(joined[:n]) <= width), 1)
                lines.append(joined[:cut])
                joined = joined[cut:]
            line = joined
        lines.append(line)
    return lines


def text_block(text, width, *, size=13, bold=False, ink=INK, ground=255, align="left"):
    """A picture of wrapped text, `width` pixels wide."""
    face = font(size, bold)
    lines = wrap(text, width, face)
    step = round(size * 1.35)
    image = Image.new("RGB", (width, step * len(lines)), (ground,) * 3)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        left = (width - face.getlength(line)) / 2 if align == "centre" else 0
        draw.text((max(0, left), i * step), line, ink, face)
    return np.asarray(image)


def stack(pictures, axis, gap=0, ground=255, align="start"):
    """Pictures above (axis 0) or beside (axis 1) each other, on ground where one is smaller than the others."""
    pictures = [np.asarray(picture) for picture in pictures if picture is not None]
    across = max(picture.shape[1 - axis] for picture in pictures)
    parts = []
    for i, picture in enumerate(pictures):
        spare = across - picture.shape[1 - axis]
        before = spare // 2 if align == "centre" else 0
        margins = [(0, 0), (0, 0), (0, 0)]
        margins[1 - axis] = (before, spare - before)
        margins[axis] = (gap if i else 0, 0)
        parts.append(np.pad(picture, margins, constant_values=ground))
    return np.concatenate(parts, axis=axis)


def montage(pictures, titles=None, columns=None, gap=12, ground=255, size=13):
    """Titled pictures in rows. They may differ in size; each title is wrapped to its picture's width, above it."""
    pictures = list(pictures)
    columns = columns or good_columns(len(pictures))
    rows = []
    for first in range(0, len(pictures), columns):
        row = pictures[first:first + columns]
        if titles:
            heads = [text_block(title, picture.shape[1], size=size, bold=True, ground=ground)
                     for title, picture in zip(titles[first:first + columns], row, strict=True)]
            tall = max(head.shape[0] for head in heads)
            heads = [np.pad(head, ((tall - len(head), 4), (0, 0), (0, 0)), constant_values=ground) for head in heads]
            row = [stack([head, picture], 0, ground=ground) for head, picture in zip(heads, row, strict=True)]
        rows.append(stack(row, 1, gap, ground))
    return stack(rows, 0, gap, ground)
