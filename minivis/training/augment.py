"""Augmentation: from a stored picture to a slightly different one of the size that is trained on.

Everything a picture's change depends on is drawn from a Generator of its own, so a batch is the same whoever makes it,
in whatever order.
"""
import numpy as np
from PIL import Image

from ..errors import MinivisError


class Augment:
    """Random crop, flip and colour.

    size     the side of what comes out, pixels
    scale    share of the picture's area that a resized crop shows, (least, most); shape 3:4 to 4:3.
             Szegedy et al. 2015, arXiv:1409.4842
    sharp    the probability of a crop that is *not* resized: a window of `size` pixels of the picture, shifted a
             little beyond its mirrored border where the picture is no larger; never of a smaller picture. A network
             that only ever saw resized pictures is much worse on sharp ones, at any size.
    flip     the probability of a mirror image
    colour   largest change of brightness, contrast and saturation, as a share
    """

    def __init__(self, size, scale=(0.3, 1.0), sharp=0.5, flip=0.5, colour=0.2):
        if not (0 < scale[0] <= scale[1] <= 1) or not 0 <= sharp <= 1 or not 0 <= flip <= 1 or not 0 <= colour < 1:
            raise MinivisError(f"augmentation: scale {scale}, sharp {sharp}, flip {flip} and colour {colour} must be "
                               "shares from 0 to 1")
        self.size, self.scale, self.sharp, self.flip, self.colour = int(size), tuple(scale), sharp, flip, colour

    def __call__(self, pictures, rng):
        """uint8 pictures (N, H, W, 3) -> float32 (N, size, size, 3), grey levels 0..255."""
        out = np.empty((len(pictures), self.size, self.size, 3), np.float32)
        for picture, place in zip(pictures, out):
            place[...] = self._one(picture, rng)
        return self._coloured(out, rng)

    def _one(self, picture, rng):
        sharp, flip = rng.random(2) < (self.sharp, self.flip)
        whole = min(picture.shape[:2]) >= self.size
        crop = self._window(picture, rng) if sharp and whole else self._resized(picture, rng)
        return crop[:, ::-1] if flip else crop

    def _window(self, picture, rng):
        side, (H, W) = self.size, picture.shape[:2]
        margin = [side // 8 if length == side else 0 for length in (H, W)]
        if any(margin):
            picture = np.pad(picture, [(m - m // 2, m // 2 + m % 2) for m in margin] + [(0, 0)], "reflect")
        top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
        return picture[top:top + side, left:left + side]

    def _resized(self, picture, rng):
        H, W = picture.shape[:2]
        area = rng.uniform(*self.scale) * H * W
        shape = np.exp(rng.uniform(-1, 1) * np.log(4 / 3))
        height, width = min(H, np.sqrt(area / shape)), min(W, np.sqrt(area * shape))
        top, left = rng.uniform(0, H - height), rng.uniform(0, W - width)
        box = (left, top, min(W, left + width), min(H, top + height))
        return np.asarray(Image.fromarray(picture).resize((self.size,) * 2, Image.Resampling.BILINEAR, box=box))

    def _coloured(self, x, rng):
        if not self.colour:
            return x
        brightness, contrast, saturation = rng.uniform(1 - self.colour, 1 + self.colour, (3, len(x), 1, 1, 1)).astype(
            np.float32)
        x *= brightness
        grey = x @ np.float32([0.299, 0.587, 0.114])
        x -= grey[..., None]
        x *= saturation * contrast                  # what is colour changes by both, what is grey by contrast alone
        middle = grey.mean(axis=(1, 2), keepdims=True)
        grey = middle + (grey - middle) * contrast[..., 0]
        x += grey[..., None]
        return np.clip(x, 0, 255, out=x)
