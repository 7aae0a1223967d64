"""The float32 micro-kernel: exact on integers for every number of rows, and no bit depends on how rows are cut."""
import numpy as np
import pytest

from minivis.kernels.cpu import gemm
from minivis.kernels.cpu.addresses import address
from minivis.kernels.cpu.compile_cache import kernel
from minivis.kernels.cpu.gemm import PANEL, double_multiply, multiply

A, LDA, B, START, LDSTART, OUT, LDC, ROWS, DEPTH = range(9)


@kernel
def product(d, scratch, first, last):
    multiply(d[A], d[LDA], d[B], d[START], d[LDSTART], d[OUT], d[LDC], d[ROWS], d[DEPTH])


@kernel
def double_product(d, scratch, first, last):
    double_multiply(d[A], d[LDA], d[B], d[START], d[LDSTART], d[OUT], d[LDC], d[ROWS], d[DEPTH])


def run(job, a, b, start, out, rows):
    ldstart = 0 if start.ndim == 1 else start.shape[1]
    d = [address(a), a.shape[1], address(b), address(start), ldstart, address(out), out.shape[1], rows, b.shape[0]]
    job(np.array(d, np.int64), 0, 0, 1)


@pytest.mark.parametrize("rows", [*range(1, 2 * gemm.ROWS + 2), 56, 98])
def test_product_of_integers_is_exact_for_any_number_of_rows(rows):
    rng = np.random.default_rng(rows)
    a = rng.integers(-5, 6, (rows, 19)).astype(np.float32)
    b = rng.integers(-5, 6, (13, PANEL)).astype(np.float32)      # depth 13 of rows that are 19 apart
    bias = rng.integers(-5, 6, PANEL).astype(np.float32)
    out = np.full((rows + 1, PANEL + 3), 77, np.float32)
    run(product, a, b, bias, out, rows)
    assert np.array_equal(out[:rows, :PANEL], bias + a[:, :13] @ b)
    assert (out[rows] == 77).all() and (out[:, PANEL:] == 77).all()


def test_start_may_be_the_result_itself_to_add_to_it():
    rng = np.random.default_rng(0)
    a, b = rng.integers(-5, 6, (20, 7)).astype(np.float32), rng.integers(-5, 6, (7, PANEL)).astype(np.float32)
    out = rng.integers(-5, 6, (20, PANEL)).astype(np.float32)
    before = out.copy()
    run(product, a, b, out, out, 20)
    assert np.array_equal(out, before + a @ b)


def test_depth_in_two_parts_gives_the_same_bits_as_in_one():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((23, 64), np.float32), rng.standard_normal((64, PANEL), np.float32)
    zeros = np.zeros(PANEL, np.float32)
    whole, parts = (np.empty((23, PANEL), np.float32) for _ in range(2))
    run(product, a, b, zeros, whole, 23)
    run(product, a[:, :40].copy(), b[:40], zeros, parts, 23)
    run(product, a[:, 40:].copy(), b[40:], parts, parts, 23)
    assert np.array_equal(whole, parts)


def test_rows_do_not_know_each_other():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((30, 33), np.float32), rng.standard_normal((33, PANEL), np.float32)
    zeros, whole, one = np.zeros(PANEL, np.float32), np.empty((30, PANEL), np.float32), np.empty((1, PANEL), np.float32)
    run(product, a, b, zeros, whole, 30)
    for i in range(30):
        run(product, a[i:i + 1], b, zeros, one, 1)
        assert np.array_equal(one[0], whole[i])


def test_float64_product():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((17, 21)), rng.standard_normal((21, gemm.DOUBLE_PANEL))
    out = np.empty((17, gemm.DOUBLE_PANEL))
    run(double_product, a, b, np.zeros(gemm.DOUBLE_PANEL), out, 17)
    assert np.abs(out - a @ b).max() < 1e-13
