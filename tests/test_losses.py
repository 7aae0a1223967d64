"""Content, style and smoothness: their formulas by hand, by PyTorch (golden numbers), and what a mask leaves."""
import numpy as np
import pytest

from minivis import golden, losses, ops
from minivis.errors import MinivisError
from minivis.lbfgs import LBFGS
from minivis.optimize import Run
from minivis.techniques.matching import Painter
from minivis.tensor import Tensor, gradient


class Case:
    """A golden problem: the pictures as z, and the layers' values and Gram matrices of content and style."""

    def __init__(self, name):
        self.about, self.wanted = golden.load(f"style/{name}")
        self.net = golden.network(golden.load(name)[0])
        self.painter = Painter(self.net)
        self.start, content, self.style = (self.painter.z(self.wanted[key]) for key in ("start", "content", "style"))
        self.layer = self.about["content_layer"]
        self.content = self.painter.values(content, [self.layer])[self.layer]

    def term(self, key):
        kind, *rest = key.split()
        if kind == "content":
            return losses.content(self.net, self.layer, self.content, rest[0])
        layer, gram, normalize = rest
        return losses.style(self.net, layer, self.painter.grams(self.style, [layer], gram)[layer], gram, normalize)


@pytest.fixture(params=["fire", "vgg", "odd"], scope="module")
def case(request):
    return Case(request.param)


def keys(case, what):
    return [key[len(what) + 1:] for key in case.wanted if key.startswith(f"{what} ")]


def test_values_are_pytorchs(case):
    assert len(keys(case, "value")) == 3 + 2 * 9 + 2
    for key in keys(case, "value"):
        t = Tensor(case.start)
        if key.startswith("tv"):
            got = losses.tv(t, key.split()[1])
        else:
            term = case.term(key)
            got = term(case.net(case.painter.units.of(t), layers=term.layers))
        wanted = float(case.wanted[f"value {key}"])
        assert wanted > 0 and abs(float(got.data[0]) - wanted) <= 1e-9 * wanted, key


def test_gradients_are_pytorchs(case):
    assert len(keys(case, "gradient")) == 3 + 2 + 2
    for key in keys(case, "gradient"):
        t = Tensor(case.start, needs_grad=True)
        if key.startswith("tv"):
            value = losses.tv(t, key.split()[1])
        else:
            term = case.term(key)
            value = term(case.net(case.painter.units.of(t), layers=term.layers))
        wanted = case.wanted[f"gradient {key}"]
        assert np.abs(gradient(value, t)[0] - wanted).max() <= 1e-9 * np.abs(wanted).max(), key


def test_50_lbfgs_steps_go_as_low_as_pytorchs(case):
    w = case.about["weights"]
    terms = [("content", w["content"], case.term("content mean"))]
    terms += [("style", w["style"], case.term(f"style {layer} chw mean")) for layer in case.about["style_layers"]]
    loss = case.painter.loss(case.start.shape[1:3], terms, [("tv", w["tv"], losses.tv)])
    run = Run(loss, case.start, LBFGS(memory=20), case.about["steps"])
    for _ in run:
        pass
    theirs = case.wanted["lbfgs"]
    assert abs(run.history["loss"][0][0] - theirs[0]) <= 1e-9 * theirs[0]
    assert theirs[-1] < 0.5 * theirs[0]
    assert float(loss(run.z).loss[0]) <= 1.05 * theirs[-1]


def test_the_gram_matrix_of_a_texture_is_that_of_the_texture_repeated(rng):
    a = rng.standard_normal((1, 6, 4, 5))
    twice = np.concatenate([a, a], axis=2)
    for gram in ("chw", "hw"):
        one, two = (losses.of_whole(losses.gram_statistic(gram), Tensor(x)).data for x in (a, twice))
        assert np.allclose(one, two, rtol=1e-13)
    assert np.allclose(2 * losses.of_whole(losses.gram_statistic("none"), Tensor(a)).data,
                       losses.of_whole(losses.gram_statistic("none"), Tensor(twice)).data)


def test_a_white_mask_changes_nothing_and_a_black_half_hides_it(rng):
    a = rng.standard_normal((1, 8, 6, 3))
    white, left = np.ones((20, 10)), np.zeros((16, 12))
    left[:, :6] = 1
    for gram in ("chw", "hw", "none"):
        plain = losses.of_whole(losses.gram_statistic(gram), Tensor(a)).data
        assert np.allclose(losses.of_whole(losses.gram_statistic(gram, white), Tensor(a)).data, plain, rtol=1e-12)
        half = losses.of_whole(losses.gram_statistic(gram), Tensor(a[:, :, :3])).data
        assert np.allclose(losses.of_whole(losses.gram_statistic(gram, left), Tensor(a)).data, half, rtol=1e-12)
    with pytest.raises(MinivisError, match="black all over"):
        losses.of_whole(losses.gram_statistic("hw", np.zeros((4, 4))), Tensor(a))


def test_tv_is_as_strong_at_every_size():
    """A ramp of one grey level per pixel, at two sizes: the same per pixel, so the same in all but for the border."""
    def ramp(n):
        return np.broadcast_to(np.arange(n, dtype=float)[None, :, None, None], (1, n, n, 3))
    small, large = (float(losses.tv(Tensor(ramp(n))).data[0]) for n in (50, 500))
    assert abs(large - 0.5 * 3 * 512**2) < 0.005 * large and abs(small - large) < 0.05 * large


def test_terms_add_and_scale_like_other_objectives(case):
    look = case.term("content mean") + 3 * case.term(f"style {case.about['style_layers'][0]} chw mean")
    values = case.net(case.painter.units.of(Tensor(case.start)), layers=look.layers)
    wanted = (float(case.wanted["value content mean"])
              + 3 * float(case.wanted[f"value style {case.about['style_layers'][0]} chw mean"]))
    assert abs(float(look(values).data[0]) - wanted) <= 1e-9 * wanted


def test_a_wrong_normalisation_or_size_is_one_clear_error(case):
    with pytest.raises(MinivisError, match="normalize 'median' must be mean, sum, half"):
        losses.content(case.net, case.layer, case.content, "median")
    with pytest.raises(MinivisError, match="gram 'c' must be"):
        losses.gram_statistic("c")
    with pytest.raises(MinivisError, match="must have the same size"):
        losses.of_whole(losses.content(case.net, case.layer, case.content).statistic, Tensor(np.zeros((1, 2, 2, 1))))
    with pytest.raises(MinivisError, match="tv: normalize"):
        losses.tv(Tensor(np.zeros((1, 4, 4, 3))), "none")


@pytest.mark.data
def test_total_variation_of_the_cs231n_picture(data_folder):
    """tv_out of CS231n's style-transfer-checks.npz (2018 and later): 303.470 at shortest side 192, weight 2e-2."""
    from PIL import Image

    with Image.open(data_folder / "tubingen.jpg") as picture:
        rgb = np.asarray(picture.convert("RGB").resize((256, 192), Image.Resampling.BILINEAR), np.float64) / 255
    x = (rgb - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert abs(0.02 * float(ops.total_variation(x[None], "l2").data[0]) - 303.470) <= 1e-3
