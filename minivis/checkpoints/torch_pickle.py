"""PyTorch .pth/.pt files without PyTorch: the zip archive (since torch 1.6) and the stream of 2017.

Zip: ROOT/data.pkl describes the tensors, ROOT/data/KEY holds each storage, uncompressed and little-endian.
Stream: five pickles (magic number, protocol 1001, system, object, storage keys), then for each key an int64 count and
the raw numbers. Nothing in either is executed: pickle_machine.py.
"""

import math
import struct
import zipfile

import numpy as np

from ..errors import WeightFileError
from .mapped import MappedFile, bfloat16_to_float32
from .pickle_machine import LIMIT_BYTES, Refused, TensorRef, interpret

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "BFloat16Storage": "<u2",
          "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
          "BoolStorage": "u1"}
TENSORS_LIMIT = 100_000


def read_torch(path):
    """{name: array} of a state_dict, as views into the mapped file; and the MappedFile itself.

    A state_dict inside a dictionary ("state_dict", "model", ...) gives names with dots: "state_dict.features.0.weight".
    """
    mapped = MappedFile(path)
    try:
        value, storages = _read_zip(mapped) if mapped.bytes(0, 4) == b"PK\x03\x04" else _read_stream(mapped)
        tensors = {}
        _collect(value, "", tensors, depth=0)
        return {name: _array(tensor, storages) for name, tensor in tensors.items()}, mapped
    except Refused as error:
        raise WeightFileError(f"{path}: {error}") from None


def _read_zip(mapped):
    try:
        with zipfile.ZipFile(mapped.path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, ValueError, struct.error, OSError) as error:
        raise Refused(f"is a damaged zip archive ({error})") from None
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Refused("is a zip archive, but no PyTorch checkpoint: it has no data.pkl")
    root = pickles[0].removesuffix("data.pkl")

    def member(name):
        if root + name not in members:
            raise Refused(f"lacks its part {name}")
        return _stored(mapped, members[root + name])

    if root + "byteorder" in members and _all(member("byteorder")) != b"little":
        raise Refused("was written by a big-endian machine; save it again on another")
    if member("data.pkl").size > LIMIT_BYTES:
        raise Refused(f"has a pickle of more than {LIMIT_BYTES} bytes")
    value, _ = interpret(_all(member("data.pkl")))

    def storage(ref):
        part, dtype = member(f"data/{ref.key}"), _dtype(ref)
        if part.size != ref.count * dtype.itemsize:
            raise Refused(f"storage {ref.key} has {part.size} bytes, not {ref.count} of {dtype.itemsize}")
        return part.array(0, dtype, (ref.count,))

    return value, storage


def _all(part):
    return part.bytes(0, part.size)


def _stored(mapped, info):
    """The window of an uncompressed member of a zip archive. The local header repeats the name's length."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise Refused(f"its part {info.filename} is compressed or encrypted, which PyTorch never does")
    header = mapped.bytes(info.header_offset, 30)
    if header[:4] != b"PK\x03\x04":
        raise Refused(f"is damaged at its part {info.filename}")
    name, extra = struct.unpack_from("<HH", header, 26)
    return mapped.part(info.header_offset + 30 + name + extra, info.file_size)


def _read_stream(mapped):
    head = mapped.bytes(0, min(mapped.size, LIMIT_BYTES))
    magic, at = interpret(head)
    protocol, at = interpret(head, at)
    system, at = interpret(head, at)
    if (magic, protocol) != (MAGIC, 1001):
        raise Refused("is no PyTorch checkpoint of a known version")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("was written by a big-endian machine; save it again on another")
    value, at = interpret(head, at)
    keys, at = interpret(head, at)
    if not isinstance(keys, list):
        raise Refused("is damaged: no list of storages")
    places = {}
    for ref in _storages(value):
        if places.setdefault(ref.key, ref) != ref:
            raise Refused(f"storage {ref.key} is described in two ways")
    arrays = {}
    for key in map(str, keys):
        if key not in places or key in arrays:
            raise Refused(f"storage {key} is there twice or belongs to no tensor")
        count, = struct.unpack("<q", mapped.bytes(at, 8))
        dtype = _dtype(places[key])
        if count != places[key].count:
            raise Refused(f"storage {key} has {count} numbers, not {places[key].count}")
        arrays[key] = mapped.array(at + 8, dtype, (count,))
        at += 8 + count * dtype.itemsize
    if at != mapped.size or set(arrays) != set(places):
        raise Refused(f"is cut off or damaged: its tensors end at byte {at} of {mapped.size}")
    return value, lambda ref: arrays[ref.key]


def _storages(value):
    tensors = {}
    _collect(value, "", tensors, depth=0)
    return [tensor.storage for tensor in tensors.values()]


def _collect(value, prefix, tensors, depth):
    """Flatten nested dictionaries into {dotted name: TensorRef}; epochs, optimiser settings and so on are passed by."""
    if isinstance(value, TensorRef):
        tensors[prefix or "tensor"] = value
        if len(tensors) > TENSORS_LIMIT:
            raise Refused(f"has more than {TENSORS_LIMIT} tensors")
    elif isinstance(value, (dict, list, tuple)) and depth < 6:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _collect(item, f"{prefix}.{key}" if prefix else str(key), tensors, depth + 1)


def _dtype(ref):
    if ref.kind not in DTYPES:
        raise Refused(f"it has a tensor of type {ref.kind}, which is not read")
    return np.dtype(DTYPES[ref.kind])


def _array(tensor, storages):
    """The strided view; every index lies inside the storage."""
    ref, offset, shape, stride = tensor
    dtype = _dtype(ref)
    if 0 in shape:
        if math.prod(size for size in shape if size) > 1 << 40:
            raise Refused(f"it has a tensor of impossible shape {shape}")
        return np.zeros(shape, dtype)
    end = offset + sum((size - 1) * step for size, step in zip(shape, stride)) + 1
    if end > ref.count:
        raise Refused(f"a tensor of shape {shape} reaches outside its storage ({end} of {ref.count})")
    flat = storages(ref)[offset:]
    view = np.lib.stride_tricks.as_strided(flat, shape, [step * flat.itemsize for step in stride], writeable=False)
    return bfloat16_to_float32(view) if ref.kind == "BFloat16Storage" else view
