"""Weights files of every published form, all treated as hostile: what goes in is bytes, what comes out is a Network."""
import os


def open_network(path, precision="float32"):
    """The Network in a weights file, its form recognised by content. Raises WeightFileError, in one clear line.

    A file of minivis that we do not know is first read by a child process with limits; one of another form is converted
    by it, once, into the cache.
    """
    from . import minivis_hdf5
    from .trust import known_or_checked
    network = minivis_hdf5.read(known_or_checked(path), precision)
    network.name = os.path.splitext(os.path.basename(os.fspath(path)))[0]       # not that of its copy in the cache
    return network
