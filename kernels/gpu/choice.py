"""Which algorithm computes a contraction: a function of its shape, the type and the precision, of nothing else.

    name        when                                                        numbers multiplied      runs on
    direct      groups; up to 4 input channels (a picture)                  as they come            ordinary units
    few         up to 4 output channels (the gradient into a picture)       as they come            ordinary units
    mma         precision tf32 or float16                                   TF32, half              tensor cores
    winograd    precision float32, 3x3 filters, stride and dilation 1       float32                 cuBLAS
    implicit    everything else                                             float32, float64        ordinary units

The thresholds are arithmetic (lanes without work, blocks per card), not measurements: no kernel has run on a device.
Slices and tiles depend on the batch as well, so a batch may differ from its pictures one by one in the last bits.
"""
from typing import NamedTuple

FEW = 4                     # channels
FEWEST_WINOGRAD = 12        # channels in and out: below, the transforms cost more than they save
MULTIPROCESSORS = 132       # of an H100 or H200; smaller cards only get more blocks than they need
PRECISIONS = ("float32", "float32-direct", "float64", "tf32", "float16")


class Algorithm(NamedTuple):
    """name, the side of the block's tile (0 where there is no choice), and the slices its depth is cut into."""
    name: str
    tile: int = 0
    slices: int = 1

    def __str__(self):
        more = [f"{self.tile}x{self.tile} tiles"] * bool(self.tile) + [f"{self.slices} slices"] * (self.slices > 1)
        words = ", ".join(more)
        return "Winograd F(4x4,3x3)" if self.name == "winograd" else self.name + (f" ({words})" if words else "")


def algorithm(part, precision="float32", dtype="float32"):
    """The Algorithm for a conv_plan.Contraction. dtype: of x; the precision speaks of float32 arrays alone."""
    if precision not in PRECISIONS:
        raise ValueError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    wide, half = str(dtype) == "float64", str(dtype) == "float16"
    if part.groups > 1:
        return Algorithm("direct")
    if part.K <= FEW:
        return Algorithm("few")
    if part.C <= FEW:
        return Algorithm("direct")
    if half or (precision in ("tf32", "float16") and not wide):
        return _tiled("mma", part, step=32 if precision == "tf32" and not half else 64)
    if precision == "float32" and not wide and _suits_winograd(part):
        return Algorithm("winograd", 4)
    return _tiled("implicit", part, step=16, largest=64 if wide else 128)


def _suits_winograd(part):
    return ((part.kh, part.kw) == (3, 3) and part.stride == part.dilation == part.step == (1, 1)
            and min(part.C, part.K) >= FEWEST_WINOGRAD and min(part.OH, part.OW) >= 3)


def _tiled(name, part, step, largest=128):
    """The larger tile where it fills the card, else the smaller; then as many slices of depth as fill it twice."""
    def blocks(tile):
        return -(-part.positions // tile) * -(-part.K // tile)
    tile = largest if blocks(largest) >= MULTIPROCESSORS and part.K > 64 else 64
    depth = part.kh * part.kw * part.C
    slices = min(-(-2 * MULTIPROCESSORS // blocks(tile)), max(1, depth // (8 * step)))
    return Algorithm(name, tile, slices if blocks(tile) < MULTIPROCESSORS else 1)
