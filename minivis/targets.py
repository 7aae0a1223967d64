"""What people write to say which class or which unit they mean.

A class is an index (281), a WordNet id (n02123045) or a label ("tabby"); a unit is `layer:channel` or
`layer:channel@row,column`.
"""
import csv
import functools
import importlib.resources
import re
from typing import NamedTuple

from .errors import MinivisError
from .layers import did_you_mean


class Unit(NamedTuple):
    """A channel of a layer, at one position or (row and column None) at all of them."""
    layer: str
    channel: int
    row: int | None = None
    column: int | None = None

    def __str__(self):
        return f"{self.layer}:{self.channel}" + ("" if self.row is None else f"@{self.row},{self.column}")


def resolve_class(net, target):
    """(index, label) of a class of `net`. A label that several classes bear is an error that lists their ids."""
    if net.logits_layer is None:
        raise MinivisError(f"network {net.name} has no class scores (no logits layer); {target!r} is no target in it")
    count = class_count(net)
    rows = class_labels(net)
    if isinstance(target, bool) or not (isinstance(target, str) or hasattr(target, "__index__")):
        raise MinivisError(f"class {target!r} must be an index, a WordNet id or a label")
    if not isinstance(target, str) or re.fullmatch(r"\s*[+-]?\d{1,12}\s*", target):
        index = int(target)
        if not 0 <= index < count:
            raise MinivisError(f"class {index} is none of the network's classes 0 to {count - 1}")
        return index, label_text(net, index)
    if rows is None:
        raise MinivisError(f"network {net.name} has no labels; give the class by its index, 0 to {count - 1}")
    index = _find(target.strip(), rows)
    return index, label_text(net, index)


def _find(text, rows):
    """The index of the one class with this WordNet id or label."""
    by_id = [i for i, (wnid, _) in enumerate(rows) if wnid == text.lower()]
    if by_id:
        return by_id[0]
    wanted = _plain(text)
    for same in (lambda name: _plain(name) == wanted, lambda name: wanted in map(_plain, name.split(","))):
        found = [i for i, (_, name) in enumerate(rows) if same(name)]
        if len(found) == 1:
            return found[0]
        if found:
            which = ", ".join(f"{rows[i][0]} (class {i})" for i in found)
            raise MinivisError(f"class {text!r} is ambiguous: {which}; give the id or the index")
    names = {part.strip(): None for _, name in rows for part in name.split(",")}
    inside = [name for name in names if wanted and wanted in _plain(name)][:3]
    close = f"; did you mean {', '.join(inside)}?" if inside else did_you_mean(text, names)
    raise MinivisError(f"no class is called {text!r}{close or '; give an index, a WordNet id or a label'}")


def _plain(name):
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def class_count(net):
    """How many classes the network tells apart."""
    return net.channels(net.logits_layer)


def class_labels(net):
    """[(WordNet id, name)] of the classes: the network's own; ImageNet's if it has a thousand and no list; or None."""
    if net.labels is not None:
        return net.labels
    return imagenet_classes() if class_count(net) == 1000 else None


def label_text(net, index):
    """The name of a class for people: "tabby", or "class 281" without labels."""
    rows = class_labels(net)
    return rows[index][1] if rows and index < len(rows) else f"class {index}"


def first_name(label):
    """The first of the names in a label: "tabby" of "tabby, tabby cat"."""
    return label.split(",")[0].strip()


def class_name(net, index):
    """The first name of a class, for captions."""
    return first_name(label_text(net, index))


@functools.cache
def imagenet_classes():
    """The thousand classes of ILSVRC 2012, ((WordNet id, name), ...), in the usual order."""
    from . import weights
    text = importlib.resources.files(weights).joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    return tuple((row["wnid"], row["name"]) for row in csv.DictReader(text.splitlines()))


def resolve_unit(net, where):
    """The Unit that `layer:channel` or `layer:channel@row,column` names, its layer and channel checked.

    Rows and columns are checked where the size of the picture is known.
    """
    if isinstance(where, Unit):
        where = str(where)
    match = re.fullmatch(r"\s*([^:]+?)\s*:\s*(\d{1,9})\s*(?:@\s*(\d{1,9})\s*,\s*(\d{1,9})\s*)?", str(where))
    if match is None:
        raise MinivisError(f"unit {where!r} must be LAYER:CHANNEL or LAYER:CHANNEL@ROW,COLUMN, such as conv4_2:17@5,8")
    layer, channel = net.layer_name(match[1]), int(match[2])
    count = net.channels(layer)
    if count is not None and channel >= count:
        raise MinivisError(f"unit {where!r}: layer {layer} has channels 0 to {count - 1}")
    if match[3] is None:
        return Unit(layer, channel)
    if net.rank(layer) == 1:
        raise MinivisError(f"unit {where!r}: layer {layer} is a vector, its units have no row and column")
    return Unit(layer, channel, int(match[3]), int(match[4]))
