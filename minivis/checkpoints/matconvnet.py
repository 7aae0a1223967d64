"""MatConvNet .mat files (MATLAB v5), both layouts: of the beta releases (filters, biases) and of 1.0 (weights).

A network is a cell array of layer structs. Convolutions are H x W x in x out, correlated, as here; dense layers are
convolutions over the whole of what is left. Pictures are RGB, 0..255, minus the mean in meta.normalization.
"""

import zlib
from math import prod

import numpy as np

from ..errors import MinivisError, WeightFileError
from .draft import Draft
from .families import preprocessing
from .mapped import MappedFile

COMPRESSED, LIMIT_RATIO, SMALL = 15, 200, 64 << 20


def read_matconvnet(path):
    """The Draft of a MatConvNet network."""
    from scipy.io import loadmat
    _measure(path)
    try:
        content = loadmat(path, struct_as_record=True, squeeze_me=False, verify_compressed_data_integrity=True)
        return _network(content, path)
    except MinivisError as error:
        raise WeightFileError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except Exception as error:      # scipy raises whatever a damaged file makes its parser run into
        raise WeightFileError(f"{path}: is damaged or no MatConvNet network ({type(error).__name__}: "
                              f"{' '.join(str(error).split())[:150]})") from None


def _measure(path):
    """Unpack every compressed element once, keeping nothing, so that a small file cannot turn into gigabytes."""
    mapped = MappedFile(path)
    at, total = 128, 0
    while at + 8 <= mapped.size:
        kind, length = (int(v) for v in mapped.array(at, "<u4", (2,)))
        if kind == COMPRESSED:
            unpack, start = zlib.decompressobj(), at + 8
            end = min(start + length, mapped.size)
            while start < end:
                piece = unpack.unconsumed_tail or mapped.bytes(start, min(1 << 20, end - start))
                start += 0 if unpack.unconsumed_tail else len(piece)
                total += _unpacked(unpack, piece, path)
                while unpack.unconsumed_tail:
                    total += _unpacked(unpack, unpack.unconsumed_tail, path)
                    _bound(total, mapped)
                _bound(total, mapped)
        at += 8 + length


def _unpacked(unpack, piece, path):
    try:
        return len(unpack.decompress(piece, 4 << 20))
    except zlib.error as error:
        raise WeightFileError(f"{path}: is damaged ({error})") from None


def _bound(total, mapped):
    if total > max(SMALL, LIMIT_RATIO * mapped.size):
        raise WeightFileError(f"{mapped.path}: unpacks to more than {total} bytes from {mapped.size}")


# ------------------------------------------------------------------------------------------------------------ structs

def _field(struct, *names):
    """The first field there is, of a 1x1 struct array; None where there is none."""
    if struct is None or struct.dtype.names is None or struct.size != 1:
        return None
    for name in names:
        if name in struct.dtype.names:
            return struct.reshape(-1)[0][name]
    return None


def _text(value):
    return "" if value is None or np.size(value) == 0 else str(np.ravel(value)[0])


def _numbers(value, default):
    """[2.0, 2.0] of a 1xn array of numbers."""
    if value is None or np.size(value) == 0:
        return default
    numbers = np.asarray(value, np.float64).reshape(-1)
    if numbers.size > 8:
        raise ValueError(f"a setting has {numbers.size} numbers")
    return [float(v) for v in numbers]


def _whole(value, count, default):
    numbers = _numbers(value, [default])
    numbers = numbers * count if len(numbers) == 1 else numbers
    if len(numbers) != count or any(v != int(v) for v in numbers):
        raise ValueError(f"a setting is {numbers}, not {count} whole numbers")
    return [int(v) for v in numbers]


# ------------------------------------------------------------------------------------------------------------ network

def _network(content, path):
    root = content.get("net")
    layers = _field(root, "layers") if root is not None else content.get("layers")
    meta = _field(root, "meta") if root is not None else content.get("meta")
    if layers is None or layers.dtype != object:
        raise WeightFileError(f"{path}: holds no MatConvNet network: it has no cell array called layers")
    norm = _field(meta, "normalization") if meta is not None else content.get("normalization")
    classes = _field(meta, "classes") if meta is not None else content.get("classes")
    size = _numbers(_field(norm, "imageSize"), [224, 224, 3])
    shape = [int(v) for v in size[:3]] if len(size) >= 3 else [224, 224, 3]

    draft = Draft("MatConvNet", architecture="custom", source="MatConvNet model")
    draft.add("input", "input", shape=shape)
    for layer in layers.reshape(-1):
        _add_layer(draft, layer)
    draft.labels = _labels(classes)
    mean = _numbers(_mean(_field(norm, "averageImage")), [123.68, 116.779, 103.939])
    draft.preprocessing = {**preprocessing("matconvnet", shape), "mean": mean if len(mean) == 3 else mean[:1] * 3}
    return draft


def _mean(image):
    """MatConvNet stores a mean picture or a mean colour; the mean colour of the picture is used."""
    if image is None or np.size(image) == 0:
        return None
    channels = image.shape[-1] if image.ndim == 3 else np.size(image)
    return np.asarray(image, np.float64).reshape(-1, channels).mean(axis=0)


def _labels(classes):
    names, words = _field(classes, "name"), _field(classes, "description")
    if names is None or words is None or np.size(names) != np.size(words):
        return None
    return [[_text(name), _text(word).split(",")[0]] for name, word in zip(np.ravel(names), np.ravel(words))]


def _add_layer(draft, layer):
    name, kind = _text(_field(layer, "name")) or "layer", _text(_field(layer, "type"))
    if kind == "conv":
        _add_conv(draft, layer, name)
    elif kind == "relu":
        if slope := _numbers(_field(layer, "leak"), [0.0])[0]:
            draft.add(name, "leaky_relu", slope=slope)
        else:
            draft.add(name, "relu")
    elif kind == "pool":
        _add_pool(draft, layer, name)
    elif kind in ("normalize", "lrn"):
        size, k, alpha, beta = _numbers(_field(layer, "param"), [5, 1, 1e-4, 0.75])
        draft.add(name, "lrn", size=int(size), k=k, alpha=alpha, beta=beta, per_size=False)
    elif kind == "softmax":
        if len(draft.shape(draft.output)) == 3:
            draft.add(f"{name}_flatten", "flatten")
        draft.add(name, "softmax")
    elif kind == "dropout":
        draft.add(name, "dropout", rate=_numbers(_field(layer, "rate"), [0.5])[0])
    else:
        raise WeightFileError(f"layer {name}: type {kind!r} is not read; conv, relu, pool, lrn, dropout, softmax are")


def _add_conv(draft, layer, name):
    pair = _field(layer, "weights")
    weight, bias = ([_field(layer, "filters"), _field(layer, "biases")] if pair is None else
                    [*pair.reshape(-1), None][:2])
    if weight is None or not 2 <= weight.ndim <= 4 or weight.dtype.kind != "f":
        raise WeightFileError(f"layer {name}: has no 4-D array of filters")
    weight = weight.reshape(weight.shape + (1,) * (4 - weight.ndim))        # MATLAB drops trailing axes of one
    H, W, I, K = weight.shape
    bias = np.zeros(K, np.float32) if bias is None or np.size(bias) == 0 else np.asarray(bias).reshape(-1)
    stride, (top, bottom, left, right) = _whole(_field(layer, "stride"), 2, 1), _whole(_field(layer, "pad"), 4, 0)
    shape = draft.shape(draft.output)
    whole = len(shape) == 1 or (tuple(shape[:2]) == (H, W) and shape[2] == I and not any((top, bottom, left, right)))
    if whole:                                           # a dense layer, written as a convolution over all that is left
        if len(shape) == 3:
            draft.add("flatten", "flatten")
        draft.add(name, "linear", None, {"weight": weight.reshape(prod((H, W, I)), K), "bias": bias}, outputs=K)
        return
    groups = shape[2] // I if I and shape[2] % I == 0 else 1
    draft.add(name, "conv", None, {"weight": weight, "bias": bias}, filters=K, kernel=[H, W], stride=stride,
              pad=[top, bottom, left, right], groups=groups, dilation=_whole(_field(layer, "dilate"), 2, 1))


def _add_pool(draft, layer, name):
    method = _text(_field(layer, "method")) or "max"
    if method not in ("max", "avg"):
        raise WeightFileError(f"layer {name}: pooling by {method!r} is not read")
    kernel, stride = _whole(_field(layer, "pool"), 2, 2), _whole(_field(layer, "stride"), 2, 1)
    count = {"count_pad": False} if method == "avg" else {}
    draft.add(name, f"{method}_pool", kernel=kernel, stride=stride, pad=_whole(_field(layer, "pad"), 4, 0), **count)
