"""The published weights that are known by name: weights/registry.toml, and where their converted copies are kept."""

import functools
import importlib
import importlib.resources
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..errors import MinivisError
from ..layers import did_you_mean

MAX_BYTES = 2 << 30             # of a download whose size nobody has published


@dataclass(frozen=True)
class Entry:
    """One published file. Hashes and sizes that are unknown are None; a size in MiB is the publisher's rounded one."""

    name: str
    architecture: str
    head: bool
    family: str                 # of preprocessing, see families.py
    layout: str
    urls: tuple
    labels: str
    licence: str
    citation: str
    bytes: int | None = None
    mib: float | None = None
    md5: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    notes: str = ""

    @property
    def known_hash(self):
        """"sha256:..." or "md5:..." in full, or None."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}" if self.md5 else None

    @property
    def size_text(self):
        if self.bytes:
            return f"{self.bytes / 1e6:,.1f} MB"
        return f"{self.mib * 2**20 / 1e6:,.1f} MB" if self.mib else "size unknown"

    def matches(self, hashes):
        """Whether the hashes {"md5", "sha256"} of a file are this file's. None: nothing is known to compare with."""
        if self.sha256:
            return hashes["sha256"] == self.sha256
        if self.md5:
            return hashes["md5"] == self.md5
        return hashes["sha256"].startswith(self.sha256_prefix) if self.sha256_prefix else None


@functools.cache
def entries(path=None):
    """{name: Entry} of the registry, in its order; `path` of another registry."""
    if path is None:
        package = importlib.import_module("minivis.weights")
        text = importlib.resources.files(package).joinpath("registry.toml").read_text(encoding="utf-8")
    else:
        text = Path(path).read_text(encoding="utf-8")
    table = tomllib.loads(text)
    groups = table.pop("group", {})
    found = {}
    for name, fields in table.items():
        fields = {**groups.get(fields.get("group"), {}), **fields}
        fields.pop("group", None)
        found[name] = Entry(name=name, urls=tuple(fields.pop("urls")), **fields)
    return found


def entry(name):
    """The Entry of a name, or a KeyError-like MinivisError with close names."""
    known = entries()
    if name not in known:
        raise MinivisError(f"no published weights {name!r}{did_you_mean(name, known)}; all: `minivis weights list`")
    return known[name]


def entry_with_hash(hashes):
    """The Entry of a file with these full hashes, or None. A prefix of a hash is no proof and does not count."""
    return next((e for e in entries().values() if e.known_hash and e.matches(hashes)), None)


def has_size(size):
    """Whether a published file has, or may have, this many bytes: saves hashing all others."""
    return any(e.bytes == size or (e.bytes is None and e.known_hash) for e in entries().values())


def cache_folder():
    """Where converted weights are kept: $MINIVIS_WEIGHTS, else the user's cache folder."""
    if os.environ.get("MINIVIS_WEIGHTS"):
        return Path(os.environ["MINIVIS_WEIGHTS"]).expanduser()
    import platformdirs  # as pooch does; importing that one brings tqdm and asyncio, a tenth of the time of a start
    return Path(platformdirs.user_cache_dir("minivis")) / "weights"


def cached(name):
    """The path of the converted weights of a name if they have been fetched, else None."""
    path = cache_folder() / f"{name}.h5"
    return path if name in entries() and path.is_file() else None
