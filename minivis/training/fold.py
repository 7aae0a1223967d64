"""After training batch normalisation becomes part of the convolution before it, and what is left is conv, ReLU, pool;
before training goes on, it is put back."""
import numpy as np

from ..layers import Layer, Table
from ..network import Network
from ..relevance.canonise import canonised


def folded(net):
    """The network without the batch normalisations that follow a convolution or dense layer: the same function.

    With s = scale / sqrt(var + eps) the layer becomes w' = w s, b' = (b - mean) s + shift, computed in float64.
    """
    same, into = canonised(net, net.table.names[-1])
    source = {}
    rows = []
    for row in same.table:
        inputs = [source.get(name, name) for name in same.table.reads[row.name]]
        if row.name in into:
            source[row.name] = inputs[0]
        else:
            rows.append(Layer(row.name, row.kind, inputs or None, **row.settings))
    table = Table(_tidy(rows))

    def there(name):
        return source.get(name, name)
    return Network(table, same.weights.arrays(), net.logits_layer and there(net.logits_layer),
                   there(net.features_layer), labels=net.labels, meta=net.meta,
                   preprocessing=net.preprocessing if net.has_preprocessing else None,
                   output_layer=there(net.output_layer), precision=net.precision, name=net.name)


def unfolded(net, table, x):
    """{name: array} for `table`, the layers of a folded network with their batch normalisations: the same function,
    made trainable again.

    A convolution z = W x + b becomes w x with w = W / n, where n gives each filter the length sqrt(2) of He's
    initialisation (behind a normalisation only its direction matters, but the length decides how far a step turns it);
    mean and variance of w x are measured on the batch x (network units), scale = n sqrt(var + eps) and
    shift = b + n mean undo the normalisation.
    """
    arrays = {name: array.copy() for name, array in net.weights.arrays().items()}
    norms = {row.name: table.reads[row.name][0] for row in table if row.kind == "batch_norm"}
    values = net(x, layers=list(norms.values()))
    for norm, layer in norms.items():
        weight, bias = arrays[f"{layer}/weight"], arrays.pop(f"{layer}/bias")
        n = np.sqrt((weight.astype(np.float64) ** 2).sum(axis=tuple(range(weight.ndim - 1))) / 2)
        n[n == 0] = 1
        y = (values[layer].numpy().astype(np.float64) - bias) / n
        axes = tuple(range(y.ndim - 1))
        mean, var = y.mean(axis=axes), y.var(axis=axes)
        found = {"scale": n * np.sqrt(var + table[norm]["eps"]), "shift": bias + n * mean, "mean": mean, "var": var}
        arrays[f"{layer}/weight"] = (weight / n).astype(weight.dtype)
        arrays |= {f"{norm}/{part}": array.astype(weight.dtype) for part, array in found.items()}
    return arrays


def _tidy(rows):
    """Rows that read the one directly above need not say so."""
    before, result = None, []
    for row in rows:
        plain = row.inputs is not None and list(row.inputs) == [before]
        result.append(Layer(row.name, row.kind, None if plain else row.inputs, **row.settings))
        before = row.name
    return result
