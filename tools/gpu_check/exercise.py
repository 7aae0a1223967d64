"""One launch or a few of every kernel, on small arrays in memory of their own: what compute-sanitizer is run over.

    compute-sanitizer --tool memcheck python -m tools.gpu_check.exercise
"""
import importlib

import numpy as np

from minivis.kernels import gpu
from minivis.kernels.chain import Step
from minivis.kernels.gpu import conv_launch, conv_plan, decisions
from minivis.kernels.gpu.choice import Algorithm

SAME = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
POOL = {"size": (2, 2), "stride": (2, 2), "pad": (0, 0, 0, 0), "ceil": False}


def main():
    cupy = importlib.import_module("cupy")
    cupy.cuda.set_allocator(None)           # every array an allocation of its own: what lies behind it is nobody's
    for dtype in ("float16", "float32", "float64"):
        every_kernel(cupy, dtype)
        convolutions(cupy, dtype)
    chains(cupy)
    cupy.cuda.Device().synchronize()
    print("every kernel was launched")


def draw(cupy, shape, dtype):
    return cupy.asarray(np.random.default_rng(0).integers(-3, 4, shape).astype(dtype))


def every_kernel(cupy, dtype):
    for shape in ((2, 5, 7, 3), (1, 8, 9, 37)):
        x, dy = draw(cupy, shape, dtype), draw(cupy, shape, dtype) + 1
        C, channel = shape[3], draw(cupy, shape[3:], dtype)
        _, mask = gpu.relu_forward(x)
        for back in (gpu.relu_backward, gpu.guided_relu_backward):
            back(dy, mask)
        gpu.deconv_relu_backward(dy)
        gpu.unpack_mask(mask, shape)
        for how in (((2, 2), (2, 2), (0, 0, 0, 0), False), ((3, 3), (2, 2), (1, 1, 1, 1), True)):
            y, switches = gpu.max_pool_forward(x, *how)
            gpu.max_pool_backward(y, switches, shape, *how)
            gpu.avg_pool_backward(gpu.avg_pool_forward(x, *how, True), shape, *how, True)
        y, s = gpu.lrn_forward(x, 5, 1e-4, 0.75, 1.0, True)
        gpu.lrn_backward(dy, x, s, 5, 1e-4, 0.75, True)
        for rectify in (False, True):
            _, mean, var, mask = gpu.batch_norm_forward(x, channel, channel, 0.1, rectify)
            gpu.batch_norm_backward(dy, x, channel, mean, var, 0.1, mask)
        gpu.gram(x)
        starts, cells = np.array([0, 2, 2, 5]), np.array([0, 3, 4, 1, 0])
        gpu.sparse_rows(x.reshape(shape[0], -1, C), starts, cells, np.ones(5))
        for axis in (1, 2):
            gpu.axis_matmul(x, draw(cupy, (6, shape[axis]), dtype), axis)
        for rows in (3, 70):
            flat, w = draw(cupy, (rows, C + 600), dtype), draw(cupy, (C + 600, 66), dtype)
            y = gpu.linear_forward(flat, w, draw(cupy, 66, dtype))
            gpu.linear_backward_input(y, w)
            gpu.linear_backward_weight(y, flat)


def convolutions(cupy, dtype):
    tiles = {"float16": [("mma", 64), ("mma", 128)], "float32": [("implicit", 64), ("implicit", 128), ("mma", 64),
                                                                 ("mma", 128), ("winograd", 4)],
             "float64": [("implicit", 64)]}[dtype]
    for C, K in ((13, 37), (40, 131)):
        x, w = draw(cupy, (2, 7, 6, C), dtype), draw(cupy, (3, 3, C, K), dtype)
        part = conv_plan.forward(x.shape, w.shape, *SAME)
        bias = draw(cupy, K, "float64" if dtype == "float64" else "float32")
        for name, tile in [("direct", 0), *tiles]:
            for slices in (1, 2) if name in ("mma", "implicit") else (1,):
                how = Algorithm(name, tile, slices)
                y = gpu.launch.empty(x, (2, 7, 6, K))
                bits = conv_launch.empty_bits(x, y.shape)
                filters = conv_launch.prepare(w, how, np.dtype(dtype))
                conv_launch.contract(part, how, x, filters, bias, y, conv_launch.RELU_BITS, bits=bits)
                conv_launch.contract(part, how, x, filters, None, y, conv_launch.GUIDED, mask=bits)
        gpu.conv2d_backward_weight(draw(cupy, (2, 7, 6, K), dtype), x, w.shape, *SAME)
    for groups, stride in ((1, (2, 1)), (4, (2, 2))):
        x, w = draw(cupy, (1, 9, 8, 8), dtype), draw(cupy, (3, 2, 8 // groups, 12), dtype)
        how = (stride, (1, 0, 1, 1), (1, 2), groups)
        y = gpu.conv2d_forward(x, w, None, *how)
        gpu.conv2d_backward_input(y, w, x.shape, *how)
        gpu.conv2d_backward_weight(y, x, w.shape, *how)
    x, w = draw(cupy, (2, 6, 5, 45), dtype), draw(cupy, (3, 3, 45, 3), dtype)          # few
    gpu.conv2d_forward(x, w, draw(cupy, 3, dtype), *SAME)
    y, bits = decisions.relu(x, True)
    decisions.pull(y, bits, conv_launch.GUIDED)
    decisions.positive(bits, x.shape)
    y, bits, cells = decisions.relu_pool(x, True)
    decisions.spread(y, cells, x.shape)
    wide = draw(cupy, (1, 18, 19, 2), dtype)                    # windows of more cells than a byte counts
    how = (16, 17), (1, 2), (0, 0, 0, 0), False
    gpu.max_pool_backward(*gpu.max_pool_forward(wide, *how), wide.shape, *how)


def chains(cupy):
    conv = {"stride": (1, 1), "pad": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
    steps = [Step("conv", conv), Step("relu", {}), Step("max_pool", POOL), Step("conv", conv), Step("relu", {}),
             Step("max_pool", POOL), Step("conv", conv), Step("relu", {})]
    sizes = {0: (3, 3, 3, 16), 3: (3, 3, 16, 33), 6: (3, 3, 33, 20)}
    weights = [(draw(cupy, sizes[i], "float32"), draw(cupy, sizes[i][3], "float32")) if i in sizes else None
               for i in range(len(steps))]
    x = draw(cupy, (2, 12, 14, 3), "float32")
    for precision in ("float32", "float32-direct", "tf32", "float16"):
        y, saved = gpu.chain_forward(x, steps, weights, True, precision)
        for rule in ("plain", "guided", "deconv", lambda dy, positive: dy * positive):
            gpu.chain_backward_input(y, saved, [rule if step.kind == "relu" else None for step in steps])


if __name__ == "__main__":
    main()
