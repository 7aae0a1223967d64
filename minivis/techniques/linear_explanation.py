"""Why tiny changes fool: the linear explanation of adversarial pictures, in numbers."""
import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..optimize import host
from ..options import Network, Picture, Range, Target
from ..results import LinearExplanation
from ..targets import label_text
from .common import recipe
from .victim import Victim, check_victim, fooled, goal_of, top


def linear_explanation(net: Network, picture: Picture, *, target: Target = None,
                       epsilons: Range = (-8.0, -4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
                       sizes: list[int] | None = None, others: list[Network] | None = None) -> LinearExplanation:
    """Many small changes add up: predicted and measured effect of a step along the sign of the gradient.

    For a linear score w.x the change e sign(w) adds e |w|_1, which grows with the number of inputs while no value moves
    by more than e. Measured here: the loss J(u + e sign(g)) - J(u) beside the prediction e |g|_1, and the logits along
    the way; |g|_1 for pictures of several sizes; and for other networks the cosine of their gradients with this one's
    and whether its adversarial picture fools them. Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572, sections 3 and 8.

    target    whose lead over the first choice is J; none means the runner-up's
    epsilons  grey levels by which every value is changed along sign(g)
    sizes     sides of the picture for the growth of |g|_1, for networks that take any size
    others    networks for which the step of the largest epsilon is tried, too
    """
    victim = check_victim(net, "linear_explanation")
    original = net.see(picture).picture
    u = victim.of(original)
    logits = victim.look(u)[0]
    first = int(logits.argmax())
    other = int(np.argsort(-logits, kind="stable")[1]) if target is None else goal_of(victim, logits[None], target)[0]
    lead, g = lead_of(victim, u, first, other)
    direction = kernels.xp(u).sign(g).astype(net.dtype)
    size = float(np.abs(host(g).astype(np.float64)).sum())
    table = {"epsilon": [], "predicted": [], "measured": [], "first": [], "other": [], "choice": []}
    along = []
    for epsilon in sorted(float(e) for e in epsilons):
        moved = victim.look(u + direction * u.dtype.type(epsilon / 255))[0]     # not clipped: the line itself
        along.append(moved)
        row = (epsilon, epsilon / 255 * size, float(moved[other] - moved[first]) - lead,
               float(moved[first]), float(moved[other]), int(moved.argmax()))
        for column, value in zip(table.values(), row):
            column.append(value)
    biggest = max(abs(float(e)) for e in epsilons) or 1.0
    fooling = victim.rounded(u + direction * u.dtype.type(biggest / 255))
    return LinearExplanation(
        original, fooling, host(g)[0], table, np.stack(along), named(net, table, first, other),
        growth(net, picture, first, other, sizes or ()),
        [transfer(n, original, fooling, host(g)[0]) for n in others or ()], before=top(net, logits),
        after=top(net, victim.look(victim.of(fooling))[0]), first=first, other=other, biggest=biggest,
        recipe=recipe(linear_explanation, net, target=target, epsilons=list(epsilons), sizes=sizes,
                      others=[n.name for n in others or ()]))


def named(net, table, first, other, most=5):
    """{class: label}: the first choice, the one that gains, and who else comes first somewhere on the way."""
    classes = dict.fromkeys([first, other, *table["choice"]])
    return {k: label_text(net, k) for k in list(classes)[:most]}


def lead_of(victim, u, first, other):
    """(f_other - f_first, its gradient like u)"""
    weights = np.zeros(victim.look(u).shape[1])
    weights[other], weights[first] = 1, -1
    logits, g = victim.slope(u, weights)
    return float(logits[0, other] - logits[0, first]), g


def growth(net, picture, first, other, sizes):
    """[{size, inputs, slope: |g|_1 per grey level, mean: the mean |g|}] for the picture at several sizes."""
    rows = []
    for size in sizes:
        victim = Victim(net)
        g = host(lead_of(victim, victim.of(net.see(picture, size).picture), first, other)[1]).astype(np.float64) / 255
        rows.append({"size": int(size), "inputs": g.size, "slope": float(np.abs(g).sum()),
                     "mean": float(np.abs(g).mean())})
    return rows


def transfer(net, original, fooling, g):
    """How another network takes the same step: {network, cosine, before, after, fooled}. Its own gradient is that of
    its runner-up's lead over its first choice."""
    victim = Victim(net)
    u, moved = victim.of(original), victim.of(fooling)
    logits = victim.look(u)
    order = np.argsort(-logits[0], kind="stable")
    mine = host(lead_of(victim, u, int(order[0]), int(order[1]))[1])[0]
    sizes = kernels.dot(mine, mine) * kernels.dot(g, g)
    if not sizes > 0:
        raise MinivisError(f"linear_explanation: the gradient of {net.name} is zero on this picture")
    after = victim.look(moved)
    cosine = kernels.dot(mine, g) / sizes ** 0.5
    return {"network": net.name, "cosine": cosine, "before": top(net, logits[0], 1)[0],
            "after": top(net, after[0], 1)[0], "fooled": bool(fooled(after, int(order[0]), 1)[0])}
