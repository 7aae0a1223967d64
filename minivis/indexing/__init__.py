"""What a network says about a whole data set, in one file: features of every picture, strongest patches per channel.

    build(net, "photos/", "photos.h5")      one streaming pass, which can be killed and goes on where it was
    open_index("photos.index.h5")           -> Index: names, labels, features, pixels, strongest patches
    extract(net, "photos/", features=[..])  the same pass for small sets, in memory

The layout of the file is described in format.py.
"""
import importlib

_PUBLIC = {"open_index": "format", "Index": "format", "Top": "format", "build": "making", "extract": "making"}


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
