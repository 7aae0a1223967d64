"""Cutting a picture into object and background where that is cheapest: GrabCut on scikit-learn and SciPy.

Rother, Kolmogorov, Blake 2004, "GrabCut: interactive foreground extraction using iterated graph cuts",
doi:10.1145/1015706.1015720. Each pixel pays for its side what the side's colour model, a Gaussian mixture, says of its
colour; neighbours on different sides pay the more the more alike they are. The cheapest labelling is a minimum cut.
"""
import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

BACKGROUND, OBJECT, PROBABLY_BACKGROUND, PROBABLY_OBJECT = 0, 1, 2, 3
COSTS = 1000            # capacities are integers: thousandths of a unit of energy
NEVER = 10**5 * COSTS   # what a seed pays for the other side; far above all its neighbours' prices together
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))     # each pair of neighbours once


def grabcut(picture, seeds, *, components=5, gamma=50.0, iterations=5, seed=0):
    """(H, W) bool: which pixels are object.

    picture      (H, W, 3) uint8
    seeds        (H, W): BACKGROUND and OBJECT are certain, PROBABLY_BACKGROUND and PROBABLY_OBJECT where it starts
    components   Gaussians in each colour model
    gamma        the price of a cut between two pixels of the same colour
    iterations   how often models and cut are made anew; it ends early when nothing changes
    """
    colours = picture.reshape(-1, 3).astype(np.float64)
    inside = np.isin(seeds, (OBJECT, PROBABLY_OBJECT))
    edges = neighbour_costs(picture, gamma)
    for _ in range(iterations):
        if inside.all() or not inside.any():
            break           # one side has no pixel left to learn its colours from
        costs = [-_mixture(colours[side.reshape(-1)], components, seed).score_samples(colours).reshape(seeds.shape)
                 for side in (inside, ~inside)]
        new = cut(*costs, edges, seeds)
        if np.array_equal(new, inside):
            break
        inside = new
    return inside


def _mixture(colours, components, seed):
    from sklearn.mixture import GaussianMixture
    few = min(components, len(np.unique(colours, axis=0)))
    return GaussianMixture(few, covariance_type="full", reg_covar=0.01, max_iter=20, tol=1e-2,
                           random_state=seed).fit(colours if len(colours) > 1 else np.repeat(colours, 2, axis=0))


def neighbour_costs(picture, gamma):
    """[(dy, dx, costs)]: gamma / distance * exp(-beta |difference of colours|^2), beta = 1 / (2 mean square)."""
    z = picture.astype(np.float64)
    squares = [((z[_later(dy, dx)] - z[_earlier(dy, dx)]) ** 2).sum(axis=2) for dy, dx in _NEIGHBOURS]
    count = sum(s.size for s in squares)
    mean = sum(s.sum() for s in squares) / max(1, count)
    beta = 1 / (2 * mean) if mean > 0 else 0.0
    return [(dy, dx, gamma / np.hypot(dy, dx) * np.exp(-beta * s)) for (dy, dx), s in zip(_NEIGHBOURS, squares)]


def cut(object_cost, background_cost, edges, seeds):
    """(H, W) bool: the labelling of least energy. Costs (H, W) of taking a pixel for object and for background."""
    shape, count = object_cost.shape, object_cost.size
    source, sink = count, count + 1
    least = np.minimum(object_cost, background_cost)        # only the difference decides; capacities are positive
    to_source = np.rint((background_cost - least) * COSTS).clip(0, NEVER).astype(np.int64)  # paid if it is background
    to_sink = np.rint((object_cost - least) * COSTS).clip(0, NEVER).astype(np.int64)
    to_source[seeds == OBJECT], to_sink[seeds == OBJECT] = NEVER, 0
    to_source[seeds == BACKGROUND], to_sink[seeds == BACKGROUND] = 0, NEVER
    number = np.arange(count).reshape(shape)
    rows, columns, capacities = [], [], []
    for dy, dx, cost in edges:
        one, two = number[_earlier(dy, dx)].reshape(-1), number[_later(dy, dx)].reshape(-1)
        whole = np.rint(cost * COSTS).astype(np.int64).reshape(-1)
        rows += [one, two]
        columns += [two, one]
        capacities += [whole, whole]
    rows += [np.full(count, source), number.reshape(-1)]
    columns += [number.reshape(-1), np.full(count, sink)]
    capacities += [to_source.reshape(-1), to_sink.reshape(-1)]
    graph = coo_array((np.concatenate(capacities).astype(np.int32), (np.concatenate(rows), np.concatenate(columns))),
                      shape=(count + 2, count + 2)).tocsr()
    graph.eliminate_zeros()
    graph = csr_array((graph.data, graph.indices.astype(np.int32), graph.indptr.astype(np.int32)), shape=graph.shape)
    left = graph - maximum_flow(graph, source, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    found = np.zeros(count + 2, bool)
    found[breadth_first_order(left, source, return_predecessors=False)] = True
    return found[:count].reshape(shape)


def _earlier(dy, dx):
    """The pixels that have a neighbour at (dy, dx)."""
    return np.s_[:-dy or None, -dx if dx < 0 else 0:-dx if dx > 0 else None]


def _later(dy, dx):
    """Those neighbours."""
    return np.s_[dy:, max(0, dx):dx if dx < 0 else None]
