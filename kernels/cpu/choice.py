"""Which algorithm computes a convolution: a function of the layer's shape and the precision, of nothing else.

Not of threads, batch or memory: then results would change with them. The numbers of products per output number are
9 (direct), 4 (Winograd F(2x2)) and 2.25 (F(4x4)), but tiles overhang the map: a 5 x 5 map costs 4 tiles of 4 x 4.
"""
from typing import NamedTuple

PICTURE_CHANNELS = 4        # up to this many, a pixel's channels are too few for a vector: direct.py
FEWEST_CHANNELS = 12        # below, most lanes of Winograd's transforms would carry padding


class Algorithm(NamedTuple):
    """name: "winograd" (tile 2 or 4), "picture" (direct.py: few input channels) or "direct" (general.py)."""
    name: str
    tile: int

    def __str__(self):
        return f"Winograd F({self.tile}x{self.tile},3x3)" if self.tile else self.name


DIRECT, PICTURE = Algorithm("direct", 0), Algorithm("picture", 0)


def algorithm(out_size, w_shape, stride, pad, dilation, groups, precision="float32", dtype="float32"):
    """The Algorithm for a layer; out_size (OH, OW), w_shape (kh, kw, C/groups, K), the rest as for conv2d_forward.

    It serves the forward pass and, with the sizes of the input in the place of the output's, the input gradient.
    """
    kh, kw, C, K = w_shape
    if C <= PICTURE_CHANNELS and groups == 1 and tuple(dilation) == (1, 1) and str(dtype) == "float32":
        return PICTURE
    suits = (kh, kw) == (3, 3) and tuple(stride) == (1, 1) == tuple(dilation) and groups == 1 and max(pad) <= 2
    if not suits or precision != "float32" or str(dtype) != "float32" or min(C, K) < FEWEST_CHANNELS:
        return DIRECT
    cost = {m: (m + 2) ** 2 * -(-out_size[0] // m) * -(-out_size[1] // m) for m in (4, 2)}
    return Algorithm("winograd", 4 if cost[4] <= cost[2] else 2)
