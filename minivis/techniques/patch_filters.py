"""What simple learners find in patches of photographs, beside a network's first filters."""
from typing import Literal

import numpy as np

from ..monitor import SilentMonitor
from ..options import Folder, Network
from ..representation import sets
from ..representation.patch_learning import LEARNERS, draw_patches, learn, orientation, photographs
from ..results import PatchFilters
from .common import recipe
from .filters import filters as first_filters

MOST_PICTURES = 200


def patch_filters(net: Network, *, pictures: Folder | None = None,
                  learners: list[Literal["kmeans", "ica", "dictionary"]] | None = None, count: int = 64,
                  size: int | None = None, patches: int = 12000, seed=0, monitor=None) -> PatchFilters:
    """The network's first filters beside what k-means, independent components and sparse dictionaries learn from
    patches of photographs: almost any learner finds oriented edges and opposed colours.

    Patches of random places, brightness and contrast taken out, whitened; then k-means (Coates, Lee, Ng 2011), FastICA
    (Bell and Sejnowski 1997; Hyvarinen 1999) or dictionary learning (Olshausen and Field 1996; Mairal et al. 2009).
    How oriented a filter is: |sum P e^(2 i angle)| / sum P over its spectrum P, 0 for blobs, near 1 for gratings.

    pictures   photographs to learn from: a folder, zip, tar, HDF5 file or list; none means three that come with
               scikit-learn and matplotlib
    learners   which ones; none means all
    count      filters of each
    size       side of a patch in pixels; none means that of the network's first filters, at least 10
    patches    how many patches to learn from
    """
    monitor = monitor or SilentMonitor()
    own = first_filters(net)
    size = size or max(10, own.values.shape[0])
    if pictures is None:
        photos, notes = photographs(), []
    else:
        chosen = sets.open_set(pictures, MOST_PICTURES, seed)
        photos = [p for i in range(len(chosen.names)) if (p := chosen.load(i)) is not None]
        photos = [p for p in photos if min(p.shape[:2]) >= size] or photos
        notes = chosen.notes()
    drawn = draw_patches(photos, patches, size, seed)
    count = min(count, len(drawn))
    found = {}
    for done, name in enumerate(learners := list(dict.fromkeys(learners or LEARNERS)), 1):
        found[name] = learn(drawn, name, count, seed)
        monitor.step(done, len(learners))
    if own.colours:
        found = {"network": np.moveaxis(own.values, 3, 0)} | found
    else:
        notes.append(f"The first filters of {net.name} do not see colours; they are not shown.")
    return PatchFilters(found, {name: orientation(f) for name, f in found.items()}, own.layer, photographs=len(photos),
                        patches=len(drawn), size=size, notes=notes,
                        recipe=recipe(patch_filters, net, seed, pictures=pictures, learners=learners, count=count,
                                      size=size, patches=patches))
