"""The fallback: every kernel in NumPy and BLAS, for machines where the vector instructions cannot be built.

Convolutions are sums of matrix products over the filter's cells, a band of output rows at a time, bands shared among
the threads; BLAS itself runs on one. The bands depend on the layer's shape alone, so the bits do not depend on
threads or batch. Masks and switches are kept as the compiled kernels keep them, so the two may be mixed. What is not
here is as in `reference`.
"""
import numpy as np

from .. import reference
from ..reference import (  # noqa: F401
    avg_pool_backward,
    avg_pool_forward,
    deconv_relu_backward,
    gram,
    lrn_backward,
    lrn_forward,
)
from . import threads

_BAND = 1 << 12    # output positions worked on at a time


def conv2d_forward(x, w, b, stride, pad, dilation, groups, precision="float32"):
    """y[n,i,j,k] = b[k] + sum over p,q,c of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * w[p,q,c,k]."""
    kh, kw, _, K = w.shape
    out = reference._output_shape(x.shape, (kh, kw), stride, pad, dilation)
    padded = reference._pad(x, pad)
    y = np.empty((x.shape[0], *out, K), x.dtype)
    rows = max(1, _BAND // max(1, out[1]))
    bands = -(-out[0] // rows)
    parts = reference._groups(x.shape[3], K, groups)

    def job(_, scratch, first, last):
        for item in range(first, last):
            n, i = item // bands, item % bands * rows
            band = y[n:n + 1, i:i + rows]
            band[...] = 0 if b is None else b
            source = padded[n:n + 1, i * stride[0]:]
            for p, q, where in reference._taps((kh, kw), stride, dilation, band.shape[1:3]):
                for channels, outputs in parts:
                    band[..., outputs] += source[where][..., channels] @ w[p, q][:, outputs]

    with threads.one_blas_thread():
        threads.run(job, None, x.shape[0] * bands)
    return y


def conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups, precision="float32"):
    """dx: every output position hands dy[k] * w[p,q,c,k] back to the input cell it read. The transpose of forward."""
    dx = np.empty(x_shape, dy.dtype)

    def job(_, scratch, first, last):
        for n in range(first, last):
            dx[n] = reference.conv2d_backward_input(dy[n:n + 1], w, (1, *x_shape[1:]), stride, pad, dilation, groups)[0]

    with threads.one_blas_thread():
        threads.run(job, None, x_shape[0])
    return dx


def conv2d_backward_weight(dy, x, w_shape, stride, pad, dilation, groups, precision="float32"):
    """dw[p,q,c,k] = sum over n,i,j of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * dy[n,i,j,k]."""
    with threads.one_blas_thread():
        return reference.conv2d_backward_weight(dy, x, w_shape, stride, pad, dilation, groups)


def linear_forward(x, w, b):
    """y[n,k] = b[k] + sum over c of x[n,c] w[c,k]; row by row, since BLAS rounds one row and many rows differently."""
    with threads.one_blas_thread():
        y = np.concatenate([row[None] @ w for row in x]) if len(x) else np.zeros((0, w.shape[1]), x.dtype)
    return y if b is None else y + b


def linear_backward_input(dy, w):
    """dx[n,c] = sum over k of dy[n,k] w[c,k]."""
    return linear_forward(dy, w.T, None)


def linear_backward_weight(dy, x):
    """dw[c,k] = sum over n of x[n,c] dy[n,k]."""
    with threads.one_blas_thread():
        return x.T @ dy


def max_pool_forward(x, size, stride, pad, ceil):
    """y = the largest value of each window, and the switches, uint8 or int32."""
    y, switches = reference.max_pool_forward(x, size, stride, pad, ceil)
    return y, switches.astype(np.uint8 if size[0] * size[1] <= 127 else np.int32)


def max_pool_backward(dy, switches, x_shape, size, stride, pad, ceil):
    """dx: each output hands its gradient to the cell its switch names; overlapping windows add."""
    return reference.max_pool_backward(dy, switches, x_shape, size, stride, pad, ceil)


def axis_matmul(x, m, axis):
    """Apply a matrix along the rows (axis 1) or columns (axis 2): y[n,i,w,c] = sum over h of m[i,h] x[n,h,w,c]."""
    if m.ndim != 2 or axis not in (1, 2) or m.shape[1] != x.shape[axis]:
        raise ValueError(f"axis_matmul: a matrix {m.shape} does not fit axis {axis} of x {x.shape}")
    return reference.axis_matmul(x, m, axis)


def sparse_rows(x, starts, cells, weights):
    """y[n,r,c] = sum over j from starts[r] to starts[r+1] - 1 of weights[j] x[n, cells[j], c]: a matrix in CSR form."""
    from scipy.sparse import csr_matrix
    matrix = csr_matrix((np.asarray(weights, x.dtype), cells, starts), shape=(len(starts) - 1, x.shape[1]))
    y = np.empty((len(x), len(starts) - 1, x.shape[2]), x.dtype)
    for n, picture in enumerate(x):
        y[n] = matrix @ picture
    return y


def relu_forward(x):
    """-> max(x, 0), and the mask of x > 0: one bit per number."""
    return np.maximum(x, 0), np.packbits(x > 0, bitorder="little")


def relu_backward(dy, mask):
    """dx = dy where x > 0: the derivative."""
    return reference.relu_backward(dy, unpack_mask(mask, dy.shape))


def guided_relu_backward(dy, mask):
    """dx = dy where x > 0 and dy > 0. Springenberg et al. 2015, arXiv:1412.6806."""
    return reference.guided_relu_backward(dy, unpack_mask(mask, dy.shape))


def unpack_mask(mask, shape):
    """The mask as a boolean array of the given shape."""
    count = int(np.prod(shape))
    if mask.size != (count + 7) // 8:
        raise ValueError(f"unpack_mask: {count} numbers, but a mask of {mask.size} bytes; give the mask of the same "
                         "forward pass")
    return np.unpackbits(mask, count=count, bitorder="little").astype(bool).reshape(shape)


def unpack_switch(switches, y_shape):
    """(N, OH, OW, C) integers: row * kw + column of the chosen cell inside its window."""
    return switches.reshape(y_shape).astype(np.int64)


def batch_norm_forward(x, scale, shift, eps, rectify=False):
    """As the definition; the mask is packed like every other of this set."""
    y, mean, var, mask = reference.batch_norm_forward(x, scale, shift, eps, rectify)
    return y, mean, var, None if mask is None else np.packbits(mask, bitorder="little")


def batch_norm_backward(dy, x, scale, mean, var, eps, mask=None):
    """As the definition, of a mask as batch_norm_forward packs it."""
    positive = mask if mask is None else unpack_mask(mask, x.shape)
    return reference.batch_norm_backward(dy, x, scale, mean, var, eps, positive)
