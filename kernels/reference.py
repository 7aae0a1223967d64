"""Every kernel in plain NumPy: the definition that all other kernel sets are checked against.

Written to be read, not to be fast. Arrays are (N, H, W, C), convolution weights (kh, kw, C/groups, K). Geometry
is always spelt out: stride, dilation, size are pairs (vertical, horizontal), pad is (top, bottom, left, right) and may
not be negative. Sizes: N pictures, H x W input, OH x OW output, C input channels,
K output channels. The result has the dtype of x.

Masks (from relu_forward) and switches (from max_pool_forward) are opaque: every set packs them as it likes;
unpack_mask and unpack_switch spell them out for tests and for rules written by users.
"""
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .chain import Step  # noqa: F401  (every set is handed these)

# ------------------------------------------------------------------------------------------------------ geometry


def conv_output_size(size, k, stride, pad_total, dilation=1):
    """How many windows of k (spread by dilation) fit: floor((size + pad - dilation*(k-1) - 1) / stride) + 1."""
    return (size + pad_total - dilation * (k - 1) - 1) // stride + 1


def pool_output_size(size, k, stride, pad_before, pad_after, ceil):
    """As conv_output_size; with ceil a last partial window counts too, unless it would start in the right padding."""
    room = size + pad_before + pad_after - k
    if not ceil:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if (out - 1) * stride >= size + pad_before else out


def _output_shape(x_shape, size, stride, pad, dilation=(1, 1)):
    return tuple(conv_output_size(x_shape[1 + a], size[a], stride[a], pad[2 * a] + pad[2 * a + 1], dilation[a])
                 for a in (0, 1))


def _taps(size, stride, dilation, out):
    """For each filter cell (p, q): the slice of the padded input that it meets over all output positions."""
    for p in range(size[0]):
        for q in range(size[1]):
            top, left = p * dilation[0], q * dilation[1]
            yield p, q, (slice(None), slice(top, top + stride[0] * (out[0] - 1) + 1, stride[0]),
                         slice(left, left + stride[1] * (out[1] - 1) + 1, stride[1]))


def _pad(x, pad, value=0):
    return np.pad(x, ((0, 0), pad[0:2], pad[2:4], (0, 0)), constant_values=value)


def _crop(x, pad):
    return np.ascontiguousarray(x[:, pad[0]:x.shape[1] - pad[1], pad[2]:x.shape[2] - pad[3]])


# --------------------------------------------------------------------------------------------------- convolution


def conv2d_forward(x, w, b, stride, pad, dilation, groups, precision="float32"):
    """y[n,i,j,k] = b[k] + sum over p,q,c of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * w[p,q,c,k].

    groups splits C and K into equal parts; output part g reads input part g alone. b is (K,) or None.
    precision names the algorithm a fast set may use ("float32-direct": no Winograd); here it changes nothing.
    """
    kh, kw, _, K = w.shape
    out = _output_shape(x.shape, (kh, kw), stride, pad, dilation)
    y = np.zeros((x.shape[0], *out, K), x.dtype)
    padded = _pad(x, pad)
    for p, q, where in _taps((kh, kw), stride, dilation, out):
        for channels, outputs in _groups(x.shape[3], K, groups):
            y[..., outputs] += padded[where][..., channels] @ w[p, q][:, outputs]
    return y if b is None else y + b


def conv2d_backward_input(dy, w, x_shape, stride, pad, dilation, groups, precision="float32"):
    """dx: every output position hands dy[k] * w[p,q,c,k] back to the input cell it read. The transpose of forward."""
    kh, kw, _, K = w.shape
    N, H, W, C = x_shape
    dx = np.zeros((N, H + pad[0] + pad[1], W + pad[2] + pad[3], C), dy.dtype)
    for p, q, where in _taps((kh, kw), stride, dilation, dy.shape[1:3]):
        for channels, outputs in _groups(C, K, groups):
            dx[where][..., channels] += dy[..., outputs] @ w[p, q][:, outputs].T
    return _crop(dx, pad)


def conv2d_backward_weight(dy, x, w_shape, stride, pad, dilation, groups, precision="float32"):
    """dw[p,q,c,k] = sum over n,i,j of x[n, i*sh + p*dh - top, j*sw + q*dw - left, c] * dy[n,i,j,k]."""
    kh, kw, _, K = w_shape
    dw = np.zeros(w_shape, dy.dtype)
    padded = _pad(x, pad)
    for p, q, where in _taps((kh, kw), stride, dilation, dy.shape[1:3]):
        for channels, outputs in _groups(x.shape[3], K, groups):
            dw[p, q][:, outputs] = np.tensordot(padded[where][..., channels], dy[..., outputs], ((0, 1, 2), (0, 1, 2)))
    return dw


def _groups(C, K, groups):
    """(input channels, output channels) of each group, as slices."""
    c, k = C // groups, K // groups
    return [(slice(g * c, g * c + c), slice(g * k, g * k + k)) for g in range(groups)]


# ---------------------------------------------------------------------------------------------------------- dense


def linear_forward(x, w, b):
    """y[n,k] = b[k] + sum over c of x[n,c] w[c,k]; b may be None. A row's bits never depend on the other rows."""
    y = x @ w
    return y if b is None else y + b


def linear_backward_input(dy, w):
    """dx[n,c] = sum over k of dy[n,k] w[c,k]."""
    return dy @ w.T


def linear_backward_weight(dy, x):
    """dw[c,k] = sum over n of x[n,c] dy[n,k]."""
    return x.T @ dy


# -------------------------------------------------------------------------------------------------------- pooling


def _pool_geometry(x_shape, size, stride, pad, ceil):
    """Output size, and the padding (grown at bottom and right) that gives every window all its cells."""
    out, grown = [], list(pad)
    for a in (0, 1):
        n = pool_output_size(x_shape[1 + a], size[a], stride[a], pad[2 * a], pad[2 * a + 1], ceil)
        needed = (n - 1) * stride[a] + size[a] - x_shape[1 + a] - pad[2 * a]
        out.append(n)
        grown[2 * a + 1] = max(pad[2 * a + 1], needed)
    return out, tuple(grown)


def _windows(padded, size, stride, out):
    """(N, OH, OW, C, kh*kw)"""
    w = sliding_window_view(padded, size, axis=(1, 2))[:, ::stride[0], ::stride[1]][:, :out[0], :out[1]]
    return w.reshape(*w.shape[:4], size[0] * size[1])


def max_pool_forward(x, size, stride, pad, ceil):
    """y = the largest value of each window (padding is -inf), and the switches: which cell it was; the first wins ties.

    -> y (N, OH, OW, C), switches (opaque; here an integer row * kw + column inside the window).
    """
    out, grown = _pool_geometry(x.shape, size, stride, pad, ceil)
    w = _windows(_pad(x, grown, -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min), size, stride, out)
    switches = w.argmax(axis=-1)
    y = np.take_along_axis(w, switches[..., None], axis=-1)[..., 0]
    return np.ascontiguousarray(y), switches


def max_pool_backward(dy, switches, x_shape, size, stride, pad, ceil):
    """dx: each output hands its gradient to the cell its switch names; overlapping windows add."""
    out, grown = _pool_geometry(x_shape, size, stride, pad, ceil)
    N, H, W, C = x_shape
    dx = np.zeros((N, H + grown[0] + grown[1], W + grown[2] + grown[3], C), dy.dtype)
    for p, q, where in _taps(size, stride, (1, 1), out):
        dx[where] += np.where(switches == p * size[1] + q, dy, 0)
    return _crop(dx, grown)


def unpack_switch(switches, y_shape):
    """(N, OH, OW, C) integers: row * kw + column of the chosen cell inside its window."""
    return switches.reshape(y_shape)


def avg_pool_forward(x, size, stride, pad, ceil, count_pad):
    """The mean of each window. count_pad True divides by all cells of the padded picture, False by real cells only."""
    out, grown = _pool_geometry(x.shape, size, stride, pad, ceil)
    total = _windows(_pad(x, grown), size, stride, out).sum(axis=-1, dtype=x.dtype)
    return np.ascontiguousarray(total / _cells(x.shape, size, stride, pad, out, grown, count_pad, x.dtype))


def avg_pool_backward(dy, x_shape, size, stride, pad, ceil, count_pad):
    """dx: each output shares its gradient equally among the cells it counted."""
    out, grown = _pool_geometry(x_shape, size, stride, pad, ceil)
    N, H, W, C = x_shape
    dx = np.zeros((N, H + grown[0] + grown[1], W + grown[2] + grown[3], C), dy.dtype)
    share = dy / _cells(x_shape, size, stride, pad, out, grown, count_pad, dy.dtype)
    for _, _, where in _taps(size, stride, (1, 1), out):
        dx[where] += share
    return _crop(dx, grown)


def _cells(x_shape, size, stride, pad, out, grown, count_pad, dtype):
    """(OH, OW, 1): the divisor of every window."""
    ones = np.ones((1, x_shape[1], x_shape[2], 1), dtype)
    counted = _pad(ones, pad, 1 if count_pad else 0)
    rest = (0, grown[1] - pad[1], 0, grown[3] - pad[3])
    return _windows(_pad(counted, rest), size, stride, out).sum(axis=-1)[0]


# ----------------------------------------------------------------------------------------------------------- ReLU


def relu_forward(x):
    """-> max(x, 0), and the mask of x > 0 (opaque)."""
    return np.maximum(x, 0), x > 0


def relu_backward(dy, mask):
    """dx = dy where x > 0: the derivative."""
    return np.where(mask, dy, 0)


def guided_relu_backward(dy, mask):
    """dx = dy where x > 0 and dy > 0. Springenberg et al. 2015, arXiv:1412.6806."""
    return np.where(mask & (dy > 0), dy, 0)


def deconv_relu_backward(dy):
    """dx = dy where dy > 0, whatever x was. Zeiler and Fergus 2014, arXiv:1311.2901."""
    return np.maximum(dy, 0)


def unpack_mask(mask, shape):
    """The mask as a boolean array of the given shape."""
    return mask.reshape(shape)


# ---------------------------------------------------------------------------------- local response normalisation


def lrn_forward(x, size, alpha, beta, k, per_size):
    """y_c = x_c / s_c^beta with s_c = k + alpha * sum over the `size` channels around c of x^2. -> y, s.

    per_size True divides alpha by size (Caffe, torch). Krizhevsky et al. 2012.
    """
    s = k + (alpha / size if per_size else alpha) * _channel_sums(x * x, size)
    return x * s ** -beta, s


def lrn_backward(dy, x, s, size, alpha, beta, per_size):
    """dx_c = dy_c s_c^-beta - 2 alpha beta x_c * sum over the d whose window holds c of dy_d x_d s_d^(-beta-1)."""
    a = alpha / size if per_size else alpha
    inner = _channel_sums(dy * x * s ** (-beta - 1), size, mirrored=True)
    return dy * s ** -beta - 2 * a * beta * x * inner


def _channel_sums(v, size, mirrored=False):
    """Sum over a window of `size` channels, (size-1)//2 after c and the rest before it (mirrored: the other way)."""
    before, after = size // 2, (size - 1) // 2
    if mirrored:
        before, after = after, before
    padded = np.pad(v, ((0, 0),) * 3 + ((before, after),))
    return sliding_window_view(padded, size, axis=3).sum(axis=-1)


# ------------------------------------------------------------------------------ batch normalisation, in training


def batch_norm_forward(x, scale, shift, eps, rectify=False):
    """y = scale (x - mean) / sqrt(var + eps) + shift over all axes but the last. -> y, mean, var (biased), mask.

    rectify: y is max(that, 0), and the mask that of a ReLU; else the mask is None.
    """
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axis=axes, dtype=float), x.var(axis=axes, dtype=float)
    y = (x - mean.astype(x.dtype)) * (scale / np.sqrt(var + eps)).astype(x.dtype) + shift
    y, mask = relu_forward(y) if rectify else (y, None)
    return y, mean.astype(x.dtype), var.astype(x.dtype), mask


def batch_norm_backward(dy, x, scale, mean, var, eps, mask=None):
    """-> dx, dscale, dshift. With z = (x - mean) / sqrt(var + eps): dx = scale (dy - mean(dy) - z mean(dy z)) / sqrt.

    mean and var are those of x, and the gradient through them is in it. mask: that of a ReLU behind.
    """
    axes = tuple(range(x.ndim - 1))
    dy = dy if mask is None else relu_backward(dy, mask)
    inverse = 1 / np.sqrt(var + eps)
    z = (x - mean) * inverse
    dscale, dshift = (dy * z).sum(axis=axes), dy.sum(axis=axes)
    dx = scale * inverse * (dy - dy.mean(axis=axes) - z * (dy * z).mean(axis=axes))
    return dx.astype(x.dtype), dscale.astype(x.dtype), dshift.astype(x.dtype)


# --------------------------------------------------------------------------------------- one axis at a time


def axis_matmul(x, m, axis):
    """Apply a matrix along the rows (axis 1) or columns (axis 2): y[n,i,w,c] = sum over h of m[i,h] x[n,h,w,c].

    Resizing and Gaussian blur are two of these; their transposes are the backward passes.
    """
    m = m.astype(x.dtype, copy=False)
    if axis == 1:
        return np.ascontiguousarray(np.einsum("ih,nhwc->niwc", m, x))
    return np.ascontiguousarray(np.einsum("jw,nhwc->nhjc", m, x))


def sparse_rows(x, starts, cells, weights):
    """y[n,r,c] = sum over j from starts[r] to starts[r+1] - 1 of weights[j] x[n, cells[j], c]: a matrix in CSR form.

    x (N, P, C); starts (R + 1,), cells (J,), weights (J,): a view of a picture that is shifted, scaled and turned.
    """
    y = np.zeros((x.shape[0], len(starts) - 1, x.shape[2]), x.dtype)
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    np.add.at(y, (slice(None), rows), np.asarray(weights, x.dtype)[:, None] * x[:, cells])
    return y


def gram(x):
    """G[n,c,d] = sum over positions of x[n,i,j,c] x[n,i,j,d]. Gatys et al. 2015, arXiv:1505.07376."""
    f = x.reshape(x.shape[0], -1, x.shape[3])
    return f.transpose(0, 2, 1) @ f


# ---------------------------------------------------------------------------------------------------------- chains


def chain_forward(x, steps, weights, keep, precision="float32", memory=None, cache=None, out=None):
    """Run a chain (see chain.py). -> y, saved. keep False: no gradient will be asked, saved is None. out: an array for
    y, which may be some of the channels of a larger one.

    `saved` is opaque and may be used for any number of backward passes. `memory`: bytes the work buffers may take, or
    None. `cache`: a dict that belongs to the chain, in which a set may keep what it derives from the weights, which are
    frozen: they never change as long as the same cache is handed over.
    """
    saved = []
    for step, weight in zip(steps, weights):
        note = None
        shape = x.shape
        if step.kind == "conv":
            x = conv2d_forward(x, *weight, **step.settings)
        elif step.kind == "relu":
            x, note = relu_forward(x)
        elif step.kind == "max_pool":
            x, note = max_pool_forward(x, **step.settings)
        elif step.kind == "avg_pool":
            x = avg_pool_forward(x, **step.settings)
        else:
            raise ValueError(f"chain_forward: no kind {step.kind!r}; a chain has conv, relu, max_pool, avg_pool")
        saved.append((step, weight, shape, note))
    if out is not None:
        out[...] = x
    return x if out is None else out, saved if keep else None


def describe_chain(x_shape, steps, weights, precision="float32", cache=None):
    """How chain_forward runs: [(indices of the steps done in one go, the algorithm, bytes kept for the gradient)]."""
    shape, rows = tuple(x_shape), []
    for i, (step, weight) in enumerate(zip(steps, weights)):
        x = np.zeros(shape, np.float32)
        shape = chain_forward(x, [step], [weight], keep=False)[0].shape
        kept = {"relu": x.size, "max_pool": 8 * int(np.prod(shape))}.get(step.kind, 0)
        rows.append((range(i, i + 1), step.kind.replace("_", " "), kept))
    return rows


def chain_backward_input(dy, saved, rules, more=None, own=False):
    """dx of a chain, from dy, or from dy + more. own: dy is nobody else's, so it may be written over.

    rules: for each step None, or for a "relu" step "plain", "guided", "deconv" or a function f(dy, positive) -> dx with
    a boolean array `positive`.
    Where a max pooling follows a ReLU a set may apply the ReLU's rule on the chosen cells alone: a rule of one's own
    must turn a zero gradient into zero, and sees positive = False on the cells that were not chosen.
    """
    dy = dy if more is None else dy + more
    for (step, weight, shape, note), rule in zip(reversed(saved), reversed(rules)):
        if step.kind == "conv":
            dy = conv2d_backward_input(dy, weight[0], shape, **step.settings)
        elif step.kind == "max_pool":
            dy = max_pool_backward(dy, note, shape, **step.settings)
        elif step.kind == "avg_pool":
            dy = avg_pool_backward(dy, shape, **step.settings)
        elif rule in (None, "plain"):
            dy = relu_backward(dy, note)
        elif rule == "guided":
            dy = guided_relu_backward(dy, note)
        elif rule == "deconv":
            dy = deconv_relu_backward(dy)
        else:
            dy = np.array(rule(dy, unpack_mask(note, shape)))       # what is handed back is nobody else's
    return dy
