"""The attack of Carlini and Wagner: the least Euclidean change, by optimisation."""
import numpy as np

from .. import kernels, ops
from ..errors import MinivisError
from ..monitor import SilentMonitor, Stop
from ..optimize import Adam, Point, Run, host
from ..options import Network, Picture, Target
from ..results import Adversarial
from ..tensor import Tensor, gradient
from .common import recipe
from .victim import account, check_victim, goal_of, survivor

INSIDE = 0.999999           # colours are brought just inside -1..1, where arctanh is finite


def carlini_wagner(net: Network, picture: Picture, *, target: Target = None, searches: int = 6, steps: int = 200,
                   rate: float = 0.01, confidence: float = 0.0, constant: float = 1e-3, stop_early: bool = True,
                   seed=0, monitor=None) -> Adversarial:
    """The least change, in the Euclidean norm, found by optimisation: slow, and hard to beat.

    min over w of |u - u0|^2 + c max(0, f_held - max of the other f + confidence), u = (tanh(w) + 1) / 2, by Adam; c is
    searched by doubling digits and halving intervals: the smallest that fools. With a target the two logits change
    places. Carlini and Wagner 2017, arXiv:1608.04644 (l2).

    target      the class to be taken for; none means any but the network's first choice
    searches    how many values of c are tried
    steps       Adam's steps for each
    rate        Adam's rate, of w
    confidence  by how many logits the wrong class must lead
    constant    the first c
    stop_early  leave a search when a tenth of its steps improved the loss by less than 0.01 percent
    """
    if searches < 1 or steps < 1 or not rate > 0 or not constant > 0 or confidence < 0:
        raise MinivisError(f"carlini_wagner: searches {searches} and steps {steps} must be at least 1, rate {rate} and "
                           f"constant {constant} above 0, confidence {confidence} at least 0")
    victim = check_victim(net, "carlini_wagner")
    original = net.see(picture).picture
    u0 = victim.of(original)
    held, sign = goal_of(victim, victim.look(u0), target)
    u, history = search(victim, u0, held, sign, searches, steps, rate, confidence, constant, stop_early, monitor)
    picture, factor = survivor(victim, original, u0 if u is None else u, held, sign)
    return account(victim, original, picture, u0 if u is None else u, history, held=held, sign=sign, enlarged=factor,
                   numbers={"steps": len(history["score"])},
                   recipe=recipe(carlini_wagner, net, seed, target=target, searches=searches, steps=steps, rate=rate,
                                 confidence=confidence, constant=constant, stop_early=stop_early))


def search(victim, u0, held, sign, searches, steps, rate, confidence, constant, stop_early, monitor=None):
    """(the closest u that fools, or None, {"score": minus the loss of every step})"""
    monitor, xp = monitor or SilentMonitor(), kernels.xp(u0)
    w0 = xp.arctanh((u0 * 2 - 1) * u0.dtype.type(INSIDE))
    back = (xp.tanh(w0) + 1) / 2                # u0 as it comes back: distances are measured from here
    saved = monitor.load() or {"number": 0, "low": 0.0, "high": np.inf, "c": constant, "best": None,
                               "nearest": np.inf, "history": [], "found": False, "before": np.inf, "run": None}
    low, high, c, best, nearest = (saved[k] for k in ("low", "high", "c", "best", "nearest"))
    best, history = None if best is None else xp.asarray(best), list(saved["history"])
    found, before, inner = saved["found"], saved["before"], saved["run"]
    try:
        for number in range(saved["number"], searches):
            if number == searches - 1 and searches >= 10:
                c = min(high, 1e10)             # once more with the smallest that fooled
            problem = Problem(victim, w0, back, held, sign, c, confidence)
            run = Run(problem, xp.zeros_like(w0), Adam(rate), steps, start=inner)
            for step in run:
                loss = float(step.loss[0])
                history.append(-loss)
                if stop_early and (step.done - 1) % -(-steps // 10) == 0:
                    if not loss <= 0.9999 * before:
                        break
                    before = loss
                if problem.fools:
                    found = True
                    away = float(np.sqrt(((problem.u - host(u0)).astype(np.float64) ** 2).sum()))
                    if away < nearest:
                        best, nearest = xp.asarray(problem.u), away
                monitor.save({"number": number, "low": low, "high": high, "c": c, "nearest": nearest,
                              "best": None if best is None else host(best), "history": list(history),
                              "found": found, "before": before, "run": run.state()})
                monitor.step(number * steps + step.done, searches * steps, {"loss": loss},
                             lambda u=problem.u: victim.rounded(u))
            low, high = (low, c) if found else (c, high)
            c = 10 * c if np.isinf(high) else (low + high) / 2
            found, before, inner = False, np.inf, None
    except Stop:
        pass
    return best, {"score": history}


class Problem:
    """evaluate(delta, i): the loss of w0 + delta. u and fools say what the last picture was."""

    def __init__(self, victim, w0, back, held, sign, c, confidence):
        self.victim, self.w0, self.back = victim, w0, back
        self.held, self.sign, self.c, self.confidence = held, sign, c, confidence

    def __call__(self, delta, i):
        t = Tensor(delta, needs_grad=True)
        u = (ops.tanh(t + self.w0) + 1.0) * 0.5
        logits = self.victim.logits(u)
        values = host(logits.data)[0]
        other = int(np.where(np.arange(len(values)) == self.held, -np.inf, values).argmax())
        lead = (logits[:, self.held] - logits[:, other]) * float(self.sign)
        loss = (ops.maximum(lead + self.confidence, 0.0) * self.c
                + ops.sum(ops.square(u - self.back), (1, 2, 3)))
        shifted = values.copy()
        shifted[self.held] += self.sign * self.confidence
        first = int(shifted.argmax())
        self.u, self.fools = host(u.data), (first != self.held) if self.sign > 0 else (first == self.held)
        return Point(host(loss.data).astype(np.float64), gradient(loss, t), {})
