"""Comparing float32 gradients: with the decisions of ReLUs and poolings taken from float64.

A whole float32 gradient cannot be compared value by value: one unit that lies within rounding of zero is on in one
precision and off in the other, and moves the map by 1e-4 to 1e-2 of its largest value, in any framework. What can be
compared is the arithmetic, with the decisions held fixed.
"""
from ..kernels import reference

RELU = {
    "plain": lambda dy, on: dy * on,
    "guided": lambda dy, on: dy * (on & (dy > 0)),
    "deconv": lambda dy, on: dy * (dy > 0),
}


def decided(net, layer, values, rule="plain"):
    """Backward rules from `layer` down with the signs of ReLU inputs and the winners of max poolings of `values`.

    values    {layer: array} of all layers, in float64; use the rules with net(x, keep="inputs")
    """
    rules = {}
    for name in net.table.needed([layer]):
        if net.table[name].kind == "relu":
            on = values[net.table.reads[name][0]] > 0
            rules[name] = lambda dy, _, on=on: RELU[rule](dy, on)
        elif net.table[name].kind == "max_pool":
            below = values[net.table.reads[name][0]]
            rules[name] = lambda op, dy, below=below: _pooled_back(op, dy, below)
    return rules


def _pooled_back(op, dy, below):
    """The gradient of a max pooling whose winners are those of `below`."""
    _, switches = reference.max_pool_forward(below, **op.geometry)
    return reference.max_pool_backward(dy, switches, below.shape, **op.geometry)
