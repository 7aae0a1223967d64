"""After training: batch normalisation becomes part of the convolution before it; what is left is conv, ReLU, pool."""
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


def _tidy(rows):
    """Rows that read the one directly above need not say so."""
    before, result = None, []
    for row in rows:
        plain = row.inputs is not None and list(row.inputs) == [before]
        result.append(Layer(row.name, row.kind, None if plain else row.inputs, **row.settings))
        before = row.name
    return result
