"""Style losses: zero for the style itself, moved about or not as each promises; and each has its true gradient."""
import numpy as np
import pytest

from minivis import losses
from minivis.errors import MinivisError
from minivis.gradcheck import gradcheck
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.network import Network
from minivis.style_losses import _quantiles, style_terms
from minivis.tensor import Tensor
from minivis.tiling import Part

KINDS = ("gram", "moments", "correlations", "histogram", "patches", "sliced")


@pytest.fixture(scope="module")
def net():
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("relu1", "relu")]
    return Network(layers, random_weights(layers), precision="float64")


def values(seed, h=6, w=8, C=4):
    return np.random.default_rng(seed).standard_normal((1, h, w, C)) + 0.5


def total(kind, net, target, a):
    """The sum of the kind's terms at a, Tensor or array (N, h, w, C) -> Tensor (N,)."""
    terms = [term({"relu1": a if isinstance(a, Tensor) else Tensor(a)})
             for term in style_terms(kind, net, "relu1", target)]
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (9, 12)])       # the picture's layer need not have the style's size
def test_the_gradient_is_that_of_the_loss(net, kind, shape):
    assert gradcheck(lambda a: total(kind, net, values(0), a), values(1, *shape), tolerance=1e-6) <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_style_itself_has_no_loss_and_another_has(net, kind):
    own = values(0)
    assert float(total(kind, net, own, own).data[0]) < 1e-20
    assert float(total(kind, net, own, values(1)).data[0]) > 1e-6
    both = total(kind, net, own, np.concatenate([values(2), own])).data         # each picture by itself
    assert both.shape == (2,) and np.isclose(both[0], total(kind, net, own, values(2)).data[0], rtol=1e-10)
    assert both[1] < 1e-20


@pytest.mark.parametrize("kind, matters", [("gram", False), ("moments", False), ("histogram", False),
                                           ("sliced", False), ("correlations", True), ("patches", True)])
def test_where_things_are_matters_to_those_that_look_at_neighbours(net, kind, matters):
    own = values(0)
    mixed = np.random.default_rng(5).permutation(own.reshape(-1, 4)).reshape(own.shape)
    loss = float(total(kind, net, own, mixed).data[0])
    assert loss > 1e-3 if matters else loss < 1e-20


def test_moments_are_mean_and_deviation(net):
    a, b = values(0), values(1)
    wanted = sum(((np_f(a) - np_f(b)) ** 2).mean() for np_f in (
        lambda v: v.mean((0, 1, 2)), lambda v: np.sqrt(v.var((0, 1, 2)) + 1e-5)))
    assert np.isclose(total("moments", net, a, b).data[0], wanted, rtol=1e-10)


def test_a_stripe_pattern_is_known_by_its_distance(net):
    """Stripes of period 2 and 4 have the same Gram matrix, but not the same correlations."""
    def stripes(period):
        return np.broadcast_to((np.arange(16) // (period // 2) % 2).astype(float)[None, None, :, None], (1, 16, 16, 1))
    two, four = stripes(2), stripes(4)
    assert float(total("gram", net, two, four).data[0]) < 1e-20
    assert float(total("correlations", net, two, four).data[0]) > 0.01


def test_histogram_matching_is_by_rank(net):
    """Of one channel: sorted values against sorted values."""
    a, b = values(0, C=1), values(1, C=1)
    ranks = ((np.sort(a.ravel()) - np.sort(b.ravel())) ** 2).mean()
    gram = float(losses.style(net, "relu1", np.full((1, 1, 1), (a**2).mean()))({"relu1": Tensor(b)}).data[0])
    assert np.isclose(total("histogram", net, a, b).data[0], ranks + gram, rtol=1e-10)
    assert np.isclose(total("sliced", net, a, b).data[0], ranks, rtol=1e-10)        # one direction: the same


def test_quantiles_keep_what_is_there_and_interpolate_the_rest():
    ordered = np.array([[0.0], [1.0], [2.0], [4.0]])
    assert np.array_equal(_quantiles(ordered, 4), ordered)
    assert np.allclose(_quantiles(ordered, 2).ravel(), [0.5, 3.0])
    assert np.allclose(_quantiles(ordered, 8).ravel(), [0, .25, .75, 1.25, 1.75, 2.5, 3.5, 4])


def test_the_nearest_patch_is_the_one_of_largest_correlation(net):
    """By hand: for each patch of the picture, every patch of the style is tried."""
    own, a = values(0), values(1, 5, 6)
    cut = [v[0, y:y + 3, x:x + 3].ravel() for v in (own,) for y in range(4) for x in range(6)]
    wanted = 0.0
    for y in range(3):
        for x in range(4):
            patch = a[0, y:y + 3, x:x + 3].ravel()
            near = max(cut, key=lambda c: c @ patch / np.linalg.norm(c))
            wanted += ((patch - near) ** 2).mean() / 12
    assert np.isclose(total("patches", net, own, a).data[0], wanted, rtol=1e-10)


def test_sums_are_the_same_in_parts_and_the_others_say_that_they_need_the_whole(net):
    a = Tensor(values(1, 8, 8))
    for kind in ("gram", "moments"):
        term = style_terms(kind, net, "relu1", values(0))[0]
        halves = [term.statistic(a[:, rows], Part(rows.start, 0, rows.stop, 8, 8, 8))
                  for rows in (slice(0, 3), slice(3, 8))]
        assert np.isclose(term.loss(halves[0] + halves[1]).data[0], term({"relu1": a}).data[0], rtol=1e-10)
    for kind in ("correlations", "histogram", "patches", "sliced"):
        term = style_terms(kind, net, "relu1", values(0))[-1]
        with pytest.raises(MinivisError, match="cut into tiles; give more --memory"):
            term.statistic(a[:, :3], Part(0, 0, 3, 8, 8, 8))


def test_an_unknown_kind_or_too_few_cells_is_one_clear_error(net):
    with pytest.raises(MinivisError, match="style loss 'best' must be gram"):
        style_terms("best", net, "relu1", values(0))
    with pytest.raises(MinivisError, match="has only 2 x 8 cells for the style picture"):
        style_terms("patches", net, "relu1", values(0, 2, 8))
