"""What attacks share: a network that reads colours from 0 to 1, and an honest account of what an attack achieved."""
import io

import numpy as np

from .. import image, kernels, ops
from ..errors import MinivisError
from ..objectives import class_scores
from ..optimize import host
from ..parameterize import Units, to_device
from ..results import Adversarial
from ..targets import class_count, label_text, resolve_class
from ..tensor import Tensor, gradient

ATTACK = 24         # the stream of random numbers that attacks start from


class Victim:
    """A classifier of pictures u (N, H, W, 3), RGB, 0 black and 1 white, in the network's precision."""

    def __init__(self, net):
        if net.logits_layer is None:
            raise MinivisError(f"network {net.name} has no class scores; only a classifier can be fooled")
        self.net, self.units = net, Units(net)
        self.black = self.units.black

    def of(self, picture):
        """uint8 (H, W, 3) -> u (1, H, W, 3)."""
        return to_device(self.net, (np.asarray(picture, np.float64)[None] / 255).astype(self.net.dtype))

    def logits(self, u):
        """Tensor u -> Tensor (N, classes)."""
        xp = kernels.xp(u.data)
        logits = self.net(self.units.of(u * 255.0 + xp.asarray(self.black)), layers=[self.net.logits_layer])
        logits = logits[self.net.logits_layer]
        if logits.ndim != 2:
            raise MinivisError(f"{self.net.logits_layer} gives a map of class scores, not one score for each class")
        return logits

    def look(self, u):
        """The logits of an array u, on the host."""
        return host(self.logits(Tensor(u)).data)

    def cross_entropy(self, u, classes):
        """(sum of -log p(class of each picture), its gradient)"""
        t = Tensor(u, needs_grad=True)
        loss = ops.cross_entropy(self.logits(t), np.asarray(classes))
        return float(host(loss.data).sum(dtype=np.float64)), gradient(loss, t)

    def slope(self, u, weights):
        """(logits, the gradient of their sum with `weights` (classes,))"""
        t = Tensor(u, needs_grad=True)
        logits = self.logits(t)
        xp = kernels.xp(u)
        seed = xp.broadcast_to(xp.asarray(weights, dtype=logits.dtype), logits.shape)
        return host(logits.data), gradient(logits, t, seed=seed)

    def class_of(self, target):
        return resolve_class(self.net, target)[0]

    def rounded(self, u):
        """u at the grey levels of a file: uint8 (H, W, 3) of the first picture."""
        return np.rint(np.clip(host(u)[0].astype(np.float64), 0, 1) * 255).astype(np.uint8)

    def reads(self, picture):
        """The class the network gives a uint8 picture."""
        return int(self.look(self.of(picture))[0].argmax())


def goal_of(victim, logits, target):
    """(the class that is held against the picture, +1 to leave it or -1 to reach it)"""
    first = int(logits[0].argmax())
    if target is None:
        return first, 1
    wanted = victim.class_of(target)
    if wanted == first:
        raise MinivisError(f"the picture already is {label_text(victim.net, wanted)} (class {wanted}) to the network; "
                           "name another target")
    return wanted, -1


def fooled(logits, held, sign):
    """Whether each row's first choice is not `held` (sign +1), or is (-1)."""
    first = logits.argmax(axis=1)
    return first != held if sign > 0 else first == held


def top(net, logits, count=3):
    """The first choices of one row of logits, as rows of a report."""
    logits = np.asarray(logits, np.float64)
    p = host(class_scores(Tensor(logits[None]), "prob").data)[0]
    return [{"index": int(i), "label": label_text(net, int(i)), "probability": float(p[i]), "logit": float(logits[i])}
            for i in np.argsort(-p, kind="stable")[:count]]


def survivor(victim, original, u, held, sign, most=4.0):
    """(uint8 picture, factor): the perturbation u - original, enlarged by the least factor of 1, 1.05, 1.1025 ... with
    which it still fools after rounding to 256 grey levels; factor 1 if none up to `most` does."""
    factor, start = 1.0, victim.of(original)
    while factor <= most:
        picture = victim.rounded(start + (u - start) * u.dtype.type(factor))
        if fooled(victim.look(victim.of(picture)), held, sign)[0]:
            return picture, factor
        factor *= 1.05
    return victim.rounded(u), 1.0


def account(victim, original, picture, u, history, recipe, *, held, sign, notes=(), enlarged=1.0, numbers=None):
    """The Adversarial result: the picture is encoded as PNG and read again before anything is said of it."""
    net = victim.net
    again = image.decode(io.BytesIO(image.png_bytes(picture)), "the written PNG")
    difference = again.astype(np.int64) - original
    size = np.abs(difference)
    norms = {"linf": int(size.max()), "l2": float(np.sqrt((difference.astype(np.float64) ** 2).sum())),
             "mean": float(size.mean()), "pixels": int(size.any(axis=2).sum())}
    before, after = (top(net, victim.look(victim.of(p))[0]) for p in (original, again))
    success = bool(fooled(victim.look(victim.of(again)), held, sign)[0])
    goal = f"away from {label_text(net, held)}" if sign > 0 else f"to be taken for {label_text(net, held)}"
    notes = [*notes, *([] if success else ["The attack failed: the network's first choice is not what was wanted."])]
    if enlarged > 1:
        notes.append(f"The perturbation was enlarged by {enlarged:.3g}, so that it survives rounding to grey levels.")
    levels = host(u)[0].astype(np.float64) * 255
    return Adversarial(again[None], levels[None], {k: np.asarray(v).reshape(len(v), -1) for k, v in history.items()},
                       again[None], again[None], target=goal, original=original, norms=norms, before=before,
                       after=after, success=success, notes=notes, recipe=recipe, numbers=numbers or {})


def check_victim(net, what):
    """A Victim, or one clear error that says which attack wanted it."""
    if class_count(Victim(net).net) < 2:
        raise MinivisError(f"{what}: a network with a single class cannot be fooled")
    return Victim(net)


def norm(a):
    """The Euclidean norm, summed in float64."""
    return float(np.sqrt(kernels.dot(a, a)))
