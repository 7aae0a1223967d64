"""One contraction (conv_plan.py) on the device: how the filters are prepared for each algorithm, and the launches.

The geometry of every launch is a function of the contraction and the algorithm. `finish` says what becomes of a sum
(the enum of conv.cuh); `mask` is read and `bits` is written, both uint32 (N, H, W, ceil(K/32)).
"""
import numpy as np

from . import launch

NONE, RELU, RELU_BITS, PLAIN, GUIDED, DECONV = range(6)         # the enum Finish of conv.cuh
RULES = {None: PLAIN, "plain": PLAIN, "guided": GUIDED, "deconv": DECONV}

_WARPS = 8                  # of the blocks of direct, few and finish
_POSITIONS = 4              # per thread (direct) or warp (few)
_MMA_STAGES = 3
_MMA_ROW = 128              # bytes of a slab's row
_CHUNK = 16                 # bytes that cp.async copies: the channels of a position must be a multiple
WORKSPACE = 256 << 20       # bytes that Winograd's transformed tiles may take, unless the caller says less


def words(K):
    """32-bit words of a mask per position."""
    return -(-K // 32)


def empty_bits(like, shape):
    """A mask for an activation of this shape, to be written."""
    return launch.empty(like, (*shape[:-1], words(shape[-1])), np.uint32)


# ----------------------------------------------------------------------------------------------------------- filters


def prepare(w, algorithm, dtype):
    """The filters (kh, kw, C/groups, K) as the algorithm's kernel reads them, for inputs of `dtype`.

    direct, few, implicit   as they are, of that type
    mma                     (K, kh, kw, C'): C' = C filled up with zeros to 16 bytes; rounded to TF32 or half
    winograd                (36, C, K): G g G^T
    """
    xp = launch.xp(w)
    if algorithm.name == "winograd":
        w = xp.ascontiguousarray(w, np.float32)
        u = launch.empty(w, (36, *w.shape[2:]))
        count = w.shape[2] * w.shape[3]
        launch.run("conv_winograd.cu", "winograd_filter_f32", -(-count // 256), 256, (w, u, np.int64(count)))
        return u
    if algorithm.name != "mma":
        return launch.aligned(xp.ascontiguousarray(w, dtype))
    more = -w.shape[2] % (_CHUNK // np.dtype(dtype).itemsize)
    w = xp.pad(w.transpose(3, 0, 1, 2), ((0, 0), (0, 0), (0, 0), (0, more)))
    w = xp.ascontiguousarray(w, dtype)
    return round_to_tf32(w) if dtype == np.float32 else w


def round_to_tf32(w):
    """float32 numbers rounded to the 10 bits of mantissa that TF32 has, halves away from zero."""
    return ((w.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def fill_channels(x):
    """x with zero channels added so that a position takes a multiple of 16 bytes."""
    more = -x.shape[3] % (_CHUNK // x.dtype.itemsize)
    return launch.aligned(launch.xp(x).pad(x, ((0, 0), (0, 0), (0, 0), (0, more))) if more else x)


# ---------------------------------------------------------------------------------------------------------- launches


def contract(part, algorithm, x, w, bias, y, finish=NONE, mask=None, bits=None, workspace=None):
    """Fill the positions of y that the contraction computes. x, y contiguous; w from prepare(); bias (K,) or None.

    bias is float32 for float16 and float32, float64 for float64. With tensor cores y may be float32 where x is float16.
    """
    if part.positions == 0:
        return
    if algorithm.name == "winograd":
        from .conv_winograd import convolve
        convolve(part, x, w, bias, y, finish, mask, bits, workspace=workspace)
        return
    finish = np.int32(finish)
    if algorithm.name in ("direct", "few"):
        grid, block = geometry(part, algorithm)
        launch.run(f"conv_{algorithm.name}.cu", f"conv_{algorithm.name}{launch.suffix(x)}", grid, block,
                   (part.struct(), x, w, bias, y, mask, bits, finish))
        return
    grid, block = geometry(part, algorithm)
    partial = None
    if algorithm.slices > 1 or y.dtype != x.dtype:
        work = np.float64 if x.dtype == np.float64 else np.float32
        partial = launch.empty(x, (algorithm.slices, part.positions, part.K), work)
    if algorithm.name == "mma":
        x = fill_channels(x)
        if x.nbytes >= _CHUNK << 31:
            raise ValueError(f"conv2d: an input of {x.nbytes >> 30} GB is more than the tensor-core kernels address "
                             "(32 GB); give smaller batches")
        kernel = f"conv_mma_{algorithm.tile}_{'tf32' if x.dtype == np.float32 else 'f16'}"
    else:
        kernel = f"conv_implicit_{algorithm.tile}{launch.suffix(x)}"
    results = (bias, y, mask, bits) if partial is None else (None,) * 4
    launch.run(f"conv_{algorithm.name}.cu", kernel, grid, block,
               (part.struct(x.shape[3]), x, w, *results, finish, partial, np.int32(algorithm.slices)),
               shared=shared_bytes(algorithm))
    if partial is not None:
        launch.run("conv_finish.cu", f"conv_finish{launch.suffix(y)}", (-(-part.positions // _WARPS), words(part.K)),
                   (32, _WARPS), (part.struct(), partial, np.int32(algorithm.slices), bias, y, mask, bits, finish))


def geometry(part, algorithm):
    """(grid, block) of the algorithm's kernel."""
    if algorithm.name == "direct":
        return (-(-part.positions // (_WARPS * _POSITIONS)), words(part.K)), (32, _WARPS)
    if algorithm.name == "few":
        return (-(-part.positions // (_WARPS * _POSITIONS)),), (32, _WARPS)
    grid = (-(-part.positions // algorithm.tile), -(-part.K // algorithm.tile), algorithm.slices)
    return grid, 128 if algorithm == ("mma", 64, algorithm.slices) else 256


def shared_bytes(algorithm):
    """Dynamic shared memory."""
    return _MMA_STAGES * 2 * algorithm.tile * _MMA_ROW if algorithm.name == "mma" else 0


def weight_gradient(part, x, dy, dw):
    """dw (kh, kw, C/groups, K) of the forward contraction `part`; every number is summed in a fixed order."""
    depth = part.kh * part.kw * part.C // part.groups
    grid, slices = weight_geometry(part)
    work = np.float64 if x.dtype == np.float64 else np.float32
    partial = launch.empty(x, (slices, depth, part.K), work)
    suffix = launch.suffix(x)
    launch.run("conv_weight.cu", f"conv_weight{suffix}", grid, 256, (part.struct(), x, dy, partial, np.int32(slices)))
    launch.run("conv_weight.cu", f"conv_weight_sum{suffix}", -(-dw.size // 256), 256,
               (partial, dw, np.int64(dw.size), np.int32(slices)))


def weight_geometry(part):
    """(grid, slices): 64 x 64 numbers of dw per block, and positions cut so that the card is full twice."""
    from .choice import MULTIPROCESSORS
    rows, columns = -(-part.kh * part.kw * part.C // part.groups // 64), -(-part.K // part.groups // 64)
    slices = -(-2 * MULTIPROCESSORS // (rows * columns * part.groups))
    slices = max(1, min(slices, part.positions // 256, 65535 // part.groups))
    return (rows, columns, part.groups * slices), slices
