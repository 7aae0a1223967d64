"""Winograd convolution: the matrices, every way a tile is finished, odd shapes, other processors."""
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.kernels import cpu, reference
from minivis.kernels.cpu import choice, direct, winograd, winograd_math
from minivis.kernels.cpu.decisions import RULES, Decisions

PLAIN = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
POOL = {"size": (2, 2), "stride": (2, 2), "pad": (0, 0, 0, 0), "ceil": False}


def close(a, b, tolerance=1e-5):
    return np.abs(a - b).max() <= tolerance * np.abs(b).max()


def drawn(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


# ------------------------------------------------------------------------------------------------- mathematics


@pytest.mark.parametrize("m", [2, 4])
def test_matrices_compute_a_correlation_exactly(m):
    AT, G, BT = (np.array(matrix) for matrix in winograd_math.matrices(m))
    rng = np.random.default_rng(m)
    g = np.array([Fraction(int(i)) for i in rng.integers(-9, 10, 3)])
    d = np.array([Fraction(int(i)) for i in rng.integers(-9, 10, m + 2)])
    assert list(AT @ ((G @ g) * (BT @ d))) == [sum(g[u] * d[i + u] for u in range(3)) for i in range(m)]


def test_wrong_matrices_are_found():
    AT, G, BT = winograd_math.matrices(4)
    wrong = ((Fraction(2), *AT[0][1:]), *AT[1:])
    with pytest.raises(ValueError, match="Winograd matrices are wrong"):
        winograd_math.check(winograd_math.Matrices(wrong, G, BT))


@pytest.mark.parametrize("m", [2, 4])
def test_matrices_of_weights_and_data_are_exact_in_float32(m):
    _, G, BT = winograd_math.matrices(m)
    assert all(float(np.float32(float(x))) == x for matrix in (G, BT) for row in matrix for x in row)


# ------------------------------------------------------------------------------------- against the definition


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([2, 4]), st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.integers(1, 80),
       st.integers(1, 80), st.integers(0, 2), st.integers(0, 2), st.integers(0, 999))
def test_convolution_and_its_gradient_equal_the_reference(m, N, H, W, C, K, top, left, seed):
    pad = (top, 1, left, 2)
    if H + top + 1 < 3 or W + left + 2 < 3:
        return
    x, w, b = drawn(seed, (N, H, W, C), (3, 3, C, K), (K,))
    true = reference.conv2d_forward(x.astype(float), w.astype(float), b.astype(float), pad=pad, **PLAIN)
    y = np.full(true.shape, np.nan, np.float32)
    weights = winograd.padded(w)
    winograd.convolve(x, weights, y, m, (top, left), winograd.pad_bias(b))
    assert close(y, true)
    dy, = drawn(seed + 1, true.shape)
    dx = np.full(x.shape, np.nan, np.float32)
    winograd.convolve(dy, weights, dx, m, (2 - top, 2 - left), turned=True)
    assert close(dx, reference.conv2d_backward_input(dy.astype(float), w.astype(float), x.shape, pad=pad, **PLAIN))


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("shape, K", [((2, 8, 12, 16), 32), ((1, 13, 11, 9), 21), ((1, 2, 2, 16), 16)])
def test_every_finish_equals_the_single_layers(m, shape, K):
    N, H, W, C = shape
    x, w, b, dy, w_below = drawn(7, shape, (3, 3, C, K), (K,), (N, H, W, K), (3, 3, C, C))
    true = reference.conv2d_forward(x.astype(float), w.astype(float), b.astype(float), pad=(1, 1, 1, 1), **PLAIN)
    weights, bias = winograd.padded(w), winograd.pad_bias(b)

    y, bits = np.empty(true.shape, np.float32), Decisions(true.shape, "bits")
    winograd.convolve(x, weights, y, m, (1, 1), bias, finish=winograd.RELU, decisions=bits)
    assert close(y, np.maximum(true, 0))
    assert np.array_equal(bits.positive(), y > 0)

    pooled, cells = reference.max_pool_forward(y, **POOL)
    z, bytes_ = np.empty(pooled.shape, np.float32), Decisions(pooled.shape, "bytes")
    winograd.convolve(x, weights, z, m, (1, 1), bias, finish=winograd.POOL, decisions=bytes_)
    assert np.array_equal(z, pooled) and np.array_equal(bytes_.cells(), cells)
    assert np.array_equal(bytes_.positive(), pooled > 0)

    below = Decisions(shape, "bits")
    winograd.convolve(x, winograd.padded(w_below), np.empty(shape, np.float32), m, (1, 1), finish=winograd.RELU,
                      decisions=below)
    dx = np.empty(shape, np.float32)
    plain = reference.conv2d_backward_input(dy.astype(float), w.astype(float), shape, pad=(1, 1, 1, 1), **PLAIN)
    pulls = {"plain": below.positive() * plain, "guided": below.positive() * np.maximum(plain, 0),
             "deconv": np.maximum(plain, 0)}
    for rule, expected in pulls.items():
        winograd.convolve(dy, weights, dx, m, (1, 1), turned=True, finish=winograd.MASK, decisions=below,
                          rule=RULES[rule])
        assert close(dx, expected)

    dz, = drawn(8, pooled.shape)
    full = reference.max_pool_backward(dz.astype(float), cells, true.shape, **POOL)
    winograd.convolve(dz, weights, dx, m, (1, 1), turned=True, unpool=bytes_)
    assert close(dx, reference.conv2d_backward_input(full, w.astype(float), shape, pad=(1, 1, 1, 1), **PLAIN))


@pytest.mark.parametrize("C, K", [(150, 200), (64, 128), (128, 64), (70, 33)])
def test_every_cut_of_the_work_gives_the_same_right_numbers(C, K, monkeypatch):
    x, w, dy = drawn(11, (2, 13, 18, C), (3, 3, C, K), (2, 13, 18, K))
    x64, w64, dy64 = (a.astype(float) for a in (x, w, dy))
    forward = reference.conv2d_forward(x64, w64, np.zeros(K), pad=(1, 1, 1, 1), **PLAIN)
    backward = reference.conv2d_backward_input(dy64, w64, x.shape, pad=(1, 1, 1, 1), **PLAIN)
    weights = winograd.blocked(w)
    cuts = [winograd.Cut(depth, width, tiles, False, shared) for depth, width, tiles, shared in
            [(32, 32, 5, False), (64, 32, 100, False), (128, 64, 7, False), (64, 64, 9, True), (32, 32, 100, True)]]
    cuts += [winograd.cut] + [winograd.Cut(128, 128, 11, True)] * (max(C, K) <= 128)
    for turned, source, true in ((False, x, forward), (True, dy, backward)):
        results = []
        for one in cuts:
            monkeypatch.setattr(winograd, "cut", one if callable(one) else lambda *_, one=one: one)
            results.append(np.full(true.shape, np.nan, np.float32))
            winograd.convolve(source, weights, results[-1], 4, (1, 1), turned=turned)
        assert close(results[0], true)
        assert all(np.array_equal(results[0], other) for other in results)


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
@pytest.mark.parametrize("C, K", [(64, 64), (64, 128), (128, 128), (512, 512), (16, 256)])
def test_cuts_leave_no_thread_idle_and_waste_no_memory(C, K, workers):
    for total in [*range(1, 300), 784, 3136, 25088]:
        chosen = winograd.cut(C, K, total, workers)
        assert not (chosen.keep_filters and (chosen.depth < C or chosen.width < K))
        assert chosen.share_inputs or chosen.tiles <= -(-total // workers)          # nobody has more than his part
        assert chosen.tiles <= winograd.MOST_TILES


def test_blocked_weights_give_the_same_bits_as_plain_ones():
    x, w, dy = drawn(9, (1, 9, 9, 150), (3, 3, 150, 200), (1, 9, 9, 200))
    for turned, source, shape in ((False, x, dy.shape), (True, dy, x.shape)):
        out = [np.empty(shape, np.float32) for _ in range(2)]
        for y, weights in zip(out, (winograd.padded(w), winograd.blocked(w))):
            winograd.convolve(source, weights, y, 4, (1, 1), turned=turned)
        assert np.array_equal(*out)
    assert winograd.blocked(w).is_blocked and not winograd.padded(w).is_blocked


@pytest.mark.parametrize("rule", ["plain", "guided", "deconv"])
@pytest.mark.parametrize("K", [5, 16, 40])
def test_decisions_record_and_pull_one_by_one(rule, K):
    y, dy = drawn(10, (2, 5, 7, K), (2, 5, 7, K))
    before, kept = y.copy(), Decisions(y.shape, "bits")
    kept.record(y)
    assert np.array_equal(y, np.maximum(before, 0)) and np.array_equal(kept.positive(), before > 0)
    dx = np.empty_like(dy)
    kept.pull(dy, rule, dx)
    true = {"plain": reference.relu_backward(dy, before > 0), "guided": reference.guided_relu_backward(dy, before > 0),
            "deconv": reference.deconv_relu_backward(dy)}[rule]
    assert np.array_equal(dx, true)


# -------------------------------------------------------------------------------------------- few channels


@pytest.mark.parametrize("N, H, W, C, K, k, step, pad", [
    (2, 20, 17, 3, 64, 3, 1, 1),        # VGG's first layer
    (1, 31, 33, 3, 96, 7, 2, 0),        # SqueezeNet's
    (1, 40, 41, 3, 64, 11, 4, 2),       # AlexNet's
    (1, 150, 230, 3, 16, 9, 1, 4),      # wider than a chunk
    (2, 13, 12, 4, 33, 3, 2, 1), (1, 9, 9, 1, 5, 5, 1, 2), (1, 7, 8, 2, 16, 2, 3, 0), (1, 6, 6, 2, 8, 3, 1, 1),
])
def test_first_layers_are_exact_on_integers(N, H, W, C, K, k, step, pad):
    rng = np.random.default_rng(11)
    x, w, b = (rng.integers(-4, 5, s).astype(np.float32) for s in ((N, H, W, C), (k, k, C, K), (K,)))
    how = {"stride": (step, step), "pad": (pad,) * 4, "dilation": (1, 1), "groups": 1}
    true = reference.conv2d_forward(x, w, b, **how)
    assert np.array_equal(cpu.conv2d_forward(x, w, b, **how), true)
    dy = rng.integers(-4, 5, true.shape).astype(np.float32)
    assert np.array_equal(cpu.conv2d_backward_input(dy, w, x.shape, **how),
                          reference.conv2d_backward_input(dy, w, x.shape, **how))
    bits, y = Decisions(true.shape, "bits"), np.empty(true.shape, np.float32)
    direct.forward(x, w.shape, direct.pack_forward(w), direct.pack_bias(b, K), y, (step, step), (pad,) * 4, bits)
    assert np.array_equal(y, np.maximum(true, 0)) and np.array_equal(bits.positive(), true > 0)


# --------------------------------------------------------------------------------------------------- choice


@pytest.mark.parametrize("out, w, settings, expected", [
    ((56, 56), (3, 3, 64, 64), {}, "Winograd F(4x4,3x3)"),
    ((14, 14), (3, 3, 512, 512), {}, "Winograd F(4x4,3x3)"),
    ((2, 2), (3, 3, 64, 64), {}, "Winograd F(2x2,3x3)"),
    ((56, 56), (3, 3, 3, 64), {}, "picture"),
    ((56, 56), (1, 1, 64, 64), {"pad": (0, 0, 0, 0)}, "direct"),
    ((56, 56), (3, 3, 64, 64), {"stride": (2, 2)}, "direct"),
    ((56, 56), (3, 3, 32, 64), {"groups": 2}, "direct"),
    ((56, 56), (3, 3, 64, 64), {"precision": "float32-direct"}, "direct"),
    ((56, 56), (3, 3, 64, 64), {"dtype": "float64"}, "direct"),
])
def test_choice_of_algorithm(out, w, settings, expected):
    assert str(choice.algorithm(out, w, **(PLAIN | {"pad": (1, 1, 1, 1)} | settings))) == expected


# ---------------------------------------------------------------------------------------- other processors

OTHERS = {      # name: (processor, its features, lanes, registers that must not appear)
    "avx2": ("haswell", "sse sse2 sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 fma bmi bmi2 lzcnt f16c movbe cx16", 8,
             "zmm"),
    "sse": ("nehalem", "sse sse2 sse3 ssse3 sse4.1 sse4.2 popcnt cx16", 4, "ymm"),
}
PROGRAM = """
import sys
import numpy as np
import minivis
from minivis.kernels import reference
from minivis.kernels.cpu import chain, compile_cache, vector, winograd_jobs
from minivis.kernels.chain import Step
lanes, forbidden = int(sys.argv[1]), sys.argv[2]
assert vector.LANES == lanes, vector.LANES
conv = Step("conv", dict(stride=(1, 1), pad=(1,) * 4, dilation=(1, 1), groups=1))
pool = Step("max_pool", dict(size=(2, 2), stride=(2, 2), pad=(0,) * 4, ceil=False))
rng = np.random.default_rng(0)
steps = [conv, Step("relu", {}), pool, conv, Step("relu", {})]
weights = [(rng.standard_normal((3, 3, 13, 24)).astype("f"), None), None, None,
           (rng.standard_normal((3, 3, 24, 17)).astype("f"), None), None]
x = rng.standard_normal((1, 18, 14, 13)).astype("f")
y, saved = chain.chain_forward(x, steps, weights, True)
true, kept = reference.chain_forward(x.astype(float), steps, weights, True)
assert abs(y - true).max() < 1e-5 * abs(true).max()
dx = chain.chain_backward_input(np.ones_like(y), saved, [None] * 5)
assert abs(dx - reference.chain_backward_input(np.ones_like(true), kept, [None] * 5)).max() < 1e-4 * abs(dx).max()
text = compile_cache._tell_numba().assembly(winograd_jobs.forward_4.function)
assert forbidden not in text and {8: "ymm", 4: "xmm"}[lanes] in text
print("right")
"""


@pytest.mark.parametrize("name", ["avx2", pytest.param("sse", marks=pytest.mark.slow)])
def test_narrower_vectors_are_right_and_use_no_wider_register(name, tmp_path):
    if sys.platform == "darwin" or os.uname().machine != "x86_64":
        pytest.skip("x86-64 only")
    processor, features, lanes, forbidden = OTHERS[name]
    off = ["-avx512f", "-avx512vl", "-avx512bw", "-avx512dq"] + ["-avx", "-avx2", "-fma"] * (name == "sse")
    environment = os.environ | {"NUMBA_CPU_NAME": processor, "MINIVIS_CACHE": str(tmp_path),
                                "NUMBA_CPU_FEATURES": ",".join([*(f"+{f}" for f in features.split()), *off])}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(lanes), forbidden], cwd=root, env=environment,
                          capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "right", done.stderr[-2000:]
