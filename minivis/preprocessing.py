"""Picture <-> network input: the only place that knows 255, means and BGR. The exact inverse stands below."""

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from .errors import MinivisError
from .image import MAX_PIXELS, to_picture

FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR,
           "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
POLICIES = ("network", "keras", "longest", "none")


class Box(NamedTuple):
    """A part of a picture, in its pixels; the right and bottom edges are exclusive."""

    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network saw: `picture` uint8 (h, w, 3) is the part `box` of the given picture, resized."""

    picture: np.ndarray
    box: Box
    source_size: tuple          # (H, W) of the given picture


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its input; the fields are those of the weights file.

    x = (rgb_or_bgr * range / 255 - mean) / std, with mean and std in the network's channel order.
    size: (h, w) or None, any; resize: the short side is brought to this many pixels first, or None;
    crop: "centre" or "none"; interpolation: nearest, bilinear, bicubic or lanczos; antialias: whether shrinking
    averages (nearest never does); channels: "RGB" or "BGR"; range: 255 or 1.
    """

    size: tuple | None = None
    resize: int | None = None
    crop: str = "none"
    interpolation: str = "bilinear"
    antialias: bool = True
    channels: str = "RGB"
    range: float = 255
    mean: tuple = (0.0, 0.0, 0.0)
    std: tuple = (1.0, 1.0, 1.0)

    def __post_init__(self):
        _check(self)
        if self.size is not None:
            object.__setattr__(self, "size", tuple(int(side) for side in self.size))
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))

    # The form in the weights file

    @classmethod
    def from_json(cls, text):
        """From the JSON string of a weights file, or the dict it stands for."""
        try:
            fields = json.loads(text) if isinstance(text, (str, bytes)) else dict(text)
        except (ValueError, TypeError) as error:
            raise MinivisError(f"preprocessing is not valid JSON: {error}") from None
        if not isinstance(fields, dict):
            raise MinivisError(f"preprocessing must be a JSON object, not {type(fields).__name__}")
        unknown = sorted(set(fields) - set(cls.__dataclass_fields__))
        missing = [name for name in ("channels", "range", "mean", "std") if name not in fields]
        if unknown or missing:
            raise MinivisError("preprocessing: " + "; ".join(
                [f"unknown field {name!r}" for name in unknown] + [f"field {name!r} is missing" for name in missing]))
        return cls(**fields)

    def to_json(self):
        return json.dumps(asdict(self))

    # Picture -> network

    def apply(self, picture, dtype=np.float32, size=None, policy="network"):
        """The network's input (1, h, w, 3) for a picture. `see` tells which part of the picture that is."""
        return self.normalize(self.see(picture, size, policy).picture, dtype)[None]

    def see(self, picture, size=None, policy="network"):
        """Resize and crop only: the Seen that `normalize` turns into the network's input.

        size: a side, (h, w), or None for the network's own; policy:
        "network"  short side to `resize`, then centre crop to `size` (torchvision's rounding); `resize` grows with
                   `size` when another size is asked for. With crop "none" the whole picture is squeezed to `size`.
        "keras"    the whole picture to `size` by nearest neighbour, aspect not kept: Keras' load_img(target_size=...)
        "longest"  longest side to `size`, nothing cropped: what style transfer tools do
        "none"     the picture as it is
        """
        picture = to_picture(picture)
        target = self._target(size)
        if policy == "none" or (target is None and (policy != "network" or self.resize is None)):
            return _whole(picture, picture)
        if policy == "keras":
            return _whole(picture, resize(picture, target, "nearest"))
        if policy == "longest":
            factor = max(target) / max(picture.shape[:2])
            return _whole(picture, self._resize(picture, [max(1, round(side * factor)) for side in picture.shape[:2]]))
        if policy == "network":
            return self._see_as_trained(picture, target)
        raise MinivisError(f"resize policy {policy!r} is not one of {', '.join(POLICIES)}")

    def normalize(self, picture, dtype=np.float32):
        """uint8 RGB (..., 3) to network units and channel order, in dtype; computed in float64, rounded once."""
        levels = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
        table = self._to_units(levels).astype(dtype)                # (256, 3): one entry for each value and channel
        picture = picture[..., ::-1] if self.channels == "BGR" else picture
        return np.stack([table[picture[..., c], c] for c in (0, 1, 2)], axis=-1)

    def from_picture01(self, rgb, dtype=np.float32):
        """Float RGB, 0 black and 1 white, (..., 3), to network units and channel order."""
        levels = np.asarray(rgb, np.float64) * 255
        return np.ascontiguousarray(self._to_units(levels[..., ::-1] if self.channels == "BGR" else levels), dtype)

    def _to_units(self, levels):
        """Network units of float64 grey levels 0..255 that are in the network's channel order already."""
        values = levels if self.range == 255 else levels / 255
        return (values - np.array(self.mean)) / np.array(self.std)

    # Network -> picture

    def to_picture01(self, x):
        """Float64 RGB, 0 black and 1 white, from network units (..., 3); neither clipped nor rounded."""
        x = np.asarray(x.get() if hasattr(x, "get") else x, np.float64)
        values = (x * np.array(self.std) + np.array(self.mean)) / self.range
        return self.to_rgb(values)

    def restore(self, x):
        """The uint8 picture(s) (..., H, W, 3) of network input; (1, H, W, 3) gives (H, W, 3).

        The exact inverse of `normalize` in float64, float32 and float16; other values are clipped and rounded half to
        even.
        """
        rgb = self.to_picture01(x)
        if rgb.ndim == 4 and rgb.shape[0] == 1:
            rgb = rgb[0]
        if not np.isfinite(rgb).all():
            raise MinivisError(f"{np.count_nonzero(~np.isfinite(rgb))} of {rgb.size} values are not finite, "
                               "so they make no picture")
        return np.rint(np.clip(rgb * 255, 0, 255)).astype(np.uint8)

    def to_rgb(self, array):
        """The channels of a gradient or an input, (..., 3), from the network's order to RGB. Values are untouched."""
        return np.ascontiguousarray(array[..., ::-1]) if self.channels == "BGR" else array

    def limits(self):
        """(black, white): the network's input values of those two colours, each (3,) in its channel order."""
        return self.from_picture01(np.zeros(3), np.float64), self.from_picture01(np.ones(3), np.float64)

    # Geometry

    def _target(self, size):
        if size is None:
            return self.size
        sides = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
        if len(sides) != 2 or not all(isinstance(side, (int, np.integer)) and 0 < side <= 65536 for side in sides):
            raise MinivisError(f"size {size!r} must be a side or (height, width), in pixels from 1 to 65536")
        return int(sides[0]), int(sides[1])

    def _resize(self, picture, size):
        return resize(picture, size, self.interpolation, self.antialias)

    def _see_as_trained(self, picture, target):
        height, width = picture.shape[:2]
        if self.crop == "none" and target is not None:
            return _whole(picture, self._resize(picture, target))
        short = self.resize or min(height, width)
        if target is not None and self.resize and self.size:
            short = round(self.resize * min(target) / min(self.size))       # the same part of the picture, finer
        sides = _short_side(height, width, short)
        if target is None:
            return _whole(picture, self._resize(picture, sides))
        if sides[0] < target[0] or sides[1] < target[1]:                    # never pad: enlarge until the crop is full
            factor = max(target[0] / height, target[1] / width)
            sides = (max(target[0], round(height * factor)), max(target[1], round(width * factor)))
        top, left = round((sides[0] - target[0]) / 2), round((sides[1] - target[1]) / 2)
        resized = self._resize(picture, sides)
        part = np.ascontiguousarray(resized[top:top + target[0], left:left + target[1]])
        tall, wide = height / sides[0], width / sides[1]
        box = Box(top * tall, left * wide, (top + target[0]) * tall, (left + target[1]) * wide)
        return Seen(part, box, (height, width))


def resize(picture, size, interpolation="bilinear", antialias=True):
    """A uint8 picture (H, W, 3) at size (h, w), pixel centres at half-integers (Pillow's, and torch's, convention)."""
    size = (int(size[0]), int(size[1]))
    if picture.shape[:2] == size:
        return picture
    if size[0] * size[1] > MAX_PIXELS:
        raise MinivisError(f"a picture of {picture.shape[0]} x {picture.shape[1]} would become {size[0]} x {size[1]}, "
                           f"more than the limit of {MAX_PIXELS:,} pixels; crop it or make it smaller")
    if not antialias and interpolation == "bilinear":
        return _point_bilinear(picture, size)
    return np.array(Image.fromarray(picture).resize(size[::-1], FILTERS[interpolation]))


def _point_bilinear(picture, size):
    """Bilinear without averaging when shrinking: each output pixel mixes exactly the 2 x 2 nearest input pixels."""
    out = picture.astype(np.float64)
    for axis in (0, 1):
        length = picture.shape[axis]
        at = np.clip((np.arange(size[axis]) + 0.5) * length / size[axis] - 0.5, 0, length - 1)
        below = np.floor(at).astype(int)
        share = (at - below).reshape([-1 if i == axis else 1 for i in (0, 1, 2)])
        above = np.minimum(below + 1, length - 1)
        out = np.take(out, below, axis) * (1 - share) + np.take(out, above, axis) * share
    return np.rint(out).astype(np.uint8)


def _short_side(height, width, short):
    """(h, w) with the shorter side `short` and the longer truncated, as torchvision does."""
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def _whole(picture, resized):
    height, width = picture.shape[:2]
    return Seen(resized, Box(0.0, 0.0, float(height), float(width)), (height, width))


def _check(p):
    """One clear error for the first field with an impossible value."""
    def numbers(value):
        return (isinstance(value, (list, tuple)) and len(value) == 3
                and all(isinstance(v, (int, float)) and abs(v) < 1e6 for v in value))     # false for NaN

    def side(value):
        return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65536

    problems = {
        "size": p.size is not None and not (isinstance(p.size, (list, tuple)) and len(p.size) == 2
                                            and all(side(value) for value in p.size)),
        "resize": p.resize is not None and not side(p.resize),
        "crop": p.crop not in ("centre", "none"),
        "interpolation": not (isinstance(p.interpolation, str) and p.interpolation in FILTERS),
        "antialias": not isinstance(p.antialias, bool),
        "channels": p.channels not in ("RGB", "BGR"),
        "range": isinstance(p.range, bool) or p.range not in (255, 1),
        "mean": not numbers(p.mean),
        "std": not numbers(p.std) or min(p.std) < 1e-6,
    }
    wanted = {"size": "[height, width] or null", "resize": "a side in pixels or null", "crop": '"centre" or "none"',
              "interpolation": "one of " + ", ".join(FILTERS), "antialias": "true or false",
              "channels": '"RGB" or "BGR"', "range": "255 or 1", "mean": "three numbers below a million",
              "std": "three positive numbers, from 1e-6 to 1e6"}
    for name, bad in problems.items():
        if bad:
            raise MinivisError(f"preprocessing: {name} is {getattr(p, name)!r}, but must be {wanted[name]}")
    if not p.antialias and p.interpolation in ("bicubic", "lanczos"):
        raise MinivisError(f"preprocessing: {p.interpolation} without antialias is not supported; use bilinear")
