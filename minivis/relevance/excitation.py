"""Excitation backprop: a winner is drawn at the top, and going down, each winner draws one among the inputs that excite
it. The map is the probability to be drawn.

P_i = sum over j of x_i w+_ij / (sum over i' of x_i' w+_i'j) P_j: the z+ rule without bias for inputs of at least 0; an
output that nothing excites draws nobody, and its probability ends there. Inputs below 0 (those of the picture, once
normalised) draw nothing in the paper; there one stops at the first layer.
Zhang, Lin, Brandt, Shen, Sclaroff 2016, arXiv:1608.00507.
"""
from .. import kernels
from ..errors import MinivisError
from . import lrp


def excite(op, P):
    """One layer's draw, for inputs of at least 0."""
    return _draw(op, P, kernels.xp(op.w).maximum(op.w, 0))


def inhibit(op, P):
    """The draw of the dual unit, whose weights are negative: what speaks against. For the contrastive top layer."""
    return _draw(op, P, kernels.xp(op.w).maximum(-op.w, 0))


def _draw(op, P, w):
    x = kernels.xp(op.x).maximum(op.x, 0)
    return lrp.share(op, P, [(x, w, None)], 1e-30 if P.dtype.itemsize < 8 else 1e-300)


def rules(net, start):
    """{layer: rule} between the picture and `start`."""
    found = {}
    for name in net.table.needed([start]):
        kind = net.table[name].kind
        if kind in lrp.LINEAR:
            found[name] = excite
        elif kind in lrp.FIXED:
            found[name] = lrp.FIXED[kind]
        elif kind not in lrp.PLAIN:
            raise MinivisError(f"layer {name}: excitation does not pass a {kind} layer; start at a unit below it")
    return found


def top_weights(net, start):
    """The last layer with weights on the way to `start`: where the contrastive form turns the signs round."""
    names = [name for name in net.table.needed([start]) if net.table[name].kind in lrp.LINEAR]
    if not names:
        raise MinivisError(f"no layer with weights lies below {start}: there is nothing to contrast")
    return names[-1]
