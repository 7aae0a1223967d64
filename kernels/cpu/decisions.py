"""What a forward pass keeps for the gradient: which units were positive, and which cell each pooling chose.

kind "bits": a ReLU keeps a bit per number, in the order of channels, lowest bit first.
kind "bytes": ReLU followed by 2x2 pooling keeps one byte per window: the cell (row * 2 + column, the first of equals),
and 0x80 if its value is positive.

Rows, columns and channels are padded, so that kernels working in tiles and vectors never look for the border.
"""
import numpy as np

from . import threads
from . import vector as v
from .addresses import address, are_channels
from .compile_cache import helper, kernel
from .winograd_transforms import POSITIVE, positive_before

TILE = 4                            # rows and columns are padded to whole tiles of this side
RULES = {None: 0, "plain": 0, "guided": 1, "deconv": 2}


class Decisions:
    """`memory` (N, rows, columns, bytes per position) of a map of `shape` (N, H, W, K)."""

    def __init__(self, shape, kind):
        N, H, W, K = shape
        vectors = -(-K // v.LANES)
        self.shape, self.kind = shape, kind
        self.rows, self.columns = -(-H // TILE) * TILE, -(-W // TILE) * TILE
        self.bytes = vectors * (v.LANES if kind == "bytes" else v.BITS_BYTES)
        self.memory = np.empty((N, self.rows, self.columns, self.bytes), np.uint8)

    @staticmethod
    def size(shape, kind):
        """Bytes of the decisions of a map of this shape."""
        N, H, W, K = shape
        vectors = -(-K // v.LANES)
        position = vectors * (v.LANES if kind == "bytes" else v.BITS_BYTES)
        return N * -(-H // TILE) * TILE * -(-W // TILE) * TILE * position

    @property
    def address(self):
        return address(self.memory)

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

    def record(self, y):
        """Write the bits of y > 0 (kind "bits"), and y = max(y, 0) in place."""
        self._run(_record, y, y, 0)

    def pull(self, dy, rule, dx, more=None):
        """dx = the ReLU's rule ("plain", "guided", "deconv") applied to dy, or to dy + more; dx may be dy.
        dy may be some of the channels of a larger array."""
        if more is not None and (self.kind != "bits" or self.shape[3] % v.LANES):
            dy, more = dy + more, None
        self._run(_pull_bits if self.kind == "bits" else _pull_bytes, dy, dx, RULES[rule], more)

    def _run(self, job, source, target, rule, more=None):
        N, H, W, K = self.shape
        pitch = source.strides[2]
        if not source.size or not are_channels(source):
            source, pitch = np.ascontiguousarray(source), 4 * K
        if more is not None:
            more = np.ascontiguousarray(more)
        d = np.array([address(source), address(target), self.address, H, W, K, self.rows, self.columns, self.bytes,
                      rule, pitch, 0 if more is None else address(more)], np.int64)
        threads.run(job, d, N * H, max(1, (1 << 15) // (W * K)), 2 * 4 * (K + v.LANES))


# ------------------------------------------------------------------------------------------------------- kernels

(SOURCE, TARGET, DECISIONS, H, W, K, ROWS, COLUMNS, BYTES, RULE, PITCH, MORE) = range(12)


@v.emit(5)
def _record_vectors(b, source, target, bits, count, rule):
    """count numbers, a multiple of LANES."""
    loop = v.Loop(b, count, [bits], step=v.LANES)
    offset = v.scaled(b, loop.index, 4)
    x = v.load(b, b.add(source, offset))
    v.store_bits(b, v.positive(b, x), loop.carried[0])
    v.store(b, v.relu(b, x), b.add(target, offset))
    loop.end([b.add(loop.carried[0], v.integer(v.BITS_BYTES))])


def _pull(b, gradient, target, decisions, count, rule, whole_bytes=False):
    """target = gradient(offset) through the rule, for count numbers, a multiple of LANES."""
    loop = v.Loop(b, count, [decisions], step=v.LANES)
    offset = v.scaled(b, loop.index, 4)
    dy = gradient(offset)
    passes = positive_before(b, loop.carried[0], whole_bytes)
    v.store(b, v.rule(b, dy, passes, rule), b.add(target, offset))
    loop.end([b.add(loop.carried[0], v.integer(v.LANES if whole_bytes else v.BITS_BYTES))])


@v.emit(5)
def pull_bits_vectors(b, source, *arguments):
    _pull(b, lambda offset: v.load(b, b.add(source, offset)), *arguments)


@v.emit(5)
def _pull_bytes_vectors(b, source, *arguments):
    _pull(b, lambda offset: v.load(b, b.add(source, offset)), *arguments, whole_bytes=True)


@v.emit(6)
def _pull_sum_vectors(b, source, more, *arguments):
    """Of two gradients together."""
    _pull(b, lambda offset: b.fadd(v.load(b, b.add(source, offset)), v.load(b, b.add(more, offset))), *arguments)


@helper
def _rows(d, scratch, first, last, vectors, summed):
    """Rows of the map; where K is no multiple of LANES each position goes through a patch. PITCH: bytes from one
    position of the source to the next. summed: what to do where MORE is to be added to the source; None if it never
    is."""
    channels = d[K] * 4
    whole = (d[K] + v.LANES - 1) // v.LANES * v.LANES
    for row in range(first, last):
        image = row // d[H]
        decisions = d[DECISIONS] + (image * d[ROWS] + row - image * d[H]) * d[COLUMNS] * d[BYTES]
        source, target = d[SOURCE] + row * d[W] * d[PITCH], d[TARGET] + row * d[W] * channels
        positions, count = d[W], whole
        if whole == d[K] and d[PITCH] == channels:
            positions, count = 1, d[W] * whole          # the row in one go
        for j in range(positions):
            here, there, bits = source + j * d[PITCH], target + j * channels, decisions + j * d[BYTES]
            if whole != d[K]:
                v.copy(scratch, here, channels)
                vectors(scratch, scratch, bits, whole, d[RULE])
                v.copy(there, scratch, channels)
            elif summed is not None and d[MORE]:
                summed(here, d[MORE] + (row * d[W] + j) * channels, there, bits, count, d[RULE])
            else:
                vectors(here, there, bits, count, d[RULE])


@kernel
def _record(d, scratch, first, last):
    _rows(d, scratch, first, last, _record_vectors, None)


@kernel
def _pull_bits(d, scratch, first, last):
    _rows(d, scratch, first, last, pull_bits_vectors, _pull_sum_vectors)


@kernel
def _pull_bytes(d, scratch, first, last):
    _rows(d, scratch, first, last, _pull_bytes_vectors, None)
