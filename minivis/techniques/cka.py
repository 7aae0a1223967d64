"""How alike the layers of two networks see the same pictures."""
import itertools
from typing import Literal

import numpy as np

from .. import batching
from ..errors import MinivisError
from ..monitor import SilentMonitor
from ..options import Folder, Layer, Network
from ..representation import sets
from ..representation.similarity import FEWEST, Alignment, gram
from ..results import Similarity
from ..tensor import Tensor
from .common import recipe

MOST_LAYERS = 16            # chosen when none are named


def cka(net: Network, source: Folder, *, other: Network | None = None, layers: list[Layer] | None = None,
        other_layers: list[Layer] | None = None, estimate: Literal["minibatch", "full"] = "minibatch", batch: int = 32,
        pool: Literal["none", "mean"] = "none", passes: int = 1, limit: int = 256, memory=None, seed=0,
        monitor=None) -> Similarity:
    """Centred kernel alignment of every layer with every layer of another network, or of the same one.

    CKA(X, Y) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K = X X^T and L = Y Y^T for features X and Y of the same
    pictures: 1 if they differ by a rotation and a factor only. Kornblith et al. 2019, arXiv:1905.00414. By default
    averaged over small batches with an estimate that is not biased by their size (Nguyen et al. 2021, arXiv:2010.15327,
    after Song et al. 2012); `full` takes all pictures at once by the plain definition, which is too high when pictures
    are few.

    values (layers, layers of the other network).

    source        pictures: a folder, zip, tar, HDF5 file, list of files, or "digits"
    other         the network to compare with; none means the same one, layer against layer
    layers        which layers; none means up to 16 from the first to the last
    other_layers  of the other network; none means the same choice there
    estimate      minibatch, or full
    batch         pictures in a batch of the minibatch estimate, at least 4
    pool          none: all values of a layer; mean: the mean of each channel
    passes        how often the pictures are cut into other random batches
    limit         with more pictures than this, so many are drawn at random
    """
    if batch < FEWEST or passes < 1:
        raise MinivisError(f"cka: batch {batch} must be at least {FEWEST} and passes {passes} at least 1")
    rows = [net.layer_name(name) for name in layers] if layers else default_layers(net)
    second = other or net
    columns = [second.layer_name(n) for n in other_layers] if other_layers else rows if other is None and layers \
        else default_layers(second)
    chosen = sets.open_set(source, limit, seed)
    numbers = readable(chosen)
    if len(numbers) < FEWEST:
        raise MinivisError(f"cka: {len(numbers)} pictures could be read; at least {FEWEST} are needed")
    alignment = Alignment(len(rows), len(columns), unbiased=estimate == "minibatch")
    cuts = list(batches_of(numbers, len(numbers) if estimate == "full" else batch,
                           passes if estimate == "minibatch" else 1, seed))
    monitor = monitor or SilentMonitor()
    for done, cut in enumerate(cuts, 1):
        Ks = grams(net, chosen, cut, rows, pool, memory)
        Ls = grams(second, chosen, cut, columns, pool, memory) if (columns, other) != (rows, None) else Ks
        alignment.add(Ks, Ls)
        monitor.step(done, len(cuts))
    notes = chosen.notes()
    if np.isnan(alignment.table).any():
        notes.append("Grey: a layer gives the same for all pictures, or so nearly that its estimate is not above "
                     "0.")
    return Similarity(alignment.table, rows, columns, net.name, second.name, pictures=len(numbers), estimate=estimate,
                      batch=len(cuts[0]), batches=alignment.batches, notes=notes,
                      recipe=recipe(cka, net, seed, source=source, other=second.name if other else None, layers=rows,
                                    other_layers=columns, estimate=estimate, batch=batch, pool=pool, passes=passes,
                                    limit=limit))


def default_layers(net):
    """Up to MOST_LAYERS layers from the first to the last: those behind whose nonlinearity a step is complete."""
    telling = ("relu", "leaky_relu", "clip", "tanh", "sigmoid", "concat", "add", "max_pool", "avg_pool",
               "global_avg_pool", "linear")
    names = net.table.needed([net.output_layer])
    inside = {below for name in names if net.table[name].kind in ("concat", "relu") for below in net.table.reads[name]}
    found = [name for name in names if net.table[name].kind in telling and name not in inside]
    found = found or [name for name in names if net.table[name].kind != "input"]
    at = np.unique(np.linspace(0, len(found) - 1, min(MOST_LAYERS, len(found))).round().astype(int))
    return [found[i] for i in at]


def readable(chosen):
    """The numbers of the pictures that can be read; the others are remembered in chosen.bad."""
    return [i for i in range(len(chosen.names)) if chosen.load(i) is not None]


def batches_of(numbers, size, passes, seed):
    """Lists of `size` numbers (the last may be larger): all of them, once in each pass, in random order."""
    for i in range(passes):
        order = np.random.default_rng([seed, sets.CHOOSING, 1 + i]).permutation(numbers) if size < len(numbers) \
            else np.asarray(numbers)
        count = max(1, len(order) // size)
        edges = [*range(0, count * size, size), len(order)]
        yield from (order[a:b].tolist() for a, b in itertools.pairwise(edges))


def grams(net, chosen, numbers, layers, pool, memory):
    """The Gram matrix (n, n) of each layer on the pictures `numbers`; as many layers at a time as memory holds."""
    if not layers:
        return []
    shapes = net.shapes(net.input_size or (sets.SIDE, sets.SIDE))
    budget = batching.default_budget() if memory is None else batching.parse_bytes(memory)
    each = {name: 4 * len(numbers) * (shapes[name][-1] if pool == "mean" else int(np.prod(shapes[name])))
            for name in layers}
    found, group = {}, []
    for i, name in enumerate(layers):
        if each[name] > budget:
            raise MinivisError(f"cka: {name} has {each[name] / 1e9:.2g} GB on {len(numbers)} pictures; use --pool "
                               "mean, a smaller --batch, or more --memory")
        group.append(name)
        following = each[layers[i + 1]] if i + 1 < len(layers) else budget
        if sum(each[n] for n in group) + following > budget:
            features = {n: [] for n in group}
            for part in sets.batches(net, chosen, group, memory=memory, numbers=numbers):
                values = net(Tensor(part.x), layers=group)
                for n in group:
                    features[n].append(sets.pooled(sets.host(values[n].data), pool))
            found |= {n: gram(np.concatenate(rows)) for n, rows in features.items()}
            group = []
    return [found[name] for name in layers]
