"""Reading stride, padding, dilation and window sizes the ways people write them, into the one way kernels take them."""


def pair(value, what):
    """2 or (2, 3) -> (vertical, horizontal)."""
    values = (value, value) if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != 2 or min(values) < 1:
        raise ValueError(f"{what} must be a positive integer or a pair of them, not {value!r}")
    return values


def padding(pad, x_shape, size, stride, dilation=(1, 1)):
    """0, n, (top, bottom, left, right) or "same" -> (top, bottom, left, right).

    "same" is TensorFlow's: the output has ceil(input / stride) cells, and an odd cell of padding goes to bottom/right.
    """
    if isinstance(pad, str):
        if pad != "same":
            raise ValueError(f"pad must be a number, (top, bottom, left, right) or 'same', not {pad!r}")
        sides = []
        for a in (0, 1):
            reach = (size[a] - 1) * dilation[a] + 1
            total = max(0, (-(-x_shape[1 + a] // stride[a]) - 1) * stride[a] + reach - x_shape[1 + a])
            sides += [total // 2, total - total // 2]
        return tuple(sides)
    sides = (pad,) * 4 if isinstance(pad, int) else tuple(int(p) for p in pad)
    if len(sides) != 4 or min(sides) < 0:
        raise ValueError(f"pad must be a number of at least 0, (top, bottom, left, right) or 'same', not {pad!r}")
    return sides


def check_picture(x, op):
    if x.ndim != 4:
        raise ValueError(f"{op}: x {x.shape} must be (N, H, W, C)")
