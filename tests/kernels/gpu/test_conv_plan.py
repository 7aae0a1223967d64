"""What a convolution is to the GPU: dense contractions, checked in plain NumPy; which algorithm runs which layer."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.kernels import reference
from minivis.kernels.gpu import choice, conv_launch, conv_plan


def contract(part, x, w):
    """conv.cuh's formula, word for word. -> y with NaN where the contraction computes nothing."""
    y = np.full((part.N, *part.result, part.K), np.nan)
    C, K = part.C // part.groups, part.K // part.groups
    for i in range(part.OH):
        for j in range(part.OW):
            total = np.zeros((part.N, part.K))
            for p in range(part.kh):
                for q in range(part.kw):
                    h = i * part.stride[0] + p * part.dilation[0] - part.origin[0]
                    v = j * part.stride[1] + q * part.dilation[1] - part.origin[1]
                    if 0 <= h < part.H and 0 <= v < part.W:
                        for g in range(part.groups):
                            total[:, g * K:(g + 1) * K] += x[:, h, v, g * C:(g + 1) * C] @ w[p, q][:, g * K:(g + 1) * K]
            y[:, part.first[0] + i * part.step[0], part.first[1] + j * part.step[1]] = total
    return y


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_forward_and_input_gradient_are_dense_contractions(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))
    groups, stride, dilation = draw(1, 2), (draw(1, 4), draw(1, 4)), (draw(1, 3), draw(1, 3))
    x_shape, w_shape = (1, draw(1, 11), draw(1, 11), 2 * groups), (draw(1, 4), draw(1, 4), 2, 3 * groups)
    pad = tuple(draw(0, 3) for _ in range(4))
    geometry = (stride, pad, dilation, groups)
    if min(reference._output_shape(x_shape, w_shape[:2], stride, pad, dilation)) < 1:
        with pytest.raises(ValueError, match="does not fit"):
            conv_plan.forward(x_shape, w_shape, *geometry)
        return
    rng = np.random.default_rng(0)
    x, w = rng.integers(-3, 4, x_shape).astype(float), rng.integers(-3, 4, w_shape).astype(float)
    y = reference.conv2d_forward(x, w, None, *geometry)
    there = conv_plan.forward(x_shape, w_shape, *geometry)
    assert np.array_equal(contract(there, x, conv_plan.filters(w, there, False)), y)

    dy = rng.integers(-3, 4, y.shape).astype(float)
    parts, complete = conv_plan.backward_input(dy.shape, w_shape, x_shape, *geometry)
    dx = np.full(x_shape, np.nan)
    for part in parts:
        found = contract(part, dy, conv_plan.filters(w, part, True))
        assert not (np.isfinite(found) & np.isfinite(dx)).any(), "two contractions compute one cell"
        dx = np.where(np.isfinite(found), found, dx)
    assert complete == np.isfinite(dx).all()
    assert np.array_equal(np.nan_to_num(dx), reference.conv2d_backward_input(dy, w, x_shape, *geometry))


def test_struct_has_the_fields_of_the_cuda_struct_in_their_order():
    from minivis.kernels.gpu import source
    text = source.text("conv_direct.cu")
    body = text[text.index("struct ConvShape {"):]
    body = body[:body.index("};")]
    fields = [name.strip() for line in body.splitlines() if line.strip().startswith("int ")
              for name in line.split(";")[0].strip()[4:].split(",")]
    assert tuple(fields) == conv_plan.SHAPE.names and conv_plan.SHAPE.itemsize == 4 * len(fields)


def part(H, C, K, k=3, stride=1, pad=1, groups=1, N=1):
    return conv_plan.forward((N, H, H, C), (k, k, C // groups, K), (stride,) * 2, (pad,) * 4, (1, 1), groups)


@pytest.mark.parametrize("layer, precision, expected", [
    (part(224, 3, 64), "float32", "direct"),                        # VGG's first
    (part(224, 64, 3), "float32", "few"),                           # and its gradient
    (part(56, 128, 256), "float32", "winograd"),
    (part(56, 128, 256), "float32-direct", "implicit"),
    (part(56, 128, 256), "tf32", "mma"),
    (part(56, 128, 256), "float16", "mma"),
    (part(56, 128, 256, stride=2), "float32", "implicit"),
    (part(56, 64, 128, k=1, pad=0), "float32", "implicit"),         # SqueezeNet's
    (part(27, 96, 256, k=5, pad=2, groups=2), "tf32", "direct"),    # AlexNet's
])
def test_choice_of_algorithm(layer, precision, expected):
    assert choice.algorithm(layer, precision).name == expected
    assert choice.algorithm(layer, precision, "float64").name not in ("mma", "winograd")


def test_tiles_and_slices_fill_the_card_and_no_more():
    large, small = (choice.algorithm(part(H, 512, 512), "tf32") for H in (112, 14))
    assert large.tile == 128 and large.slices == 1
    assert small.tile == 64 and small.slices > 1
    for layer in (part(H, C, 96, N=N) for H in (7, 30) for C in (16, 400) for N in (1, 9)):
        how = choice.algorithm(layer, "float32-direct" if layer.C > 100 else "tf32")
        grid, block = conv_launch.geometry(layer, how)
        if how.tile:
            assert grid[0] * how.tile >= layer.positions and grid[1] * how.tile >= layer.K and grid[2] == how.slices
            assert how.slices * 8 * 16 <= max(layer.kh * layer.kw * layer.C, 8 * 16)
        assert np.prod(block) <= 256 and conv_launch.shared_bytes(how) <= 99 << 10


def test_misfits_are_named():
    with pytest.raises(ValueError, match="has 5 channels, w"):
        conv_plan.forward((1, 4, 4, 5), (3, 3, 4, 2), (1, 1), (1,) * 4, (1, 1), 1)
    with pytest.raises(ValueError, match="must be"):
        conv_plan.backward_input((1, 3, 4, 2), (3, 3, 4, 2), (1, 4, 4, 4), (1, 1), (1,) * 4, (1, 1), 1)
    with pytest.raises(ValueError, match="smaller batches"):
        conv_plan.forward((1 << 12, 1 << 10, 1 << 10, 4), (1, 1, 4, 2), (1, 1), (0,) * 4, (1, 1), 1)
    with pytest.raises(ValueError, match="no precision 'bf16'"):
        choice.algorithm(part(8, 8, 8), "bf16")
