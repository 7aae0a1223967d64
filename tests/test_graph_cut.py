"""GrabCut: the cut is the cheapest labelling, the seeds hold, and colours are found again."""
import itertools

import numpy as np
import pytest

from minivis.graph_cut import (
    BACKGROUND,
    COSTS,
    OBJECT,
    PROBABLY_BACKGROUND,
    PROBABLY_OBJECT,
    cut,
    grabcut,
    neighbour_costs,
)


def energy(inside, object_cost, background_cost, edges):
    total = object_cost[inside].sum() + background_cost[~inside].sum()
    H, W = inside.shape
    for dy, dx, cost in edges:
        for y in range(H - dy):
            for x in range(max(0, -dx), W - max(0, dx)):
                total += cost[y, x - max(0, -dx)] * (inside[y, x] != inside[y + dy, x + dx])
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_cut_is_the_labelling_of_least_energy(seed):
    random = np.random.RandomState(seed)
    picture = random.randint(0, 256, (3, 4, 3)).astype(np.uint8)
    edges = neighbour_costs(picture, gamma=0.8)
    costs = random.uniform(-4, 4, (2, 3, 4))        # negative too: densities may be above one
    best = min((energy(np.array(bits).reshape(3, 4), *costs, edges), bits)
               for bits in itertools.product([False, True], repeat=12))
    found = cut(*costs, edges, np.full((3, 4), PROBABLY_OBJECT))
    assert 0 < found.sum() < 12
    assert energy(found, *costs, edges) <= best[0] + 40 / COSTS     # capacities are rounded


def test_seeds_hold_whatever_the_colours_say():
    random = np.random.RandomState(0)
    picture = random.randint(0, 256, (8, 9, 3)).astype(np.uint8)
    seeds = random.randint(0, 4, (8, 9))
    inside = cut(np.full((8, 9), 5.0), np.zeros((8, 9)), neighbour_costs(picture, 50.0), seeds)
    assert inside[seeds == OBJECT].all() and not inside[seeds == BACKGROUND].any()


def test_a_coloured_disc_is_cut_out_from_a_few_seeds():
    random = np.random.RandomState(1)
    y, x = np.mgrid[:40, :48]
    disc = (y - 20) ** 2 + (x - 25) ** 2 < 120
    picture = np.where(disc[:, :, None], (200, 60, 40), (60, 120, 90)) + random.randint(-20, 21, (40, 48, 3))
    seeds = np.full((40, 48), PROBABLY_BACKGROUND)
    seeds[:4] = BACKGROUND
    seeds[17:23, 22:28] = OBJECT
    assert np.array_equal(grabcut(picture.astype(np.uint8), seeds), disc)


@pytest.mark.parametrize("seed", [OBJECT, BACKGROUND])
def test_seeds_of_one_kind_leave_everything_as_it_is(seed):
    picture = np.random.RandomState(2).randint(0, 256, (5, 6, 3)).astype(np.uint8)
    assert (grabcut(picture, np.full((5, 6), seed)) == (seed == OBJECT)).all()
