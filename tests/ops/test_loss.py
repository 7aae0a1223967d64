"""Softmax and losses: probabilities, numbers far from zero, named forms, one number per picture."""
import numpy as np
import pytest

from minivis import ops
from minivis.tensor import Tensor, gradient

pytestmark = pytest.mark.usefixtures("each_kernel_set")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_probabilities_sum_to_1_however_large_the_logits(rng, dtype):
    x = (rng.standard_normal((3, 4, 10)) * 1e4).astype(dtype)
    p = ops.softmax(x)
    assert p.dtype == dtype
    np.testing.assert_allclose(p.data.sum(axis=-1), 1, rtol=1e-6)
    assert np.isfinite(ops.log_softmax(x).data).all()


def test_softmax_ignores_a_constant(rng):
    x = Tensor(rng.integers(-8, 9, (3, 10)).astype(float), needs_grad=True)
    np.testing.assert_array_equal(ops.softmax(x).data, ops.softmax(x + 1024).data)
    dx = gradient(ops.softmax(x), x, seed=rng.standard_normal((3, 10)))
    assert np.abs(dx).max() > 1e-3
    np.testing.assert_allclose(dx.sum(axis=1), 0, atol=1e-15)


def test_log_softmax_is_the_logarithm_of_softmax(rng):
    x = rng.standard_normal((3, 10))
    np.testing.assert_allclose(np.exp(ops.log_softmax(x).data), ops.softmax(x).data, rtol=1e-14)
    np.testing.assert_array_equal(ops.log_softmax(np.array([[-2000.0, 0.0]])).data, [[-2000, 0]])


# -------------------------------------------------------------------------------------------------- cross-entropy


def test_cross_entropy_of_sure_unsure_and_wrong():
    x = np.array([[0.0, 0, 0, 0], [1000, 0, 0, 0], [1000, 0, 0, 0]])
    np.testing.assert_allclose(ops.cross_entropy(x, [2, 0, 1]).data, [np.log(4), 0, 1000], atol=1e-15)


def test_its_gradient_is_probability_minus_target(rng):
    x = Tensor(rng.standard_normal((2, 5)), needs_grad=True)
    expected = ops.softmax(x).data - np.eye(5)[[3, 1]]
    np.testing.assert_allclose(gradient(ops.cross_entropy(x, [3, 1]), x), expected, atol=1e-15)


@pytest.mark.parametrize("s", [0.0, 0.1, 1.0])
def test_label_smoothing_mixes_in_the_uniform_distribution(rng, s):
    x = rng.standard_normal((3, 5))
    q = (1 - s) * np.eye(5)[[0, 4, 2]] + s / 5
    expected = -(q * ops.log_softmax(x).data).sum(axis=1)
    np.testing.assert_allclose(ops.cross_entropy(x, [0, 4, 2], s).data, expected, rtol=1e-14)
    np.testing.assert_allclose(ops.cross_entropy(x, q).data, expected, rtol=1e-14)         # given as probabilities


@pytest.mark.parametrize("targets, smoothing, words", [
    ([0, 5], 0, r"0\.\.5 must be in 0\.\.4"), ([-1, 0], 0, r"-1\.\.0 must be in 0\.\.4"),
    ([0, 1, 2], 0, r"class indices \(3,\) must be \(2,\)"), (np.ones((2, 4)), 0, r"probabilities \(2, 4\)"),
    ([0, 1], 1.5, "smoothing 1.5"),
])
def test_impossible_targets_are_named(targets, smoothing, words):
    with pytest.raises(ValueError, match=words):
        ops.cross_entropy(np.zeros((2, 5)), targets, smoothing)


# ------------------------------------------------------------------------------------------------ total variation

STEP = np.array([[0.0, 3], [4, 0]]).reshape(1, 2, 2, 1)     # down: 4 -3, across: 3 -4


@pytest.mark.parametrize("form, exponent, expected", [
    ("l1", 2, 3 + 4 + 3 + 4), ("l2", 2, 9 + 16 + 9 + 16), ("beta", 2, 9 + 16), ("beta", 1, 5), ("beta", 3, 125),
])
def test_total_variation_by_hand(form, exponent, expected):
    y = ops.total_variation(np.concatenate([STEP, STEP * 0]), form, exponent)
    np.testing.assert_allclose(y.data, [expected, 0], rtol=1e-14)


@pytest.mark.parametrize("form, exponent", [("l1", 2), ("l2", 2), ("beta", 1), ("beta", 0.5), ("beta", 2)])
@pytest.mark.filterwarnings("error")
def test_a_flat_picture_has_gradient_0(form, exponent):
    x = Tensor(np.full((1, 3, 4, 2), 0.7), needs_grad=True)
    np.testing.assert_array_equal(gradient(ops.total_variation(x, form, exponent), x), np.zeros(x.shape))


def test_half_of_beta_2_has_the_gradient_that_neural_style_adds(rng):
    """Its update, pixel by pixel: both differences at the pixel, and their negatives at the two neighbours."""
    x = rng.standard_normal((1, 5, 6, 3))
    expected = np.zeros_like(x)
    for i in range(4):
        for j in range(5):
            across, down = x[0, i, j] - x[0, i, j + 1], x[0, i, j] - x[0, i + 1, j]
            expected[0, i, j] += across + down
            expected[0, i, j + 1] -= across
            expected[0, i + 1, j] -= down
    t = Tensor(x, needs_grad=True)
    np.testing.assert_allclose(gradient(0.5 * ops.total_variation(t, "beta", 2), t), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (2, 1, 5, 1), (2, 5, 1, 1)])
@pytest.mark.parametrize("form", ["l1", "l2", "beta"])
def test_pictures_one_pixel_thin(shape, form):
    x = Tensor(np.ones(shape), needs_grad=True)
    y = ops.total_variation(x, form)
    np.testing.assert_array_equal(y.data, [0, 0])
    assert gradient(y, x).shape == shape


@pytest.mark.data
def test_total_variation_of_tubingen_is_the_published_number(data_folder):
    """CS231n 2017 assignment 3, tv_out: weight 2e-2, 192 pixels, ImageNet mean and deviation."""
    from PIL import Image
    with Image.open(data_folder / "tubingen.jpg") as f:
        picture = np.asarray(f.convert("RGB").resize((256, 192), Image.BILINEAR)) / 255.0
    x = (picture - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert 2e-2 * float(ops.total_variation(x[None]).data[0]) == pytest.approx(303.470, abs=1e-3)


@pytest.mark.parametrize("form, exponent, words", [("tv", 2, "form 'tv'"), ("beta", 0, "exponent 0")])
def test_an_unknown_form_is_an_error(form, exponent, words):
    with pytest.raises(ValueError, match=words):
        ops.total_variation(STEP, form, exponent)


def test_squared_distance_by_hand():
    x = Tensor(np.array([[1.0, 2.0], [3.0, -1.0]]), needs_grad=True)
    y = ops.squared_distance(x, np.array([[0.0, 4.0]]))
    assert y.data.tolist() == [5.0, 34.0]
    assert gradient(y, x, seed=np.array([1.0, 0.5])).tolist() == [[2.0, -4.0], [3.0, -5.0]]
    with pytest.raises(ValueError, match=r"target \(3,\).*x \(2, 3\)|target \(2, 3\).*x \(3,\)"):
        ops.squared_distance(Tensor(np.zeros(3)), np.zeros((2, 3)))


# ---------------------------------------------------------------------------------------------------- gram and mse


@pytest.mark.parametrize("normalize, divisor", [("chw", 3 * 4 * 5), ("hw", 4 * 5), ("none", 1)])
def test_gram_equals_its_definition(rng, normalize, divisor):
    x = rng.standard_normal((2, 4, 5, 3))
    expected = np.einsum("nijc,nijd->ncd", x, x) / divisor
    np.testing.assert_allclose(ops.gram(x, normalize).data, expected, rtol=1e-13, atol=1e-15)


def test_a_gram_matrix_forgets_where_things_are(rng):
    x = rng.integers(-5, 6, (1, 4, 5, 3)).astype(float)
    shuffled = rng.permutation(x.reshape(20, 3)).reshape(x.shape)
    np.testing.assert_array_equal(ops.gram(x).data, ops.gram(shuffled).data)
    with pytest.raises(ValueError, match="normalize 'c'"):
        ops.gram(x, "c")


def test_mse_is_one_number_per_picture():
    a = np.array([[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(ops.mse(a, a + [[1], [3]]).data, [1, 9])
    assert ops.mse(a.astype(np.float32), a.astype(np.float32)).dtype == np.float32
