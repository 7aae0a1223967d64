"""Local response normalisation across channels (AlexNet), pixel by pixel."""
import numpy as np

from . import threads
from .addresses import address, float32_at, float64_at
from .compile_cache import helper, intrinsic, kernel

_PIXELS = 64    # per item of work

# descriptor: 0:x 1:s 2:y (back: 2:dy 3:dx) 4:pixels 5:C 6:cells before 7:cells after 8:settings 9:quick
# settings: the address of k, a, beta, 2 a beta in the dtype of x


@intrinsic
def _square_root(typing_context, x):
    """LLVM's own, which loops over it can be vectorised; math.sqrt is a call of the C library."""
    def generate(context, builder, signature, arguments):
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [arguments[0].type]), arguments)
    return x(x), generate


@helper
def _window_sums(v, out, C, before, after):
    """out[c] += v[c - before] + ... + v[c + after], as far as there are such channels."""
    for t in range(-before, after + 1):
        for c in range(max(0, -t), min(C, C - t)):
            out[c] += v[c + t]


@helper
def _powers(s, out, C, beta, quick):
    """out = s^-beta; the usual 3/4 by square roots, which are ten times as quick."""
    if quick:
        for c in range(C):
            root = _square_root(s[c])
            out[c] = 1 / (root * _square_root(root))
    else:
        for c in range(C):
            out[c] = s[c] ** -beta


@helper
def _forward_pixel(x, s, y, work, settings, C, before, after, quick):
    for c in range(C):
        work[c] = x[c] * x[c]
        s[c] = 0
    _window_sums(work, s, C, before, after)
    for c in range(C):
        s[c] = settings[0] + settings[1] * s[c]
    _powers(s, work, C, settings[2], quick)
    for c in range(C):
        y[c] = x[c] * work[c]


@helper
def _backward_pixel(x, s, dy, dx, work, inner, settings, C, before, after, quick):
    _powers(s, dx, C, settings[2], quick)
    for c in range(C):
        work[c] = dy[c] * x[c] * dx[c] / s[c]
        inner[c] = 0
    _window_sums(work, inner, C, before, after)
    for c in range(C):
        dx[c] = dy[c] * dx[c] - settings[3] * x[c] * inner[c]


@kernel
def _forward_float32(d, scratch, first, last):
    for pixel in range(first * _PIXELS, min(last * _PIXELS, d[4])):
        at = 4 * pixel * d[5]
        _forward_pixel(float32_at(d[0] + at), float32_at(d[1] + at), float32_at(d[2] + at), float32_at(scratch),
                       float32_at(d[8]), d[5], d[6], d[7], d[9])


@kernel
def _forward_float64(d, scratch, first, last):
    for pixel in range(first * _PIXELS, min(last * _PIXELS, d[4])):
        at = 8 * pixel * d[5]
        _forward_pixel(float64_at(d[0] + at), float64_at(d[1] + at), float64_at(d[2] + at), float64_at(scratch),
                       float64_at(d[8]), d[5], d[6], d[7], d[9])


@kernel
def _backward_float32(d, scratch, first, last):
    for pixel in range(first * _PIXELS, min(last * _PIXELS, d[4])):
        at = 4 * pixel * d[5]
        _backward_pixel(float32_at(d[0] + at), float32_at(d[1] + at), float32_at(d[2] + at), float32_at(d[3] + at),
                        float32_at(scratch), float32_at(scratch + 4 * d[5]), float32_at(d[8]), d[5], d[6], d[7], d[9])


@kernel
def _backward_float64(d, scratch, first, last):
    for pixel in range(first * _PIXELS, min(last * _PIXELS, d[4])):
        at = 8 * pixel * d[5]
        _backward_pixel(float64_at(d[0] + at), float64_at(d[1] + at), float64_at(d[2] + at), float64_at(d[3] + at),
                        float64_at(scratch), float64_at(scratch + 8 * d[5]), float64_at(d[8]), d[5], d[6], d[7], d[9])


def lrn_forward(x, size, alpha, beta, k, per_size):
    """y_c = x_c / s_c^beta with s_c = k + alpha * sum over the `size` channels around c of x^2. -> y, s.

    per_size True divides alpha by size (Caffe, torch). Krizhevsky et al. 2012.
    """
    x = np.ascontiguousarray(x)
    y, s = np.empty_like(x), np.empty_like(x)
    a = alpha / size if per_size else alpha
    job = _forward_float32 if x.dtype == np.float32 else _forward_float64
    _run(job, (x, s, y, y), (size // 2, (size - 1) // 2), (k, a, beta, 2 * a * beta))
    return y, s


def lrn_backward(dy, x, s, size, alpha, beta, per_size):
    """dx_c = dy_c s_c^-beta - 2 alpha beta x_c * sum over the d whose window holds c of dy_d x_d s_d^(-beta-1)."""
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    dx = np.empty_like(x)
    a = alpha / size if per_size else alpha
    job = _backward_float32 if x.dtype == np.float32 else _backward_float64
    _run(job, (x, s, dy, dx), ((size - 1) // 2, size // 2), (0, a, beta, 2 * a * beta))
    return dx


def _run(job, arrays, window, settings):
    x = arrays[0]
    C = x.shape[3]
    pixels = x.size // C
    numbers = np.array(settings, x.dtype)
    d = np.array([*map(address, arrays), pixels, C, *window, address(numbers), settings[2] == 0.75], np.int64)
    threads.run(job, d, -(-pixels // _PIXELS), 1, 2 * x.itemsize * C)
