"""`minivis index`: one streaming pass of a network over a set of pictures, kept in a file."""
import time
from typing import Literal

from ..dataset import printable
from ..errors import MinivisError
from ..options import File, Folder, Layer, Network
from ..results.report import Report

LISTED = 20             # unreadable pictures that are printed; the file lists all


def index(net: Network, pictures: Folder, *, out: File, layers: list[Layer] | None = None,
          features: list[Layer] | None = None, pool: Literal["mean", "max", "none"] = "mean", keep: int = 9,
          per_picture: int = 1, size: int | None = None, pixels: int = 64,
          backend: Literal["local", "processes", "dask"] = "local", workers: int | None = None,
          scheduler: str | None = None, graph: Literal["l2", "cosine"] | None = None, fresh: bool = False,
          memory=None, monitor=None) -> Report:
    """Keep, for a whole set of pictures, their features and every channel's strongest activations, in one file.

    The file serves `minivis patches`, `neighbours` and `map`. Killed at any moment, the same command goes on.

    pictures    a folder, a zip, tar or HDF5 file (FILE.h5::DATASET), or a list of files, one a line, with a label after
                a tab; sub-folders are labels
    out         the file to write, INDEX.h5
    layers      whose channels' strongest activations are kept; default: those that poolings read, and the features
    features    layers whose values are kept for each picture; default: the network's features layer
    pool        how features of a layer with rows and columns are made one per channel; none keeps all
    keep        how many of the strongest activations per channel
    per_picture   at most so many of them in one picture
    size        side of the network's input in pixels; default: the network's own, or 224
    pixels      side of the small pictures that are kept, for neighbours in pixel space and for maps
    backend     where it is computed: in this process, in several (with --device gpu one for each GPU), or on a Dask
                cluster (pip install 'minivis[dask]')
    workers     how many processes, or threads that read pictures; default: as many as there are cores, or GPUs
    scheduler   the Dask scheduler's address, tcp://HOST:8786
    graph       also keep a graph of the features for approximate search, by this distance (pip install
                'minivis[neighbours]')
    fresh       begin anew; else it goes on from what an interrupted run has left in INDEX.h5.parts
    """
    from ..indexing import build, open_index
    if not str(out).endswith((".h5", ".hdf5")):
        raise MinivisError(f"{out}: an index is written as HDF5; end the name in .h5")
    begin = time.monotonic()
    before = build(net, pictures, out, layers, features, pool=pool, keep=keep, per_picture=per_picture, size=size,
                   pixels=pixels, backend=backend, workers=workers, scheduler=scheduler, graph=graph, fresh=fresh,
                   memory=memory, monitor=monitor)
    return _report(open_index(out), before, time.monotonic() - begin)


def _report(made, before, seconds):
    new = made.count + len(made.bad) - before
    table = {"layer": list(made.layers),
             "values": [(*(layer.grid or ()), layer.channels) for layer in made.layers.values()],
             "strongest kept": [layer.kept or None for layer in made.layers.values()],
             "features": [layer.width or None for layer in made.layers.values()]}
    notes = [f"{made.count:,} pictures, {len(made.labels)} labels; {new:,} in {seconds:.1f} s"
             + (f" ({new / seconds:.1f} per second)" if seconds else "")
             + (f", {before:,} were finished before" if before else "")]
    if made.bad:
        listed = f", the first {LISTED}:" if len(made.bad) > LISTED else ":"
        notes.append(f"{len(made.bad):,} more could not be read{listed}")
        notes += [f"  {printable(one['name'])}: {one['why']}" for one in made.bad[:LISTED]]
    return Report(table, f"wrote {made.path}", notes)
