"""What other tools computed, computed here again: every stored result has a function that replays it.

`results` gives a Row for each array under minivis/golden that belongs to a technique or a measure, and for each number
of Captum's own tests; `minivis verify` prints them, the tests look at their errors. Of a stored file, `compute` of the
module named like its folder says what an array is; None means that it is an input of others.
"""
from typing import NamedTuple

import numpy as np

from .. import golden
from . import attribution, basic, evidence, innvestigate, perturbation
from .fixtures import FIXTURES

TOLERANCE = 1e-9        # of the largest value, in float64
FOLDERS = {"": basic, "attribution/": attribution, "perturbation/": perturbation, "evidence/": evidence,
           "innvestigate/": innvestigate}


class Row(NamedTuple):
    """One comparison. tool: what made the stored result, with its version; error: relative to its largest value."""
    network: str
    what: str
    tool: str
    error: float
    allowed: float


class Stored(NamedTuple):
    """A file of stored results, and the network and picture that they belong to."""
    folder: str
    name: str
    about: dict
    arrays: dict
    net: object
    picture: np.ndarray

    def tool(self, key):
        """What made an array, with its version."""
        name, versions = self.about.get("tools", {}).get(key, "torch"), self.about["made_by"]
        version = versions.get(name, versions["torch"] if name.endswith("torch") else "")
        return f"{name} {version.partition('+')[0]}"


def files():
    """Every Stored file that this package replays."""
    for name in golden.names():
        about, first = golden.load(name)
        net, picture = golden.network(about), first["picture"]
        for folder in FOLDERS:
            try:
                about, arrays = golden.load(folder + name)
            except FileNotFoundError:
                continue
            yield Stored(folder, name, about, arrays, net, picture)


def results():
    """Rows, one by one: those of the stored files, then those of Captum's and PAIR's own tests."""
    for stored in files():
        for key in sorted(stored.arrays):
            got = FOLDERS[stored.folder].compute(stored.net, stored.picture, stored.about, stored.arrays, key)
            if got is not None:
                yield Row(stored.name, key, stored.tool(key), difference(got, stored.arrays[key]), TOLERANCE)
    for fixture in FIXTURES:
        yield Row(fixture.network, fixture.what, fixture.tool, difference(fixture.compute(), fixture.wanted),
                  fixture.allowed)


def difference(got, wanted):
    """Largest difference over the largest value; infinite if the shapes differ or nothing but zeros is compared."""
    if np.shape(got) != np.shape(wanted) or not np.any(wanted):
        return float("inf")
    error = float(np.abs(np.asarray(got) - wanted).max() / np.abs(wanted).max())
    return error if np.isfinite(error) else float("inf")
