"""The weights file of minivis, version 1: HDF5 that holds the layer table too, so that it opens without any code.

    /                      attributes format "minivis", version 1, architecture, source, licence; of a network that
                           was trained here also accuracy, recipe (JSON) and date
    /table                 JSON {layers, logits_layer, features_layer, output_layer}
    /preprocessing         JSON of a Preprocessing, or null
    /labels                JSON [[WordNet id, name], ...], or null
    /layers/NAME/weight    and bias; scale, shift, mean, var of normalisations; float16, float32 (or float64)

Convolutions are (kh, kw, C/groups, K), transposed ones (kh, kw, C, K/groups), dense layers (in, out).
"""
import json
import math
import os

import numpy as np

from ..errors import MinivisError, WeightFileError
from ..files import atomic_write
from ..layers import Table
from ..network import Network
from ..shapes import weight_shapes
from .safe_hdf5 import open_hdf5

VERSION = 1
META, TRAINED = ("architecture", "source", "licence"), ("accuracy", "recipe", "date", "style", "losses")
MOST_BYTES = 4 * 2**30          # of all weights together, in float32
MOST_GROWTH = 1000              # times the file: gzip cannot do more, so more is storage that was never written
SMALL = 64 * 2**20              # no growth limit below this
_TABLE_KEYS = ("layers", "logits_layer", "features_layer", "output_layer")


def read(path, precision="float32"):
    """The Network in a file. Anything missing, extra, misshapen or not finite is one WeightFileError."""
    try:
        with open_hdf5(path) as root:
            _check_version(root, path)
            fields = _table_fields(_json(root, "table"), path)
            table = Table(fields.pop("layers"))
            shapes = weight_shapes(table)
            _check_size(path, shapes)
            weights = _read_weights(root, table, shapes)
            fields |= {"preprocessing": _json(root, "preprocessing"), "labels": _labels(root)}
            meta = {name: str(root.attribute(name, "")) for name in (*META, *TRAINED)}
            fields["meta"] = {name: text for name, text in meta.items() if text or name in META}
        name = os.path.splitext(os.path.basename(os.fspath(path)))[0]
        return Network(table, weights, **fields, precision=precision, name=name)
    except WeightFileError:
        raise
    except MinivisError as error:
        raise WeightFileError(f"{path}: {error}") from error


def _check_version(root, path):
    if root.attribute("format") != "minivis":
        raise WeightFileError(f"{path} is not a minivis weights file: it lacks the attribute format='minivis'")
    if root.attribute("version") != VERSION:
        raise WeightFileError(f"{path} is version {root.attribute('version')} of the format; this program reads "
                              f"version {VERSION}")


def write(network, path, dtype="float32"):
    """Write a Network to a file, whole or not at all. dtype: "float16", "float32" or "float64" for all weights."""
    import h5py
    if dtype not in ("float16", "float32", "float64"):
        raise MinivisError(f"weights are stored as float16, float32 or float64, not {dtype!r}")
    fields = {"layers": network.table.to_json(), "logits_layer": network.logits_layer,
              "features_layer": network.features_layer, "output_layer": network.output_layer}
    preprocessing = network.preprocessing.to_json() if network.has_preprocessing else "null"
    with atomic_write(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        file.attrs.update({"format": "minivis", "version": VERSION,
                           **{name: network.meta.get(name, "") for name in META},
                           **{name: network.meta[name] for name in TRAINED if name in network.meta}})
        file["table"], file["preprocessing"] = json.dumps(fields), preprocessing
        file["labels"] = json.dumps(network.labels)
        layers = file.create_group("layers")
        for name, tensor in network.weights.items():
            with np.errstate(over="ignore"):
                array = tensor.numpy().astype(dtype)
            if not math.isfinite(float(abs(array).max(initial=0))):
                raise MinivisError(f"weights: {name} does not fit into {dtype} (or is not finite); nothing was written")
            packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if array.size > 1024 else {}
            layers.create_dataset(name, data=array, track_times=False, **packed)


# -------------------------------------------------------------------------------------------------------------- pieces

def _json(root, name):
    try:
        return json.loads(root.text(name))
    except (ValueError, RecursionError) as error:
        if isinstance(error, WeightFileError):
            raise
        raise root.refuse(name, f"is not valid JSON: {error}") from error


def _table_fields(fields, path):
    if not isinstance(fields, dict) or not isinstance(fields.get("layers"), list):
        raise WeightFileError(f"{path}: /table must be a JSON object with a list of layers")
    unknown = [key for key in fields if key not in _TABLE_KEYS]
    if unknown:
        raise WeightFileError(f"{path}: /table has the unknown entry {unknown[0]!r}")
    for key in _TABLE_KEYS[1:]:
        if fields.get(key) is not None and not isinstance(fields[key], str):
            raise WeightFileError(f"{path}: /table: {key} must be a layer name, not {fields[key]!r}")
    return fields


def _check_size(path, shapes):
    """The table says how much is to be read, before anything is."""
    declared, stored = 4 * sum(math.prod(shape) for shape in shapes.values()), os.path.getsize(path)
    if declared > MOST_BYTES or declared > max(SMALL, MOST_GROWTH * stored):
        raise WeightFileError(f"{path}: its table calls for {declared / 1e6:,.0f} MB of weights, but the file has only "
                              f"{stored / 1e6:,.1f} MB" if declared <= MOST_BYTES else
                              f"{path}: its table calls for {declared / 1e9:,.1f} GB of weights; the limit is "
                              f"{MOST_BYTES / 1e9:.1f} GB")


def _read_weights(root, table, shapes):
    layers = root.group("layers")
    wanted = {}
    for name in shapes:
        wanted.setdefault(name.split("/")[0], []).append(name.split("/")[1])
    for name in layers.names():
        if name not in wanted:
            raise layers.refuse(name, "is a layer without weights" if name in table else "is no layer of the table")
    weights = {}
    for name, parts in wanted.items():
        group = layers.group(name)
        extra = [member for member in group.names() if member not in parts]
        if extra:
            raise group.refuse(extra[0], f"is not expected: this layer has {', '.join(parts)}")
        for part in parts:
            array = group.array(part, shapes[f"{name}/{part}"])
            if part == "var" and array.min(initial=0) < 0:
                raise group.refuse(part, "holds a negative variance")
            weights[f"{name}/{part}"] = array
    return weights


def _labels(root):
    labels = _json(root, "labels") if "labels" in root else None
    good = labels is None or (isinstance(labels, list) and len(labels) <= 10**6 and all(
        isinstance(row, list) and len(row) == 2 and all(isinstance(text, str) for text in row) for row in labels))
    if not good:
        raise root.refuse("labels", "must be null or a list of [WordNet id, name]")
    return labels
