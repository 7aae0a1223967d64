"""Write a Draft as a weights file of minivis, tensor by tensor and block by block, so that memory stays small.

The format is that of minivis_hdf5.py. Large arrays are stored plainly, because random numbers do not pack and a plain
array can be mapped.
"""

import json
import math

import h5py
import numpy as np

from ..errors import WeightFileError
from .draft import blocks


def write_draft(draft, path, *, progress=None, origin=None):
    """Write to `path` (an ordinary name: the caller makes it atomic). Values that are not finite are refused.

    path None: read and check everything, keep nothing. progress(done, total) is called with bytes. Arrays become
    float32; float16 if the file had only such.
    """
    if path is None:
        for _ in _checked(draft, origin, progress):
            pass
        return
    fields = {"layers": [row.to_json() for row in draft.rows], "logits_layer": draft.logits_layer,
              "features_layer": draft.features_layer,
              "output_layer": None if draft.logits_layer else draft.output}
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs.update({"format": "minivis", "version": 1, "architecture": draft.architecture,
                           "source": draft.source, "licence": draft.licence})
        file["table"], file["preprocessing"] = json.dumps(fields), json.dumps(draft.preprocessing)
        file["labels"] = json.dumps(draft.labels)
        layers = file.create_group("layers")
        for key, rows, block in _checked(draft, origin or path, progress):
            if key not in layers:
                layers.create_dataset(key, draft.weights[key].shape, block.dtype, track_times=False)
            layers[key][rows] = block


def _checked(draft, origin, progress):
    """Yield (key, index, block) for every block of every weight, in the type it is stored in."""
    kinds = {np.dtype(array.dtype) for array in draft.weights.values()}
    dtype = np.dtype(np.float16 if kinds == {np.dtype(np.float16)} else np.float32)
    total = sum(math.prod(array.shape) for array in draft.weights.values()) * dtype.itemsize
    done = 0
    for key, array in draft.weights.items():
        row = 0
        for block in blocks(array):
            with np.errstate(over="ignore"):
                block = block.astype(dtype, copy=False)
            _check(block, key, origin)
            rows = slice(row, row + len(block)) if block.ndim and block.size else ()
            yield key, rows, block
            row += len(block) if block.ndim else 0
            done += block.nbytes
            if progress is not None:
                progress(done, total)
        if draft.mapped is not None:
            draft.mapped.forget()


def _check(block, key, origin):
    layer, part = key.rsplit("/", 1)
    if not np.isfinite(block).all():
        bad = int(np.count_nonzero(~np.isfinite(block)))
        raise WeightFileError(f"{origin}: layer {layer}: its {part} holds {bad} values that are not finite" + (
            "; without its dense layers (--no-head) the rest may be read" if layer.startswith("fc") else ""))
    if part == "var" and block.min(initial=0) < 0:
        raise WeightFileError(f"{origin}: layer {layer}: its variance is negative")
