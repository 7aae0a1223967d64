"""A file seen through one read-only memory map, every access checked against its length.

The tensors of the readers are NumPy views into this map: nothing is copied until a converter asks for rows, and
`forget` gives the pages back to the system, so that a file of half a gigabyte converts in a fraction of its size.
"""

import io
import math
import mmap

import numpy as np

from ..errors import WeightFileError


class MappedFile:
    """`bytes(start, length)` and `array(start, dtype, shape)` of a file, refused where they leave the file.

    `part` is a window that counts from its own start: a file stored inside a zip archive.
    """

    def __init__(self, path):
        self.path = str(path)
        with open(path, "rb") as handle:
            self.size = handle.seek(0, io.SEEK_END)
            self.map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        self.start = 0

    def part(self, start, length):
        self._check(start, length)
        window = object.__new__(MappedFile)
        window.path, window.map, window.start, window.size = self.path, self.map, self.start + start, length
        return window

    def bytes(self, start, length):
        self._check(start, length)
        return bytes(self.map[self.start + start:self.start + start + length])

    def array(self, start, dtype, shape):
        """A read-only array of `shape` that is a view into the file at byte `start`."""
        dtype = np.dtype(dtype)
        count = math.prod(shape)
        self._check(start, count * dtype.itemsize)
        if count == 0:
            if math.prod(size for size in shape if size) > 1 << 40:
                raise WeightFileError(f"{self.path}: describes an array of impossible shape {tuple(shape)}")
            return np.zeros(shape, dtype)
        return np.frombuffer(self.map, dtype, count, self.start + start).reshape(shape)

    def forget(self):
        """Let the system drop the pages read so far; the views stay valid and read them again when asked."""
        if isinstance(self.map, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED)

    def open(self):
        """A binary file object over the window, for libraries that want one."""
        return io.BufferedReader(_Window(self))

    def _check(self, start, length):
        if start < 0 or length < 0 or start + length > self.size:
            raise WeightFileError(f"{self.path}: is cut off or damaged: bytes {start} to {start + length} are needed, "
                                  f"but there are {self.size}")


class _Window(io.RawIOBase):
    def __init__(self, mapped):
        self.mapped, self.at = mapped, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.mapped.size}[whence])
        return self.at

    def readinto(self, buffer):
        count = max(0, min(len(buffer), self.mapped.size - self.at))
        buffer[:count] = self.mapped.bytes(self.at, count) if count else b""
        self.at += count
        return count


def bfloat16_to_float32(bits):
    """bfloat16 as uint16 bits -> float32: the same sign, exponent and top of the mantissa, sixteen zeros below."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
