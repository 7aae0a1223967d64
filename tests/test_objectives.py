"""Objectives are named numbers per picture that add and scale, whatever they are made of."""
import numpy as np
import pytest

from minivis import objectives
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.network import Network
from minivis.tensor import Tensor, gradient


@pytest.fixture(scope="module")
def net():
    random = np.random.RandomState(0)
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=4, kernel=3),
              Layer("relu1", "relu"), Layer("scores", "global_avg_pool")]
    weights = {"conv1/weight": random.standard_normal((3, 3, 3, 4)), "conv1/bias": random.standard_normal(4)}
    labels = [("n1", "cat"), ("n2", "dog"), ("n3", "crane"), ("n4", "crane")]
    return Network(layers, weights, "scores", labels=labels, precision="float64")


@pytest.fixture
def x():
    return np.random.RandomState(1).standard_normal((2, 7, 6, 3))


def value(net, objective, x):
    y = objective(net(x, layers=objective.layers))
    assert y.shape == (len(x),)
    return y.numpy()


def test_class_scores_are_the_logits_the_softmax_and_its_logarithm(net, x):
    logits = net(x)["scores"].numpy()
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.array_equal(value(net, objectives.class_score(net, "dog"), x), logits[:, 1])
    assert np.allclose(value(net, objectives.class_score(net, 1, "prob"), x), p[:, 1])
    assert np.allclose(value(net, objectives.class_score(net, "n2", "logprob"), x), np.log(p[:, 1]))


def test_softmax_of_large_logits_does_not_overflow():
    logits = Tensor(np.array([[1e4, 0.0, -1e4]]))
    assert objectives.class_scores(logits, "prob").numpy().tolist() == [[1, 0, 0]]
    assert objectives.class_scores(logits, "logprob").numpy().tolist() == [[0, -1e4, -2e4]]


def test_units_channels_and_layers_reduce_the_activation_they_name(net, x):
    a = net(x, layers="relu1")["relu1"].numpy()
    assert np.array_equal(value(net, objectives.unit(net, "relu1:2@1,3"), x), a[:, 1, 3, 2])
    assert np.array_equal(value(net, objectives.unit(net, "relu1:2"), x), a[:, 2, 2, 2])        # the middle of 5 x 4
    assert np.array_equal(value(net, objectives.unit(net, "scores:3"), x), net(x)["scores"].numpy()[:, 3])
    reduced = {"sum": np.sum, "mean": np.mean, "max": np.max, "l2": lambda v, axis: np.sqrt((v * v).sum(axis))}
    for name, function in reduced.items():
        assert np.allclose(value(net, objectives.channel(net, "relu1:1", name), x), function(a[..., 1], axis=(1, 2)))
        assert np.allclose(value(net, objectives.layer(net, "relu1", name), x), function(a, axis=(1, 2, 3)))


def test_sums_and_multiples_are_objectives_with_the_layers_of_both(net, x):
    a, b = objectives.class_score(net, 0), objectives.channel(net, "conv1:1")
    both = 2 * a - b * 0.5 + (-a)
    assert set(both.layers) == {"scores", "conv1"} and len(both.layers) == 2
    assert np.allclose(value(net, both, x), value(net, a, x) - 0.5 * value(net, b, x))
    assert both.name == "2 * logit of cat + -1 * 0.5 * mean of conv1:1 + -1 * logit of cat"
    assert "conv1" in repr(both)


def test_the_gradient_of_a_sum_is_the_sum_of_the_gradients(net, x):
    a, b = objectives.class_score(net, 0), objectives.layer(net, "conv1", "l2")

    def slope(objective):
        t = Tensor(x, needs_grad=True)
        return gradient(objective(net(t, layers=objective.layers)), t)
    assert slope(a).any() and np.allclose(slope(3 * a + b), 3 * slope(a) + slope(b), atol=1e-12)


@pytest.mark.parametrize("make, reason", [
    (lambda net: objectives.class_score(net, "fish"), "fish"), (lambda net: objectives.class_score(net, 4), "0 to 3"),
    (lambda net: objectives.class_score(net, "crane"), "n3.*n4"),
    (lambda net: objectives.unit(net, "relu1:9"), "0 to 3"),
    (lambda net: objectives.layer(net, "relu7"), "relu7"),
    (lambda net: objectives.channel(net, "relu1"), "LAYER:CHANNEL"),
])
def test_what_the_network_does_not_have_is_refused_when_the_objective_is_made(net, make, reason):
    with pytest.raises(MinivisError, match=reason):
        make(net)


def test_what_only_the_picture_decides_is_refused_when_it_is_read(net, x):
    with pytest.raises(MinivisError, match="5 rows and 4 columns"):
        value(net, objectives.unit(net, "relu1:2@5,0"), x)
    for wrong in (lambda: objectives.class_score(net, 0, "odds"), lambda: objectives.layer(net, "relu1", "median")):
        with pytest.raises(MinivisError, match=r"no (score|reduction)"):
            value(net, wrong(), x)
