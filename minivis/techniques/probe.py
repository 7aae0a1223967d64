"""Linear probes: what each layer has made easy."""
from typing import Literal

from ..errors import MinivisError
from ..loading import DEFAULT
from ..options import Folder, Layer, Network
from ..representation import sets
from ..representation.probes import chance, check_classes
from ..representation.probes import probe as fit
from ..results import Probes
from .cka import default_layers
from .common import recipe


def probe(net: Network, source: Folder = None, *, data: Literal["digits"] | None = None,
          layers: list[Layer] | None = None, pool: Literal["mean", "max", "none"] = "mean", folds: int = 5,
          strength: float = 1.0, limit: int = 2000, memory=None, seed=0, monitor=None) -> Probes:
    """How well a linear classifier tells the labels of pictures from each layer: what the layers make easy, step by
    step.

    On each layer's features multinomial logistic regression is trained and judged on pictures that it was not trained
    on. Alain and Bengio 2016, arXiv:1610.01644. Pixels (32 x 32) and the most frequent class stand beside it.

    Caution: a layer with more values makes a better probe even if it is random; compare with a random network.

    source     pictures with labels: a folder with a sub-folder for each class, a list of files, a zip, tar or HDF5 file
    data       instead: the handwritten digits that come with scikit-learn; their network is `digits`
    layers     which layers; none means up to 16 from the first to the last
    pool       features are the mean or largest value of each channel, or with none all values of a layer
    folds      of the cross-validation
    strength   of the classifier's L2 penalty, for features of standard deviation 1
    limit      with more pictures than this, so many are drawn at random
    """
    if (source is None) == (data is None):
        raise MinivisError("probe: give a source of pictures or --data, one of them")
    if not strength > 0:
        raise MinivisError(f"probe: strength {strength:g} must be above 0")
    names = [net.layer_name(n) for n in layers] if layers else default_layers(net)
    chosen = sets.open_set(data or source, limit, seed)
    given = [label for label in chosen.labels if label is not None]
    check_classes(sets.numbered(given)[0], folds)
    gathered = sets.gather(net, chosen, names, pool=pool, memory=memory, monitor=monitor)
    known = gathered.label >= 0
    y = gathered.label[known]
    rows = [{"layer": "pixels", "values": gathered.pixels().shape[1],
             **fit(gathered.pixels()[known], y, folds, strength, seed)._asdict()}]
    for name in names:
        X = gathered.features[name][known]
        rows.append({"layer": name, "values": X.shape[1], **fit(X, y, folds, strength, seed)._asdict()})
    notes = [*gathered.notes, "If the network was trained on these very pictures, its upper layers know their labels."]
    if not known.all():
        notes.append(f"{int((~known).sum())} pictures without a label are left out.")
    return Probes(rows, gathered.labels, chance(y), pictures=len(y), folds=folds, notes=notes,
                  recipe=recipe(probe, net, seed, source=source, data=data, layers=names, pool=pool, folds=folds,
                                strength=strength, limit=limit))


probe.network_for = lambda given: "digits" if given.data == "digits" else DEFAULT
