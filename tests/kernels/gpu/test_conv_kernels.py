"""Every convolution kernel, whatever choice.py would pick: same contraction, same bits, every way to finish a sum."""
import numpy as np
import pytest

from minivis.kernels import gpu, reference
from minivis.kernels.gpu import conv_launch, conv_plan, conv_winograd, decisions
from minivis.kernels.gpu.choice import Algorithm

pytestmark = pytest.mark.parametrize("every_set", ["gpu-shim", pytest.param("gpu-races", marks=pytest.mark.slow),
                                                   pytest.param("gpu", marks=pytest.mark.gpu)], indirect=True)

GEOMETRY = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
ALGORITHMS = [      # algorithm, type, C, K
    (Algorithm("direct"), "float32", 5, 37),
    (Algorithm("direct"), "float16", 5, 37),
    (Algorithm("few"), "float32", 45, 3),
    (Algorithm("few"), "float16", 45, 3),
    (Algorithm("implicit", 64), "float32", 9, 70),
    (Algorithm("implicit", 64, 3), "float32", 9, 70),
    (Algorithm("implicit", 128), "float32", 5, 131),
    (Algorithm("implicit", 64, 2), "float64", 9, 33),
    (Algorithm("mma", 64), "float32", 6, 69),
    (Algorithm("mma", 64, 2), "float32", 8, 40),
    (Algorithm("mma", 128), "float32", 4, 98),
    (Algorithm("mma", 64), "float16", 7, 69),
    (Algorithm("mma", 128, 2), "float16", 16, 40),
]


def integers(rng, shape, dtype):
    return rng.integers(-3, 4, shape).astype(dtype)


def problem(every_set, dtype, C, K, shape=(2, 5, 6)):
    """x, w, bias and a mask on the device; the contraction; and the true sums in float64, with the mask as booleans."""
    rng = np.random.default_rng(C + K)
    x, w, b = integers(rng, (*shape, C), dtype), integers(rng, (3, 3, C, K), dtype), integers(rng, K, np.float32)
    part = conv_plan.forward(x.shape, w.shape, *GEOMETRY)
    flags = rng.random((*shape, K)) < 0.5
    mask = pack(flags)
    true = reference.conv2d_forward(x.astype(float), w.astype(float), b.astype(float), *GEOMETRY)
    move = every_set._move
    return part, move(x), move(w), move(b if dtype != "float64" else b.astype(dtype)), move(mask), true, flags


def pack(flags):
    """Booleans as conv.cuh packs them: bit c % 32 of word c // 32 of each position."""
    wide = np.zeros((*flags.shape[:3], -(-flags.shape[3] // 32) * 32), bool)
    wide[..., :flags.shape[3]] = flags
    return np.packbits(wide, axis=-1, bitorder="little").view(np.uint32)


FINISHED = {
    conv_launch.NONE: lambda v, flags: v,
    conv_launch.RELU: lambda v, flags: np.maximum(v, 0),
    conv_launch.RELU_BITS: lambda v, flags: np.maximum(v, 0),
    conv_launch.PLAIN: lambda v, flags: np.where(flags, v, 0),
    conv_launch.GUIDED: lambda v, flags: np.where(flags & (v > 0), v, 0),
    conv_launch.DECONV: lambda v, flags: np.maximum(v, 0),
}


@pytest.mark.parametrize("how, dtype, C, K", ALGORITHMS)
def test_every_algorithm_and_finish_is_exact_on_whole_numbers(every_set, how, dtype, C, K):
    part, x, w, b, mask, true, flags = problem(every_set, dtype, C, K)
    filters = conv_launch.prepare(w, how, np.dtype(dtype))
    finishes = (conv_launch.RELU_BITS, conv_launch.GUIDED) if how.name == "mma" else FINISHED    # g++ takes its time
    for finish in finishes:
        y, bits = gpu.launch.empty(x, true.shape), conv_launch.empty_bits(x, true.shape)
        conv_launch.contract(part, how, x, filters, b, y, finish, mask, bits)
        expected = FINISHED[finish](true, flags)
        assert np.abs(expected).max() > 0
        np.testing.assert_array_equal(every_set.host(y), expected, err_msg=f"finish {finish}")
        if finish == conv_launch.RELU_BITS:
            np.testing.assert_array_equal(every_set.host(bits), pack(true > 0))
            np.testing.assert_array_equal(every_set.host(decisions.positive(bits, true.shape)), true > 0)


def test_half_precision_may_write_float32(every_set):
    part, x, w, b, _, true, _ = problem(every_set, "float16", 8, 9)
    how = Algorithm("mma", 64)
    y = gpu.launch.empty(x, true.shape, np.float32)
    conv_launch.contract(part, how, x, conv_launch.prepare(w, how, np.dtype("float16")), b * 30000, y)
    expected = true + 29999 * every_set.host(b)
    assert np.abs(expected).max() > 65504 and y.dtype == np.float32
    np.testing.assert_array_equal(every_set.host(y), expected)


def close(got, true, tolerance=1e-5):
    assert np.abs(got - true).max() <= tolerance * np.abs(true).max()


def test_winograd_finishes_pools_and_spreads(every_set):
    part, x, w, b, mask, true, flags = problem(every_set, "float32", 6, 35, (2, 7, 10))
    u = conv_launch.prepare(w, Algorithm("winograd", 4), np.dtype("float32"))
    host = every_set.host
    for finish, expected in FINISHED.items():
        y, bits = gpu.launch.empty(x, true.shape), conv_launch.empty_bits(x, true.shape)
        conv_winograd.convolve(part, x, u, b, y, finish, mask, bits)
        sure = np.abs(true) > 1e-3              # a sum that is 0 may come out on either side of it
        close(np.where(sure, host(y), 0), np.where(sure, expected(true, flags), 0))
        if finish == conv_launch.RELU_BITS:
            found = host(decisions.positive(bits, true.shape))
            np.testing.assert_array_equal(found[sure], (true > 0)[sure])
    pooled, cells = reference.max_pool_forward(np.maximum(true, 0), (2, 2), (2, 2), (0, 0, 0, 0), False)
    y, bits = gpu.launch.empty(x, pooled.shape), conv_launch.empty_bits(x, pooled.shape)
    chosen = gpu.launch.empty(x, pooled.shape, np.uint8)
    conv_winograd.convolve(part, x, u, b, y, bits=bits, cells=chosen, pool=True)
    close(host(y), pooled)
    windows = np.maximum(true, 0)[:, :6].reshape(2, 3, 2, 5, 2, 35).transpose(0, 1, 3, 5, 2, 4).reshape(2, 3, 5, 35, 4)
    clear = np.sort(pooled[..., None] - windows, axis=-1)[..., 1] > 1e-3        # the largest is alone
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(host(chosen)[clear], cells[clear])

    back = conv_plan.backward_input(true.shape, w.shape, x.shape, *GEOMETRY)[0][0]
    dy = np.random.default_rng(5).standard_normal(pooled.shape, np.float32)
    full = reference.max_pool_backward(dy, host(chosen), true.shape, (2, 2), (2, 2), (0, 0, 0, 0), False)
    np.testing.assert_array_equal(host(decisions.spread(every_set._move(dy), chosen, true.shape)), full)
    turned = conv_launch.prepare(conv_plan.filters(w, back, True), Algorithm("winograd", 4), np.dtype("float32"))
    dx = gpu.launch.empty(x, x.shape)
    conv_winograd.convolve(back, every_set._move(dy), turned, None, dx, spread=chosen)
    close(host(dx), reference.conv2d_backward_input(full.astype(float), host(w).astype(float), x.shape, *GEOMETRY))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_nan_goes_through_a_fused_pooling(every_set, dtype):
    x = integers(np.random.default_rng(3), (1, 4, 6, 3), dtype)
    x[0, 0, 1, 0] = x[0, 2, 2, 1] = x[0, 3, 3, 2] = x[0, 2, 2, 2] = np.nan
    expected, where = reference.max_pool_forward(reference.relu_forward(x)[0], (2, 2), (2, 2), (0, 0, 0, 0), False)
    y, bits, cells = decisions.relu_pool(every_set._move(x), True)
    assert np.isnan(expected).sum() == 3
    np.testing.assert_array_equal(every_set.host(y), expected)
    np.testing.assert_array_equal(every_set.host(cells), where)
    np.testing.assert_array_equal(every_set.host(decisions.positive(bits, y.shape)), expected > 0)


def test_a_nan_goes_through_winograds_pooling(every_set):
    part, x, w, b, _, _, _ = problem(every_set, "float32", 6, 35, (2, 7, 10))
    x[1, 2, 3, 4] = np.nan
    y, _, _ = decisions.relu_pool(launched(part, x, w, b), False)
    u = conv_launch.prepare(w, Algorithm("winograd", 4), np.dtype("float32"))
    fused = gpu.launch.empty(x, y.shape)
    conv_winograd.convolve(part, x, u, b, fused, pool=True)
    assert np.isnan(every_set.host(fused))[np.isnan(every_set.host(y))].all() and np.isnan(every_set.host(y)).any()


def launched(part, x, w, b):
    y = gpu.launch.empty(x, (part.N, *part.result, part.K))
    conv_launch.contract(part, Algorithm("direct"), x, w, b, y)
    return y


def test_winograd_in_small_batches_has_the_same_bits(every_set):
    part, x, w, b, _, true, _ = problem(every_set, "float32", 6, 35, (2, 7, 10))
    u = conv_launch.prepare(w, Algorithm("winograd", 4), np.dtype("float32"))
    seen = []
    for workspace in (None, 5 * 4 * 36 * (6 + 35)):         # all tiles at once; five at a time
        y = gpu.launch.empty(x, true.shape)
        conv_winograd.convolve(part, x, u, b, y, workspace=workspace)
        seen.append(every_set.host(y))
    assert conv_winograd.batch(part, 5 * 4 * 36 * 41) == 5 < conv_winograd.tiles(part)
    close(seen[1], seen[0], 1e-6)           # BLAS may sum matrices of other sizes in another order


def test_tf32_rounds_to_ten_bits_halves_away_from_zero(every_set):
    w = np.array([1, 1 + 2**-11, 1 + 2**-11 - 2**-20, -1 - 2**-11, 3 * 2.0**-140, 65504.3], np.float32)
    found = every_set.host(conv_launch.round_to_tf32(every_set._move(w)))
    np.testing.assert_array_equal(found[:4], [1, 1 + 2**-10, 1, -1 - 2**-10])
    assert (found.view(np.uint32) & 0x1FFF == 0).all() and abs(found[5] - 65504.3) < 32


@pytest.mark.parametrize("precision, tolerance", [("tf32", 1e-3), ("float16", 1e-3)])
def test_tensor_core_precisions_are_within_their_rounding(every_set, precision, tolerance):
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal((1, 5, 5, 12)), rng.standard_normal((3, 3, 12, 20))
    true = reference.conv2d_forward(x, w, None, *GEOMETRY)
    y = every_set.conv2d_forward(x.astype(np.float32), w.astype(np.float32), None, *GEOMETRY, precision)
    assert y.dtype == np.float32
    error = np.abs(every_set.host(y) - true).max() / np.abs(true).max()
    assert 1e-6 < error < tolerance         # 0 would mean that nothing was rounded
