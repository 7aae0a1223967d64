"""Safetensors: eight bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, then the raw numbers.

Read here rather than with the library of that name, because tensors then are views of the mapped file: a dense layer
of 411 MB is rearranged block by block. The rules of the format are enforced: the offsets follow each other without gap
or overlap and end with the file.
"""

import json
import math

from ..errors import WeightFileError
from .mapped import MappedFile, bfloat16_to_float32

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
          "I8": "i1", "U8": "u1", "BOOL": "u1"}
HEADER_LIMIT = 16 << 20


def read_safetensors(path):
    """{name: array} as views into the mapped file; and the MappedFile itself."""
    mapped = MappedFile(path)
    length = int.from_bytes(mapped.bytes(0, 8), "little")
    if length > HEADER_LIMIT:
        raise WeightFileError(f"{path}: its header claims {length} bytes; more than {HEADER_LIMIT} is never needed")
    try:
        header = json.loads(mapped.bytes(8, length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        spans = sorted((*entry["data_offsets"], name) for name, entry in entries.items())
        arrays = {name: _array(mapped, 8 + length, entry) for name, entry in entries.items()}
    except WeightFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightFileError(f"{path}: its header is damaged ({type(error).__name__}: {error})") from None
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise WeightFileError(f"{path}: {name} begins at byte {start} of the data, not at {end}")
        end = stop
    if 8 + length + end != mapped.size:
        raise WeightFileError(f"{path}: is cut off or damaged: {8 + length + end} bytes described, {mapped.size} there")
    return arrays, mapped


def _array(mapped, origin, entry):
    shape, (start, stop) = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"type {entry['dtype']} is not read")
    if len(shape) > 8 or not all(type(value) is int and 0 <= value < 1 << 48 for value in (*shape, start, stop)):
        raise ValueError(f"impossible shape {shape} or offsets {start}, {stop}")
    array = mapped.array(origin + start, DTYPES[entry["dtype"]], tuple(shape))
    if stop - start != math.prod(shape) * array.itemsize:
        raise ValueError(f"{stop - start} bytes for the shape {shape}")
    return bfloat16_to_float32(array) if entry["dtype"] == "BF16" else array
