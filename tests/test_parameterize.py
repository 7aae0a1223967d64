"""What is optimised becomes a picture and its gradient comes back; random views are linear and repeat."""
import numpy as np
import pytest

from minivis.gradcheck import gradcheck
from minivis.layers import Layer
from minivis.network import Network
from minivis.parameterize import Fourier, InverseFourier, Pixels, fast_length, parameterization
from minivis.preprocessing import Preprocessing
from minivis.tensor import Tensor, gradient
from minivis.transforms import Resample, Views


def net_of(channels, range, mean, std):
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("mean", "global_avg_pool")]
    return Network(layers, {}, preprocessing=Preprocessing(channels=channels, range=range, mean=mean, std=std),
                   precision="float64")


NETS = [net_of("RGB", 1, (.485, .456, .406), (.229, .224, .225)), net_of("BGR", 255, (104, 117, 123), (1, 1, 1))]


@pytest.mark.parametrize("net", NETS, ids=["RGB", "BGR"])
def test_pixels_are_the_picture_in_the_networks_units(net):
    picture = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    p = Pixels(net, (5, 4))
    z = p.from_picture(picture)
    assert np.abs(p.units.of(p(Tensor(z))).data - net.preprocess(picture, policy="none")).max() < 1e-12
    assert np.abs(p.levels(z)[0] - picture).max() < 1e-12
    assert np.array_equal(p.levels(p.clip(z + 1000)).round(), np.full((1, 5, 4, 3), 255))


@pytest.mark.parametrize("H, W", [(4, 6), (5, 7), (6, 5), (1, 2)])
def test_inverse_fourier_is_numpys_and_its_gradient_the_true_one(H, W):
    x = np.random.default_rng(0).standard_normal((2, H, W // 2 + 1, 3, 2))
    y = InverseFourier(H, W)(Tensor(x)).data
    assert np.allclose(y, np.fft.irfft2(x[..., 0] + 1j * x[..., 1], s=(H, W), axes=(1, 2)), atol=1e-14)
    assert gradcheck(lambda t: InverseFourier(H, W)(t), x) < 1e-7


@pytest.mark.parametrize("net", NETS, ids=["RGB", "BGR"])
def test_a_fourier_picture_has_valid_colours_and_true_gradients(net):
    p = Fourier(net, (6, 5), 2)
    z = p.start(3, noise=0.5)
    levels = p.levels(z)
    assert levels.shape == (2, 6, 5, 3) and levels.min() > 0 and levels.max() < 255 and levels.std() > 5
    assert gradcheck(lambda t: p.units.of(p(t)), z) < 1e-7


@pytest.mark.parametrize("size", [(6, 5), (13, 17)])
def test_a_picture_can_be_written_as_coefficients_and_read_back(size):
    picture = np.random.default_rng(2).integers(15, 240, (*size, 3))
    for p in (Fourier(NETS[1], size), Fourier(NETS[1], size, falloff=2.0, decorrelate=False),
              Fourier(NETS[1], size, bounded=False)):
        z = p.from_picture(picture)
        assert z.shape == p.shape and np.abs(p.levels(z)[0] - picture).max() < 1e-9


def test_an_unbounded_fourier_picture_is_linear_in_its_coefficients():
    p = Fourier(NETS[0], (13, 17), bounded=False)
    a, b = p.start(1, noise=0.3), p.start(2, noise=0.3)
    grey = p.levels(0 * a)
    assert np.allclose(grey, 127.5) and np.allclose(p.levels(a + 2 * b) - grey,
                                                    p.levels(a) - grey + 2 * (p.levels(b) - grey))
    assert gradcheck(lambda t: p.units.of(p(t)), a) < 1e-7


def test_a_size_that_transforms_slowly_is_cut_out_of_one_that_does_not():
    assert [fast_length(n) for n in (1, 13, 224, 227, 251)] == [1, 14, 224, 231, 252]
    p = Fourier(NETS[0], (13, 17))
    assert p.canvas == (14, 18) and p.levels(p.start()).shape == (1, 13, 17, 3)


def test_noise_of_a_picture_does_not_depend_on_how_many_there_are():
    for kind in ("pixels", "fourier"):
        one, three = (parameterization(kind, NETS[0], (4, 4), n).start(7) for n in (1, 3))
        assert np.array_equal(one[0], three[0]) and not np.array_equal(three[0], three[1])
        assert not np.array_equal(one, parameterization(kind, NETS[0], (4, 4)).start(8))


def test_an_unmoved_view_is_the_window_and_a_shift_moves_it():
    x = np.random.default_rng(0).standard_normal((2, 9, 8, 3))
    assert np.allclose(Resample((5, 4))(Tensor(x)).data, x[:, 2:7, 2:6])
    assert np.allclose(Resample((5, 4), shift=(1, -2))(Tensor(x)).data, x[:, 3:8, 0:4])
    assert np.array_equal(Views(margin=2).window(x), x[:, 2:7, 2:6])


def test_a_quarter_turn_turns_and_a_linear_ramp_scales():
    x = np.random.default_rng(0).standard_normal((1, 5, 5, 1))
    turned = Resample((5, 5), angle=90)(Tensor(x)).data[0, :, :, 0]
    assert np.allclose(turned, np.rot90(x[0, :, :, 0], -1)) or np.allclose(turned, np.rot90(x[0, :, :, 0]))
    ramp = np.arange(9.0).reshape(1, 9, 1, 1).repeat(9, 2)
    assert np.allclose(Resample((5, 5), factor=2)(Tensor(ramp)).data[0, :, 0, 0], 4 + np.arange(-2, 3) / 2)


@pytest.mark.parametrize("how", [{"shift": (0.3, -1.7)}, {"factor": 1.3}, {"angle": 25.0},
                                 {"shift": (7.0, 0.0), "factor": 0.4, "angle": -80.0}])
def test_the_gradient_of_a_view_is_its_transpose(how):
    x = np.random.default_rng(0).standard_normal((2, 6, 7, 2))
    assert gradcheck(lambda t: Resample((5, 4), **how)(t), x) < 1e-7


def test_views_repeat_for_the_same_step_and_differ_for_others():
    x = Tensor(np.random.default_rng(0).standard_normal((1, 12, 12, 3)), needs_grad=True)
    for views in (Views(2, 1, 0.1, 10.0), Views(jitter=3, wrap=True)):
        a, b, c = (views(x, 5, step) for step in (0, 0, 1))
        assert np.array_equal(a.data, b.data) and not np.array_equal(a.data, c.data)
        assert a.shape == (1, 12 - 2 * views.margin, 12 - 2 * views.margin, 3) and gradient(a, x).any()
