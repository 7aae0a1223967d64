"""A file of any form -> a weights file of minivis. Strangers' files are read by a child process (isolate.py)."""

import hashlib
import math
import os

from ..errors import MinivisError, WeightFileError
from ..files import atomic_write, check_folder
from . import trust
from .families import FAMILIES, preprocessing

IMAGENET_CLASSES = 1000


def convert(source, target, *, family=None, head=True, progress=None, reader=None, trusted=None,
            about=None):
    """Convert the weights file `source` to `target`; returns a summary (a dict, see `convert_here`).

    family      how the network wants its pictures: a name of families.FAMILIES; None: what the file or its form says
    head        False: leave out the dense layers, so that the network takes pictures of any size
    progress    f(done, total), in bytes
    reader      an isolate.Reader to use (and keep); None: one for this file alone
    trusted     True: read in this process; None: if its hash is in the registry or it is ours (trust.py)
    about       {"source", "licence", "architecture"} that are known of the file
    """
    source = str(source)
    require_file(source)
    if family is not None and family not in FAMILIES:
        raise MinivisError(f"preprocessing {family!r} is not one of {', '.join(FAMILIES)}")
    if os.path.exists(target) and os.path.samefile(source, target):
        raise MinivisError(f"{target} is the file to be converted itself; give another name")
    check_folder(target)
    options = {"family": family, "head": head, "about": about or {}}
    trusted = trust.is_own(source) or trust.is_published(source) if trusted is None else trusted
    with atomic_write(target) as temporary:
        if trusted:
            summary = convert_here(source, str(temporary), options, progress)
        else:
            summary = _in_child(reader, source, str(temporary), options, progress)
    trust.remember(target)
    return summary


def check(source, *, reader=None):
    """Read a file of any form completely, keep nothing: its summary, or one WeightFileError."""
    require_file(str(source))
    return _in_child(reader, str(source), None, {"family": None, "head": True, "about": {}}, None)


def _in_child(reader, *request):
    from .isolate import Reader
    if reader is not None:
        return reader.convert(*request)
    with Reader() as own:
        return own.convert(*request)


def require_file(source):
    """A WeightFileError where there is no such file, or a folder."""
    if os.path.isdir(source):
        raise WeightFileError(f"{source}: is a folder" + (
            ": a TensorFlow SavedModel; save the model as .keras or .h5 instead"
            if os.path.exists(os.path.join(source, "saved_model.pb")) else ", not a weights file"))
    if not os.path.exists(source):
        raise WeightFileError(f"{source}: does not exist")


def convert_here(source, target, options, progress=None):
    """Read `source` in this process and write `target` (None: read only). Summary: form, architecture, layers,
    parameters, logits_layer, input, family, notes."""
    from .draft import drop_head
    from .recognise import read_draft
    from .stream import write_draft
    draft = read_draft(source)
    if not options["head"]:
        drop_head(draft, source)
    _describe(draft, options)
    write_draft(draft, target, progress=progress, origin=source)
    return {"form": draft.form, "architecture": draft.architecture, "layers": len(draft.rows),
            "parameters": sum(math.prod(array.shape) for key, array in draft.weights.items()
                              if key.rsplit("/", 1)[1] not in ("mean", "var")),
            "logits_layer": draft.logits_layer, "input": draft.rows[0]["shape"], "family": draft.family,
            "notes": draft.notes}


def _describe(draft, options):
    """Preprocessing, labels, source, licence: what was asked for, else what the file says, else what is assumed."""
    for key, value in options["about"].items():
        if key in ("source", "licence", "labels") and value:
            setattr(draft, key, value)
    shape = draft.rows[0]["shape"]
    family = options["family"] or draft.family
    if family is None and draft.preprocessing is None:
        family = "0to255" if draft.form == "Keras model" else "torchvision" if draft.form == "ONNX" else "0to255"
        draft.notes.append(f"the file does not say how pictures become input; {family} is assumed: "
                           "--preprocessing chooses another")
    if family is not None:
        draft.preprocessing, draft.family = preprocessing(family, shape), family
    if shape[2] != 3:
        draft.preprocessing = None
        draft.notes.append(f"its input has {shape[2]} channels, so it takes arrays and no colour pictures")
    if draft.labels is None and _has_imagenet_classes(draft):
        draft.labels = imagenet_labels()
        draft.notes.append("1000 classes: labelled in ImageNet's order")
    if draft.labels is not None and len(draft.labels) != _classes(draft):
        draft.labels = None


def _classes(draft):
    """The number of outputs of the last layer with weights before the logits; None where nobody knows."""
    names, name = {row.name: row for row in draft.rows}, draft.logits_layer
    for _ in draft.rows:
        row = names.get(name)
        if row is None or not row.inputs:
            return None
        if row.kind in ("linear", "conv"):
            return row["outputs"] if row.kind == "linear" else row["filters"]
        name = row.inputs[0]
    return None


def _has_imagenet_classes(draft):
    return draft.architecture != "custom" and _classes(draft) == IMAGENET_CLASSES


def imagenet_labels():
    """[[WordNet id, name], ...] of the 1000 classes, in the order that all published networks share."""
    from ..targets import imagenet_classes
    return [list(row) for row in imagenet_classes()]


def file_hashes(path, names=("md5", "sha256")):
    """{"md5": hex, "sha256": hex} of a file, read once."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            for one in hashes.values():
                one.update(block)
    return {name: one.hexdigest() for name, one in hashes.items()}
