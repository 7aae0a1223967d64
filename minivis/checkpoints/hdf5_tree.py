"""The datasets of an HDF5 file that a stranger wrote: what lies in the file itself under hard links, nothing else.

h5py follows soft and external links silently, reads other files through virtual datasets and external storage, and
allocates whatever size a dataset declares. (Keras had CVE-2026-1669 for this, and had to mend it five times.) So the
tree is walked one component at a time, every link must be a hard one, and no dataset is read before its layout, its
filters, its declared and its stored size have been looked at.
"""

import h5py
import numpy as np

from ..errors import WeightFileError

OBJECTS_LIMIT, DEPTH_LIMIT = 20_000, 12
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
INFLATION_LIMIT = 64 << 20          # bytes a compressed dataset may always have; beyond, 200 times its size
STRING_LIMIT = 16 << 20


class Dataset:
    """One checked dataset: `shape`, `dtype`, and `array()`, a view of the mapped file where its layout allows."""

    def __init__(self, where, dataset, mapped):
        self.where, self.dataset, self.mapped = where, dataset, mapped
        self.shape, self.dtype = dataset.shape, dataset.dtype
        self._check()

    def array(self):
        offset, properties = self.dataset.id.get_offset(), self.dataset.id.get_create_plist()
        if offset is not None and not properties.get_nfilters() and not self.dataset.file.userblock_size:
            return self.mapped.array(offset, self.dtype, self.shape)
        return self.dataset[()]

    def _check(self):
        dataset, properties = self.dataset, self.dataset.id.get_create_plist()
        if dataset.is_virtual or properties.get_external_count():
            raise WeightFileError(f"{self.where}: its numbers lie in another file; nothing outside the file is read")
        if self.shape is None or self.dtype.kind not in "fiu" or self.dtype.str[0] == ">":
            raise WeightFileError(f"{self.where}: holds {self.dtype}, not plain little-endian numbers")
        for i in range(properties.get_nfilters()):
            if properties.get_filter(i)[0] not in FILTERS:
                raise WeightFileError(f"{self.where}: is packed with a filter that is not read")
        size, stored = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize, dataset.id.get_storage_size()
        plain = not properties.get_nfilters()
        if size > (stored if plain else max(INFLATION_LIMIT, 200 * stored)):
            raise WeightFileError(f"{self.where}: declares {size} bytes, but only {stored} are stored")


def walk(file, mapped):
    """{path: Dataset} of everything under hard links. `file` is an open h5py.File over the MappedFile `mapped`."""
    found, todo, count = {}, [("", file)], 0
    while todo:
        prefix, group = todo.pop()
        for name in group:
            count += 1
            where = f"{mapped.path}: {prefix}{name}"
            if count > OBJECTS_LIMIT or prefix.count("/") >= DEPTH_LIMIT or name in (".", ".."):
                raise WeightFileError(f"{where}: more, or deeper, than any weights file")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightFileError(f"{where}: is a link out of its place; only what lies in the file itself is read")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                if item.dtype.kind in "fiu" and item.shape is not None:
                    found[prefix + name] = Dataset(where, item, mapped)
                elif item.is_virtual or item.external:
                    raise WeightFileError(f"{where}: its content lies in another file, which is not read")
            elif isinstance(item, h5py.Group):
                todo.append((f"{prefix}{name}/", item))
    return found


def text_attribute(item, name):
    """A text attribute as str, however it was stored (str, bytes, arrays of one); None where there is none."""
    if name not in item.attrs:
        return None
    if item.attrs.get_id(name).get_storage_size() > STRING_LIMIT:
        raise WeightFileError(f"its attribute {name} is larger than {STRING_LIMIT} bytes")
    value = item.attrs[name]
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
