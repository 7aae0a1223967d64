"""Keras files: HDF5 of 2016, legacy HDF5, .weights.h5 of Keras 3, whole models as .h5 and .keras.

All hold, per layer, a few arrays with a role: kernel, bias, gamma, beta, moving_mean, moving_variance,
depthwise_kernel, pointwise_kernel. `read_keras` finds them in each layout:

    2016        LAYER/LAYER_W_1:0, LAYER_b_1:0 (or LAYER/LAYER_W)
    legacy      [model_weights/]LAYER/.../kernel[:0]
    Keras 3     layers/CLASS_NUMBER/vars/0, 1, ... in the order in which the class creates them

The names inside the file choose nothing but which array plays which role.
"""

import json
import re
import zipfile

import h5py

from ..errors import WeightFileError
from .hdf5_tree import text_attribute, walk
from .mapped import MappedFile
from .pickle_machine import Refused
from .torch_pickle import _stored as stored_member

ROLES = {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "depthwise_kernel", "pointwise_kernel"}
OLD_ROLES = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}
CONFIG_LIMIT = 16 << 20
DAMAGES = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, UnicodeError, MemoryError,
           NotImplementedError, OverflowError, IndexError, RecursionError)


def read_keras(path):
    """(config or None, {layer: {role or number: Dataset}}, MappedFile, layout).

    config is the dictionary of the model; layout "named" (layers by name) or "numbered" (Keras 3: by class and number).
    """
    mapped = MappedFile(path)
    try:
        if mapped.bytes(0, min(4, mapped.size)) == b"PK\x03\x04":
            return _read_archive(mapped)
        return _read_hdf5(mapped, path, None)
    except WeightFileError:
        raise
    except DAMAGES as error:
        raise WeightFileError(f"{path}: is damaged or no Keras file ({type(error).__name__}: {_line(error)})") from None


def _read_archive(mapped):
    with zipfile.ZipFile(mapped.path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        for name in ("config.json", "model.weights.h5"):
            if name not in members:
                raise WeightFileError(f"{mapped.path}: is a zip archive without {name}, so it is no Keras model")
        if members["config.json"].file_size > CONFIG_LIMIT:
            raise WeightFileError(f"{mapped.path}: its config.json has more than {CONFIG_LIMIT} bytes")
        with archive.open("config.json") as member:
            config = json.loads(member.read(CONFIG_LIMIT))
        try:
            weights = stored_member(mapped, members["model.weights.h5"])
        except Refused as error:
            raise WeightFileError(f"{mapped.path}: {error}") from None
    return _read_hdf5(weights, weights.open(), config)


def _read_hdf5(mapped, source, config):
    # The file stays open: Dataset objects read from it later, and h5py closes it when the last of them goes.
    file = h5py.File(source, "r")
    if "nb_layers" in file.attrs and "layer_0" in file:
        raise WeightFileError(f"{mapped.path}: is a Theano-ordered file of 2015 (layer_0/param_0), which does not say "
                              "its layout; use vgg16_weights_tf_dim_ordering_tf_kernels.h5 instead")
    if config is None and (text := text_attribute(file, "model_config")) is not None:
        config = json.loads(text)
    datasets = walk(file, mapped)
    numbered = any(re.fullmatch(r"(.*/)?layers/[^/]+/vars/\d+", name) for name in datasets)
    layers = {}
    for name, dataset in datasets.items():
        parts = name.split("/")
        if numbered:
            if match := re.fullmatch(r"((?:layers/[^/]+/)+)vars/(\d{1,4})", name):
                place = "/".join(match[1].split("/")[1::2])             # layers/functional/layers/conv2d/
                layers.setdefault(place, {})[int(match[2])] = dataset
            elif parts[0] not in ("optimizer", "vars"):
                raise WeightFileError(f"{mapped.path}: {name} belongs to no layer")
            continue
        parts = parts[1:] if parts[0] == "model_weights" else parts
        if parts[0] == "optimizer_weights" or len(parts) < 2:
            continue
        roles = layers.setdefault(parts[-2], {})            # the layer's name, also in a model inside the model
        role = _role(parts[-1])
        if role is None or role in roles:
            raise WeightFileError(f"{dataset.where}: plays no known role, or one that is taken")
        roles[role] = dataset
    return config, layers, mapped, "numbered" if numbered else "named"


def _role(name):
    """kernel of "kernel:0", "block1_conv1_W_1:0", "dense_1/kernel", "conv1_W"."""
    name = name.split(":")[0]
    if name in ROLES:
        return name
    if match := re.fullmatch(r".*_(W|b|gamma|beta|running_mean|running_std)(_\d+)?", name):
        return OLD_ROLES.get(match[1], match[1])
    return name.rsplit("_", 1)[0] if name.rsplit("_", 1)[0] in ROLES else None


def _line(error):
    return " ".join(str(error).split())[:200]
