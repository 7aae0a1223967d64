"""Draw the style pictures that minivis ships: weights/styles/*.jpg. Everything in them is computed here.

    python -m tools.make_styles [FOLDER]

Each is drawn at twice its size and averaged, from np.random.RandomState, so that the same picture comes out anywhere.
"""
import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

SIDE = 400
BIG = 2 * SIDE


def main(arguments):
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1] / "weights" / "styles"
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in (("glass", stained_glass), ("hatching", hatching), ("mosaic", mosaic), ("waves", waves)):
        levels = np.clip(np.rint(draw(np.random.RandomState(7))), 0, 255).astype(np.uint8)
        small = Image.fromarray(levels).resize((SIDE, SIDE), Image.Resampling.BOX)
        small.save(folder / f"{name}.jpg", quality=84)
        print(f"{folder / f'{name}.jpg'}: {(folder / f'{name}.jpg').stat().st_size:,} bytes")


def stained_glass(random):
    """Panes of a Voronoi diagram around a rose, in jewel colours, with lead between them and light behind."""
    y, x = grid()
    rings = [(0.0, 1), (0.16, 7), (0.31, 12), (0.47, 17), (0.63, 23), (0.8, 29), (0.98, 35), (1.2, 41)]
    seeds = []
    for k, (radius, count) in enumerate(rings):
        angle = 2 * np.pi * (np.arange(count) + 0.5 * (k % 2)) / count + random.normal(0, 0.06, count)
        r = radius * (1 + random.normal(0, 0.045, count))
        seeds.append(np.stack([0.5 + r * np.sin(angle) * 0.75, 0.5 + r * np.cos(angle) * 0.75], -1))
    first, second, cell = nearest_two(np.concatenate(seeds), y, x)
    colours = np.array([[190, 20, 35], [25, 60, 170], [250, 180, 25], [15, 120, 75], [110, 30, 130], [235, 95, 20],
                        [40, 150, 200], [245, 225, 120]], float)
    which = colours[random.choice(len(colours), cell.max() + 1, p=[.18, .2, .16, .13, .1, .1, .08, .05])]
    glass = which[cell] * (0.62 + 0.5 * noise(random, 30) + 0.22 * noise(random, 4))[..., None]
    inside = np.clip((second - first) * BIG / 2, 0, None)       # distance to the edge, in pixels of the drawing
    glow = np.clip(inside / 26, 0, 1)[..., None]
    glass = glass * (0.55 + 0.5 * glow) + 38 * glow**3
    lead = np.clip((inside - 5.5) / 2.5, 0, 1)[..., None]
    sheen = np.clip(1 - np.abs(inside - 2.5) / 2.5, 0, 1)[..., None] * 38
    return lead * glass + (1 - lead) * (np.array([16, 16, 20.0]) + sheen)


def mosaic(random):
    """Small square stones in courses along the bands of a sun over hills, a little uneven, with light mortar."""
    y, x = grid()
    centre = np.array([0.40, 0.56])

    def field(p, q):
        """The height whose contours the courses follow, and the colour band at a point."""
        r = np.hypot(p - centre[0], q - centre[1])
        hills = p - 0.74 - 0.09 * np.sin(7 * q + 1) - 0.03 * np.sin(17 * q)
        return r, hills

    pitch, seeds = 0.0235, []
    for radius in np.arange(pitch / 2, 1.1, pitch):             # rings of the sky
        count = max(3, round(2 * np.pi * radius / pitch))
        angle = 2 * np.pi * (np.arange(count) + random.rand()) / count
        seeds.append(np.stack([centre[0] + radius * np.sin(angle), centre[1] + radius * np.cos(angle)], -1))
    sky = np.concatenate(seeds)
    sky = sky[field(*sky.T)[1] < -pitch / 2]
    q = np.arange(-0.05, 1.05, pitch)
    courses = []
    for k in range(24):                                         # courses of the ground, along the hills' line
        at = q + pitch * random.rand()
        height = 0.74 + 0.09 * np.sin(7 * at + 1) + 0.03 * np.sin(17 * at) + (k + 0.5) * pitch
        courses.append(np.stack([height, at], -1))
    seeds = np.concatenate([sky, *courses])
    seeds = seeds + random.normal(0, 0.0016, seeds.shape)
    first, second, cell = nearest_two(seeds, y, x)
    r, hills = field(*seeds.T)
    bands = np.array([[252, 214, 70], [248, 160, 40], [226, 84, 46], [176, 44, 66], [96, 44, 110], [44, 60, 140],
                      [36, 108, 172], [70, 160, 190]], float)
    colour = bands[np.clip((r / 0.095).astype(int), 0, 7)]
    colour[(r > 0.19) & (np.sin(26 * np.arctan2(seeds[:, 0] - centre[0], seeds[:, 1] - centre[1])) > 0.93)] = bands[0]
    ground = np.array([[38, 92, 66], [86, 138, 62], [168, 170, 70], [196, 140, 60]], float)
    colour = np.where((hills > -pitch / 2)[:, None], ground[np.clip((hills / 0.06).astype(int), 0, 3)], colour)
    colour = colour * random.uniform(0.72, 1.18, (len(colour), 1)) + random.normal(0, 9, colour.shape)
    stone = colour[cell] * (0.92 + 0.16 * noise(random, 3))[..., None]
    inside = (second - first) * BIG / 2
    bevel = np.clip(inside / 6, 0, 1)[..., None]
    mortar = np.clip((inside - 1.8) / 1.6, 0, 1)[..., None]
    return mortar * stone * (0.8 + 0.24 * bevel) + (1 - mortar) * np.array([222, 214, 196.0])


def hatching(random):
    """Pen strokes in three directions, each where the tone of a still life of spheres asks for it, on paper."""
    y, x = grid()
    tone = 0.25 + 0.22 * y + 0.10 * (noise(random, 60) - 0.5)
    for cy, cx, radius in ((0.60, 0.33, 0.24), (0.52, 0.76, 0.17), (0.83, 0.68, 0.11), (0.22, 0.55, 0.10)):
        depth = 1 - ((y - cy) ** 2 + (x - cx) ** 2) / radius**2
        shadow = ((y - cy - 0.85 * radius) / (0.45 * radius)) ** 2 + ((x - cx - 0.7 * radius) / (1.3 * radius)) ** 2
        tone = np.where((shadow < 1) & (depth < 0), 0.85 - 0.2 * shadow, tone)
        z = np.sqrt(np.clip(depth, 0, 1))
        light = (-(y - cy) * 0.6 - (x - cx) * 0.5) / radius + 0.62 * z
        tone = np.where(depth > 0, np.clip(0.88 - 0.85 * light, 0.02, 0.95), tone)
    paper = Image.new("L", (BIG, BIG), 0)
    draw = ImageDraw.Draw(paper)
    for angle, least, gap in ((0.85, 0.16, 9.0), (-0.65, 0.42, 9.0), (0.1, 0.66, 8.0)):
        along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
        for offset in np.arange(-BIG, BIG, gap):
            start = -BIG
            while start < BIG:
                length = random.uniform(40, 110)
                _stroke(draw, random, tone, along, across, offset + random.normal(0, 1.3), start, length, least)
                start += length * random.uniform(0.75, 1.0)
    ink = gaussian_filter(np.asarray(paper, float) / 255, 0.8)[..., None]
    sheet = np.array([240, 229, 205.0]) * (0.95 + 0.08 * noise(random, 2.5))[..., None]
    return sheet * (1 - ink) + np.array([38, 28, 34.0]) * ink


def _stroke(draw, random, tone, along, across, offset, start, length, least):
    """One slightly bent stroke, drawn where the tone is darker than `least`, thicker in the dark."""
    t = np.linspace(0, 1, 9)
    bend = random.normal(0, 2.0) * np.sin(np.pi * t)
    points = BIG / 2 + np.outer(start + t * length, along) + np.outer(offset + bend, across)
    for a, b in itertools.pairwise(points):
        middle = (a + b) / 2
        if not (0 <= middle[0] < BIG and 0 <= middle[1] < BIG):
            continue
        dark = tone[int(middle[0]), int(middle[1])] - least
        if dark > 0:
            width = 1 if dark < 0.1 else 2 if dark < 0.3 else 3
            draw.line((a[1], a[0], b[1], b[0]), fill=225, width=width)


def waves(random):
    """Brush strokes along the flow of a few whirls over a rolling sea: noise smeared along the lines of a field."""
    y, x = grid()
    v, u = 0.35 * np.cos(9 * x + 4 * y), np.ones_like(x)
    for cy, cx, size, turn in ((0.28, 0.30, 0.17, 3.2), (0.22, 0.78, 0.12, -2.8), (0.58, 0.62, 0.14, 3.0),
                               (0.80, 0.20, 0.13, -2.6), (0.86, 0.84, 0.12, 2.6)):
        dy, dx = y - cy, x - cx
        pull = turn * np.exp(-(dy**2 + dx**2) / (2 * size**2))
        v, u = v + pull * dx / size, u - pull * dy / size
    length = np.hypot(v, u) + 1e-9
    v, u = v / length, u / length
    bands = _carried(noise(random, 34) + 0.55 * noise(random, 14), v, u, 70)
    fine = _carried(random.rand(BIG, BIG), v, u, 26)
    fine = gaussian_filter(fine, 1.2)
    fine = (fine - fine.mean()) / fine.std()
    rank = np.argsort(np.argsort(bands.ravel())).reshape(bands.shape) / bands.size
    tone = np.clip(rank + 0.045 * fine, 0, 1)
    stops = np.array([0, .14, .3, .46, .62, .76, .88, 1])
    colours = np.array([[12, 20, 58], [20, 48, 112], [28, 92, 158], [66, 148, 190], [150, 202, 206], [238, 232, 196],
                        [246, 190, 70], [232, 120, 44]], float)
    steps = np.floor(tone * 16) / 16 * 0.75 + tone * 0.25        # strokes of few colours, with edges
    paint = np.stack([np.interp(steps, stops, colours[:, c]) for c in range(3)], -1)
    gy, gx = np.gradient(gaussian_filter(fine, 0.6))
    relief = np.clip((gx + gy) * 26, -34, 34)                   # light from the upper left on thick paint
    return paint + 10 * fine[..., None] + relief[..., None]


# --------------------------------------------------------------------------------------------------------------- pieces

def grid():
    """y and x of every pixel, from 0 to 1."""
    at = (np.arange(BIG) + 0.5) / BIG
    return np.meshgrid(at, at, indexing="ij")


def nearest_two(seeds, y, x):
    """Distance to the nearest and the second nearest seed, and which one is nearest."""
    far, which = cKDTree(seeds).query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    return far[:, 0].reshape(y.shape), far[:, 1].reshape(y.shape), which[:, 0].reshape(y.shape)


def noise(random, scale):
    """Smooth noise from 0 to 1 whose hills are about `scale` pixels wide."""
    field = gaussian_filter(random.standard_normal((BIG, BIG)), scale, mode="wrap")
    return (field - field.min()) / (field.max() - field.min())


def _carried(field, v, u, steps):
    """The mean of the field along the flow line through every pixel, so many pixels there and back (Cabral, Leedom
    1993: line integral convolution)."""
    total, (row, column) = field.copy(), np.mgrid[:BIG, :BIG].astype(float)
    for sign in (1, -1):
        r, c = row.copy(), column.copy()
        for _ in range(steps // 2):
            dy, dx = (map_coordinates(a, (r, c), order=1, mode="nearest") for a in (v, u))
            r, c = r + 2 * sign * dy, c + 2 * sign * dx
            total += map_coordinates(field, (r, c), order=1, mode="reflect")
    return total / (2 * (steps // 2) + 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
