"""Networks as priors: their gradients are derivatives, their pictures valid, their codes bounded."""
import numpy as np
import pytest

from minivis import ops
from minivis.errors import MinivisError
from minivis.generator import doublings_of, generator_layers, untrained_generator
from minivis.gradcheck import gradcheck
from minivis.parameterize import parameterization
from minivis.priors.deep import DeepPrior, GeneratorPrior, stride
from minivis.techniques.invert import invert
from minivis.techniques.visualize import visualize
from minivis.tensor import Tensor, gradient


@pytest.fixture
def generator():
    random = np.random.RandomState(2)
    return untrained_generator(generator_layers(6, 2, width=8, least=4), random.rand(6), random.rand(6) + 0.2)


def test_the_gradient_of_the_weights_is_a_derivative(conv_net):
    p = DeepPrior(conv_net(), (7, 9), channels=(3, 2))
    z = p.start(seed=1)
    assert p(z).shape == (1, 7, 9, 3) and z.shape == (1, 9 * 9 + 6 + 9 * 6 + 4 + 6 + 3)
    gradcheck(lambda t: ops.mean(ops.square(p(t))), z, tolerance=1e-6)


def test_pictures_have_weights_of_their_own_and_come_from_seed_and_number(conv_net):
    net = conv_net()
    two, other = DeepPrior(net, (16, 16), 2), DeepPrior(net, (16, 16), 1)
    z = two.start(seed=3)
    one = other.start(seed=3)
    assert np.array_equal(z[:1], one) and np.allclose(two.levels(z)[:1], other.levels(one))
    assert not np.allclose(two.levels(z)[0], two.levels(z)[1])
    t = Tensor(z, needs_grad=True)
    g = gradient(ops.sum(two(t)[1]), t)
    assert not g[0].any() and g[1].any()
    levels = two.levels(100 * z)
    assert levels.min() >= 0 and levels.max() <= 255


def test_a_generator_makes_pictures_of_any_size_from_bounded_codes(conv_net, generator):
    net = conv_net()
    p = parameterization("generator", net, (13, 10), 2, generator=generator)
    z = p.start(seed=0)
    assert stride(generator) == 4 and z.shape == (2, 4, 3, 6) and p.levels(z).shape == (2, 13, 10, 3)
    far = p.clip(50 * z)
    assert np.abs(far).max() == 3 and p.levels(far).min() >= 0 and p.levels(far).max() <= 255
    assert p.levels(z).std() > 1
    gradcheck(lambda t: p(t), z[:1], tolerance=1e-6)


def test_a_code_below_zero_is_a_code_of_zero(generator):
    z = -5 * np.ones((1, 2, 2, 6), np.float32)
    assert not generator(z, layers=["code_relu"])["code_relu"].data.any()
    z[:] = 0.0
    assert np.allclose(generator(z, layers=["code"])["code"].data, generator.weights["code/shift"].data)


@pytest.mark.parametrize("options", [{"preset": "deep", "rate": 0.02}, {"preset": "generator"}])
def test_both_priors_raise_a_score_and_lower_an_inversion_error(conv_net, generator, picture, options):
    net = conv_net()
    more = {"generator": generator} if options["preset"] == "generator" else {}
    r = visualize(net, ["conv1:2"], steps=12, size=24, **options, **more)
    assert r.history["score"][-1] > r.history["score"][0] and r.pictures.shape == (1, 24, 24, 3)
    r = invert(net, picture, layers=["relu1"], parameterization=options["preset"], steps=12, **more)
    assert r.history["relu1 loss"][-1] < 0.9 * r.history["relu1 loss"][0]


def test_what_is_no_generator_is_one_clear_error(conv_net):
    with pytest.raises(MinivisError, match="--generator"):
        visualize(conv_net(), ["dog"], preset="generator")
    with pytest.raises(MinivisError, match="is no generator"):
        GeneratorPrior(conv_net(), (8, 8), conv_net())
    assert doublings_of(conv_net(), "pool1") == 1
    with pytest.raises(MinivisError, match="has no positions"):
        doublings_of(conv_net(), "scores")
