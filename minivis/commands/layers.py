"""`minivis layers`: every layer of a network, with what it costs and what it sees."""
from .. import accounting
from ..options import Network
from ..results.report import Report


def layers(net: Network, *, size: int | None = None, plan: bool = False) -> Report:
    """Every layer of a network: name, kind, output shape, parameters, multiply-adds, receptive field and stride.

    size    side of a square picture in pixels, for networks that take any; default: the network's own, or 224
    plan    show instead how the layers run here: which are done in one go, by which algorithm, and what the way back
            needs of them
    """
    if plan:
        return _plan(net, size)
    rows = net.summary(size)
    side = rows[0].shape[:2]
    table = {
        "layer": [row.name for row in rows],
        "kind": [row.kind for row in rows],
        "output": [row.shape for row in rows],
        "parameters": [row.parameters for row in rows],
        "multiply-adds": [row.multiply_adds for row in rows],
        "sees": [_square(row.receptive_field) or "all" for row in rows],
        "stride": [_square(row.stride) or "-" for row in rows],
    }
    total, work = net.parameters, sum(row.multiply_adds for row in rows)
    notes = [f"{total:,} parameters; {work:,} multiply-adds for a picture of {side[0]} x {side[1]}",
             f"scores: {net.logits_layer or 'none'}; features: {net.features_layer}; "
             "'sees' and 'stride' are in input pixels"]
    return Report(table, f"{net.name} ({net.meta.get('architecture') or 'no architecture named'})", notes)


def _plan(net, size):
    rows = accounting.plan(net, size)
    kept = [row[2] for row in rows]
    return Report({"layers": [" ".join(row[0]) for row in rows], "runs as": [row[1] for row in rows],
                   "kept for the gradient, bytes": kept}, f"{net.name}, {net.precision}, on the {net.device}",
                  [f"{sum(k or 0 for k in kept):,} bytes kept by fused layers; a dash: the layer is an op of its own"])


def _square(pair):
    """(7, 7) -> "7", (7, 5) -> "7 x 5": most windows are square."""
    if pair is None:
        return None
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} x {pair[1]}"
