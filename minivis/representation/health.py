"""Channels that do nothing, nearly nothing, or nothing but noise, counted over a set of pictures."""
import numpy as np

SMALLEST = 5            # rows and columns of a map whose neighbours can be compared


class Tally:
    """What every channel of one layer does, batch by batch; see `add`. The counts are exact, whatever the batches."""

    def __init__(self, channels):
        zeros = lambda: np.zeros(channels)
        self.pictures = self.places = 0
        self.largest, self.lit, self.awake = np.full(channels, -np.inf), zeros(), zeros()
        self.means, self.squares = zeros(), zeros()
        self.within, self.beside, self.mapped = zeros(), zeros(), False

    def add(self, a):
        """Activations (N, H, W, C) or (N, C) of a batch."""
        a = np.asarray(a, np.float64)
        maps = a if a.ndim == 4 else a[:, None, None, :]
        N, H, W, _ = maps.shape
        self.pictures, self.places = self.pictures + N, self.places + N * H * W
        top, mean = maps.max(axis=(1, 2)), maps.mean(axis=(1, 2))
        self.largest = np.maximum(self.largest, top.max(axis=0))
        self.lit += (top > 0).sum(axis=0)
        self.awake += (maps > 0).sum(axis=(0, 1, 2))
        self.means += mean.sum(axis=0)
        self.squares += (mean ** 2).sum(axis=0)
        if min(H, W) >= SMALLEST:
            self.mapped = True
            d = maps - mean[:, None, None]
            # both neighbours of a pair in each direction, and their own squares: a plain correlation
            for one, two in ((d[:, 1:], d[:, :-1]), (d[:, :, 1:], d[:, :, :-1])):
                self.beside += (one * two).sum(axis=(0, 1, 2))
                self.within += ((one ** 2).sum(axis=(0, 1, 2)) + (two ** 2).sum(axis=(0, 1, 2))) / 2

    @property
    def dead(self):
        """(C,) bool: never above 0, on no picture, at no place."""
        return self.largest <= 0

    def rare(self, share):
        """(C,) bool: not dead, but above 0 somewhere on fewer than this share of the pictures."""
        return ~self.dead & (self.lit < share * self.pictures)

    def always(self, share=0.999):
        """(C,) bool: above 0 at (nearly) all places of all pictures: a ReLU that does nothing there."""
        return self.awake >= share * self.places

    @property
    def same(self):
        """(C,) bool: not dead, but with the same mean on every picture: it says nothing of them."""
        mean = self.means / self.pictures
        variance = np.maximum(self.squares / self.pictures - mean ** 2, 0)
        return ~self.dead & (variance <= 1e-12 * np.maximum(mean ** 2, 1e-30))

    @property
    def smoothness(self):
        """(C,) correlation of neighbouring units within a picture, -1 to 1: near 0 for noise. NaN where there are no
        neighbours, or nothing varies."""
        if not self.mapped:
            return np.full(len(self.within), np.nan)
        return np.divide(self.beside, self.within, out=np.full(len(self.within), np.nan), where=self.within > 0)
