"""One streaming pass of a network over a set of pictures -> an index file, or the same in memory.

While the pass runs, what is finished lies in the folder INDEX.h5.parts: files of consecutive pictures, each written
whole or not at all. A pass that was killed goes on behind the last of them; at the end they become the index. Merging
strongest activations does not depend on where the parts were cut, so an interrupted index equals an uninterrupted one.
"""
import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..dataset import open_pictures, printable
from ..errors import MinivisError
from ..files import atomic_write, check_folder
from ..monitor import SilentMonitor, Stop, read_state, write_state
from ..provenance import canonical, jsonable, make_recipe
from .format import FORMAT, VERSION, Top
from .job import Job, join
from .parallel import AHEAD, check, run
from .strongest import merge

PER_BLOCK = 32          # pictures; fewer if memory is short
SHARE = 0.25            # of the memory budget, for pictures that have been read
MOST_HELD = 2**28       # bytes of results before they are written out
EVERY = 30.0            # seconds between two parts


@dataclass
class Extract:
    """The results of a pass in memory; the pictures that could be read are numbered 0, 1, ... in all of these.

    names, label (N,) int32 into labels, -1 for none; pixels (N, s, s, 3); features {layer: (N, D) float32};
    top {layer: Top}; bad [{"name", "why"}]
    """
    names: list
    label: np.ndarray
    labels: list
    pixels: np.ndarray
    features: dict
    top: dict
    bad: list


def extract(net, pictures, features=None, layers=(), *, pool="mean", keep=9, per_picture=1, size=None, pixels=64,
            memory=None, monitor=None):
    """The Extract of a set of pictures (anything open_pictures opens): for maps of small sets without an index file."""
    pictures = open_pictures(pictures)
    features = [net.features_layer] if features is None else features
    job = Job(net, pictures, layers, features, pool=pool, keep=keep, per_picture=per_picture, pixels=pixels,
              size=input_size(net, size), memory=memory)
    parts = list(_parts(job, pictures, 0, "local", None, None, monitor or SilentMonitor()))
    return _Assembly(pictures, [join(parts, keep)], keep).all()


def build(net, pictures, out, layers=None, features=None, *, pool="mean", keep=9, per_picture=1, size=None, pixels=64,
          backend="local", workers=None, scheduler=None, graph=None, fresh=False, memory=None, monitor=None,
          every=EVERY):
    """Write the index of a set of pictures to `out`; the options are those of commands/index.py.

    -> how many pictures had been finished before. A kill, an error or Ctrl-C loses at most `every` seconds of work; the
    same call goes on.
    """
    check_folder(out)
    check(backend, workers, scheduler)
    if graph:
        from .graph import check_library
        check_library(graph)
    pictures = open_pictures(pictures)
    layers = default_layers(net) if layers is None else layers
    features = [net.features_layer] if features is None else features
    job = Job(net, pictures, layers, features, pool=pool, keep=keep, per_picture=per_picture, pixels=pixels,
              size=input_size(net, size), memory=memory)
    recipe = make_recipe("index", {
        "layers": job.layers, "features": job.features, "pool": pool, "keep": keep, "per_picture": per_picture,
        "size": job.size, "pixels": pixels, "pictures": len(pictures.names), "source": _fingerprint(pictures)},
        net, precision=net.precision, device=net.device)
    store = _Store(out, jsonable(recipe), fresh)
    done = store.done
    _pass(store, job, pictures, (backend, workers, scheduler), monitor or SilentMonitor(), every)
    try:
        assembly = _Assembly(pictures, store, keep)
    except MinivisError:            # nothing could be read: there is nothing to go on from
        store.delete()
        raise
    with atomic_write(out) as temporary:
        assembly.write(temporary, job, recipe)
        if graph:
            from .graph import add_graphs
            add_graphs(temporary, job.features, graph)
    store.delete()
    return done


def default_layers(net):
    """The layers that poolings read, and the one that features come from: what a network has found, stage by stage."""
    read = {source for layer in net.table if layer.kind in ("max_pool", "avg_pool", "global_avg_pool")
            for source in net.table.reads[layer.name]} | {net.features_layer}
    return [name for name in net.table.names if name in read and net.table[name].kind != "input"]


def input_size(net, size):
    """(H, W): the side or pair asked for, else the network's own, else 224."""
    size = size or net.input_size or 224
    return (size, size) if isinstance(size, int) else tuple(size)


def _fingerprint(pictures):
    """A hash of the names and labels: a pass goes on only over the pictures that it began with."""
    return hashlib.sha256(json.dumps([pictures.names, pictures.labels]).encode("utf-8", "surrogatepass")).hexdigest()


def _parts(job, pictures, first, backend, workers, scheduler, monitor):
    """The parts of all pictures from `first` on, in order."""
    names, total = pictures.names, len(pictures.names)
    each = max(1, min(PER_BLOCK, int(SHARE * job.memory / (AHEAD + 1) / job.bytes_read)))
    blocks = ((i, names[i:i + each]) for i in range(first, total, each))
    monitor.step(first, total)
    unreadable = 0
    with contextlib.closing(run(job, blocks, backend, workers, scheduler)) as parts:
        for part in parts:
            yield part
            unreadable += len(part["bad"])
            monitor.step(part["first"] + part["count"], total, {"unreadable": unreadable} if unreadable else {})


def _pass(store, job, pictures, where, monitor, every):
    """Run what is missing; keep what is finished every so many seconds, and when the pass is stopped or fails."""
    held, held_bytes, last = [], 0, time.monotonic()
    if store.done == len(pictures.names):
        return
    try:
        for part in _parts(job, pictures, store.done, *where, monitor):
            held.append(part)
            held_bytes += part["pixels"].nbytes + sum(array.nbytes for array in part["features"].values())
            if time.monotonic() - last >= every or held_bytes > MOST_HELD:
                store.add(join(held, job.keep))
                held, held_bytes, last = [], 0, time.monotonic()
    except Stop:
        raise MinivisError(f"stopped; the same command goes on from {store.folder}") from None
    finally:
        if held:
            store.add(join(held, job.keep))


class _Store:
    """The folder of finished parts. done: how many pictures they hold, from the first on."""

    def __init__(self, out, recipe, fresh):
        self.folder, self.recipe = Path(f"{os.fspath(out)}.parts"), recipe
        if fresh:
            self.delete()
        self.folder.mkdir(exist_ok=True)
        self.done = 0
        for file in self._files():
            first, end = map(int, file.stem.split("-"))
            if first != self.done:
                raise MinivisError(f"{self.folder}: {file.name} does not follow picture {self.done}; "
                                   "--fresh starts anew")
            self._read(file)
            self.done = end

    def add(self, part):
        end = part["first"] + part["count"]
        write_state(self.folder / f"{part['first']:010d}-{end:010d}.h5", part, self.recipe)
        self.done = end

    def __iter__(self):
        """The parts, in order."""
        return (self._read(file) for file in self._files())

    def _files(self):
        return sorted(self.folder.glob("??????????-??????????.h5"))

    def _read(self, file):
        part, recipe = read_state(file)
        if recipe != self.recipe:
            flat = [{**one, **one.get("options", {}), "options": None} for one in (recipe, self.recipe)]
            differ = [key for key in flat[1] if flat[0].get(key) != flat[1][key]]
            raise MinivisError(f"{self.folder} is of another run ({', '.join(differ)} differ): give the options of "
                               "that run, or --fresh to start anew")
        return part

    def delete(self):
        """Remove the parts, and nothing else."""
        for file in self._files():
            file.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class _Assembly:
    """Parts, read one at a time, -> one result. Pictures that could be read get the numbers 0, 1, ..."""

    def __init__(self, pictures, parts, keep):
        self.pictures, self.parts = pictures, parts
        good, self.bad, tops = [], [], {}
        for part in parts:
            good.append(part["good"])
            self.bad += part["bad"]
            for name, top in part["top"].items():
                tops[name] = merge([tops[name], Top(**top)], keep) if name in tops else _padded(Top(**top), keep)
        good = np.concatenate(good)
        if not good.any():
            raise MinivisError(f"not one of {len(good)} pictures in {pictures.path} can be read; the first, "
                               f"{printable(self.bad[0]['name'])}: {self.bad[0]['why']}")
        number = np.cumsum(good) - 1                            # new number of each picture of the set
        self.top = {name: _renumbered(top, number) for name, top in tops.items()}
        readable = np.flatnonzero(good)
        self.names = [pictures.names[i] for i in readable]
        labels = [pictures.labels[i] for i in readable]
        self.labels = sorted({label for label in labels if label is not None}, key=_natural)
        rank = {label: i for i, label in enumerate(self.labels)} | {None: -1}
        self.label = np.array([rank[label] for label in labels], np.int32)

    def all(self):
        """An Extract: everything in memory."""
        (part,) = self.parts
        return Extract(self.names, self.label, self.labels, part["pixels"], part["features"], self.top, self.bad)

    def write(self, path, job, recipe):
        """The index file, part by part."""
        import h5py
        shapes = job.net.shapes(job.size)
        with h5py.File(path, "w", libver=("v110", "v110")) as file:
            file.attrs.update({"format": FORMAT, "version": VERSION})
            file["recipe"], file["source"] = canonical(recipe), json.dumps(self.pictures.describe())
            file["labels"], file["bad"] = json.dumps(self.labels), json.dumps(self.bad)
            file["size"] = np.array(job.size, np.int64)
            group = file.create_group("pictures")
            names = [name.encode("utf-8", "surrogateescape") for name in self.names]
            group.create_dataset("names", data=names, dtype=h5py.string_dtype())
            group["label"] = self.label
            count, columns = len(self.names), {}
            columns["pixels"] = group.create_dataset("pixels", (count, job.pixels, job.pixels, 3), np.uint8)
            layers = file.create_group("layers", track_order=True)
            for name in sorted(job.asked, key=job.net.table.names.index):
                layer = layers.create_group(name)
                height, width = shapes[name][:2] if len(shapes[name]) == 3 else (0, 0)
                layer.attrs.update({"height": height, "width": width, "channels": shapes[name][-1],
                                    "pool": job.pool if name in job.features else ""})
                if name in job.layers:
                    for key, array in self.top[name]._asdict().items():
                        layer[f"top/{key}"] = array
            self._write_columns(file, columns, count)

    def _write_columns(self, file, columns, count):
        """Pixels and features, whose rows follow the pictures."""
        at = 0
        for part in self.parts:
            end = at + len(part["pixels"])
            columns["pixels"][at:end] = part["pixels"]
            for name, rows in part["features"].items():
                if name not in columns:
                    shape = count, rows.shape[1]
                    columns[name] = file[f"layers/{name}"].create_dataset("features", shape, np.float32)
                columns[name][at:end] = rows
            at = end


def _padded(top, keep):
    """A Top with `keep` entries for each channel: picture -1 stands where there are fewer, and after all others."""
    missing = ((0, 0), (0, max(0, keep - top.value.shape[1])))
    return Top(np.pad(top.value, missing, constant_values=-np.inf), np.pad(top.picture, missing, constant_values=-1),
               np.pad(top.row, missing), np.pad(top.column, missing))


def _renumbered(top, number):
    """The Top with each picture's new number; where there is no picture, value 0."""
    known = top.picture >= 0
    return top._replace(picture=np.where(known, number[top.picture], -1), value=np.where(known, top.value, 0))


def _natural(label):
    """Numbers by size, then words."""
    return (0, int(label), label) if label.isdigit() else (1, 0, label)
