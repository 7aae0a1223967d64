"""What holds for every op: its backward is the derivative of its forward, in every type, layout, batch and kernel set.

CASES names each op with inputs that stay away from kinks and ties: values are a shuffled ladder around zero, so any two
of them, and any of them and zero, lie a step apart.
"""
import numpy as np
import pytest

from minivis import ops
from minivis.gradcheck import gradcheck
from minivis.ops.norm import BatchNormTrain
from minivis.tensor import Tensor, gradient

pytestmark = pytest.mark.usefixtures("each_kernel_set")


def ladder(*shape, seed=0, low=-2.0, high=2.0):
    """Distinct values between low and high in random order; none is 0."""
    n = int(np.prod(shape))
    steps = (np.arange(n) + 0.5 + 0.3 * (seed % 3 - 1)) / n
    return np.random.default_rng(seed).permutation(low + (high - low) * steps).reshape(shape)


def some(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


MAP = (3, 5, 4, 3)      # N H W C
TARGETS = np.array([4, 0, 2])
WEIGHTS = some(3, seed=9), some(3, seed=8)
MEAN_VAR = some(3, seed=7), np.abs(some(3, seed=6)) + 0.5

# name: (f, inputs, how many of them come in batches along axis 0)
CASES = {
    "add, broadcast": (ops.add, [ladder(3, 4, 5), ladder(4, 1, seed=1)], 1),
    "subtract": (ops.subtract, [ladder(3, 4), ladder(3, 1, seed=1)], 2),
    "multiply, broadcast": (ops.multiply, [ladder(3, 4, 5), ladder(5, seed=1)], 1),
    "divide": (ops.divide, [ladder(3, 4), ladder(4, seed=1)], 1),
    "power": (ops.power, [ladder(3, 4, low=0.5), ladder(3, 4, seed=1)], 2),
    "power, whole number": (lambda x: x ** 3, [ladder(3, 4)], 1),
    "power, square": (lambda x: x ** 2, [ladder(3, 4)], 1),
    "number to the power": (lambda x: 2.5 ** x, [ladder(3, 4)], 1),
    "number - x, number / x": (lambda x: (1 - x) * (2 / x), [ladder(3, 4)], 1),
    "maximum": (ops.maximum, [ladder(3, 7), ladder(3, 7, seed=1)], 2),
    "minimum, broadcast": (ops.minimum, [ladder(3, 7), ladder(7, seed=1)], 1),
    "negative": (ops.negative, [ladder(3, 4)], 1),
    "exp": (ops.exp, [ladder(3, 4)], 1),
    "log": (ops.log, [ladder(3, 4, low=0.1)], 1),
    "sqrt": (ops.sqrt, [ladder(3, 4, low=0.1)], 1),
    "abs": (ops.abs, [ladder(3, 4)], 1),
    "tanh": (ops.tanh, [ladder(3, 4)], 1),
    "sigmoid": (ops.sigmoid, [ladder(3, 4)], 1),
    "clip": (lambda x: ops.clip(x, -0.51, 1.01), [ladder(3, 40)], 1),
    "clip, one side": (lambda x: ops.clip(x, high=0.01), [ladder(3, 40)], 1),
    "dropout, not training": (ops.dropout, [ladder(3, 4)], 1),
    "relu": (ops.relu, [ladder(*MAP)], 1),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.2), [ladder(*MAP)], 1),
    "sum": (lambda x: ops.sum(x, (1, -1)), [ladder(*MAP)], 1),
    "mean, keepdims": (lambda x: ops.mean(x, (1, 2), keepdims=True), [ladder(*MAP)], 1),
    "max": (lambda x: ops.max(x, (3, 1)), [ladder(*MAP)], 1),
    "min, keepdims": (lambda x: ops.min(x, 2, keepdims=True), [ladder(*MAP)], 1),
    "variance": (lambda x: ops.variance(x, (1, 2)), [ladder(*MAP)], 1),
    "reshape": (lambda x: x.reshape(-1, 60) * 2, [ladder(*MAP)], 1),
    "transpose": (lambda x: x.transpose((0, 3, 1, 2)) * 2, [ladder(*MAP)], 1),
    "concatenate": (lambda a, b: ops.concatenate([a, b]), [ladder(*MAP), ladder(3, 5, 4, 2, seed=1)], 2),
    "slice": (lambda x: x[:, 1:4, ::2, 0], [ladder(*MAP)], 1),
    "slice, backwards and new axis": (lambda x: x[:, ::-1, None, 2], [ladder(*MAP)], 1),
    "gather, repeated": (lambda x: x[:, [0, 2, 2, 2], 1], [ladder(*MAP)], 1),
    "pad, zero": (lambda x: ops.pad(x, (1, 0, 2, 3)), [ladder(*MAP)], 1),
    "pad, reflect": (lambda x: ops.pad(x, (4, 1, 0, 3), "reflect"), [ladder(*MAP)], 1),
    "pad, edge": (lambda x: ops.pad(x, (2, 7, 5, 0), "edge"), [ladder(*MAP)], 1),
    "roll": (lambda x: ops.roll(x, (2, -1), (1, 2)) * 2, [ladder(*MAP)], 1),
    "flip": (lambda x: ops.flip(x, 2) * 2, [ladder(*MAP)], 1),
    "flatten, hwc": (lambda x: ops.flatten(x) * 2, [ladder(*MAP)], 1),
    "flatten, chw": (lambda x: ops.flatten(x, "chw") * 2, [ladder(*MAP)], 1),
    "resize, bilinear": (lambda x: ops.resize(x, (3, 7)), [ladder(*MAP)], 1),
    "resize, bicubic": (lambda x: ops.resize(x, (3, 7), "bicubic", antialias=False), [ladder(*MAP)], 1),
    "resize, corners": (lambda x: ops.resize(x, (8, 2), align="corners"), [ladder(*MAP)], 1),
    "resize, area": (lambda x: ops.resize(x, (2, 3), "area"), [ladder(*MAP)], 1),
    "resize, nearest": (lambda x: ops.resize(x, (3, 7), "nearest"), [ladder(*MAP)], 1),
    "upsample": (lambda x: ops.upsample(x, (2, 3)), [ladder(*MAP)], 1),
    "gaussian_blur": (lambda x: ops.gaussian_blur(x, 0.8), [ladder(*MAP)], 1),
    "gaussian_blur, zero": (lambda x: ops.gaussian_blur(x, (0.5, 2), border="zero"), [ladder(*MAP)], 1),
    "lrn": (lambda x: ops.lrn(x, 2, 0.5, 0.75, 1.5), [ladder(3, 2, 3, 5)], 1),
    "lrn, alpha not divided": (lambda x: ops.lrn(x, 5, 0.1, 0.5, 2, per_size=False), [ladder(3, 2, 3, 7)], 1),
    "scale": (ops.scale, [ladder(*MAP), *WEIGHTS], 1),
    "scale, no shift": (ops.scale, [ladder(*MAP), WEIGHTS[0]], 1),
    "batch_norm": (ops.batch_norm, [ladder(*MAP), *WEIGHTS, *MEAN_VAR], 1),
    "batch_norm, training": (lambda *a: BatchNormTrain()(*a), [ladder(*MAP), *WEIGHTS], 0),
    "batch_norm, training, dense": (lambda *a: BatchNormTrain()(*a), [ladder(5, 3), *WEIGHTS], 0),
    "instance_norm": (ops.instance_norm, [ladder(*MAP), *WEIGHTS], 1),
    "instance_norm, no scale": (ops.instance_norm, [ladder(*MAP)], 1),
    "softmax": (ops.softmax, [ladder(3, 7)], 1),
    "softmax of a map": (ops.softmax, [ladder(*MAP)], 1),
    "log_softmax": (ops.log_softmax, [ladder(3, 7)], 1),
    "cross_entropy": (lambda x: ops.cross_entropy(x, TARGETS[:len(x)]), [ladder(3, 7)], 1),
    "cross_entropy, smoothed": (lambda x: ops.cross_entropy(x, TARGETS[:len(x)], 0.1), [ladder(3, 7)], 1),
    "total_variation, l1": (lambda x: ops.total_variation(x, "l1"), [ladder(*MAP)], 1),
    "total_variation, l2": (ops.total_variation, [ladder(*MAP)], 1),
    "total_variation, beta 1": (lambda x: ops.total_variation(x, "beta", 1), [ladder(*MAP)], 1),
    "total_variation, beta 2.5": (lambda x: ops.total_variation(x, "beta", 2.5), [ladder(*MAP)], 1),
    "squared_distance": (lambda x: ops.squared_distance(x, ladder(*MAP)[:1] - 0.2), [ladder(*MAP)], 1),
    "gram, chw": (ops.gram, [ladder(*MAP)], 1),
    "gram, none": (lambda x: ops.gram(x, "none"), [ladder(*MAP)], 1),
    "mse": (ops.mse, [ladder(*MAP), ladder(*MAP, seed=1)], 2),
    "linear": (ops.linear, [ladder(3, 6), some(6, 4), some(4)], 1),
    "linear, no bias": (ops.linear, [ladder(3, 6), some(6, 4)], 1),
    "matmul": (ops.matmul, [ladder(3, 2, 5), some(5, 4)], 1),
    "matmul, stacks": (ops.matmul, [ladder(3, 1, 2, 5), some(4, 5, 3)], 1),
    "conv2d": (lambda x, w, b: ops.conv2d(x, w, b, stride=(2, 1), pad=(1, 0, 2, 1)),
               [ladder(*MAP), some(3, 2, 3, 4), some(4)], 1),
    "conv2d, dilation": (lambda x, w: ops.conv2d(x, w, dilation=2), [ladder(*MAP), some(2, 2, 3, 4)], 1),
    "conv2d, groups, same": (lambda x, w: ops.conv2d(x, w, groups=3, pad="same", stride=2),
                             [ladder(*MAP), some(3, 3, 1, 6)], 1),
    "conv2d, 1x1": (ops.conv2d, [ladder(*MAP), some(1, 1, 3, 5), some(5)], 1),
    "conv_transpose2d": (lambda x, w, b: ops.conv_transpose2d(x, w, b, stride=2, pad=1, output_pad=1),
                         [ladder(*MAP), some(3, 3, 3, 4), some(4)], 1),
    "conv_transpose2d, groups": (lambda x, w: ops.conv_transpose2d(x, w, groups=3),
                                 [ladder(*MAP), some(2, 3, 3, 2)], 1),
    "conv_transpose2d, same": (lambda x, w: ops.conv_transpose2d(x, w, stride=3, pad="same"),
                               [ladder(*MAP), some(2, 4, 3, 2)], 1),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 2), [ladder(*MAP)], 1),
    "max_pool2d, overlap, ceil": (lambda x: ops.max_pool2d(x, 3, stride=2, pad=1, ceil=True), [ladder(*MAP)], 1),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, (2, 3), stride=(1, 2)), [ladder(*MAP)], 1),
    "avg_pool2d, pad": (lambda x: ops.avg_pool2d(x, 3, stride=2, pad=1, ceil=True), [ladder(*MAP)], 1),
    "avg_pool2d, pad not counted": (lambda x: ops.avg_pool2d(x, 3, stride=2, pad=1, count_pad=False),
                                    [ladder(*MAP)], 1),
    "global_avg_pool": (ops.global_avg_pool, [ladder(*MAP)], 1),
}
each_op = pytest.mark.parametrize("name", CASES)


def run(f, arrays, seed=None):
    """The value, and the gradients of all inputs."""
    tensors = [Tensor(a, needs_grad=True) for a in arrays]
    y = f(*tensors)
    seed = some(*y.shape, seed=3).astype(y.dtype) if seed is None else seed
    return y.data, gradient(y, tensors, seed=seed), seed


@each_op
def test_backward_is_the_derivative_of_forward(name):
    f, arrays, _ = CASES[name]
    gradcheck(f, *arrays)


@each_op
def test_float32_stays_float32_and_is_close_to_float64(name):
    f, arrays, _ = CASES[name]
    y64, grads64, seed = run(f, arrays)
    y, grads, _ = run(f, [a.astype(np.float32) for a in arrays], seed.astype(np.float32))
    assert y.dtype == np.float32 and all(g.dtype == np.float32 for g in grads)
    for one, exact in zip([y, *grads], [y64, *grads64]):
        np.testing.assert_allclose(one, exact, rtol=0, atol=3e-5 * max(np.abs(exact).max(), 1e-3))


@pytest.mark.parametrize("name", [name for name, (_, _, batched) in CASES.items() if batched])
def test_a_batch_has_the_bits_of_its_pictures_one_by_one(name, each_kernel_set):
    f, arrays, batched = CASES[name]
    N = len(arrays[0])
    if "cross_entropy" in name:
        smoothing = 0.1 if "smoothed" in name else 0
        fs = [lambda x, t=t: ops.cross_entropy(x, [t], smoothing) for t in TARGETS]
    else:
        fs = [f] * N
    y, grads, seed = run(f, arrays)
    for n in range(N):
        part = [a[n:n + 1] if i < batched else a for i, a in enumerate(arrays)]
        y1, grads1, _ = run(fs[n], part, seed[n:n + 1])
        for one, whole in zip([y1, *grads1[:batched]], [y, *grads[:batched]]):
            if each_kernel_set == "reference":      # written to be read: its BLAS may add in another order
                np.testing.assert_allclose(one, whole[n:n + 1], rtol=1e-12, atol=1e-14)
            else:
                np.testing.assert_array_equal(one, whole[n:n + 1])


@each_op
def test_memory_layout_changes_nothing(name):
    """Inputs and seed as views: every second value of a larger array, in Fortran order."""
    f, arrays, _ = CASES[name]

    def scattered(a):
        wide = np.zeros([2 * s for s in a.shape], order="F")
        view = wide[tuple(slice(None, None, 2) for _ in a.shape)]
        view[...] = a
        return view

    y, grads, seed = run(f, arrays)
    y2, grads2, _ = run(f, [scattered(a) for a in arrays], scattered(seed))
    for one, other in zip([y, *grads], [y2, *grads2]):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-13)


@each_op
def test_inputs_are_left_as_they_were(name):
    f, arrays, _ = CASES[name]
    frozen = [a.copy() for a in arrays]
    for a in frozen:
        a.flags.writeable = False       # writing would raise
    _, _, seed = run(f, frozen)
    seed.flags.writeable = False
    run(f, frozen, seed)
    for a, original in zip(frozen, arrays):
        np.testing.assert_array_equal(a, original)


def test_every_public_op_is_checked():
    """An op added to minivis.ops without a row in CASES fails here."""
    import inspect
    not_the_true_gradient = {"round_through"}       # test_elementwise.py
    public = {name for name, f in vars(ops).items() if inspect.isfunction(f)}
    aliases = {"square": "power, square", "index": "slice", "batch_norm_train": "batch_norm, training"}
    checked = {case.split(",")[0].split(" ")[0] for case in CASES} | set(aliases)
    assert public - checked == not_the_true_gradient
