"""Sets of pictures: a folder, a zip or tar file, an HDF5 file, or a list of files. What is in them, and one at a time.

    pictures = open_pictures("photos/")
    pictures.names, pictures.labels         # labels: the sub-folders' names, or what a list or an HDF5 file says
    pictures.load(pictures.names[0])        # uint8 (H, W, 3); several threads may call at once

`describe()` is the JSON by which `reopen` opens the same set elsewhere (another process, another machine that sees the
same files), without looking through it again.
"""
import functools
import json
import os
import tarfile
import threading
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from . import image
from .checkpoints.safe_hdf5 import open_hdf5
from .errors import MinivisError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST_BYTES = 2**28              # of one picture file inside an archive
MOST_LIST = 2**30               # bytes of a list file
LABELS = ("labels", "label", "y")


class Pictures:
    """A set of pictures. kind and path say where; names are in a fixed order; labels are strings or None.

    A kind of set has `_list() -> names`, and `_bytes(name)`, the picture's file, or a `load` of its own.
    """

    kind = ""

    def __init__(self, path):
        self.path = os.path.abspath(path)

    @functools.cached_property
    def names(self):
        """The names of all pictures, in order; they need not be readable."""
        names = self._list()
        if not names:
            raise MinivisError(f"{self.path} holds no pictures ({' '.join(SUFFIXES)})")
        return names

    @functools.cached_property
    def labels(self):
        """The label of each picture, or None: the first folder of its name, if these differ."""
        first = [PurePosixPath(name).parts[0] if len(PurePosixPath(name).parts) > 1 else None for name in self.names]
        return first if len(set(first)) > 1 else [None] * len(first)

    def load(self, name):
        """The picture of that name, uint8 (H, W, 3); a PictureError if it cannot be read."""
        return image.decode(self._bytes(name), f"{self.path}: {name}", notes=[])

    def describe(self):
        """What `reopen` needs, JSON."""
        return {"kind": self.kind, "path": self.path}


class Folder(Pictures):
    """All picture files below a folder, by name; hidden ones are left out, links to folders are not followed."""

    kind = "folder"

    def _list(self):
        found = []
        for where, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [os.path.relpath(os.path.join(where, name), self.path) for name in files if _is_picture(name)]
        return sorted(Path(name).as_posix() for name in found)

    def load(self, name):
        return image.read(os.path.join(self.path, name), notes=[])


class List(Pictures):
    """A text file with one picture per line, relative to the file's own folder; a label may follow after a tab."""

    kind = "list"

    def _list(self):
        return [line.split("\t")[0] for line in self._lines]

    @functools.cached_property
    def labels(self):
        return [line.split("\t")[1].strip() or None if "\t" in line else None for line in self._lines]

    @functools.cached_property
    def _lines(self):
        if os.path.getsize(self.path) > MOST_LIST:
            raise MinivisError(f"{self.path} is too long for a list of pictures")
        try:
            text = Path(self.path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise MinivisError(f"{self.path} is no folder, zip, tar or HDF5 file of pictures, and no list of files")
        return [line.rstrip("\r") for line in text.split("\n") if line.strip()]

    def load(self, name):
        return image.read(os.path.join(os.path.dirname(self.path), name), notes=[])


class Zip(Pictures):
    """The pictures in a zip file."""

    kind = "zip"

    def __init__(self, path):
        super().__init__(path)
        self._handles = threading.local()       # one ZipFile per thread: no lock, no shared position

    def _file(self):
        if not hasattr(self._handles, "file"):
            try:
                self._handles.file = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                raise MinivisError(f"{self.path} is a damaged zip file: {error}") from error
        return self._handles.file

    def _list(self):
        return sorted({entry.filename for entry in self._file().infolist()
                       if not entry.is_dir() and _is_picture(entry.filename)})

    def _bytes(self, name):
        try:
            with self._file().open(name) as member:
                data = member.read(MOST_BYTES + 1)
        except Exception as error:      # zlib.error, NotImplementedError, RuntimeError (encrypted), BadZipFile ...
            raise image.PictureError(f"{self.path}: {name} cannot be read: {error}") from error
        return _limited(data, f"{self.path}: {name}")


class Tar(Pictures):
    """The pictures in an uncompressed tar file, read at their places."""

    kind = "tar"

    @functools.cached_property
    def _places(self):
        """{name: (offset, size)}"""
        try:
            with tarfile.open(self.path, "r:") as file:
                return {entry.name: (entry.offset_data, entry.size) for entry in file
                        if entry.isreg() and not entry.issparse() and _is_picture(entry.name)}
        except tarfile.ReadError:
            raise MinivisError(f"{self.path} is a compressed tar file, in which no picture can be found without "
                               "reading all before it; unpack it, or make it a plain .tar or a .zip") from None
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise MinivisError(f"{self.path} is a damaged tar file: {error}") from error

    def _list(self):
        return sorted(self._places)

    def _bytes(self, name):
        if name not in self._places:
            raise image.PictureError(f"{self.path} has no picture {name}")
        offset, size = self._places[name]
        with open(self.path, "rb") as file:
            file.seek(offset)
            return _limited(file.read(min(size, MOST_BYTES + 1)), f"{self.path}: {name}")


class Hdf5(Pictures):
    """A dataset of an HDF5 file: uint8 (N, H, W, 3), (N, H, W, 1) or (N, H, W), or N encoded files (lists of bytes).

    Its names are the numbers of the rows. `labels` (N,) beside it, numbers or strings, are its labels.
    """

    kind = "hdf5"

    def __init__(self, path, dataset=None):
        super().__init__(path)
        self._asked = dataset

    def describe(self):
        return {**super().describe(), "dataset": self.dataset}

    @functools.cached_property
    def dataset(self):
        """The name of the dataset that holds the pictures."""
        with open_hdf5(self.path) as root:
            if self._asked is not None:
                found = [self._asked] if _holds_pictures(_inside(root, self._asked)) else []
            else:
                found = [name for name in root.names() if _holds_pictures(_member(root, name))]
        if len(found) != 1:
            what = f"{self._asked!r} is no dataset of pictures" if self._asked else \
                f"which dataset holds the pictures? {', '.join(found)}" if found else "no dataset holds pictures"
            raise MinivisError(f"{self.path}: {what}; give uint8 (N, H, W, 3) as FILE.h5::NAME")
        return found[0]

    def _list(self):
        with open_hdf5(self.path) as root:
            return [str(i) for i in range(len(_inside(root, self.dataset)))]

    @functools.cached_property
    def labels(self):
        count = len(self.names)
        with open_hdf5(self.path) as root:
            data = next((d for d in (_member(root, name) for name in LABELS)
                         if d is not None and d.shape in ((count,), (count, 1)) and d.dtype.kind in "iubOS"), None)
            values = [None] * count if data is None else data[:].reshape(-1)
        return [v if v is None else v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]

    def load(self, name):
        where = f"{self.path}: {self.dataset}[{name}]"
        with open_hdf5(self.path) as root:
            data = _inside(root, self.dataset)
            if not name.isdigit() or int(name) >= len(data):
                raise image.PictureError(f"{where} does not exist")
            row = data[int(name)]
        if data_is_encoded(row):
            return image.decode(row.tobytes(), where, notes=[])
        return image.to_picture(row)


KINDS = {kind.kind: kind for kind in (Folder, List, Zip, Tar, Hdf5)}


def open_pictures(path):
    """The Pictures in a folder, zip, tar or HDF5 file (FILE.h5::DATASET) or list, told by content."""
    path, _, dataset = os.fspath(path).partition("::")
    if os.path.isdir(path):
        return Folder(path)
    if not os.path.isfile(path):
        raise MinivisError(f"{path} does not exist; name a folder of pictures, a zip, tar or HDF5 file, or a list")
    import h5py
    if h5py.is_hdf5(path):
        return Hdf5(path, dataset or None)
    if zipfile.is_zipfile(path):
        return Zip(path)
    return Tar(path) if tarfile.is_tarfile(path) else List(path)


def reopen(description):
    """The Pictures that `describe()` was asked of."""
    return _reopen(json.dumps(description, sort_keys=True))


@functools.lru_cache(8)
def _reopen(text):
    fields = json.loads(text)
    kind = KINDS.get(fields.pop("kind", None))
    if kind is None or not set(fields) <= {"path", "dataset"} or not isinstance(fields.get("path"), str):
        raise MinivisError(f"{text} describes no set of pictures")
    if not os.path.exists(fields["path"]):
        raise MinivisError(f"the pictures were in {fields['path']}, which does not exist here")
    return kind(**fields)


def printable(text):
    """A name for people: bytes of a file name that are no UTF-8, which no terminal and no figure takes, spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def data_is_encoded(row):
    """Whether a row of an HDF5 dataset is the bytes of a picture file and not pixels."""
    return row.ndim == 1


def _is_picture(name):
    last = PurePosixPath(name).name
    return not last.startswith(".") and last.lower().endswith(SUFFIXES)


def _limited(data, where):
    if len(data) > MOST_BYTES:
        raise image.PictureError(f"{where} is larger than {MOST_BYTES / 1e6:.0f} MB")
    return data


def _inside(root, name):
    """The dataset called group/name."""
    *groups, last = [part for part in name.split("/") if part] or [""]
    for group in groups:
        root = root.group(group)
    return root.dataset(last)


def _member(root, name):
    """A dataset directly in the root, or None if that is something else or cannot be trusted."""
    try:
        return root.dataset(name)
    except MinivisError:
        return None


def _holds_pictures(data):
    """uint8 pixels, or lists of bytes."""
    import h5py
    if data is None:
        return False
    bytes_of = h5py.check_vlen_dtype(data.dtype)
    if data.ndim == 1 and bytes_of is not None:
        return np.dtype(bytes_of) == np.uint8
    return data.dtype == np.uint8 and (data.ndim == 3 or (data.ndim == 4 and data.shape[3] in (1, 3)))
