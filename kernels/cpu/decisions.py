"""What a forward pass keeps for the gradient: which units were positive, and which cell each pooling chose.

A ReLU keeps a bit per number, in the order of channels, lowest bit first; each picture, row and column padded so that
kernels working in tiles and vectors can write and read without looking for the border. ReLU followed by 2x2 pooling keeps
one byte per window: the cell (row * 2 + column, the first of equals) and 0x80 if its value is positive.
"""
import numpy as np

from . import vector as v

TILE = 4                            # rows and columns are padded to whole tiles of this side
POSITIVE = 0x80


class Decisions:
    """`memory` (N, rows, columns, bytes per position) of a map of `shape` (N, H, W, K); kind "bits" or "bytes"."""

    def __init__(self, shape, kind):
        N, H, W, K = shape
        vectors = -(-K // v.LANES)
        self.shape, self.kind = shape, kind
        self.rows, self.columns = -(-H // TILE) * TILE, -(-W // TILE) * TILE
        self.memory = np.empty((N, self.rows, self.columns, vectors * (v.LANES if kind == "bytes" else v.BITS_BYTES)), np.uint8)

    @property
    def address(self):
        return self.memory.__array_interface__["data"][0]

    def positive(self):
        """(N, H, W, K) booleans."""
        N, H, W, K = self.shape
        inside = self.memory[:, :H, :W]
        if self.kind == "bytes":
            return inside[..., :K] >= POSITIVE
        bits = np.unpackbits(inside, axis=3, bitorder="little")
        if v.LANES < 8:             # a whole byte per vector
            bits = bits.reshape(N, H, W, -1, 8)[..., :v.LANES].reshape(N, H, W, -1)
        return bits[..., :K].astype(bool)

    def cells(self):
        """(N, H, W, K) integers 0..3 for kind "bytes"."""
        _, H, W, K = self.shape
        return self.memory[:, :H, :W, :K] & 3
