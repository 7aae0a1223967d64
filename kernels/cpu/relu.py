"""ReLU and the three ways back through it: derivative, guided, deconvolution.

A mask holds one bit per number: bit i % 8 of byte i // 8 says whether the i-th number of x (in memory order) was
positive. Work is cut into pieces of 64 Ki numbers, which are whole bytes of the mask.
"""
import numpy as np
from llvmlite import ir

from . import threads
from . import vector as v
from .addresses import address, float32_at, float64_at, uint8_at
from .compile_cache import helper, kernel

PIECE = 1 << 16
_WIDE = 16                                        # numbers at a time, whatever the registers: LLVM splits them up
_VECTOR = ir.VectorType(ir.FloatType(), _WIDE)
_ZERO = ir.Constant(_VECTOR, [0.0] * _WIDE)
_BITS = ir.IntType(_WIDE)
_FLAGS = ir.VectorType(ir.IntType(1), _WIDE)


def _pointer(b, address, kind):
    return b.inttoptr(address, kind.as_pointer())


@v.emit(4)
def _forward_vectors(b, x, y, bits, count):
    """y = max(x, 0) and the bits of x > 0, for `count` numbers, a multiple of 16 and not 0. y 0: only the bits."""
    loop = v.Loop(b, count, [], step=_WIDE)
    offset = v.scaled(b, loop.index, 4)
    value = b.load(_pointer(b, b.add(x, offset), _VECTOR), align=4)
    positive = b.fcmp_ordered(">", value, _ZERO)
    b.store(b.bitcast(positive, _BITS), _pointer(b, b.add(bits, b.lshr(loop.index, v.integer(3))), _BITS), align=1)
    kept = b.select(b.fcmp_ordered("<=", value, _ZERO), _ZERO, value)    # a nan stays a nan
    b.store(kept, _pointer(b, b.add(y, offset), _VECTOR), align=4)
    loop.end()


@v.emit(5)
def _backward_vectors(b, dy, bits, dx, count, guided):
    """dx = dy where the bit is set (guided: and dy > 0), else 0."""
    loop = v.Loop(b, count, [], step=_WIDE)
    offset = v.scaled(b, loop.index, 4)
    value = b.load(_pointer(b, b.add(dy, offset), _VECTOR), align=4)
    word = b.load(_pointer(b, b.add(bits, b.lshr(loop.index, v.integer(3))), _BITS), align=1)
    any_sign = b.icmp_signed("==", guided, v.integer(0))
    signs = b.bitcast(b.fcmp_ordered(">", value, _ZERO), _BITS)
    word = b.and_(word, b.select(any_sign, ir.Constant(_BITS, -1), signs))
    b.store(b.select(b.bitcast(word, _FLAGS), value, _ZERO), _pointer(b, b.add(dx, offset), _VECTOR), align=4)
    loop.end()


@helper
def _forward_piece(x, y, bits, first, last):
    for i in range(first, last, 8):
        byte = 0
        for j in range(i, min(i + 8, last)):
            value = x[j]
            y[j] = 0 if value <= 0 else value
            if value > 0:
                byte |= 1 << (j - i)
        bits[i >> 3] = byte


@helper
def _backward_piece(dy, bits, dx, first, last, guided):
    for j in range(first, last):
        keep = (bits[j >> 3] >> (j & 7)) & 1 and (dy[j] > 0 or not guided)
        dx[j] = dy[j] if keep else 0


@kernel
def _forward_float32(d, scratch, first, last):
    """d: x, y, bits, numbers"""
    for piece in range(first, last):
        start = piece * PIECE
        count = min(d[3] - start, PIECE)
        whole = count // _WIDE * _WIDE
        x, y, bits = d[0] + 4 * start, d[1] + 4 * start, d[2] + start // 8
        if whole:
            _forward_vectors(x, y, bits, whole)
        _forward_piece(float32_at(x), float32_at(y), uint8_at(bits), whole, count)


@kernel
def _forward_float64(d, scratch, first, last):
    for piece in range(first, last):
        start = piece * PIECE
        _forward_piece(float64_at(d[0]), float64_at(d[1]), uint8_at(d[2]), start, min(start + PIECE, d[3]))


@kernel
def _backward_float32(d, scratch, first, last):
    """d: dy, bits, dx, numbers, guided"""
    for piece in range(first, last):
        start = piece * PIECE
        count = min(d[3] - start, PIECE)
        whole = count // _WIDE * _WIDE
        dy, bits, dx = d[0] + 4 * start, d[1] + start // 8, d[2] + 4 * start
        if whole:
            _backward_vectors(dy, bits, dx, whole, d[4])
        _backward_piece(float32_at(dy), uint8_at(bits), float32_at(dx), whole, count, d[4])


@kernel
def _backward_float64(d, scratch, first, last):
    for piece in range(first, last):
        start = piece * PIECE
        end = min(start + PIECE, d[3])
        _backward_piece(float64_at(d[0]), uint8_at(d[1]), float64_at(d[2]), start, end, d[4])


def relu_forward(x):
    """-> max(x, 0), and the mask of x > 0: one bit per number."""
    x = np.ascontiguousarray(x)
    y, bits = np.empty_like(x), np.empty((x.size + 7) // 8, np.uint8)
    job = _forward_float32 if x.dtype == np.float32 else _forward_float64
    threads.run(job, np.array([address(x), address(y), address(bits), x.size]), -(-x.size // PIECE))
    return y, bits


def relu_backward(dy, mask):
    """dx = dy where x > 0: the derivative."""
    return _backward(dy, mask, False)


def guided_relu_backward(dy, mask):
    """dx = dy where x > 0 and dy > 0. Springenberg et al. 2015, arXiv:1412.6806."""
    return _backward(dy, mask, True)


def _backward(dy, mask, guided):
    dy = np.ascontiguousarray(dy)
    dx = np.empty_like(dy)
    if mask.size != (dy.size + 7) // 8:
        raise ValueError(f"relu_backward: a gradient of {dy.size} numbers, but a mask of {mask.size} bytes; "
                         "give the mask of the same forward pass")
    job = _backward_float32 if dy.dtype == np.float32 else _backward_float64
    threads.run(job, np.array([address(dy), address(mask), address(dx), dy.size, guided]), -(-dy.size // PIECE))
    return dx


def deconv_relu_backward(dy):
    """dx = dy where dy > 0, whatever x was. Zeiler and Fergus 2014, arXiv:1311.2901."""
    return np.maximum(dy, 0)


