"""What a demonstration is made of: photographs that come with the dependencies, cut-outs of them, an index.

A technique's demo settings (techniques.Entry.demo) name what they want; what they leave open and must not is filled in
here by the kind of the parameter. So a technique that lands later needs no line in this file.
"""
import importlib.resources
from pathlib import Path

import numpy as np

from .. import image, style_pictures
from ..errors import MinivisError
from ..loading import embedded, load_network
from ..options import parameters, reserved
from ..preprocessing import resize

CROPS, CROP = 20, 128           # cut-outs of each photograph, and their side in pixels
STYLE = "mosaic"                # one of the style pictures that come with minivis


def photographs():
    """{name: path} of the photographs that come with matplotlib and scikit-learn."""
    import matplotlib
    learn = importlib.resources.files("sklearn.datasets") / "images"
    found = {"portrait": Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
             "flower": Path(str(learn / "flower.jpg")), "temple": Path(str(learn / "china.jpg"))}
    missing = [str(path) for path in found.values() if not path.is_file()]
    if missing:
        raise MinivisError(f"demo: the photographs {', '.join(missing)} are missing; install matplotlib and "
                           "scikit-learn anew")
    return found


class Materials:
    """Everything lies in `folder`: photographs/NAME.jpg, cutouts/NAME/NN.jpg of these, textures/NAME/NN.jpg cut out of
    the style pictures, and, when asked for, index.h5."""

    def __init__(self, folder, net, seed=0):
        self.folder, self.net = Path(folder), net
        self.photographs = self._copy()
        self.cutouts = self._cut("cutouts", self.photographs, seed)
        self._cut("textures", {name: style_pictures.find(name) for name in style_pictures.names()}, seed)
        self._networks = {}

    def _copy(self):
        (self.folder / "photographs").mkdir(parents=True, exist_ok=True)
        copies = {}
        for name, path in photographs().items():
            copies[name] = self.folder / "photographs" / f"{name}.jpg"
            copies[name].write_bytes(path.read_bytes())
        return copies

    def _cut(self, top, pictures, seed):
        """Square cut-outs, in a sub-folder for each picture: the data set of a machine that has none."""
        top = self.folder / top
        for at, (name, path) in enumerate(pictures.items()):
            (top / name).mkdir(parents=True, exist_ok=True)
            random, picture = np.random.default_rng([seed, at]), image.read(path)
            for i in range(CROPS):
                side = int(random.integers(CROP, max(CROP + 1, min(picture.shape[:2]) * 2 // 3)))
                y, x = (int(random.integers(0, length - side + 1)) for length in picture.shape[:2])
                image.save(resize(picture[y:y + side, x:x + side], (CROP, CROP)), top / name / f"{i:02d}.jpg")
        return top

    def index(self):
        """The path of an index of the cut-outs, made when it is first asked for."""
        from ..indexing import build
        path = self.folder / "index.h5"
        if not path.exists():
            build(self.net, str(self.cutouts), str(path))
        return str(path)

    def codes(self):
        """The path of a file of activations of a photograph, made when it is first asked for."""
        from ..techniques.activations import activations
        from ..techniques.invert import default_layers
        path = self.folder / "codes.npz"
        if not path.exists():
            picture = image.read(self.photographs["portrait"])
            activations(self.net, picture, layers=default_layers(self.net)[1:4:2]).save(path)
        return str(path)

    def network(self, name):
        """An embedded network by name."""
        if embedded(name) is None:
            raise Unavailable(f"no network {name!r} comes with minivis")
        if name not in self._networks:
            self._networks[name] = load_network(name)
        return self._networks[name]

    def unit(self):
        """LAYER:CHANNEL: the channel of a ReLU halfway up that the portrait drives most."""
        layers = [row.name for row in self.net.table if row.kind == "relu"]
        layer = layers[len(layers) // 2]
        x = self.net.preprocess(image.read(self.photographs["portrait"]))
        values = self.net(x, layers=layer)[layer].numpy()
        return f"{layer}:{int(values.reshape(-1, values.shape[-1]).max(axis=0).argmax())}"

    def arguments(self, function, settings):
        """({name: value}, {name: text}): a call of the technique, and the same as a command line would say it."""
        values, texts = {}, {}
        for p in parameters(function):
            if p.name in settings:
                given = settings[p.name]
            elif p.required:
                given = self._usual(p)
            else:
                continue
            many = given if p.many and isinstance(given, list | tuple) else [given]
            read = [self._read(p, one) for one in many]
            values[p.name] = [value for value, _ in read] if p.many else read[0][0]
            texts[p.name] = [text for _, text in read]
        if "net" in reserved(function):
            values["net"] = self._network_for(function, values, settings)
        return values, texts

    def _network_for(self, function, values, settings):
        """The network that the settings name, else the one that the technique wants, else the demonstration's."""
        from types import SimpleNamespace
        if "net" in settings:
            return self.network(settings["net"])
        choose = getattr(function, "network_for", None)
        if choose is None:
            return self.net
        from ..loading import DEFAULT
        name = choose(SimpleNamespace(**{p.name: values.get(p.name, p.default) for p in parameters(function)}))
        return None if name is None else self.net if name == DEFAULT else self.network(name)

    def _usual(self, p):
        """What a parameter without default and without setting gets."""
        usual = {"PICTURE": list(self.photographs) if p.many else "portrait", "PICTURE|NAME": STYLE,
                 "FOLDER": "cutouts", "INDEX": "index", "CODES.npz": "codes", "LAYER:CHANNEL[@ROW,COLUMN]": "unit"}
        if p.reads is None or p.reads.metavar not in usual:
            raise MinivisError(f"demo: the entry of this technique in TECHNIQUES must say what {p.name} is")
        return usual[p.reads.metavar]

    def _read(self, p, given):
        """(value, text) of a setting: names of photographs, folders and networks are looked up, the rest is itself."""
        metavar = p.reads.metavar if p.reads else None
        if metavar in ("PICTURE", "PICTURE|NAME") and given in self.photographs:
            return image.read(self.photographs[given]), f"photographs/{given}.jpg"
        if metavar == "PICTURE|NAME":
            return p.reads.read(given), given
        if metavar == "FOLDER":
            path = self.cutouts / given if given in self.photographs else self.folder / given
            return str(path), path.relative_to(self.folder).as_posix()
        if metavar == "INDEX":
            return self.index(), "index.h5"
        if metavar == "CODES.npz":
            return p.reads.read(self.codes()), "codes.npz"
        if metavar == "NETWORK":
            return self.network(given), given
        if given == "unit" and metavar and metavar.startswith("LAYER"):
            given = self.unit() if metavar.startswith("LAYER:") else self.unit().split(":")[0]
        return given, str(given)


class Unavailable(Exception):
    """Why a technique cannot be shown here; not an error."""
