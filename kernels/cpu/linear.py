"""Linear layers: y = x w + b and its input gradient. For few rows of x they read w once, at the speed of memory.

Forward, every number of y is one chain of multiply-adds over c in order, whether a row is alone (w streams past in
stripes of a few rows, y stays in the nearest cache) or one of many (blocks of contract.py); so the bits of a row do
not depend on the other rows. Backward, dx[n,c] is a dot product of two rows: LANES partial sums, added pairwise at
the end. The weight gradient is in weight_gradient.py.
"""
import numpy as np
from llvmlite import ir

from . import threads
from . import vector as v
from .addresses import address, float32_at, float64_at
from .compile_cache import helper, intrinsic, kernel
from .contract import NARROW, WIDE, narrow_block, wide_block
from .gemm import ROWS

_STRIPE = 8             # rows of w taken together when x has few rows
_FEW = 4                # that few
_DEPTH = 256            # rows of w per pass of the blocks
_SPAN = 2048            # columns of w per item: 8 KiB of each row in order
_DOTS = 4

(X, W, B, Y, N, C, K, ZERO) = range(8)


@intrinsic
def _fused(typing_context, x, y, z):
    """x * y + z rounded like one lane of multiply_add."""
    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        function = builder.module.declare_intrinsic("llvm.fmuladd", [kind], ir.FunctionType(kind, [kind] * 3))
        return builder.call(function, arguments)
    return x(x, x, x), generate


def _stripe(rows):
    @v.emit(6)
    def stripe(b, x, w, w_row, start, y, vectors):
        """y[:] = start[:] + sum over `rows` rows r of x[r] * w[r, :], for so many vectors, >= 1."""
        factors = [v.broadcast(b, b.add(x, v.integer(4 * r))) for r in range(rows)]
        places = [w]
        for _ in range(rows - 1):
            places.append(b.add(places[-1], w_row))
        loop = v.Loop(b, vectors, [v.integer(0)])
        offset = loop.carried[0]
        total = v.load(b, b.add(start, offset))
        for factor, place in zip(factors, places):
            total = v.multiply_add(b, factor, v.load(b, b.add(place, offset)), total)
        v.store(b, total, b.add(y, offset))
        loop.end([b.add(offset, v.integer(4 * v.LANES))])
    return stripe


_stripe_many, _stripe_one = _stripe(_STRIPE), _stripe(1)


def _sum_of_lanes(b, vector):
    """Halves added to halves until one number is left."""
    lanes = v.LANES
    while lanes > 1:
        lanes //= 2
        pick = [ir.Constant(ir.VectorType(v.I32, lanes), list(range(first, first + lanes))) for first in (0, lanes)]
        vector = b.fadd(*(b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), p) for p in pick))
    return b.extract_element(vector, v.I32(0))


def _dots(rows, columns):
    @v.emit(7)
    def dots(b, x, x_row, w, w_row, y, y_row, vectors):
        """y[i, j] = dot of row i of x and row j of w, over so many vectors, >= 1."""
        xs, ws = [x], [w]
        for _ in range(rows - 1):
            xs.append(b.add(xs[-1], x_row))
        for _ in range(columns - 1):
            ws.append(b.add(ws[-1], w_row))
        loop = v.Loop(b, vectors, [v.FLOAT32.constant(0)] * (rows * columns) + [v.integer(0)])
        *sums, offset = loop.carried
        left = [v.load(b, b.add(place, offset)) for place in xs]
        right = [v.load(b, b.add(place, offset)) for place in ws]
        sums = [v.multiply_add(b, left[i], right[j], sums[i * columns + j])
                for i in range(rows) for j in range(columns)]
        loop.end([*sums, b.add(offset, v.integer(4 * v.LANES))])
        for i in range(rows):
            for j in range(columns):
                place = b.inttoptr(b.add(y, v.integer(4 * j)), v.FLOAT32.scalar.as_pointer())
                b.store(_sum_of_lanes(b, loop.carried[i * columns + j]), place, align=4)
            y = b.add(y, y_row)
    return dots


_dots_44, _dots_14, _dots_41, _dots_11 = _dots(4, 4), _dots(1, 4), _dots(4, 1), _dots(1, 1)


# -------------------------------------------------------------------------------------------------------- forward


@helper
def _tail(d, n, first, last, c0, c1):
    """Columns first..last-1 of row n, one by one, over c0..c1-1."""
    x, w, y = float32_at(d[X] + 4 * n * d[C]), float32_at(d[W]), float32_at(d[Y] + 4 * n * d[K])
    for k in range(first, last):
        total = y[k]
        for c in range(c0, c1):
            total = _fused(x[c], w[c * d[K] + k], total)
        y[k] = total


@helper
def _few_rows(d, k0, vectors, tail_end):
    for c in range(0, d[C], _STRIPE):
        for n in range(d[N]):
            y = d[Y] + 4 * (n * d[K] + k0)
            if vectors and c + _STRIPE <= d[C]:
                _stripe_many(d[X] + 4 * (n * d[C] + c), d[W] + 4 * (c * d[K] + k0), 4 * d[K], y, y, vectors)
            elif vectors:
                for i in range(c, d[C]):
                    _stripe_one(d[X] + 4 * (n * d[C] + i), d[W] + 4 * (i * d[K] + k0), 4 * d[K], y, y, vectors)
            _tail(d, n, k0 + vectors * v.LANES, tail_end, c, min(c + _STRIPE, d[C]))


@helper
def _many_rows(d, k0, columns, tail_end):
    for c in range(0, d[C], _DEPTH):
        depth = min(_DEPTH, d[C] - c)
        for k in range(k0, k0 + columns, WIDE):
            blocks = (d[N] + ROWS - 1) // ROWS
            for i in range(blocks):
                n = d[N] * i // blocks
                rows = d[N] * (i + 1) // blocks - n
                x, w, y = d[X] + 4 * (n * d[C] + c), d[W] + 4 * (c * d[K] + k), d[Y] + 4 * (n * d[K] + k)
                if k + WIDE <= k0 + columns:
                    wide_block(rows, x, 4 * d[C], 4, d[ZERO], 1, w, 4 * d[K], depth, y, 4 * d[K], y, 4 * d[K])
                else:
                    narrow_block(rows, x, 4 * d[C], 4, d[ZERO], 1, w, 4 * d[K], depth, y, 4 * d[K], y, 4 * d[K])
    for n in range(d[N]):
        _tail(d, n, k0 + columns, tail_end, 0, d[C])


@kernel
def _forward_float32(d, scratch, first, last):
    """Items: stretches of _SPAN outputs."""
    for item in range(first, last):
        k0, k1 = item * d[8], min((item + 1) * d[8], d[K])
        bias = float32_at(d[B])
        for n in range(d[N]):
            y = float32_at(d[Y] + 4 * n * d[K])
            for k in range(k0, k1):
                y[k] = bias[k] if d[B] else 0
        columns = (k1 - k0) // NARROW * NARROW
        if d[N] <= _FEW:
            _few_rows(d, k0, columns // v.LANES, k1)
        else:
            _many_rows(d, k0, columns, k1)


@kernel
def _forward_float64(d, scratch, first, last):
    for item in range(first, last):
        k0, k1 = item * d[8], min((item + 1) * d[8], d[K])
        x, w, bias, y = float64_at(d[X]), float64_at(d[W]), float64_at(d[B]), float64_at(d[Y])
        for n in range(d[N]):
            for k in range(k0, k1):
                y[n * d[K] + k] = bias[k] if d[B] else 0
            for c in range(d[C]):
                for k in range(k0, k1):
                    y[n * d[K] + k] += x[n * d[C] + c] * w[c * d[K] + k]


# --------------------------------------------------------------------------------------------------------- gradient


@kernel
def _backward_float32(d, scratch, first, last):
    """Items: _DOTS inputs c. x is dy (N, K), y is dx (N, C)."""
    vectors = d[K] // v.LANES
    for item in range(first, last):
        c0 = item * _DOTS
        c1 = min(c0 + _DOTS, d[C])
        n = 0
        while n < d[N]:
            rows = 4 if n + 4 <= d[N] else 1
            x, y = d[X] + 4 * n * d[K], d[Y] + 4 * (n * d[C] + c0)
            w = d[W] + 4 * c0 * d[K]
            if vectors and rows == 4 and c1 - c0 == 4:
                _dots_44(x, 4 * d[K], w, 4 * d[K], y, 4 * d[C], vectors)
            elif vectors and c1 - c0 == 4:
                _dots_14(x, 4 * d[K], w, 4 * d[K], y, 4 * d[C], vectors)
            else:
                for c in range(c1 - c0):
                    if vectors and rows == 4:
                        _dots_41(x, 4 * d[K], w + 4 * c * d[K], 4 * d[K], y + 4 * c, 4 * d[C], vectors)
                    elif vectors:
                        _dots_11(x, 4 * d[K], w + 4 * c * d[K], 4 * d[K], y + 4 * c, 4 * d[C], vectors)
            for i in range(rows):
                dy, dx = float32_at(x + 4 * i * d[K]), float32_at(y + 4 * i * d[C])
                for c in range(c1 - c0):
                    weights = float32_at(w + 4 * c * d[K])
                    total = dx[c] if vectors else dy[0] * 0
                    for k in range(vectors * v.LANES, d[K]):
                        total = _fused(dy[k], weights[k], total)
                    dx[c] = total
            n += rows


@kernel
def _backward_float64(d, scratch, first, last):
    for item in range(first, last):
        for c in range(item * _DOTS, min((item + 1) * _DOTS, d[C])):
            weights = float64_at(d[W] + 8 * c * d[K])
            for n in range(d[N]):
                dy, dx = float64_at(d[X] + 8 * n * d[K]), float64_at(d[Y])
                total = 0.0
                for k in range(d[K]):
                    total += dy[k] * weights[k]
                dx[n * d[C] + c] = total


def _run(jobs, x, w, b, y, span, items, chunk):
    zero = np.zeros(2, np.int64)    # a table of one segment
    d = np.array([address(x), address(w), 0 if b is None else address(b), address(y), x.shape[0], *w.shape,
                  address(zero), span], np.int64)
    threads.run(jobs[x.dtype == np.float64], d, items, chunk)
    return y


def linear_forward(x, w, b):
    """y[n,k] = b[k] + sum over c of x[n,c] w[c,k]; b may be None. A row's bits never depend on the other rows."""
    x = np.ascontiguousarray(x)
    w = np.ascontiguousarray(w, x.dtype)
    if x.ndim != 2 or x.shape[1] != w.shape[0]:
        raise ValueError(f"linear_forward: x {x.shape} does not fit w {w.shape}")
    b = None if b is None else np.ascontiguousarray(b, x.dtype)
    K = w.shape[1]
    span = min(_SPAN, -(-K // (4 * threads.get_threads()) // WIDE) * WIDE + WIDE)
    y = np.empty((x.shape[0], K), x.dtype)
    return _run((_forward_float32, _forward_float64), x, w, b, y, span, -(-K // span), 1)


def linear_backward_input(dy, w):
    """dx[n,c] = sum over k of dy[n,k] w[c,k]."""
    dy = np.ascontiguousarray(dy)
    w = np.ascontiguousarray(w, dy.dtype)
    if dy.ndim != 2 or dy.shape[1] != w.shape[1]:
        raise ValueError(f"linear_backward_input: dy {dy.shape} does not fit w {w.shape}")
    C = w.shape[0]
    dx = np.empty((dy.shape[0], C), dy.dtype)
    chunk = max(1, (1 << 17) // (_DOTS * max(1, w.shape[1]) * max(1, dy.shape[0])))
    return _run((_backward_float32, _backward_float64), dy, w, None, dx, 0, -(-C // _DOTS), chunk)
