"""Weights files of every published form, all treated as hostile: what goes in is bytes, what comes out is a Network."""


def open_network(path, precision="float32"):
    """The Network in a weights file, its form recognised by content. Raises WeightFileError, in one clear line."""
    from . import minivis_hdf5
    return minivis_hdf5.read(path, precision)
