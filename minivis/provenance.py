"""The recipe of a result: all that is needed to run it again, as JSON."""

import functools
import hashlib
import json
import os
import platform
from importlib import metadata

import numpy as np


def make_recipe(technique, options, net=None, seed=0, precision="float32", device="cpu"):
    """{technique, options, network, seed, precision, device, versions}: a dict that json.dumps takes as it is.

    options: {name: value} as the technique received them; arrays are recorded by shape, type and hash.
    """
    return {
        "technique": technique,
        "options": jsonable(options),
        "network": None if net is None else network_identity(net),
        "seed": seed,
        "precision": precision,
        "device": device,
        "versions": dict(versions()),
    }


@functools.cache
def versions():
    """{package: version} of what computes; read from the disk once."""
    from . import __version__
    return {"minivis": __version__, "python": platform.python_version(), "numpy": metadata.version("numpy"),
            "numba": metadata.version("numba")}


def network_identity(net):
    """{name, architecture, weights}: weights is the SHA-256 of the names and values of all weights."""
    digest = getattr(net, "weights_hash", None)
    digest = digest() if callable(digest) else digest
    return {"name": jsonable(getattr(net, "name", None)), "weights": digest or hash_weights(net.weights),
            "architecture": jsonable((getattr(net, "meta", None) or {}).get("architecture"))}


def hash_weights(weights):
    """SHA-256 of {name: array or Tensor}, independent of the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = getattr(weights[name], "data", weights[name]) if not isinstance(weights[name], np.ndarray) \
            else weights[name]
        array = np.ascontiguousarray(array.get() if hasattr(array, "get") else array)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array)
    return digest.hexdigest()


def jsonable(value):
    """`value` in JSON's types. Arrays become {shape, dtype, sha256}; what has no such form, its string."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(float(value))       # JSON has no NaN and no infinity
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__array__") and hasattr(value, "shape"):
        array = np.ascontiguousarray(value)
        return {"shape": list(array.shape), "dtype": str(array.dtype),
                "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
    if hasattr(value, "table") and hasattr(value, "weights"):
        return network_identity(value)
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return name if isinstance(name, str) else str(value)


def canonical(recipe):
    """The JSON text of a recipe, with sorted keys: equal recipes give equal texts."""
    return json.dumps(recipe, sort_keys=True, ensure_ascii=False)
