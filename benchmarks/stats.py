"""The few statistics that are quoted, and which rounds are fit to quote."""
from statistics import median

DISTURBED = 1.15        # a round counts as disturbed if the calibration took so many times its usual time
OTHERS = 0.1            # or if programs that are not ours kept more than this many cores busy


def summary(samples):
    """{"median", "best", "samples"} of seconds; every sample is the median of one turn of an engine."""
    return {"median": median(samples), "best": min(samples), "samples": [round(s, 7) for s in samples]}


def ratio(ours, rival, which="median"):
    """Our time over the rival's, or None if one of them has none. Below 1: we are faster."""
    if not ours or not rival or which not in ours or which not in rival:
        return None
    return ours[which] / rival[which]


def normal(calibrations):
    """Seconds that a calibration takes on this machine undisturbed: its lower quartile, because the best alone is luck;
    but near the best, because more than three quarters of a session may have been disturbed."""
    ordered = sorted(calibrations)
    return min(ordered[len(ordered) // 4], DISTURBED * ordered[0])


def calm(rounds, usual, limit=DISTURBED):
    """For each round (calibration seconds before, after, cores that others used): was the machine ours alone?"""
    return [max(before, after) <= limit * usual and others <= OTHERS for before, after, others in rounds]


def keep_calm(samples, rounds, usual, at_least=3):
    """-> samples of the calm rounds, how many were dropped, and whether fewer than `at_least` were calm.

    samples {engine: [seconds per round]}. With fewer than `at_least` calm rounds all are kept, and the
    result is not to be relied on.
    """
    good = calm(rounds, usual)
    if sum(good) < min(at_least, len(good)):
        return samples, 0, True
    return ({name: [s for s, ok in zip(values, good) if ok] for name, values in samples.items()},
            good.count(False), False)
