"""`minivis weights list | get | convert | check | normalise`: published weights, and files of any form."""

import os
import sys

from ..checkpoints import registry
from ..checkpoints.families import FAMILIES
from ..errors import MinivisError
from ..monitor import SilentMonitor
from ..options import File, Network, Picture
from ..results.report import Report


def list_weights() -> Report:
    """Published weights by name: what they are, how large, and whether they have been fetched."""
    known = registry.entries().values()
    table = {
        "name": [e.name for e in known],
        "network": [e.architecture + ("" if e.head else ", no dense layers") for e in known],
        "pictures as": [e.family for e in known],
        "size": [e.size_text for e in known],
        "verified by": ["sha256" if e.sha256 else "md5" if e.md5 else f"sha256 {e.sha256_prefix}..." if e.sha256_prefix
                        else "nothing published" for e in known],
        "fetched": ["yes" if registry.cached(e.name) else "no" for e in known],
        "licence": [e.licence for e in known],
    }
    notes = [f"kept in {registry.cache_folder()} (MINIVIS_WEIGHTS names another folder)",
             "`minivis weights get NAME` fetches, verifies and converts"]
    return Report(table, "published weights", notes)


def get(name: str, *, source: str | None = None, monitor=None) -> Report:
    """Fetch published weights by name, verify and convert them; or convert a file of one's own into the same folder.

    name      a name of `minivis weights list`, or a file (path or file:// address)
    source    a copy of the published file that lies here already, instead of the network
    """
    from ..checkpoints.download import fetch, keep_local
    monitor = monitor or SilentMonitor()

    def progress(what, done, total):
        monitor.step(done, total or done)

    if name in registry.entries():
        path = fetch(name, source=source, progress=progress, say=_say)
        known = registry.entry(name)
        return Report({"name": [name], "file": [str(path)]}, known.citation, [f"licence: {known.licence}"])
    if not (os.path.sep in name or name.startswith("file:") or os.path.exists(name)):
        registry.entry(name)                    # raises, with the names that are close
    path = keep_local(name, progress=progress)
    return Report({"name": [path.stem], "file": [str(path)]})


def convert(file: File, *, out: File, preprocessing: str | None = None, head: bool = True, monitor=None) -> Report:
    """Convert a weights file of any form to one of minivis.

    file             Keras (.h5, .keras, .weights.h5), PyTorch (.pth), safetensors, MatConvNet (.mat), ONNX or minivis
    out              the file to write, OUT.h5
    preprocessing    how the network wants its pictures, if the file does not say: caffe, torchvision, minus1to1, ...
    head             keep the dense layers; without them the network takes pictures of any size
    """
    from ..checkpoints.convert import convert as run
    if preprocessing is not None and preprocessing not in FAMILIES:
        raise MinivisError(f"preprocessing {preprocessing!r} is not one of {', '.join(FAMILIES)}")
    if not str(out).endswith((".h5", ".hdf5")):
        raise MinivisError(f"{out}: weights are written as HDF5; end the name in .h5")
    monitor = monitor or SilentMonitor()
    summary = run(file, out, family=preprocessing, head=head, progress=lambda done, total: monitor.step(done, total))
    return _report(file, summary, [f"wrote {out}"])


def check(file: File) -> Report:
    """Read a weights file of any form completely, in a process of its own, and say what it is; nothing is written.

    file    Keras, PyTorch, safetensors, MatConvNet, ONNX or minivis
    """
    from ..checkpoints.convert import check as run
    return _report(file, run(file), ["every weight is there, of the right shape and finite"])


def normalise(net: Network, pictures: list[Picture], *, out: File) -> Report:
    """Write a network whose filters all have mean activation 1 on some pictures, and which computes the same.

    pictures    a few pictures to measure on
    out         the file to write, OUT.h5
    """
    from ..checkpoints import minivis_hdf5
    from ..checkpoints.normalise import normalise as run
    result = run(net, (net.preprocess(picture) for picture in pictures))
    minivis_hdf5.write(result, out)
    return Report({"file": [str(out)], "pictures": [len(pictures)]}, "normalised network")


def _report(file, summary, notes):
    shape = " x ".join("any" if side is None else str(side) for side in summary["input"])
    table = {"file": [str(file)], "form": [summary["form"]], "network": [summary["architecture"]],
             "layers": [summary["layers"]], "parameters": [summary["parameters"]], "input": [shape],
             "scores": [summary["logits_layer"]], "pictures as": [summary["family"]]}
    return Report(table, "", [*summary["notes"], *notes])


def _say(line):
    print(line, file=sys.stderr)
