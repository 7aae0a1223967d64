"""A universal perturbation: one small change that fools a network on most pictures."""
import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..optimize import Descent, Point, Run, host
from ..options import Network, Picture
from ..parameterize import to_device
from ..results import Applied
from ..results.adversarial import before_and_after
from .common import recipe
from .synthesis import follow, stacked, to_uint8
from .victim import ATTACK, check_victim

GREY = 128
SHOWN = 6           # pictures with the perturbation in the result


def universal(net: Network, pictures: list[Picture], *, epsilon: float = 10.0, passes: int = 10, rate: float = 1.0,
              seed=0, monitor=None) -> Applied:
    """One perturbation for all pictures, at most `epsilon` grey levels anywhere, that changes the network's choice.

    d <- clip(d + rate sign(dJ(u_i + d)/du), +-epsilon), picture after picture in random order, J the cross-entropy of
    the network's first choice. Moosavi-Dezfooli et al. 2017, arXiv:1610.08401, found that such a d exists; this way of
    finding it is Shafahi et al.'s, 2020, arXiv:1811.11304.

    pictures (1, H, W, 3): grey plus d, magnified to the full range; values (1, H, W, 3): d in grey levels, whole
    numbers. The share of pictures fooled is measured with exactly these, on 8-bit pictures.

    pictures  the pictures to learn from
    epsilon   largest change of any value, in grey levels
    passes    how often every picture is seen
    rate      size of a step, in grey levels
    """
    if not epsilon >= 1 or passes < 1 or not rate > 0 or not pictures:
        raise MinivisError(f"universal: epsilon {epsilon} must be at least 1, passes {passes} at least 1, rate {rate} "
                           f"above 0, and there must be pictures ({len(pictures)})")
    victim = check_victim(net, "universal")
    originals = [net.see(picture).picture for picture in pictures]
    if len({o.shape for o in originals}) > 1:
        raise MinivisError(f"universal: the pictures differ in size: {sorted({o.shape[:2] for o in originals})}")
    held = [victim.reads(o) for o in originals]
    size = epsilon / 255

    def evaluate(d, i):
        turn, place = divmod(i, len(originals))
        n = int(np.random.default_rng([seed, ATTACK, 2, turn]).permutation(len(originals))[place])
        u = victim.of(originals[n])
        loss, g = victim.cross_entropy(kernels.xp(d).clip(u + d, 0, 1), [held[n]])
        return Point(np.array([-loss]), -kernels.xp(d).sign(g), {"score": np.array([loss])})

    def within(d, point, i):
        return kernels.xp(d).clip(d, -size, size)
    zero = to_device(net, np.zeros((1, *originals[0].shape), net.dtype))
    run = Run(evaluate, zero, Descent(rate / 255), passes * len(originals), after=within,
              start=monitor and monitor.load())
    finished = follow(run, monitor, lambda d: magnified(levels_of(d), epsilon)[0])
    levels = levels_of(run.z)
    changed = [to_uint8(o + levels[0]) for o in originals]
    seen = [victim.reads(c) for c in changed]
    share = float(np.mean([a != b for a, b in zip(held, seen)]))
    picture = magnified(levels, epsilon)
    return Applied(picture, levels, stacked(run.history), picture, picture, target="any other class on every picture",
                   examples=changed[:SHOWN],
                   names=[before_and_after(net, *pair) for pair in zip(held[:SHOWN], seen)],
                   captions=[f"{100 * share:.0f} % of {len(originals)} pictures fooled."],
                   numbers={"fooled": share, "linf": int(np.abs(levels).max()), "steps": run.done},
                   notes=[f"Shown around grey, magnified {127 / epsilon:.3g} times.",
                          *([] if finished else ["The run was stopped early."])],
                   recipe=recipe(universal, net, seed, pictures=originals, epsilon=epsilon, passes=passes, rate=rate))


def levels_of(d):
    """d as whole grey levels, float64."""
    return np.trunc(host(d).astype(np.float64) * 255 + np.copysign(1e-4, host(d)))


def magnified(levels, epsilon):
    """Signed levels as a picture around grey whose ends are +-epsilon."""
    return to_uint8(GREY + levels * 127 / epsilon)

