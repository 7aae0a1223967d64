"""The layer table: what a network is, as data that can be written to JSON and checked before anything is computed.

A table is a list of Layer(name, kind, inputs=None, **settings). `inputs` names the layers above that it reads; None
means the one directly above. The first layer is the only one of kind "input". KINDS lists every kind and its settings.
"""
import difflib
import math

from .errors import MinivisError

MOST_LAYERS, MOST_CELLS = 4096, 2**36       # a table may come from a stranger's file: nothing in it is without bound


class Layer:
    """One row of a table. Settings not given have the defaults of KINDS; `layer["stride"]` reads either."""

    __slots__ = ("inputs", "kind", "name", "settings")

    def __init__(self, name, kind, inputs=None, **settings):
        self._fill(name, kind, inputs, settings)

    def _fill(self, name, kind, inputs, settings):
        self.name, self.kind = name, kind
        self.inputs = None if inputs is None else tuple([inputs] if isinstance(inputs, str) else inputs)
        self.settings = settings
        _check_layer(self)

    def __getitem__(self, setting):
        return self.settings.get(setting, KINDS[self.kind].get(setting, (None,))[0])

    def __eq__(self, other):
        return isinstance(other, Layer) and self.to_json() == other.to_json()

    __hash__ = None

    def __repr__(self):
        given = [repr(self.name), repr(self.kind)] + ([f"inputs={self.inputs}"] if self.inputs else [])
        return f"Layer({', '.join(given + [f'{k}={v!r}' for k, v in self.settings.items()])})"

    def to_json(self):
        """A dict of plain lists, numbers and strings."""
        row = {"name": self.name, "kind": self.kind}
        row.update({k: list(v) if isinstance(v, tuple) else v for k, v in self.settings.items()})
        return row if self.inputs is None else {**row, "inputs": list(self.inputs)}

    @classmethod
    def from_json(cls, row):
        """A Layer from the dict that to_json makes; whatever else it is given is one clear error."""
        if not isinstance(row, dict) or not {"name", "kind"} <= set(row):
            raise MinivisError(f"layer table: every row is an object with a name and a kind, not {_short(row)}")
        inputs = row.get("inputs")
        if inputs is not None and not (isinstance(inputs, list) and all(isinstance(i, str) for i in inputs)):
            raise MinivisError(f"layer {_short(row['name'])}: inputs must be a list of names, not {_short(inputs)}")
        settings = {k: v for k, v in row.items() if k not in ("name", "kind", "inputs")}
        layer = cls.__new__(cls)            # not cls(**settings): a stranger's setting may be called "self"
        layer._fill(row["name"], row["kind"], inputs, settings)
        return layer


# ------------------------------------------------------------------------------------------------ what settings may be

def _whole(low, high):
    def check(v):
        return isinstance(v, int) and not isinstance(v, bool) and low <= v <= high
    check.wants = f"a whole number from {low} to {high}"
    return check


def _number(low=-1e30, high=1e30):
    def check(v):
        return isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and low <= v <= high
    check.wants = "a number" if low == -1e30 and high == 1e30 else f"a number from {low:g} to {high:g}"
    return check


def _one_or_pair(check_one):
    def check(v):
        return check_one(v) or (isinstance(v, list | tuple) and len(v) == 2 and all(check_one(i) for i in v))
    check.wants = f"{check_one.wants}, or two of them (vertical, horizontal)"
    return check


def _padding(named):
    def check(v):
        side = _whole(0, 4096)
        four = isinstance(v, list | tuple) and len(v) == 4 and all(side(i) for i in v)
        return side(v) or four or (named and v == "same")
    check.wants = "a number, (top, bottom, left, right)" + (' or "same"' if named else "")
    return check


def _one_of(*values):
    def check(v):
        return type(v) in {type(i) for i in values} and v in values
    check.wants = " or ".join(map(repr, values))
    return check


def _shape(v):
    side = _whole(1, 65536)
    return isinstance(v, list | tuple) and len(v) == 3 and side(v[2]) and all(s is None or side(s) for s in v[:2])


_shape.wants = "(height, width, channels), with None for a free height or width"
_REQUIRED = object()
_flag = _one_of(True, False)
_count, _kernel, _stride = _whole(1, 2**20), _one_or_pair(_whole(1, 4096)), _one_or_pair(_whole(1, 4096))
_CONV = {"filters": (_REQUIRED, _count), "kernel": (_REQUIRED, _kernel), "stride": (1, _stride),
         "pad": (0, _padding(True)), "groups": (1, _count), "bias": (True, _flag)}
_POOL = {"kernel": (_REQUIRED, _kernel), "stride": (None, _stride), "pad": (0, _padding(True)), "ceil": (False, _flag)}

KINDS = {       # kind: {setting: (default, check)}
    "input": {"shape": (_REQUIRED, _shape)},
    "conv": {**_CONV, "dilation": (1, _stride)},
    "conv_transpose": {**_CONV, "output_pad": (0, _one_or_pair(_whole(0, 4096)))},
    "linear": {"outputs": (_REQUIRED, _count), "bias": (True, _flag)},
    "relu": {},
    "leaky_relu": {"slope": (0.01, _number())},
    "clip": {"low": (_REQUIRED, _number()), "high": (_REQUIRED, _number())},
    "tanh": {},
    "sigmoid": {},
    "max_pool": _POOL,                                              # stride None: that of the kernel
    "avg_pool": {**_POOL, "count_pad": (True, _flag)},
    "global_avg_pool": {},
    "lrn": {"size": (5, _whole(1, 4096)), "alpha": (1e-4, _number()), "beta": (0.75, _number()), "k": (1.0, _number()),
            "per_size": (True, _flag)},
    "batch_norm": {"eps": (1e-5, _number(0)), "affine": (True, _flag)},
    "instance_norm": {"eps": (1e-5, _number(0)), "affine": (True, _flag),
                      "styles": (1, _whole(1, 4096))},                  # rows of scale and shift: see style_networks
    "pad": {"pad": (_REQUIRED, _padding(False)), "mode": ("zero", _one_of("zero", "reflect", "edge"))},
    "upsample": {"factor": (2, _whole(1, 64))},                     # each value becomes factor x factor equal ones
    "flatten": {"order": ("hwc", _one_of("hwc", "chw"))},
    "concat": {},                                                   # along channels
    "add": {},
    "multiply": {},
    "scale": {"factor": (1.0, _number()), "offset": (0.0, _number()), "per_channel": (False, _flag)},
    "dropout": {"rate": (0.5, _number(0, 0.999999))},
    "softmax": {},
}
MANY_INPUTS = ("concat", "add", "multiply")


def _check_layer(layer):
    """One clear error for the first thing in a row that cannot be."""
    name, kind = layer.name, layer.kind
    if not isinstance(name, str) or not 0 < len(name) <= 200 or "/" in name or not name.isprintable():
        raise MinivisError(f"layer name {_short(name)} must be 1 to 200 printable characters without '/'")
    if not isinstance(kind, str) or kind not in KINDS:
        raise MinivisError(f"layer {name}: no kind {_short(kind)}{did_you_mean(kind, KINDS)}; "
                           f"known are {', '.join(KINDS)}")
    known = KINDS[kind]
    for setting, value in layer.settings.items():
        if setting not in known:
            raise MinivisError(f"layer {name}: {kind} has no setting {_short(setting)}{did_you_mean(setting, known)}; "
                               f"it has {', '.join(known) or 'none'}")
        if not known[setting][1](value) and not (value is None and known[setting][0] is None):
            raise MinivisError(f"layer {name}: {setting} is {_short(value)}, but must be {known[setting][1].wants}")
    for setting, (default, _) in known.items():
        if default is _REQUIRED and setting not in layer.settings:
            raise MinivisError(f"layer {name}: {kind} needs the setting {setting!r}")
    if kind == "clip" and layer["low"] > layer["high"]:
        raise MinivisError(f"layer {name}: low {layer['low']} is above high {layer['high']}")


# ------------------------------------------------------------------------------------------------------- a whole table

class Table:
    """A checked list of layers, each with its inputs spelt out.

    layers     the rows, in order; a layer reads only layers above it, so the order is one to compute in
    reads      {name: names of the layers it reads}
    """

    def __init__(self, layers):
        self.layers = [layer if isinstance(layer, Layer) else Layer.from_json(layer) for layer in layers]
        if not self.layers or self.layers[0].kind != "input":
            raise MinivisError("layer table: the first layer must be of kind 'input'")
        if len(self.layers) > MOST_LAYERS:
            raise MinivisError(f"layer table: {len(self.layers)} layers, more than {MOST_LAYERS}")
        self.by_name, self.reads, above = {}, {}, None
        names = {layer.name for layer in self.layers}
        for layer in self.layers:
            if layer.name in self.by_name:
                raise MinivisError(f"layer table: two layers are called {layer.name!r}")
            self.reads[layer.name] = self._resolve(layer, above, names)
            self.by_name[layer.name] = layer
            above = layer.name

    def _resolve(self, layer, above, names):
        if layer.kind == "input":
            if above is not None or layer.inputs:
                raise MinivisError(f"layer {layer.name}: an input stands on top of the table, once, and reads nothing")
            return ()
        inputs = (above,) if layer.inputs is None else layer.inputs
        for name in inputs:
            if name not in names:
                raise MinivisError(f"layer {layer.name}: its input {name!r} is no layer{did_you_mean(name, names)}")
            if name not in self.by_name:
                raise MinivisError(f"layer {layer.name}: its input {name!r} does not stand above it; a layer that "
                                   "reads itself or a layer below would be a cycle")
        if not (1 < len(inputs) <= 256 if layer.kind in MANY_INPUTS else len(inputs) == 1):
            wanted = "2 to 256 inputs" if layer.kind in MANY_INPUTS else "one input"
            raise MinivisError(f"layer {layer.name}: {layer.kind} takes {wanted}, not {len(inputs)}")
        return tuple(inputs)

    def __iter__(self):
        return iter(self.layers)

    def __len__(self):
        return len(self.layers)

    def __contains__(self, name):
        return name in self.by_name

    def __getitem__(self, name):
        return self.by_name[name]

    @property
    def names(self):
        return list(self.by_name)

    def needed(self, layers, start=None):
        """Names of the layers that `layers` depend on, in order, from `start` (its value is given; None: the input)."""
        start = self.layers[0].name if start is None else start
        wanted, todo = set(layers), list(layers)
        while todo:
            name = todo.pop()
            if name == start:
                continue
            if not self.reads[name]:
                raise MinivisError(f"a pass that starts at {start!r} cannot reach {', '.join(map(repr, layers))}: "
                                   f"that also depends on the picture by another way")
            todo += [n for n in self.reads[name] if n not in wanted]
            wanted.update(self.reads[name])
        return [name for name in self.by_name if name in wanted]

    def to_json(self):
        return [layer.to_json() for layer in self.layers]


def did_you_mean(word, words):
    """"; did you mean a, b?", or nothing when no word is close."""
    close = difflib.get_close_matches(str(word)[:200], [str(w) for w in words], 3, 0.55)
    return f"; did you mean {', '.join(close)}?" if close else ""


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
