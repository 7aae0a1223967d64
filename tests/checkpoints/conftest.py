"""Sample files written by the frameworks (tools/make_samples.py), a reader process for all tests, and small writers."""
import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from minivis import architectures
from minivis.checkpoints.isolate import Reader
from minivis.layers import Layer

SAMPLES = Path(__file__).parent / "samples"


NARROW = 16     # times narrower than the published networks


def _narrow(architecture, head=True):
    """The rows of an architecture, `NARROW` times narrower, with 7 classes, at the smallest input it can have."""
    rows = []
    for row in architectures.table(architecture, head)["layers"]:
        settings = dict(row.settings)
        if row.kind == "conv" and row.name != "conv10":
            settings["filters"] //= NARROW
        elif row.kind in ("conv", "linear"):
            settings["filters" if row.kind == "conv" else "outputs"] = 7 if row.name in ("fc8", "conv10") else 24
        if row.kind == "input" and architecture.startswith("vgg") and head:
            settings["shape"] = [64, 64, 3]
        rows.append(Layer(row.name, row.kind, row.inputs, **settings))
    return rows


@pytest.fixture(scope="session")
def narrow():
    return _narrow


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """sample(name) -> path of the unpacked file."""
    folder = tmp_path_factory.mktemp("samples")

    def unpack(name):
        path = folder / name
        if not path.exists():
            path.write_bytes(gzip.decompress((SAMPLES / f"{name}.gz").read_bytes()))
        return path
    return unpack


@pytest.fixture(scope="session")
def answers():
    """answers(stem) -> {x, logits, gradient, target} of the framework, in float64."""
    return lambda stem: np.load(SAMPLES / f"{stem}.npz")


@pytest.fixture(scope="session")
def reader():
    with Reader(patience=20) as reader:
        yield reader


def _write_safetensors(path, arrays):
    header, at = {}, 0
    for name, array in arrays.items():
        kind = {"f2": "F16", "f4": "F32", "f8": "F64", "u2": "BF16"}[array.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(np.ascontiguousarray(a).tobytes()
                                                                    for a in arrays.values()))
    return path


@pytest.fixture(scope="session")
def write_safetensors():
    return _write_safetensors
