"""What the network says of a picture."""
import numpy as np

from ..objectives import class_scores
from ..options import Network, Picture
from ..results import Classification
from .common import class_dict, look, recipe


def classify(net: Network, picture: Picture, *, top: int = 5) -> Classification:
    """The most probable classes of a picture, with probability, logit and WordNet id.

    probability = softmax(logits) over all classes of the network: how the network shares its belief among the classes
    it knows, not how likely it is to be right.

    top    how many classes to list
    """
    if top < 1:
        raise ValueError(f"top {top}: at least one class is needed")
    seen, x = look(net, picture)
    logits = net(x)[net.logits_layer]
    probabilities = class_scores(logits, "prob").numpy()[0]
    logits = logits.numpy()[0]
    rows = []
    for index in np.argsort(-logits, kind="stable")[:top]:
        rows.append(class_dict(net, index) | {"probability": float(probabilities[index]),
                                              "logit": float(logits[index])})
    return Classification(rows, seen=seen, recipe=recipe(classify, net, top=top))
