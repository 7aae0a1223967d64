"""HDF5 files from strangers: read only what is expected, where it is expected, and never more than was agreed.

HDF5 can point out of the file (external links, external and virtual datasets) and can store terabytes in a few bytes
(chunks of compressed zeros). So nothing is opened by a path: every step goes through a hard link, by one expected name;
every dataset must have the shape, type and storage that the caller expects; and the caller knows the size beforehand.
Whatever h5py raises on a damaged file becomes one WeightFileError.
"""
import contextlib
import os

import numpy as np

from ..errors import MinivisError, WeightFileError

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}      # all others may be code from plugins
MOST_TEXT = 16 * 2**20          # bytes of one string
MOST_MEMBERS = 65536            # of one group


@contextlib.contextmanager
def open_hdf5(path):
    """Yield the root Group of a file; any error of h5py inside is a WeightFileError that names the file."""
    import h5py
    name = os.fspath(path)
    if os.path.isdir(name):
        raise WeightFileError(f"{name} is a folder, not a weights file")
    if not os.path.exists(name):
        raise WeightFileError(f"{name} does not exist")
    try:
        with h5py.File(name, "r") as file:
            yield Group(file, name, "")
    except MinivisError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, OverflowError) as error:
        why = str(error).split("\n")[0] or type(error).__name__
        raise WeightFileError(f"{name} is not a readable HDF5 file: {why}") from error


class Group:
    """A group, opened link by link. `where` is its path, for messages."""

    def __init__(self, group, file, where):
        self._group, self.file, self.where = group, file, where

    def names(self):
        """The names of the members."""
        if len(self._group) > MOST_MEMBERS:
            raise self.refuse("", f"has {len(self._group)} members")
        return list(self._group)

    def __contains__(self, name):
        return self._group.get(name, getlink=True) is not None if _plain(name) else False

    def group(self, name):
        """The member group of that name."""
        return Group(self._member(name, "group"), self.file, f"{self.where}/{name}")

    def text(self, name):
        """The member dataset of that name, which must be one string."""
        import h5py
        dataset = self._dataset(name)
        kind = h5py.check_string_dtype(dataset.dtype)
        if dataset.shape != () or kind is None:
            raise self.refuse(name, f"must be one string, not {dataset.dtype} of shape {dataset.shape}")
        if (kind.length or 0) > MOST_TEXT:
            raise self.refuse(name, f"is a string of {kind.length} bytes")
        value = dataset[()]
        if len(value) > MOST_TEXT:
            raise self.refuse(name, f"is a string of {len(value)} bytes")
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)

    def attribute(self, name, default=None):
        """An attribute that is one string or one whole number; `default` where it is absent."""
        import h5py
        if name not in self._group.attrs:
            return default
        stored = self._group.attrs.get_id(name)
        text = h5py.check_string_dtype(stored.dtype) is not None
        if stored.shape != () or not (text or stored.dtype.kind in "iu"):
            raise self.refuse("", f"attribute {name!r} must be one string or number")
        value = self._group.attrs[name]
        if isinstance(value, bytes):
            return value.decode("utf-8")
        return str(value) if text else int(value)

    def array(self, name, shape, kinds=("f2", "f4", "f8")):
        """The member dataset of that name as an array; it must have this shape and one of these little-endian types."""
        dataset = self._dataset(name)
        if dataset.shape != tuple(shape):
            raise self.refuse(name, f"has shape {dataset.shape}, but must have {tuple(shape)}")
        if dataset.dtype.kind + str(dataset.dtype.itemsize) not in kinds or dataset.dtype.byteorder == ">":
            raise self.refuse(name, f"holds {dataset.dtype}, but must hold one of {', '.join(kinds)}, little-endian")
        array = np.empty(dataset.shape, dataset.dtype)
        if array.size:
            dataset.read_direct(array)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self.refuse(name, f"holds {np.count_nonzero(~np.isfinite(array))} values that are not finite")
        return array

    def dataset(self, name):
        """The member dataset itself, for reading a large one in parts; its shape and type are the caller's to check."""
        return self._dataset(name)

    def refuse(self, name, why):
        """The error to raise about a member."""
        where = f"{self.where}/{name}" if name else self.where or "/"
        return WeightFileError(f"{self.file}: {where} {why}")

    def _dataset(self, name):
        dataset = self._member(name, "dataset")
        if dataset.external or dataset.is_virtual:
            raise self.refuse(name, "takes its values from another file, which is never followed")
        properties = dataset.id.get_create_plist()
        for i in range(properties.get_nfilters()):
            number = properties.get_filter(i)[0]
            if number not in FILTERS:
                raise self.refuse(name, f"uses HDF5 filter {number}; only {', '.join(FILTERS.values())} are read")
        return dataset

    def _member(self, name, what):
        import h5py
        if not _plain(name):
            raise self.refuse("", f"cannot have a member called {name!r}")
        link = self._group.get(name, getlink=True)
        if link is None:
            raise self.refuse(name, "is missing")
        if not isinstance(link, h5py.HardLink):
            raise self.refuse(name, "is a link to somewhere else, which is never followed")
        kind = self._group.get(name, getclass=True)
        if kind is not (h5py.Group if what == "group" else h5py.Dataset):
            raise self.refuse(name, f"must be a {what}")
        return self._group[name]


def _plain(name):
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name
