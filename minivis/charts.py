"""Charts as uint8 pictures (H, W, 3): dots and thumbnails on a map, a table of shades, bars with ranges, legends.

Drawn pixel by pixel like figures.py, so that the same numbers give the same bytes everywhere.
"""
import numpy as np
from PIL import Image, ImageDraw

from . import show
from .figures import LINE, SOFT, number

SMOOTH = 3              # dots are drawn so many times larger and then reduced
MARGIN = 0.03           # of a map's side, around the points


def palette(count):
    """(count, 3) uint8 colours that are told apart: matplotlib's ten, its twenty, or hues at three shades."""
    if count <= 10:
        table = _list("tab10")
    elif count <= 20:
        table = _list("tab20")
    else:
        hues = show.colour_table("hsv")[np.round(np.arange(count) * 256 / count).astype(int) % 256].astype(float)
        shade = np.array([0.95, 0.7, 0.45])[np.arange(count) % 3, None]
        table = np.rint(hues * shade).astype(np.uint8)
    return table[:count]


def _list(name):
    import matplotlib
    return np.rint(np.array(matplotlib.colormaps[name].colors) * 255).astype(np.uint8)


def on_sheet(points, width, height, border):
    """Pixel places (N, 2) of points (x right, y up) on a sheet: both axes alike, the map in the middle."""
    points = np.asarray(points, np.float64)
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    room = np.array([width, height]) - 2 * border
    scale = (room / np.where(span > 0, span, 1e-300)).min()
    middle = np.array([width, height]) / 2
    centred = (points - low - span / 2) * (scale if np.isfinite(scale) and span.any() else 0)
    return middle + centred * [1, -1]


def scatter(points, colours, side=760, marks=None):
    """A dot for each of points (N, 2) in colours (N, 3); with marks, a list of short texts, these instead of dots."""
    N = len(points)
    radius = float(np.clip(90 / np.sqrt(N), 1.6, 6))
    places = on_sheet(points, side, side, MARGIN * side + (6 if marks is None else 8))
    if marks is not None:
        image = Image.new("RGB", (side, side), (255,) * 3)
        draw, face = ImageDraw.Draw(image), show.font(int(np.clip(400 / np.sqrt(N), 8, 18)), True)
        for (x, y), colour, mark in zip(places, colours, marks):
            draw.text((x, y), mark, tuple(int(c) for c in colour), face, anchor="mm")
    else:
        image = Image.new("RGB", (side * SMOOTH,) * 2, (255,) * 3)
        draw, r = ImageDraw.Draw(image), radius * SMOOTH
        for (x, y), colour in zip(places * SMOOTH, colours):
            rim = tuple(int(0.6 * c) for c in colour)
            draw.ellipse((x - r, y - r, x + r, y + r), tuple(int(c) for c in colour), rim, SMOOTH // 2)
        image = image.resize((side, side), Image.Resampling.BOX)
    ImageDraw.Draw(image).rectangle((0, 0, side - 1, side - 1), outline=(200, 200, 200))
    return np.asarray(image)


def thumbnails(points, pictures, side=1000, frames=None):
    """Pictures (N, s, s, 3) at points (N, 2); later ones lie over earlier ones. frames: a colour (N, 3) around each."""
    N = len(points)
    size = int(np.clip(1.1 * side / np.sqrt(N), 14, max(28, pictures.shape[1])))
    places = on_sheet(points, side, side, size / 2 + 6)
    sheet = np.full((side, side, 3), 255, np.uint8)
    for i, (x, y) in enumerate(places):
        tile = at_size(pictures[i], size)
        tile = np.pad(tile, ((1, 1), (1, 1), (0, 0)), constant_values=255)
        if frames is not None:
            tile = framed(tile[1:-1, 1:-1], frames[i], max(1, size // 16))
        top, left = round(y - tile.shape[0] / 2), round(x - tile.shape[1] / 2)
        sheet[top:top + tile.shape[0], left:left + tile.shape[1]] = tile
    return sheet


def at_size(picture, side):
    """A square picture at a side: enlarged pixel by pixel, reduced by averaging."""
    how = Image.Resampling.NEAREST if side >= picture.shape[0] else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize((side, side), how))


def framed(tile, colour, width):
    """The tile with its own edge painted in a colour."""
    tile = tile.copy()
    for edge in (tile[:width], tile[-width:], tile[:, :width], tile[:, -width:]):
        edge[:] = colour
    return tile


def board(pictures, rows, columns, cells, padding=1, frames=None):
    """Pictures (N, s, s, 3) in the cells of a grid; cells without a picture stay white."""
    blank = np.full(pictures.shape[1:], 255, np.uint8)
    tiles = [blank] * (rows * columns)
    for i, cell in enumerate(cells):
        tiles[cell] = pictures[i] if frames is None else framed(pictures[i], frames[i], max(1, pictures.shape[1] // 16))
    return show.grid(tiles, columns, padding)


def legend(labels, colours, width=180, height=None):
    """Names beside their colours, in as many columns as the height asks for."""
    face, step, square = show.font(12), 19, 12
    rows = len(labels) if height is None else max(1, min(len(labels), height // step))
    parts = []
    for first in range(0, len(labels), rows):
        names = [show.wrap(label, width - square - 8, face) for label in labels[first:first + rows]]
        wide = square + 10 + int(max(face.getlength(name[0]) for name in names)) + 14
        image = Image.new("RGB", (wide, rows * step), (255,) * 3)
        draw = ImageDraw.Draw(image)
        for i, name in enumerate(names):
            y = i * step
            draw.rectangle((0, y + 3, square, y + 3 + square), tuple(int(c) for c in colours[first + i]))
            draw.text((square + 6, y + 2), name[0] + ("..." if len(name) > 1 else ""), show.INK, face)
        parts.append(np.asarray(image))
    return show.stack(parts, 1, 6)


def table(values, rows, columns, low=0.0, high=1.0, colours="viridis", cell=26):
    """A heat map (R, C) of named rows and columns, with the number in every cell if there is room. NaN is grey."""
    values = np.asarray(values, np.float64)
    R, C = values.shape
    cell = 38 if max(R, C) <= 16 else cell
    shades = show.colour_table(colours)
    face, small = show.font(11), show.font(10)
    left = int(max(face.getlength(name) for name in rows)) + 10
    top = int(max(face.getlength(name) for name in columns)) + 10
    image = Image.new("RGB", (left + C * cell, top + R * cell), (255,) * 3)
    draw = ImageDraw.Draw(image)
    for j, name in enumerate(columns):
        label = Image.new("RGB", (top - 8, 14), (255,) * 3)
        ImageDraw.Draw(label).text((0, 0), name, show.INK, face)
        image.paste(label.rotate(90, expand=True), (left + j * cell + (cell - 14) // 2, 4))
    for i, name in enumerate(rows):
        draw.text((left - 6 - face.getlength(name), top + i * cell + cell // 2 - 7), name, show.INK, face)
        for j in range(C):
            v, x, y = values[i, j], left + j * cell, top + i * cell
            share = (v - low) / (high - low) if np.isfinite(v) else 0
            colour = tuple(int(c) for c in shades[round(255 * min(1, max(0, share)))]) if np.isfinite(v) \
                else (200, 200, 200)
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), colour)
            if cell >= 34:
                text = f"{v:.2f}".replace("-0.00", "0.00") if np.isfinite(v) else "-"
                dark = np.dot(colour, (0.299, 0.587, 0.114)) > 140
                draw.text((x + (cell - small.getlength(text)) / 2, y + cell // 2 - 6), text,
                          (0, 0, 0) if dark else (255, 255, 255), small)
    return np.asarray(image)


def bars(names, values, spread=None, texts=None, marks=None, high=1.0, width=420, emphasised=None):
    """Horizontal bars from 0 to `high`: one row per name, its range +- spread as a line, a text behind it.

    marks   (value, spread) per row or None: a second, grey range to compare with, such as chance
    emphasised   bool per row; the others are drawn pale
    """
    face, small, step = show.font(13), show.font(12), 30
    texts = texts or [number(v, 3) for v in values]
    left = int(max(face.getlength(name) for name in names)) + 12
    right = int(max(small.getlength(text) for text in texts)) + 16
    image = Image.new("RGB", (left + width + right, step * len(names) + 22), (255,) * 3)
    draw = ImageDraw.Draw(image)

    def x(value):
        return left + round(width * min(1.0, max(0.0, value / high)))
    for tick in np.linspace(0, high, 5):
        draw.line((x(tick), 0, x(tick), step * len(names)), fill=(225, 225, 225))
        label = number(tick, 2)
        draw.text((x(tick) - small.getlength(label) / 2, step * len(names) + 4), label, SOFT, small)
    for i, (name, value) in enumerate(zip(names, values)):
        y = i * step
        strong = emphasised is None or emphasised[i]
        draw.text((left - 8 - face.getlength(name), y + 6), name, show.INK, face)
        if np.isfinite(value):
            draw.rectangle((left, y + 5, x(value), y + 18), (33, 102, 172) if strong else (178, 203, 226))
        if spread is not None and np.isfinite(value):
            _range(draw, x, value, spread[i], y + 11, show.INK)
        if marks is not None and marks[i] is not None:
            draw.line((x(marks[i][0]), y + 2, x(marks[i][0]), y + 26), fill=(178, 24, 43), width=2)
            _range(draw, x, *marks[i], y + 23, (178, 24, 43))
        draw.text((left + width + 10, y + 4), texts[i], SOFT, small)
    draw.line((left, 0, left, step * len(names)), fill=LINE)
    return np.asarray(image)


def _range(draw, x, value, spread, y, ink):
    if spread:
        draw.line((x(value - spread), y, x(value + spread), y), fill=ink, width=2)
        for end in (value - spread, value + spread):
            draw.line((x(end), y - 3, x(end), y + 3), fill=ink, width=2)
