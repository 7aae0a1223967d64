"""minivis: see inside convolutional networks and make pictures with them, from first principles."""
import os as _os

if not _os.path.isdir(_os.path.join(_os.path.dirname(__file__), "kernels")):
    # in a checkout, kernels/ and weights/ lie beside minivis/ and not inside it
    __path__.append(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))))

__version__ = "0.1.0"
