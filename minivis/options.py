"""The words techniques use in their signatures, and how a command line reads them.

An option exists once: as an annotated parameter of the technique's function. Its type says how the text of a command
line becomes a value, its default is the default, and its help is the line of the docstring that begins with its name:

    def saliency(net: Network, picture: Picture, *, reduce: Literal["max", "l2"] = "max") -> Attribution:
        '''...
        reduce    how three colours become one number
        '''

Parameters before the `*` are positional on the command line too, the rest are `--options` (underscores become hyphens;
a bool gives `--x` and `--no-x`). `net seed memory precision monitor` mean the same everywhere and come from outside.
"""
import argparse
import inspect
import re
import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

RESERVED = ("net", "seed", "memory", "precision", "monitor")


class Reads:
    """How one kind of argument is written: its placeholder, the function that reads the text, and if it is a file."""

    def __init__(self, metavar, read=str, file=None):
        self.metavar, self.read, self.file = metavar, read, file


def _read_network(text):
    from .loading import load_network
    return load_network(text)


def _read_picture(text):
    from . import image
    return image.read(text)


def _read_style(text):
    from . import image, style_pictures
    return image.read(style_pictures.find(text))


def _read_mask(text):
    from . import image
    return image.read(text)[..., 0] > 127


def _read_codes(text):
    """{name: array} of an .npz file, as `--raw` writes it; "recipe" read as JSON."""
    import json
    import zipfile

    import numpy as np
    try:
        with np.load(text, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            recipe = json.loads(str(arrays.pop("recipe", "null")))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, KeyError) as error:
        raise ValueError(f"{text} is no file of activations (.npz): {error}") from None
    return {**arrays, "recipe": recipe if isinstance(recipe, dict) else None}


def _read_class(text):
    """A class stays text (a number, a WordNet id or a label): only the network can say what it means."""
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def read_range(text):
    """"0,1,5" -> the numbers; "0:8:5" -> five numbers from 0 to 8."""
    try:
        if text.count(":") == 2:
            import numpy as np
            start, stop, count = text.split(":")
            return [float(v) for v in np.linspace(float(start), float(stop), int(count))]
        return [float(v) for v in text.split(",")]
    except ValueError:
        raise ValueError(f"{text!r} is no range: write numbers 0,1,5 or start:stop:count such as 0:8:5") from None


def _read_weights(text):
    """conv1_1=1,conv2_1=0.5 -> {layer: weight}; a layer without a number weighs 1."""
    weights = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            weights[name.strip()] = float(number or 1)
        except ValueError:
            raise ValueError(f"{part!r} must be LAYER or LAYER=NUMBER") from None
    return weights


Picture = Annotated[Any, Reads("PICTURE", _read_picture, file="picture")]     # (H, W, 3) uint8, RGB
StylePicture = Annotated[Any, Reads("PICTURE|NAME", _read_style, file="picture")]  # or one that comes with minivis
Mask = Annotated[Any, Reads("MASK", _read_mask, file="picture")]              # (H, W) bool, white is True
Network = Annotated[Any, Reads("NETWORK", _read_network)]
Codes = Annotated[Any, Reads("CODES.npz", _read_codes)]                       # {layer: array}, and "recipe"
Index = Annotated[str, Reads("INDEX")]
Folder = Annotated[str, Reads("FOLDER")]
File = Annotated[str, Reads("FILE")]
Target = Annotated[int | str | None, Reads("CLASS", _read_class)]             # an index, a WordNet id or a label
Layer = Annotated[str, Reads("LAYER")]
Unit = Annotated[str, Reads("LAYER:CHANNEL[@ROW,COLUMN]")]
Range = Annotated[list[float], Reads("A,B,..|START:STOP:COUNT", read_range)]


class Parameter:
    """One parameter of a technique: what a command line needs to know of it."""

    def __init__(self, function, name, annotation, default, positional):
        self.name, self.default, self.positional = name, default, positional
        self.required = default is inspect.Parameter.empty
        self.flag = "--" + name.replace("_", "-")
        self.many, self.choices, self.reads, self.is_bool = False, None, None, False
        self._understand(_without_none(annotation), f"{getattr(function, '__name__', function)}: {name}")
        self.help = _help(function, name)

    def _understand(self, kind, where):
        origin = get_origin(kind)
        if origin is Annotated:
            self.reads = next(a for a in kind.__metadata__ if isinstance(a, Reads))
        elif origin is Literal:
            self.choices = get_args(kind)
        elif origin is list:
            self.many = True
            self._understand(get_args(kind)[0], where)
        elif origin is dict:
            self.reads = Reads("LAYER=WEIGHT,...", _read_weights)
        elif kind is bool:
            self.is_bool = True
        elif kind in (int, float, str):
            self.reads = Reads({int: "N", float: "X", str: "TEXT"}[kind], kind)
        else:
            raise TypeError(f"{where}: no command line reads {kind!r}; use the types of minivis.options")

    @property
    def is_picture(self):
        return self.reads is not None and self.reads.file == "picture"

    def add_to(self, parser):
        """Add this parameter to an argparse parser. Pictures stay file names until all options have been read."""
        how = {"help": self._help_text()}
        if self.is_bool:
            how.update(action=argparse.BooleanOptionalAction, default=self.default, dest=self.name)
            parser.add_argument(self.flag, **how)
            return
        if self.choices is not None:
            kind = type(self.choices[0])
            how.update(choices=self.choices, type=kind)
        else:
            how.update(metavar=self.reads.metavar)
            if not self.is_picture:
                how.update(type=_reader(self.reads))
        if self.many:
            how["nargs"] = "+"
        if self.positional:
            if not self.required:
                how.update(nargs="*" if self.many else "?", default=self.default)
            parser.add_argument(self.name, **how)
        else:
            flags = ("-o", self.flag) if self.name == "out" else (self.flag,)
            parser.add_argument(*flags, dest=self.name, default=None if self.required else self.default,
                                required=self.required, **how)

    def _help_text(self):
        text = self.help.replace("%", "%%")
        if self.required or self.default is None or self.is_bool or self.positional:
            return text
        return f"{text} (default: {_spell(self.default)})" if text else f"default: {_spell(self.default)}"


def parameters(function):
    """The Parameters of a technique or command, reserved ones left out, in the order of its signature."""
    hints = typing.get_type_hints(function, include_extras=True)
    result = []
    for name, p in inspect.signature(function).parameters.items():
        if name in RESERVED:
            continue
        if name not in hints:
            raise TypeError(f"{function.__name__}: parameter {name} has no annotation")
        result.append(Parameter(function, name, hints[name], p.default, p.kind is not p.KEYWORD_ONLY))
    return result


def reserved(function):
    """Which of the reserved parameters the function takes."""
    return [name for name in inspect.signature(function).parameters if name in RESERVED]


def _without_none(annotation):
    """`X | None` -> X; the default says that it may be left out."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [a for a in get_args(annotation) if a is not type(None)]
        if len(kinds) == 1:
            return kinds[0]
    return annotation


def _reader(reads):
    def read(text):
        try:
            return reads.read(text)
        except (ValueError, KeyError) as error:
            if reads.read in (int, float):
                wanted = "an integer" if reads.read is int else "a number"
                raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None
            raise argparse.ArgumentTypeError(str(error)) from None
    return read


def _spell(value):
    return ",".join(_spell(v) for v in value) if isinstance(value, list | tuple) else str(value)


def _help(function, name):
    """The docstring's line `name    what it is`, with the more deeply indented lines that go on with it."""
    lines = (inspect.getdoc(function) or "").splitlines()
    for i, line in enumerate(lines):
        found = re.match(rf"(\s*){re.escape(name)}(?:\s{{2,}}|: )(\S.*)", line)
        if not found:
            continue
        text, depth = [found[2]], len(found[1])
        for more in lines[i + 1:]:
            if not more.strip() or len(more) - len(more.lstrip()) <= depth:
                break
            text.append(more.strip())
        return " ".join(text)
    return ""


def caution(function):
    """The docstring's `Caution: ...`, up to the next empty line, or "": what a reader of the result must know."""
    text = (inspect.getdoc(function) or "").partition("Caution: ")[2].split("\n\n")[0]
    return " ".join(text.split())


def summary(function):
    """The first sentence of the docstring."""
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
