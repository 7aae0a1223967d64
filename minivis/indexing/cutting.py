"""Cutting what single units see out of pictures, and going back from the units to these pixels by guided backprop."""
import numpy as np

from .. import show
from ..kernels import xp
from ..preprocessing import Box, resize
from ..receptive_field import field, nominal_box, pixels_seen
from ..sparse import field_if_smaller, pixels_of
from ..tensor import Tensor, gradient

FILL = {"white": 255, "grey": show.GREY}
AGREES = 1e-3           # of the value: how exactly a picture that is read again gives the activation that was kept


class Cutter:
    """Cuts the fields of units of one layer out of one picture after another.

    size       (H, W) of the network's input
    context    how much to add on each side, as a fraction of the field's side
    border     what stands where the field reaches beyond the picture: "grey", "white", or "edge": its last pixels
    guided     also give the guided gradient; largest: reduce patches to this side, and keep gradients as pictures only
    field      (h, w) of the units' fields, or None if they see everything
    changed    how many units did not have the activation that they were said to have
    """

    def __init__(self, net, layer, size, *, context=0.0, border="grey", guided=True, largest=None):
        self.net, self.layer, self.size = net, layer, tuple(size)
        self.border, self.guided, self.largest = border, guided, largest
        self.field = field(net, layer, size).size
        self.margin = (0, 0) if self.field is None else tuple(round(context * side) for side in self.field)
        self.changed = 0

    def open(self, picture):
        """From now on cut from this picture."""
        self.seen = self.net.see(picture, size=self.size)
        self.x = self.net.preprocessing.normalize(self.seen.picture, self.net.dtype)[None]
        self.whole = None           # (pixels, layer) of a pass over all of the picture, made when one is needed

    def cut(self, channel, row=None, column=None, value=None):
        """{row, column, box, exact, patch, guided, gradient} of a unit; without a place, of the channel's strongest.

        box      (top, left, bottom, right) of the patch in what the network saw; it may reach beyond the picture
        exact    the same of the pixels that can change the unit; None if there are none
        patch    (h, w, 3) uint8
        guided   the guided gradient as a picture, like patch; gradient (h, w, 3): its numbers, 0 beyond the picture
        """
        if row is None:
            row, column = self._strongest(channel)
        box = self._box(row, column)
        exact = pixels_seen(self.net, self.layer, row, column, self.size)
        found = {"row": int(row), "column": int(column), "box": [int(edge) for edge in box],
                 "exact": None if exact is None else list(exact), "patch": self._small(self._part(box))}
        if self.guided:
            g, activation = self._guided(channel, row, column)
            if value is not None and not abs(activation - value) <= AGREES * abs(value):
                self.changed += 1
            g = _cut(self.net.to_rgb(g), box)
            found["guided"] = self._small(show.signed_rgb(g).picture)
            if self.largest is None:
                found["gradient"] = g
        return found

    def _forward(self):
        if self.whole is None:
            pixels = Tensor(self.x, needs_grad=True)
            self.whole = pixels, self.net(pixels, layers=[self.layer])[self.layer]
        return self.whole

    def _strongest(self, channel):
        a = self._forward()[1].numpy()[0]
        return np.unravel_index(int(a[..., channel].argmax()), a.shape[:2]) if a.ndim == 3 else (0, 0)

    def _box(self, row, column):
        """The field with its context; all of the picture if the field is larger."""
        if self.field is None or all(f >= s for f, s in zip(self.field, self.size)):
            return Box(0, 0, *self.size)
        box = nominal_box(self.net, self.layer, row, column, self.size)
        return Box(box.top - self.margin[0], box.left - self.margin[1], box.bottom + self.margin[0],
                   box.right + self.margin[1])

    def _part(self, box):
        if self.border == "edge":
            rows, columns = (np.clip(np.arange(low, high), 0, side - 1)
                             for low, high, side in zip(box[:2], box[2:], self.size))
            return self.seen.picture[rows[:, None], columns]
        return _cut(self.seen.picture, box, FILL[self.border])

    def _guided(self, channel, row, column):
        """(gradient (H, W, 3) of the unit under the guided rule, the unit's activation)"""
        near = field_if_smaller(self.net, self.layer, row, column, self.size)
        if near is None:
            pixels, values = self._forward()
            place = (0, row, column, channel) if values.ndim == 4 else (0, channel)
        else:
            pixels = pixels_of(near, self.x)
            values, place = near.of(pixels), (0, 0, 0, channel)
        seed = xp(values.data).zeros_like(values.data)
        seed[place] = 1
        g = gradient(values, pixels, rules="guided", seed=seed)[0]
        g, activation = g.get() if hasattr(g, "get") else g, float(values.data[place])
        if near is None:
            return g, activation
        whole = np.zeros((*self.size, g.shape[2]), g.dtype)
        whole[near.box.top:near.box.bottom, near.box.left:near.box.right] = g
        return whole, activation

    def _small(self, picture):
        """Reduced so that no side is longer than `largest`."""
        factor = (self.largest or np.inf) / max(picture.shape[:2])
        return picture if factor >= 1 else resize(picture, [max(1, round(n * factor)) for n in picture.shape[:2]])


def _cut(array, box, fill=0):
    """The part `box` of an array (H, W, 3); what lies beyond it is `fill`."""
    found = np.full((box.bottom - box.top, box.right - box.left, array.shape[2]), fill, array.dtype)
    top, left = max(0, box.top), max(0, box.left)
    bottom, right = min(array.shape[0], box.bottom), min(array.shape[1], box.right)
    found[top - box.top:bottom - box.top, left - box.left:right - box.left] = array[top:bottom, left:right]
    return found
