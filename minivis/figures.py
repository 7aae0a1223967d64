"""Panels -> one figure: heading, facts, pictures with their colour bars, cautions. Composed pixel by pixel, so that
map pixels stay whole and no text can overlap another; the same input gives the same bytes on every machine."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from . import show
from .preprocessing import resize

MARGIN = 24
GAP = 22                # between panels
SIDE = 400              # a panel's picture is enlarged by whole numbers towards this many pixels ...
LARGEST = 800           # ... and reduced to this
NARROWEST = 260         # of a panel, so that its words have room
SOFT = (95, 95, 95)
LINE = (120, 120, 120)


@dataclass
class Panel:
    """One picture of a figure. shown: the map whose colour scale is drawn below; unit: what its numbers are."""

    title: str
    picture: np.ndarray
    shown: show.Shown | None = None
    unit: str = ""
    caption: str = ""
    exact: bool = False         # draw the picture at its own size


def number(value, digits=4):
    """A number as a reader wants it: few digits, a true minus sign; no exponent below ten million."""
    value = float(value)
    text = f"{value:.0f}" if 10 ** digits <= abs(value) < 1e7 else f"{value:.{digits}g}"
    return text.replace("-", "\N{MINUS SIGN}")


def figure(heading, facts, panels, notes=(), columns=None):
    """The whole figure, uint8 (H, W, 3). facts: lines under the heading; notes: cautions under the panels."""
    drawn = [draw_panel(panel) for panel in panels]
    columns = columns or len(drawn)
    rows = [_row(drawn[i:i + columns]) for i in range(0, len(drawn), columns)]
    width = max([560] + [row.shape[1] for row in rows])
    head = [show.text_block(heading, width, size=20, bold=True)]
    head += [show.text_block(fact, width, size=13, ink=SOFT) for fact in facts if fact]
    tail = [show.text_block(f"\N{BULLET} {note}", width, size=13, ink=SOFT) for note in notes if note]
    parts = [show.stack(head, 0, gap=3), *rows]
    if tail:
        parts.append(show.stack(tail, 0, gap=4))
    sheet = show.stack(parts, 0, gap=18)
    return np.pad(sheet, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)


def _row(drawn):
    """Panels side by side, their titles on one bottom line and their pictures on one top line."""
    tall = max(len(title) for title, _ in drawn)
    parts = []
    for title, body in drawn:
        title = np.pad(title, ((tall - len(title), 5), (0, 0), (0, 0)), constant_values=255)
        parts.append(show.stack([title, body], 0))
    return show.stack(parts, 1, GAP)


def draw_panel(panel):
    """(title, body) of a panel as two pictures of equal width."""
    picture = panel.picture if panel.exact else fit(panel.picture)
    width = max(NARROWEST, picture.shape[1])
    parts = [picture]
    if panel.shown is not None:
        problem = panel.shown.problem
        parts.append(show.text_block(f"No scale: {problem}.", width, size=13, bold=True) if problem
                     else colour_bar(panel.shown, width if picture.shape[1] < NARROWEST else picture.shape[1]))
    caption = panel.caption
    if panel.shown is not None and not panel.shown.problem:
        beyond = ""
        if panel.shown.clipped:
            beyond = f"{100 * panel.shown.clipped:.2g} % of the values lie beyond the ends"
        scale = "; ".join(part for part in (panel.unit, beyond) if part)
        caption = "\n".join(part for part in (scale and f"Scale: {scale}.", caption) if part)
    if caption:
        parts.append(show.text_block(caption, width, size=12, ink=SOFT))
    body = show.stack(parts, 0, gap=7)
    if body.shape[1] < width:
        body = np.pad(body, ((0, 0), (0, width - body.shape[1]), (0, 0)), constant_values=255)
    return show.text_block(panel.title, body.shape[1], size=14, bold=True), body


def fit(picture):
    """A picture at a size to look at: enlarged by a whole number, or reduced when it is larger than LARGEST."""
    side = max(picture.shape[:2])
    if side > LARGEST:
        return resize(picture, [max(1, round(length * LARGEST / side)) for length in picture.shape[:2]])
    return show.enlarge(picture, max(1, round(SIDE / side)))


def colour_bar(shown, width):
    """A horizontal colour scale with numbers; zero, where it is on the scale, has a longer mark."""
    bar_height, text_size = 14, 12
    table = show.colour_table(shown.colours) if shown.colours else _grey_table()
    first = 1 if shown.low < 0 and shown.low == -shown.high else 0      # signed maps use 1..255, so that 128 is zero
    index = first + (np.arange(width) * (256 - first)) // width
    sheet = np.full((bar_height + 8 + text_size + 6, width, 3), 255, np.uint8)
    sheet[:bar_height] = table[index]
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width - 1, bar_height - 1), outline=LINE)
    face = show.font(text_size)
    taken = -np.inf
    for value, x in _ticks(shown.low, shown.high, width):
        zero = value == 0
        draw.line((x, 0 if zero else bar_height - 4, x, bar_height + (6 if zero else 3)), fill=(0, 0, 0))
        label = number(value, 3)
        length = face.getlength(label)
        left = min(max(0, x - length / 2), width - length)
        if left > taken + 6:
            draw.text((left, bar_height + 7), label, show.INK, face)
            taken = left + length
    return np.asarray(image)


def _ticks(low, high, width):
    """(value, x) of five marks, or three on a narrow bar."""
    count = 5 if width >= 300 else 3
    return [(low + (high - low) * i / (count - 1), round((width - 1) * i / (count - 1))) for i in range(count)]


def _grey_table():
    return np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)


def mark_boxes(picture, boxes):
    """The picture as `fit` draws it, with named frames. boxes: [((top, left, bottom, right), text, colour)], in pixels
    of the given picture; what lies outside it is cut off."""
    fitted = fit(picture)
    factor = len(fitted) / len(picture)
    image = Image.fromarray(fitted)
    draw = ImageDraw.Draw(image)
    face = show.font(13, True)
    taken = []
    for box, text, colour in boxes:
        limits = (image.height, image.width) * 2
        top, left, bottom, right = (min(max(0, round(edge * factor)), most) for edge, most in zip(box, limits))
        draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255), width=4)
        draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline=colour, width=2)
        label = _label_place((left, top, right, bottom), int(face.getlength(text)) + 6, image.size, taken)
        taken.append(label)
        draw.rectangle(label, fill=colour)
        draw.text((label[0] + 3, label[1] + 1), text, (255, 255, 255), face)
    return np.asarray(image)


def _label_place(box, width, size, taken):
    """(left, top, right, bottom) of a frame's label: inside if it is large, else beside it, clear of other labels."""
    left, top, right, bottom = box
    height = 17
    inside = [(left + 2, top + 2)] if right - left > width + 8 and bottom - top > height + 8 else []
    places = [*inside, (left, top - height - 1), (left, bottom + 1), (right + 1, top), (left - width - 1, top)]
    free = [(x, y, x + width, y + height) for x, y in places
            if 0 <= x <= size[0] - width and 0 <= y <= size[1] - height
            and all(x + width < t[0] or t[2] < x or y + height < t[1] or t[3] < y for t in taken)]
    return free[0] if free else (left + 2, top + 2, left + 2 + width, top + 2 + height)


def numbered_grid(tiles, columns, padding=2, numbers=None):
    """A grid with a number before each row: its first tile's index, or the row's own of `numbers`."""
    sheet = show.grid(tiles, columns, padding)
    height = tiles[0].shape[0] + padding
    rows = -(-len(tiles) // columns)
    numbers = [row * columns for row in range(rows)] if numbers is None else numbers
    every = max(1, -(-14 // height))            # rows lower than the digits are numbered at intervals
    face = show.font(11)
    gutter = int(max(face.getlength(str(n)) for n in numbers)) + 8
    image = Image.new("RGB", (gutter, max(sheet.shape[0], 14)), (255,) * 3)
    draw = ImageDraw.Draw(image)
    for row in range(0, rows, every):
        text = str(numbers[row])
        y = row * height + max(0, (height - padding - 14) // 2)
        draw.text((gutter - 6 - face.getlength(text), y), text, SOFT, face)
    return show.stack([np.asarray(image), sheet], 1)


def named_grid(tiles, names, columns, padding=4):
    """A grid with a name below each tile; tiles narrower than the longest name are set apart."""
    face = show.font(11)
    lines = [str(name).split("\n") for name in names]
    wide = max([tiles[0].shape[1]] + [int(face.getlength(line)) + 2 for text in lines for line in text])
    foot = 14 * max(map(len, lines))
    named = []
    for tile, text in zip(tiles, lines, strict=True):
        image = Image.new("RGB", (wide, foot), (255,) * 3)
        draw = ImageDraw.Draw(image)
        for i, line in enumerate(text):
            draw.text(((wide - face.getlength(line)) / 2, 14 * i), line, SOFT, face)
        named.append(show.stack([tile, np.asarray(image)], 0, align="centre"))
    return show.grid(named, columns, padding)


def bar_chart(values, width=900, height=200):
    """Vertical bars of a vector from its zero line, one per unit; with more units than pixels, the extreme of each."""
    values = np.asarray(values, np.float64)
    low, high = min(0.0, values.min()), max(0.0, values.max())
    face = show.font(12)
    labels = [number(high), "0"] + ([number(low)] if low < 0 else [])
    gutter = int(max(face.getlength(label) for label in labels)) + 10
    image = Image.new("RGB", (gutter + width, height + 16), (255,) * 3)
    draw = ImageDraw.Draw(image)
    span = (high - low) or 1.0

    def y(value):
        return 8 + round((high - value) / span * (height - 1))

    edges = np.linspace(0, width, len(values) + 1)
    for i, value in enumerate(values):
        left, right = gutter + edges[i], gutter + edges[i + 1]
        right = max(left, right - (1.5 if right - left > 4 else 0.5))
        colour = (178, 24, 43) if value > 0 else (33, 102, 172)
        if value:
            draw.rectangle((left, min(y(value), y(0)), right, max(y(value), y(0))), fill=colour)
    draw.line((gutter, y(0), gutter + width, y(0)), fill=LINE)
    for value, label in zip((high, 0.0, low), labels, strict=False):
        if value == 0 or abs(y(value) - y(0)) > 14:
            draw.text((gutter - 6 - face.getlength(label), y(value) - 8), label, SOFT, face)
    return np.asarray(image)


def probability_table(rows, width=640):
    """Classes with a bar each. rows: [{label, wnid, probability, logit}]."""
    face, small = show.font(14), show.font(12)
    step = 40
    image = Image.new("RGB", (width, step * len(rows) + 4), (255,) * 3)
    draw = ImageDraw.Draw(image)
    for i, row in enumerate(rows):
        top = i * step
        detail = f"{100 * row['probability']:.2f} %   logit {number(row['logit'])}   {row.get('wnid') or ''}" \
                 f" [{row['index']}]"
        label = show.wrap(str(row.get("label") or f"class {row['index']}"), width - small.getlength(detail) - 20, face)
        draw.text((0, top), label[0] + ("..." if len(label) > 1 else ""), show.INK, face)
        draw.text((width - small.getlength(detail), top + 2), detail, SOFT, small)
        draw.rectangle((0, top + 21, width - 1, top + 29), fill=(235, 235, 235))
        long = round((width - 1) * min(1.0, max(0.0, row["probability"])))
        if long:
            draw.rectangle((0, top + 21, long, top + 29), fill=(33, 102, 172))
    return np.asarray(image)
