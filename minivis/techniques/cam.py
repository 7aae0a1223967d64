"""Class activation mapping: what the last layer's places say of a class, in networks that end in an average."""
import numpy as np

from ..errors import MinivisError
from ..options import Network, Picture, Target
from ..results import Attribution
from ..targets import class_count
from .cams import Upsample, View, finish
from .common import begin, look, recipe
from .sampling import host


def cam(net: Network, picture: Picture, *, target: Target = None, upsample: Upsample = "centres",
        relu: bool = False) -> Attribution:
    """Which places make the class's score, in a network whose score is an average over places.

    M[i,j] = sum over k of w_k a_k[i,j], w the class's weights behind the global average: the logit is the mean of M
    plus the bias; the gap says whether it is. Zhou et al. 2016, arXiv:1512.04150. Where the averaged channels are the
    classes themselves (SqueezeNet, network in network), M is the class's channel.

    values (H, W), signed unless relu is on.

    target    the class: an index, a WordNet id or a label; none means the network's first choice
    upsample  how places become pixels: by receptive-field centres, or as a resized picture (corners: aligned by the
              corner pixels' centres, half_pixel: by the edges, nearest)
    relu      cut off what is below 0: what speaks against the class
    """
    seen, x = look(net, picture)
    layer, weights, bias = class_weights(net)
    values = net(x, layers=[layer, net.logits_layer])
    start = begin(net, x, target=target, values=values)
    a = host(values[layer].data)[0]
    index = start.target["index"]
    values = a[:, :, index] if weights is None else a @ weights[:, index]
    return finish(net, View(seen, x, start, layer, a, None), values, upsample, relu,
                  recipe(cam, net, target=target, upsample=upsample, relu=relu),
                  "class activation: the logit is its mean over places" + ("" if weights is None else " plus the bias"),
                  ["The gap is that of the mean over the layer's places" + ("" if weights is None else " plus the bias")
                   + "."], gap=float(values.mean(dtype="f8") + bias[index]) - start.value)


def class_weights(net):
    """(layer that is averaged, (K, classes) weights behind the average or None if it has a channel per class, biases
    (classes,))."""
    if net.logits_layer is None:
        raise MinivisError(f"network {net.name} has no class scores, so there is no class activation map; use a unit")
    name, weights, bias = net.logits_layer, None, np.zeros(class_count(net))
    while net.table[name].kind in ("flatten", "dropout", "linear"):
        if net.table[name].kind == "linear":
            if weights is not None:
                break
            weights = host(net.weights[f"{name}/weight"].data)
            bias = host(net.weights[f"{name}/bias"].data) if f"{name}/bias" in net.weights else bias
        name = net.table.reads[name][0]
    if net.table[name].kind != "global_avg_pool":
        raise MinivisError(f"cam: the class scores of {net.name} are not an average over places with at most one dense "
                           "layer behind it; gradcam works for every network")
    return net.table.reads[name][0], None if weights is None else np.asarray(weights), bias
