"""The patches of a data set that drive a unit most, cut out by its receptive field, beside their guided backprop."""
from typing import Literal

import numpy as np

from ..dataset import printable
from ..errors import MinivisError
from ..indexing import open_index
from ..indexing.cutting import Cutter
from ..monitor import SilentMonitor, Stop
from ..options import Index, Network, Unit
from ..results.patches import Patches
from .common import recipe, unit_layer

TILE = 64               # pixels: largest side of a patch when the channels of a whole layer are shown


def patches(net: Network, index: Index, unit: Unit, *, count: int = 9, by: Literal["max", "mean"] = "max",
            context: float = 0.0, border: Literal["grey", "white", "edge"] = "grey", guided: bool = True,
            channels: int = 64, monitor=None) -> Patches:
    """What a unit looks for: the patches of all pictures of an index that drive it most, cut out by its exact field.

    The strongest activations of each channel over all pictures and places (Zeiler and Fergus 2014, arXiv:1311.2901;
    Girshick et al. 2014, arXiv:1311.2524), and next to each patch the guided backprop of that very unit (Springenberg
    et al. 2015, arXiv:1412.6806). A layer instead of a unit gives the sheet of its channels, nine patches each.

    values (channels, count): activations, falling; nan where there are fewer. Zero is never listed: behind a ReLU it is
    no activation.
    Caution: guided backprop hardly depends on the upper weights (Adebayo et al. 2018, arXiv:1810.03292).

    index     a file that `minivis index` made with the same network
    unit      LAYER:CHANNEL, or LAYER for a sheet of its channels
    count     how many patches per channel; the index limits it
    by        pictures ranked by the channel's strongest unit or by its mean over places (this needs features of the
              layer, pooled by mean); shown is the strongest unit in either case
    context   how much of the surroundings to add on each side, as a fraction of the field's side
    border    what to fill in where the field reaches into the padding: grey, white, or the pixels at the edge
    guided    also go back from each unit to its pixels by guided backprop
    channels    how many channels of a layer, from the first; 0 for all
    """
    if count < 1 or context < 0 or channels < 0:
        raise MinivisError(f"patches: count {count} must be at least 1, context {context:g} and channels {channels} at "
                           "least 0")
    index = open_index(index)
    index.check_network(net)
    name, spot = unit_layer(net, unit)
    if spot is not None and spot.row is not None:
        raise MinivisError(f"patches: {unit} is one place; name the channel, {name}:{spot.channel}")
    chosen = [spot.channel] if spot else list(range(index.layer(name).channels))[:channels or None]
    top = _strongest(index, name, chosen, count, by)
    cutter = Cutter(net, name, index.size, context=context, border=border, guided=guided,
                    largest=None if spot else TILE)
    rows, notes = _cut(cutter, index, chosen, top, by, monitor or SilentMonitor())
    values = np.full((len(chosen), max([1, *map(len, rows)])), np.nan)
    for i, found in enumerate(rows):
        values[i, :len(found)] = [row["value"] for row in found]
    if not any(top):
        notes.append(f"Nothing to show: {'this channel is' if spot else 'these channels are'} never active on these "
                     "pictures.")
    return Patches(values, name, chosen, rows, by=by, sees=cutter.field, total=index.count, whole=spot is None,
                   notes=notes, recipe=recipe(patches, net, index=index.recipe, unit=unit, count=count, by=by,
                                              context=context, border=border, guided=guided, channels=channels))


def _strongest(index, name, chosen, count, by):
    """For each channel [(value, picture, row, column)]; row and column None: to be found in the picture."""
    if by == "max":
        top = index.top(name)
        return [[(float(v), int(p), int(r), int(c)) for v, p, r, c in zip(*(part[k][:count] for part in top))
                 if p >= 0 and v != 0] for k in chosen]
    layer = index.feature_layer(name)
    if layer.pool != "mean" or layer.width != layer.channels:
        raise MinivisError(f"{index.path} holds no means of {name}: its features are pooled by {layer.pool}; index "
                           f"again with --features {name} --pool mean")
    means = np.concatenate([block[:, chosen] for _, block in index.feature_blocks(name)])
    order = np.argsort(-means, axis=0, kind="stable")[:count]
    return [[(float(means[i, k]), int(i), None, None) for i in order[:, k] if means[i, k] != 0]
            for k in range(len(chosen))]


def _cut(cutter, index, chosen, top, by, monitor):
    """(for each channel its rows, notes). Every picture is read once, whatever number of patches it gives."""
    wanted = {}
    for k, entries in enumerate(top):
        for rank, entry in enumerate(entries):
            wanted.setdefault(entry[1], []).append((k, rank, entry))
    source, found, done, notes = index.pictures(), {}, 0, []
    total, gone = sum(map(len, wanted.values())), []
    try:
        for picture in sorted(wanted):
            try:
                cutter.open(source.load(index.names[picture]))
            except (MinivisError, OSError) as error:
                gone.append(error)
                continue
            for k, rank, (value, _, row, column) in wanted[picture]:
                found[k, rank] = {"picture": picture, "name": index.names[picture], "label": index.label_of(picture),
                                  "value": value,
                                  **cutter.cut(chosen[k], row, column, value if by == "max" else None)}
                done += 1
                monitor.step(done, total)
    except Stop:
        notes.append(f"Stopped after {done} of {total} patches.")
    if gone:
        notes.append(f"{len(gone)} of {len(wanted)} pictures could be read when the index was made, and cannot now; "
                     f"the first: {printable(str(gone[0]))}")
    if cutter.changed:
        notes.append(f"{cutter.changed} of {done} patches do not give the activation that the index has kept: their "
                     "pictures have changed since.")
    return [[found[k, rank] for rank in range(len(each)) if (k, rank) in found] for k, each in enumerate(top)], notes
