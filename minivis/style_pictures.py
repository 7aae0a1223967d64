"""The style pictures that come with minivis, by name; tools/make_styles.py drew them."""
import os

from .errors import MinivisError
from .layers import did_you_mean


def names():
    """Names of the style pictures that come with minivis."""
    return sorted(file[:-4] for file in os.listdir(_folder()) if file.endswith(".jpg"))


def find(text):
    """The file of a style picture: the file named so, or the picture that comes with minivis under that name."""
    text = os.fspath(text)
    if os.path.exists(text):
        return text
    if text in names():
        return os.path.join(_folder(), f"{text}.jpg")
    if os.path.sep in text or os.path.splitext(text)[1]:
        raise MinivisError(f"there is no file {text}")
    raise MinivisError(f"there is no file {text} and no style picture of that name{did_you_mean(text, names())}; "
                       f"with minivis come {', '.join(names())}")


def _folder():
    from . import weights
    return os.path.join(os.path.dirname(os.path.abspath(weights.__file__)), "styles")
