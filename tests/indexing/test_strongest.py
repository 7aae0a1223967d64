"""The strongest activations: what a sort of everything gives, in whatever portions the pictures come."""
import numpy as np
import pytest

from minivis.indexing.strongest import merge, strongest


def by_sorting(a, k, per_picture):
    """[[(value, picture, row, column)]] for each channel, from a sort of all units of all pictures."""
    found = []
    for c in range(a.shape[3]):
        rows = []
        for n in range(len(a)):
            units = sorted((-float(a[n, i, j, c]), n, i, j) for i, j in np.ndindex(a.shape[1:3]))
            rows += units[:per_picture]
        found.append([(-v, n, i, j) for v, n, i, j in sorted(rows)[:k]])
    return found


def as_rows(top):
    return [[(float(v), int(n), int(i), int(j)) for v, n, i, j in zip(*rows)] for rows in zip(*top)]


@pytest.mark.parametrize("shape", [(9, 4, 5, 3), (1, 1, 1, 2), (5, 7, 1, 1), (12, 2, 3, 4)])
@pytest.mark.parametrize("per_picture", [1, 3])
@pytest.mark.parametrize("levels", [3, 1000])          # with 3 levels there are ties everywhere
def test_equals_a_sort_of_everything(shape, per_picture, levels, rng):
    a = rng.integers(0, levels, shape).astype(np.float32)
    assert as_rows(strongest(a, np.arange(len(a)), 4, per_picture)) == by_sorting(a, 4, per_picture)


@pytest.mark.parametrize("per_picture", [1, 2])
def test_portions_and_their_order_of_merging_do_not_matter(per_picture, rng):
    a = rng.integers(-2, 3, (20, 3, 4, 5)).astype(np.float32)
    whole = strongest(a, np.arange(20), 6, per_picture)
    for cuts in ([7], [1, 2, 19], [5, 10, 15]):
        parts = [strongest(part, numbers, 6, per_picture)
                 for part, numbers in zip(np.split(a, cuts), np.split(np.arange(20), cuts))]
        assert all(np.array_equal(x, y) for x, y in zip(whole, merge(parts, 6)))
        left = parts[0]
        for part in parts[1:]:
            left = merge([left, part], 6)
        assert all(np.array_equal(x, y) for x, y in zip(whole, left))


def test_a_vector_has_one_unit_per_channel(rng):
    a = rng.standard_normal((6, 3)).astype(np.float32)
    top = strongest(a, np.arange(6), 2, per_picture=5)
    assert np.array_equal(top.picture, np.argsort(-a, axis=0)[:2].T) and not top.row.any() and not top.column.any()
