"""The goals of the CPU engine, as data: ours divided by PyTorch eager channels_last, default malloc, same run."""
from typing import NamedTuple

from .stats import ratio

RIVAL = "torch-cl"


class Goal(NamedTuple):
    """quantity "time" (medians) or "memory" (peak of the whole process); goal and least: the ratio must not exceed."""
    case: str
    quantity: str
    goal: float
    least: float


GOALS = [
    Goal("vgg16/224b1/gradient", "time", 0.33, 0.40),
    Goal("vgg16/512b1/gradient", "time", 0.27, 0.33),
    Goal("vgg16/224b8/gradient", "time", 0.27, 0.33),
    Goal("vgg16/224b1/forward", "time", 0.33, 0.40),
    Goal("squeezenet1_0/227b1/gradient", "time", 0.6, 0.9),
    Goal("vgg16/224b1/forward", "memory", 1.0, 1.1),
    Goal("vgg16/224b1/gradient", "memory", 0.8, 1.0),
    Goal("vgg16/512b1/gradient", "memory", 0.7, 0.9),
    Goal("vgg16/224b8/gradient", "memory", 0.6, 0.8),
    Goal("vgg16/224b1/gradient/256MB", "memory", 0.7, 0.7),
    Goal("vgg16/224b1/gradient/256MB", "time", 0.5, 0.65),
    *[Goal(f"layer/{layer}b128/weight_gradient", "time", 1.0, 1.0)
      for layer in ("32-32@64", "64-64@64", "64-128@48", "128-128@48", "256-256@48")],
]


def measured(goal, result):
    """The ratio that a result holds for a goal, or None (not measured, or the machine was disturbed)."""
    engines = result["cases"].get(goal.case, {}).get("engines", {})
    if goal.quantity == "time" and result["cases"].get(goal.case, {}).get("disturbed"):
        return None                     # other programs ran: such a ratio proves nothing
    which = "median" if goal.quantity == "time" else "peak_mb"
    return ratio(engines.get("ours"), engines.get(RIVAL), which)


def verdict(goal, value):
    """"goal", "least", "MISSED" or "not measured"."""
    if value is None:
        return "not measured"
    return "goal" if value <= goal.goal else "least" if value <= goal.least else "MISSED"


def report(result):
    """-> lines to print, and whether every goal was at least met and measured."""
    lines = [f"{'case':<42} {'quantity':<8} {'goal':>5} {'least':>5} {'is':>6}  verdict"]
    verdicts = []
    for goal in GOALS:
        value = measured(goal, result)
        verdicts.append(verdict(goal, value))
        shown = "-" if value is None else f"{value:.2f}"
        lines.append(f"{goal.case:<42} {goal.quantity:<8} {goal.goal:>5} {goal.least:>5} {shown:>6}  {verdicts[-1]}")
    return lines, all(v in ("goal", "least") for v in verdicts)
