"""Which files are read in this process: our own, those we have checked, and published ones by their full hash.

Any other goes through a child process first (isolate.py). What it found good is remembered by place, size and time of
change in the cache folder, so that a network of one's own is checked once and not at every start.
"""

import json
import os
import warnings
from pathlib import Path

from ..errors import MinivisError, WeightFileError
from ..files import atomic_write
from . import registry

REMEMBERED, MOST = "checked.json", 1000


def known_or_checked(path):
    """The path of a minivis weights file with the network that is in `path`: itself, or its conversion in the cache."""
    from .convert import check, file_hashes, require_file
    from .recognise import form_of
    require_file(path)
    if is_own(path) or is_remembered(path):
        return path
    if form_of(path) == "hdf5" and check(path)["form"] == "minivis":
        remember(path)
        return path
    return _converted(path, file_hashes(path)["sha256"])


def _converted(path, sha256):
    from .convert import convert
    folder = registry.cache_folder() / "converted"
    target = folder / f"{sha256[:40]}.h5"
    if not target.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightFileError(f"{path}: is no file of minivis, and there is no place to convert it to ({folder}: "
                                  f"{error.strerror}); MINIVIS_WEIGHTS names another folder") from None
        for note in convert(path, target)["notes"]:
            warnings.warn(f"{path}: {note}", stacklevel=4)
    return target


def is_own(path):
    """Whether a file came with minivis or lies in the cache of converted weights, where only we write."""
    from .. import weights
    real = Path(os.path.realpath(path))
    homes = (os.path.dirname(os.path.abspath(weights.__file__)), registry.cache_folder())
    return real.suffix == ".h5" and any(Path(os.path.realpath(home)) in real.parents for home in homes)


def is_published(path):
    """Whether the file's full hash is that of a published one."""
    from .convert import file_hashes
    return registry.has_size(os.path.getsize(path)) and registry.entry_with_hash(file_hashes(path)) is not None


def is_remembered(path):
    """Whether this file, unchanged since, was written or checked by us."""
    return _memory().get(os.path.realpath(path)) == _fingerprint(path)


def remember(path):
    """Note a file that we wrote or checked. Where the cache cannot be written, it will simply be checked again."""
    if is_own(path):
        return
    memory = _memory()
    memory.pop(os.path.realpath(path), None)
    memory[os.path.realpath(path)] = _fingerprint(path)
    try:
        registry.cache_folder().mkdir(parents=True, exist_ok=True)
        with atomic_write(registry.cache_folder() / REMEMBERED) as temporary:
            Path(temporary).write_text(json.dumps(dict(list(memory.items())[-MOST:])))
    except (OSError, MinivisError):
        pass


def _memory():
    try:
        memory = json.loads((registry.cache_folder() / REMEMBERED).read_text())
        return memory if isinstance(memory, dict) else {}
    except (OSError, ValueError):
        return {}


def _fingerprint(path):
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ino]
