"""`minivis health`: dead, idle and noisy channels of a whole network."""
import numpy as np

from ..errors import MinivisError
from ..options import Folder, Layer, Network
from ..representation import sets
from ..representation.health import Tally
from ..results.report import Report
from ..techniques.filters import spectral_spread
from ..tensor import Tensor

NOISY_FILTER = 0.5          # spread of the spectrum, see techniques/filters.py
NAMED = 24                  # channels that a note names


def health(net: Network, source: Folder, *, layers: list[Layer] | None = None, limit: int = 200, rare: float = 0.01,
           noisy: float = 0.1, memory=None, seed=0, monitor=None) -> Report:
    """Which channels of a network do nothing: a report over all its layers, counted on a set of pictures.

    dead: never above 0, on no picture, at no place. rare: above 0 on fewer than the share `rare` of the pictures.
    always on: above 0 at 99.9 % of all places, so that its ReLU does nothing. same: the same mean on every picture.
    noisy: neighbouring units of its map are correlated by less than `noisy`, so that the map has no structure (not for
    maps below 5 x 5). Dead channels come from too high a learning rate; many rare ones are normal in upper layers.

    source     pictures: a folder, zip, tar, HDF5 file, list of files, or "digits"
    layers     which layers; none means every ReLU and whatever is the output of a convolution without one
    limit      with more pictures than this, so many are drawn at random
    rare       share of the pictures
    noisy      correlation of neighbours
    """
    if not 0 <= rare <= 1:
        raise MinivisError(f"health: rare {rare:g} is a share of the pictures, from 0 to 1")
    names = [net.layer_name(n) for n in layers] if layers else active_layers(net)
    tallies = {name: Tally(net.channels(name)) for name in names}
    chosen = sets.open_set(source, limit, seed)
    count = 0
    for batch in sets.batches(net, chosen, names, memory=memory, monitor=monitor):
        values = net(Tensor(batch.x), layers=names)
        count += len(batch.numbers)
        for name, tally in tallies.items():
            tally.add(sets.host(values[name].data))
    if not count:
        raise MinivisError(f"none of the pictures of {chosen.source.path} could be read")
    rectified = {name: net.table[name].kind == "relu" for name in names}
    noise = {name: np.nan_to_num(t.smoothness, nan=1.0) < noisy for name, t in tallies.items()}
    table = {"layer": names, "channels": [len(t.largest) for t in tallies.values()],
             "dead": [int(t.dead.sum()) for t in tallies.values()],
             "rare": [int(t.rare(rare).sum()) for t in tallies.values()],
             "always on": [int(t.always().sum()) if rectified[n] else None for n, t in tallies.items()],
             "same": [int(t.same.sum()) for t in tallies.values()],
             "noisy": [int(noise[n].sum()) if t.mapped else None for n, t in tallies.items()],
             "smoothness": [_median(t.smoothness) for t in tallies.values()],
             "dead channels": [_list(np.flatnonzero(t.dead)) for t in tallies.values()],
             "noisy channels": [_list(np.flatnonzero(noise[n])) if t.mapped else "" for n, t in tallies.items()]}
    total = sum(table["channels"])
    notes = [f"{sum(table['dead'])} of {total} channels are dead on {count} pictures; {sum(table['rare'])} are above 0 "
             f"on fewer than {100 * rare:g} % of them",
             "smoothness: correlation of neighbouring units, median over the channels; a dash: nothing to count",
             *_first_filters(net), *chosen.notes()]
    return Report(table, f"{net.name}: channels that do nothing", notes)


def active_layers(net):
    """Every ReLU, and every convolution or dense layer below the output that no ReLU reads."""
    names = net.table.needed([net.output_layer])
    read_by = {}
    for name in names:
        for below in net.table.reads[name]:
            read_by.setdefault(below, []).append(net.table[name].kind)
    rectifiers = {"relu", "leaky_relu", "clip", "tanh", "sigmoid", "batch_norm", "instance_norm", "scale"}
    found = [name for name in names if net.table[name].kind in ("relu", "leaky_relu", "clip", "tanh", "sigmoid")
             or (net.table[name].kind in ("conv", "linear") and not rectifiers & set(read_by.get(name, ()))
                 and name != net.output_layer)]
    if not found:
        raise MinivisError(f"network {net.name} has no ReLU and no convolution; name --layers")
    return found


def _first_filters(net):
    """A note about the first convolution's filters, if they see colours."""
    first = next((layer.name for layer in net.table if layer.kind == "conv"), None)
    if first is None:
        return []
    w = sets.host(net.weights[f"{first}/weight"].data)
    spread = spectral_spread(w)
    if w.shape[2] > 3 or min(w.shape[:2]) < 5:      # the nine frequencies of 3 x 3 say too little
        return []
    bad = np.flatnonzero(spread >= NOISY_FILTER)
    return [f"{len(bad)} of {len(spread)} filters of {first} are noisy (spread of the spectrum {NOISY_FILTER:g} or "
            "more)" + (f": {_list(bad)}" if len(bad) else "")]


def _median(values):
    finite = values[np.isfinite(values)]
    return round(float(np.median(finite)), 2) if len(finite) else None


def _list(channels):
    return ", ".join(map(str, channels[:NAMED])) + (", ..." if len(channels) > NAMED else "")
