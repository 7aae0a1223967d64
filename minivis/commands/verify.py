"""`minivis verify`: what other tools computed for networks that anybody can draw, computed again here and compared."""
from .. import replay
from ..errors import MinivisError
from ..results.report import Report


def verify() -> Report:
    """Compute again what PyTorch, Captum, zennit, iNNvestigate and others gave for small networks, and print every
    difference.

    A difference is relative to the largest value stored; all is float64. Every network is drawn from a seed, so nothing
    is fetched. "formula in torch" is a published formula written anew with PyTorch, where no tool has it in float64.
    Exits with an error if any difference is too large.
    """
    rows = list(replay.results())
    bad = [f"{row.network} {row.what} by {row.error:.1e}" for row in rows if not row.error <= row.allowed]
    if bad:
        raise MinivisError(f"{len(bad)} of {len(rows)} results differ by more than is allowed: {'; '.join(bad)}")
    table = {"network": [row.network for row in rows], "what": [row.what for row in rows],
             "reference": [row.tool for row in rows], "difference": [f"{row.error:.1e}" for row in rows],
             "allowed": [f"{row.allowed:.0e}" for row in rows], "": ["ok"] * len(rows)}
    worst = max(row.error for row in rows if row.allowed <= replay.TOLERANCE)
    return Report(table, f"{len(rows)} results of other tools, in float64", [
        f"all {len(rows)} agree; the largest difference is {worst:.1e} where more than four digits are stored",
        f"the references: {'; '.join(sorted({row.tool for row in rows}))}"])
