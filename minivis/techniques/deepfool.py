"""DeepFool: the shortest way over the nearest boundary, as if boundaries were flat."""
import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..optimize import host
from ..options import Network, Picture
from ..results import Adversarial
from .common import recipe
from .victim import account, check_victim, norm, survivor


def deepfool(net: Network, picture: Picture, *, steps: int = 50, candidates: int = 10, overshoot: float = 0.02,
             seed=0, monitor=None) -> Adversarial:
    """The least change, in the Euclidean norm, that makes the network choose another class.

    To first order class k's boundary lies |f_k - f_0| / |w_k| away, w_k = d(f_k - f_0)/du. Each step goes to the
    nearest of them, until it is crossed. Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599. The report gives
    rho = |r| / |u|, the paper's measure of robustness.

    steps       steps at most
    candidates  among how many of the first choices the nearest boundary is sought
    overshoot   the sum of all steps is enlarged by this share, to end beyond the boundary
    """
    if steps < 1 or candidates < 2 or overshoot < 0:
        raise MinivisError(f"deepfool: steps {steps} must be at least 1, candidates {candidates} at least 2, overshoot "
                           f"{overshoot} at least 0")
    victim = check_victim(net, "deepfool")
    original = net.see(picture).picture
    u0 = victim.of(original)
    u, history = walk(victim, u0, steps, candidates, overshoot, monitor)
    held = int(victim.look(u0)[0].argmax())
    picture, factor = survivor(victim, original, u, held, 1)
    return account(victim, original, picture, u, history, held=held, sign=1, enlarged=factor,
                   numbers={"steps": len(history["score"]), "rho": norm(u - u0) / norm(u0)},
                   recipe=recipe(deepfool, net, seed, steps=steps, candidates=candidates, overshoot=overshoot))


def walk(victim, u0, steps, candidates, overshoot, monitor=None):
    """(u, {"score": the lead of the first choice before each step}): DeepFool from u0 (1, H, W, 3)."""
    monitor, xp = monitor or SilentMonitor(), kernels.xp(u0)
    logits = victim.look(u0)[0]
    order = np.argsort(-logits, kind="stable")[:candidates]
    saved = monitor.load() or {"u": u0, "total": xp.zeros_like(u0), "lead": []}
    u, total, lead = xp.asarray(saved["u"]), xp.asarray(saved["total"]), list(saved["lead"])
    try:
        for i in range(len(lead), steps):
            logits = victim.look(u)[0]
            if logits.argmax() != order[0]:
                break
            lead.append(float(logits[order[0]] - np.delete(logits, order[0]).max()))
            total = total + _to_the_nearest(victim, u, logits, order)
            u = xp.clip(u0 + total * u0.dtype.type(1 + overshoot), 0, 1)
            monitor.save({"u": host(u), "total": host(total), "lead": list(lead)})
            monitor.step(i + 1, steps, {"lead": lead[-1]}, lambda u=u: victim.rounded(u))
    except Stop:
        pass
    return u, {"score": lead}


def _to_the_nearest(victim, u, logits, order):
    """The step to the nearest of the boundaries between order[0] and the others, and a little further: 1e-4."""
    best = None
    for k in order[1:]:
        weights = np.zeros(len(logits))
        weights[k], weights[order[0]] = 1, -1
        g = victim.slope(u, weights)[1]
        size = norm(g) + 1e-8
        distance = abs(float(logits[k]) - float(logits[order[0]])) / size
        if best is None or distance < best[0]:
            best = distance, g, size
    distance, g, size = best
    return g * g.dtype.type((distance + 1e-4) / size)
