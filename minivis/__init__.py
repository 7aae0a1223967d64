"""minivis: see inside convolutional networks and make pictures with them, from first principles.

    import minivis as mv
    net = mv.load_network("squeezenet1_0.h5")
    picture = mv.read_image("cat.jpg")
    mv.guided_backprop(net, picture, target="tabby").save("cat.png")

Every technique is a function of its own name here: `minivis --help` lists them. Nothing is imported before it is used.
"""
import importlib as _importlib
import os as _os

if not _os.path.isdir(_os.path.join(_os.path.dirname(__file__), "kernels")):
    # in a checkout, kernels/ and weights/ lie beside minivis/ and not inside it
    __path__.append(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))))

__version__ = "0.1.0"

_PUBLIC = {     # name: (module, name in it); None: the module itself
    "load_network": ("loading", "load_network"),
    "random_network": ("loading", "random_network"),
    "save_network": ("checkpoints.minivis_hdf5", "write"),
    "Network": ("network", "Network"),
    "Layer": ("layers", "Layer"),
    "Tensor": ("tensor", "Tensor"),
    "gradient": ("tensor", "gradient"),
    "ops": ("ops", None),
    "objectives": ("objectives", None),
    "read_image": ("image", "read"),
    "save_image": ("image", "save"),
    "Preprocessing": ("preprocessing", "Preprocessing"),
    "MinivisError": ("errors", "MinivisError"),
    "TECHNIQUES": ("techniques", "TECHNIQUES"),
}


def __getattr__(name):
    """Public names and techniques, imported at their first use (PEP 562)."""
    if name in _PUBLIC:
        module, inner = _PUBLIC[name]
        value = _importlib.import_module(f".{module}", __name__)
        value = value if inner is None else getattr(value, inner)
    else:
        techniques = None if name.startswith("_") else _importlib.import_module(".techniques", __name__)
        if techniques is None or name not in techniques.TECHNIQUES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = techniques.load(name)
    globals()[name] = value
    return value


def __dir__():
    from .techniques import TECHNIQUES
    return sorted({*globals(), *_PUBLIC, *TECHNIQUES})
