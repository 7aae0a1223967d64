"""Which form a weights file has, told from its content and never from its name, and the reader for that form."""

import json
import zipfile

from ..errors import WeightFileError
from .draft import Draft, settle
from .known import from_keras_weights, from_state_dict, rename_if_known
from .mapped import MappedFile

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
REFUSALS = (
    (lambda head: head.lstrip()[:1] == b"<", "is a web page, not a weights file: the address was wrong"),
    (lambda head: head[:2] == b"\x1f\x8b", "is packed with gzip; unpack it first"),
    (lambda head: head[257:262] == b"ustar", "is a tar archive, PyTorch's form of 2016, which is not read; "
                                             "save it again with a newer PyTorch"),
    (lambda head: head[:10] == b"MATLAB 7.3", "is a MATLAB 7.3 file; save it with -v7"),
    (lambda head: head[:6] == b"\x93NUMPY", "is a single NumPy array, not a network"),
)


def form_of(path):
    """"hdf5", "keras zip", "torch zip", "torch stream", "safetensors", "matconvnet" or "onnx"."""
    mapped = MappedFile(path)
    head = mapped.bytes(0, min(512, mapped.size))
    if not head:
        raise WeightFileError(f"{path}: is empty")
    for matches, why in REFUSALS:
        if matches(head):
            raise WeightFileError(f"{path}: {why}")
    if head.startswith(HDF5_SIGNATURE):
        return "hdf5"
    if head.startswith(b"PK\x03\x04"):
        return _form_of_zip(path)
    if head[:3] in (b"\x80\x02\x8a", b"\x80\x03\x8a", b"\x80\x04\x8a"):
        return "torch stream"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < mapped.size:
        return "safetensors"
    if head.startswith(b"MATLAB 5.0 MAT-file"):
        return "matconvnet"
    if head[0] == 0x08 and len(head) > 2:              # protobuf, field 1 a number: ir_version of ONNX comes first
        return "onnx"
    raise WeightFileError(f"{path}: is none of the forms that are read: Keras (.h5, .keras), PyTorch (.pth), "
                          "safetensors, MatConvNet (.mat), ONNX, minivis (.h5)")


def _form_of_zip(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, ValueError, OSError) as error:
        raise WeightFileError(f"{path}: is a damaged zip archive ({error})") from None
    if "model.weights.h5" in names:
        return "keras zip"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch zip"
    what = "arrays of NumPy (.npz)" if any(name.endswith(".npy") for name in names) else ", ".join(names[:3])
    raise WeightFileError(f"{path}: is a zip archive of {what}; neither Keras nor PyTorch wrote it")


def read_draft(path):
    """The network in a file of any form as a settled Draft: rows, weights (still in the file), what is known of it."""
    form = form_of(path)
    if form == "hdf5" and (own := _read_own(path)) is not None:
        return own
    if form in ("hdf5", "keras zip"):
        draft = _read_keras(path)
    elif form in ("torch zip", "torch stream"):
        from .torch_pickle import read_torch
        arrays, mapped = read_torch(path)
        draft = from_state_dict(arrays, path, f"PyTorch ({form.split()[1]})", mapped)
    elif form == "safetensors":
        from .safetensors_file import read_safetensors
        arrays, mapped = read_safetensors(path)
        draft = from_state_dict(arrays, path, form, mapped)
    elif form == "onnx":
        from .onnx_graph import read_onnx
        draft = read_onnx(path)
    else:
        from .matconvnet import read_matconvnet
        draft = read_matconvnet(path)
    settle(draft, path)
    if draft.architecture == "custom":
        rename_if_known(draft)
    return draft


def _read_own(path):
    """A weights file of minivis is a Draft already; None for any other HDF5 file."""
    from . import minivis_hdf5
    from .safe_hdf5 import open_hdf5
    with open_hdf5(path) as root:
        if root.attribute("format") != "minivis" and not ("table" in root and "preprocessing" in root):
            return None
    net = minivis_hdf5.read(path)
    fields = {name: net.meta.get(name, "") for name in ("architecture", "source", "licence")}
    return Draft("minivis", rows=list(net.table), weights=net.weights.arrays(), output=net.output_layer,
                 logits_layer=net.logits_layer, features_layer=net.features_layer, labels=net.labels,
                 preprocessing=json.loads(net.preprocessing.to_json()) if net.has_preprocessing else None, **fields)


def _read_keras(path):
    from .keras_config import network_from_config
    from .keras_hdf5 import read_keras
    config, layers, mapped, layout = read_keras(path)
    if config is None:
        return from_keras_weights(layers, layout, path, mapped)

    def weights_of(name, place):
        parts = layers.get(place if layout == "numbered" else name, {})

        def array(role, number):
            key = number if layout == "numbered" else role
            if role == "depthwise_kernel" and layout == "named" and role not in parts:
                key = "kernel"
            if key not in parts:
                raise WeightFileError(f"layer {name}: its {role} is missing")
            return parts[key].array()
        return array

    draft = network_from_config(config, weights_of, path)
    draft.mapped = mapped
    if any(row.name.startswith("block1_conv") for row in draft.rows):
        draft.family = "caffe"
    return draft
