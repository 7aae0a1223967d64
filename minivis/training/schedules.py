"""Learning rates as functions of the step: `schedule(step, steps) -> factor` of the largest rate, 0 <= step < steps."""
import math

from ..errors import MinivisError


def constant(step, steps):
    """Always 1."""
    return 1.0


def cosine(step, steps, warm_up=0.05, last=0.0):
    """A straight line up during the first `warm_up` share of the steps, then half a cosine down to `last`.

    Loshchilov, Hutter 2017, arXiv:1608.03983 (without restarts); warm-up: Goyal et al. 2017, arXiv:1706.02677.
    """
    _check(step, steps, warm_up)
    rising = warm_up * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    along = (step - rising) / max(1, steps - 1 - rising)
    return last + (1 - last) * (1 + math.cos(math.pi * min(1.0, along))) / 2


def one_cycle(step, steps, warm_up=0.25, first=0.04, last=1e-4):
    """Half a cosine up from `first` during the first `warm_up` share, then half a cosine down to `last`.

    Smith, Topin 2018, arXiv:1708.07120: large rates in the middle regularise, so few epochs go a long way.
    """
    _check(step, steps, warm_up)
    rising = warm_up * steps
    if step < rising:
        return first + (1 - first) * (1 - math.cos(math.pi * step / rising)) / 2
    return cosine(step - rising, steps - rising, 0.0, last)


def cycles(parts, schedule=one_cycle):
    """A schedule that begins anew: parts [(steps, height)], each `schedule` over its own steps, times its height.

    What comes first does not depend on what is appended, so a finished training can be continued by a longer recipe.
    """
    def schedule_of(step, steps):
        if steps != sum(length for length, _ in parts):
            raise MinivisError(f"schedule: its cycles have {sum(n for n, _ in parts)} steps, the training {steps}")
        for length, height in parts:
            if step < length:
                return height * schedule(step, length)
            step -= length
        raise MinivisError(f"schedule: there is no step {step + steps} of {steps}")
    return schedule_of


def _check(step, steps, warm_up):
    if not 0 <= step < steps:
        raise MinivisError(f"schedule: step {step} must be at least 0 and below the number of steps, {steps}")
    if not 0 <= warm_up < 1:
        raise MinivisError(f"schedule: warm_up {warm_up} must be a share of the steps, 0 <= share < 1")
