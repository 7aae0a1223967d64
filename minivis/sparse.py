"""One unit's value and gradient at the cost of its receptive field.

A unit depends on a box of pixels, and on a box of each layer between. Running every layer on its box alone gives the
unit exactly: where a box touches the border of its layer the padding stays, elsewhere there is none, because the cells
beside the box are real and are not needed. With branches a layer computes the union of what its readers need, and each
reader cuts out its part. One way back through this small graph is the gradient, zero outside the box.
"""
from .errors import MinivisError
from .kernels import xp
from .layer_ops import run_layer
from .layers import Layer
from .ops import index
from .ops.geometry import pair
from .ops.transfer import to_memory_of
from .preprocessing import Box
from .shapes import infer_shapes, pads, steps
from .tensor import Tensor

WINDOWS = ("conv", "max_pool", "avg_pool")
CELLWISE = ("relu", "leaky_relu", "clip", "tanh", "sigmoid", "lrn", "batch_norm", "scale", "concat", "add", "multiply",
            "dropout")


class UnitField:
    """The way from the pixels to unit (row, column) of a layer, for pictures of `size` (H, W).

    box     the pixels it needs, or None if it cannot be cut out: a layer on the way sees everything, mirrors or
            enlarges, or the unit sees only padding. Then `of` refuses.
    share   the part of the picture's pixels that these are
    """

    def __init__(self, net, layer, row, column, size):
        self.net, self.layer = net, net.layer_name(layer)
        self.names = net.table.needed([self.layer])
        self.shapes = infer_shapes(net.table, (*size, net.table.layers[0]["shape"][2]), names=self.names)
        shape = self.shapes[self.layer]
        if len(shape) == 3 and not (0 <= row < shape[0] and 0 <= column < shape[1]):
            raise MinivisError(f"{self.layer} has {shape[0]} rows and {shape[1]} columns on this picture: there is no "
                               f"unit @{row},{column}")
        self.box, self.spans = None, {}
        possible = all(net.table[name].kind in WINDOWS + CELLWISE for name in self.names[1:])
        if possible and len(shape) == 3 and self._walk((row, row + 1), (column, column + 1)):
            (top, bottom), (left, right) = self.spans[self.names[0]]
            self.box = Box(top, left, bottom, right)
        area = 0 if self.box is None else (self.box.bottom - self.box.top) * (self.box.right - self.box.left)
        self.share = area / (size[0] * size[1]) if self.box else 1.0

    def crop(self, x):
        """The pixels (1, h, w, C) of the box, as a contiguous array."""
        return xp(x).ascontiguousarray(x[:, self.box.top:self.box.bottom, self.box.left:self.box.right])

    def framed(self, part, x):
        """An array like x that is `part` in the box and 0 outside."""
        whole = xp(x).zeros_like(x)
        whole[:, self.box.top:self.box.bottom, self.box.left:self.box.right] = part
        return whole

    def of(self, pixels, keep=False):
        """Tensor (N, 1, 1, K): the layer at the unit's place, from a Tensor (N, h, w, C) of the box's pixels."""
        if self.box is None:
            raise MinivisError(f"{self.layer}: this unit cannot be computed from a part of the picture")
        some = next(iter(self.net.weights.values()), None)
        values = {self.names[0]: pixels if some is None else to_memory_of(pixels, some.data)}
        for name in self.names[1:]:
            layer, spans, padding = self.net.table[name], [], ()
            for a in (0, 1):
                span, around = self._needed(name, self.shapes[self.net.table.reads[name][0]], a, self.spans[name][a])
                spans.append(span)
                padding += around
            inputs = [self._cut(values[source], source, spans) for source in self.net.table.reads[name]]
            if layer.kind in WINDOWS:
                layer = Layer(name, layer.kind, **{**layer.settings, "pad": list(padding)})
            values[name] = run_layer(layer, inputs, self.net.weights, keep=keep, precision=self.net.precision)
        return values[self.layer]

    def _walk(self, rows, columns):
        """Which rows and columns of every layer are needed; False if some layer would need none."""
        self.spans[self.layer] = [rows, columns]
        for name in reversed(self.names[1:]):
            if name not in self.spans:
                continue
            for source in self.net.table.reads[name]:
                spans = [self._needed(name, self.shapes[source], a, self.spans[name][a])[0] for a in (0, 1)]
                if any(low >= high for low, high in spans):
                    return False
                old = self.spans.get(source, spans)
                self.spans[source] = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(old, spans)]
        return True

    def _needed(self, name, shape, a, span):
        """((first, end) of the input that output cells first..end-1 read along axis a, (padding before, after))."""
        layer = self.net.table[name]
        if layer.kind not in WINDOWS:
            return span, (0, 0)
        before, after = pads(layer, shape)[2 * a:2 * a + 2]
        stride, dilation = (s[a] for s in steps(layer))
        reach = (pair(layer["kernel"], "kernel")[a] - 1) * dilation + 1
        low, high = span[0] * stride - before, (span[1] - 1) * stride - before + reach
        # a pooling's last window may reach beyond the padding (ceil): those cells do not exist and stay uncounted
        around = max(0, -low), min(max(0, high - shape[a]), after)
        return (max(0, low), min(shape[a], high)), around

    def _cut(self, value, source, spans):
        """The part of a layer's value that one reader needs."""
        have = self.spans[source]
        if [tuple(s) for s in spans] == [tuple(s) for s in have]:
            return value
        rows, columns = (slice(want[0] - got[0], want[1] - got[0]) for want, got in zip(spans, have))
        return index(value, (slice(None), rows, columns))


def field_if_smaller(net, layer, row, column, size, share=0.5):
    """A UnitField if the unit's pixels are at most `share` of the picture, else None: then the fused way is faster."""
    field = UnitField(net, layer, row, column, size)
    return field if field.box is not None and field.share <= share else None


def pixels_of(field, x, needs_grad=True):
    """The box's pixels of x (1, H, W, C) as a Tensor."""
    return Tensor(field.crop(x), needs_grad=needs_grad)
