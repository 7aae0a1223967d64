"""Is an engine's answer right? Nothing is timed before it is.

Forward passes and single gradients are compared elementwise with float64: the largest error over the largest value.
A whole network's float32 gradient cannot be: a unit within rounding of zero, or a tie in a pooling window, falls the
other way than in float64 and moves the gradient by 1e-4 to 1e-2 of its norm, in every engine. Two tests replace it:
the gradient of the case itself must agree in norm to FLIPPED, and on small pictures, where such units are rare, one
picture out of SMALL_PICTURES must agree elementwise. A wrong engine fails on every one of them.
"""
import numpy as np

ELEMENTWISE = 1e-5              # of the largest value; float64 on the other side
ELEMENTWISE_SINGLE = 2e-5       # where the other side is float32 too
WEIGHT_GRADIENT = 5e-5          # a weight's gradient sums half a million products: torch NCHW and JAX are at 1.6e-5
FLIPPED = 0.05                  # relative l2 error that flipped decisions may cause
SMALL_SIDE, SMALL_PICTURES = 64, 6


class WrongAnswer(ValueError):
    """An engine's answer differs from the reference: it is not timed."""


def largest_error(got, wanted):
    """max |got - wanted| / max |wanted|; infinite where that cannot be said."""
    if got.shape != wanted.shape:
        return float("inf")
    scale = np.abs(wanted).max()
    error = np.abs(got.astype(np.float64) - wanted).max()
    return float(error / scale) if scale > 0 and np.isfinite(error) else float("inf")


def norm_error(got, wanted):
    """|got - wanted| / |wanted| in the Euclidean norm; infinite where that cannot be said."""
    if got.shape != wanted.shape:
        return float("inf")
    scale = np.linalg.norm(wanted.astype(np.float64))
    error = np.linalg.norm(got.astype(np.float64) - wanted)
    return float(error / scale) if scale > 0 and np.isfinite(error) else float("inf")


def check(got, wanted, *, work, reference_is_single=False):
    """-> {"largest": error} or {"norm": error}; raises WrongAnswer. got, wanted: {"y" | "dx" | "dw" | "map": array}."""
    if set(got) != set(wanted):
        raise WrongAnswer(f"answered {sorted(got)} where {sorted(wanted)} was asked for")
    (name, value), = got.items()
    if work in ("gradient", "map"):
        measure, error, limit = "norm", norm_error(value, wanted[name]), FLIPPED
    else:
        limit = ELEMENTWISE_SINGLE if reference_is_single else ELEMENTWISE
        limit = WEIGHT_GRADIENT if work == "weight_gradient" else limit
        measure, error = "largest", largest_error(value, wanted[name])
    if not error <= limit:
        raise WrongAnswer(f"{name} is off by {error:.1e} ({measure} error; {limit:g} is allowed)")
    return {measure: error}


def check_small(pairs):
    """pairs: (got, wanted) gradients of small pictures, made as they are read. -> the error of the first that agrees.

    Raises WrongAnswer if none does.
    """
    errors = []
    for got, wanted in pairs:
        errors.append(largest_error(got["dx"], wanted["dx"]))
        if errors[-1] <= ELEMENTWISE:
            return errors[-1]
    raise WrongAnswer(f"dx of small pictures is off by {min(errors):.1e} at best ({ELEMENTWISE:g} is allowed)")
