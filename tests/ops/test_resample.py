"""Resizing and blurring: the conventions of Pillow and SciPy, rows that sum to 1, and hand-made small cases."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from minivis import ops
from minivis.ops.resample import blur_matrix, resize_matrix

CONVENTIONS = [
    {"method": "nearest"}, {"method": "bilinear"}, {"method": "bicubic"}, {"method": "area"},
    {"method": "bilinear", "antialias": False}, {"method": "bicubic", "antialias": False},
    {"method": "nearest", "align": "corners"}, {"method": "bilinear", "align": "corners"},
    {"method": "bicubic", "align": "corners", "a": -0.5},
]
each_convention = pytest.mark.parametrize("how", CONVENTIONS, ids=lambda how: "-".join(map(str, how.values())))


def side(x, size, **how):
    """Resize a row of numbers."""
    row = np.asarray(x, np.float64)[None, None, :, None]
    return ops.resize(row, (1, size), **how).data[0, 0, :, 0]


@each_convention
@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_constant_stays_itself_and_rows_sum_to_1(how, size, out):
    m = resize_matrix(size, out, **how)
    assert m.shape == (out, size)
    np.testing.assert_allclose(m.sum(axis=1), 1, rtol=0, atol=1e-13)


@each_convention
@pytest.mark.parametrize("size", [1, 2, 9])
def test_the_same_size_is_the_same_picture(how, size):
    np.testing.assert_allclose(resize_matrix(size, size, **how), np.eye(size), atol=1e-15)


@pytest.mark.parametrize("how", [c for c in CONVENTIONS if c["method"] != "nearest"])       # nearest must take a side
@given(st.integers(1, 30), st.integers(2, 30))      # a single pixel is the left corner
@settings(max_examples=40, deadline=None)
def test_resizing_treats_left_and_right_alike(how, size, out):
    m = resize_matrix(size, out, **how)
    np.testing.assert_allclose(m[::-1, ::-1], m, atol=1e-12)


@pytest.mark.parametrize("method, filter", [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC),
                                            ("nearest", Image.NEAREST)])
@pytest.mark.parametrize("size", [(20, 13), (4, 5), (5, 44), (97, 3), (114, 62), (1, 1)])
def test_half_pixel_antialiased_is_what_pillow_does(rng, method, filter, size):
    picture = (rng.standard_normal((57, 31)) * 100).astype(np.float32)
    pillow = np.asarray(Image.fromarray(picture).resize(size[::-1], filter))       # mode F: 32 bit floats
    ours = ops.resize(picture[None, :, :, None].astype(np.float64), size, method).data[0, :, :, 0]
    np.testing.assert_allclose(ours, pillow, rtol=0, atol=3e-7 * np.abs(pillow).max())


@pytest.mark.parametrize("x, size, how, expected", [
    ([0, 1], 4, {}, [0, 0.25, 0.75, 1]),                                    # cells: centres at 1/4, 3/4 of a pixel
    ([0, 1], 3, {"align": "corners"}, [0, 0.5, 1]),
    ([0, 3], 4, {"align": "corners"}, [0, 1, 2, 3]),
    ([0, 1, 2, 3], 2, {"antialias": False}, [0.5, 2.5]),
    ([7, 0, 0, 0], 2, {}, [3, 0]),              # a triangle 1/4 3/4 3/4 1/4, cut off at the border: 3/7 3/7 1/7 0
    ([1, 2, 3, 4], 2, {"method": "area"}, [1.5, 3.5]),
    ([1, 2, 3], 2, {"method": "area"}, [(1 + 2 / 2) / 1.5, (2 / 2 + 3) / 1.5]),
    ([1, 2, 3], 6, {"method": "nearest"}, [1, 1, 2, 2, 3, 3]),
    ([5], 3, {"method": "bicubic"}, [5, 5, 5]),
    ([1, 2, 3], 1, {"align": "corners"}, [1]),
])
def test_small_cases_by_hand(x, size, how, expected):
    np.testing.assert_allclose(side(x, size, **how), expected, atol=1e-14)


@pytest.mark.parametrize("a", [-0.5, -0.75])
def test_bicubic_weights_by_hand(a):
    """At a quarter of the way between pixels, Keys' cubic with a: w(1.25) w(0.25) w(0.75) w(1.75)."""
    near = lambda t: (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = lambda t: a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    row = resize_matrix(8, 16, "bicubic", antialias=False, a=a)[7]      # its centre lies at 3.25
    np.testing.assert_allclose(row[2:6], [far(1.25), near(0.25), near(0.75), far(1.75)], atol=1e-15)
    assert not row[[0, 1, 6, 7]].any()


def test_bicubic_default_a_goes_with_antialias():
    at = lambda **how: resize_matrix(8, 16, "bicubic", **how)
    np.testing.assert_array_equal(at(antialias=False), at(antialias=False, a=-0.75))
    np.testing.assert_array_equal(at(antialias=True), at(antialias=True, a=-0.5))
    assert not np.array_equal(at(antialias=False), at(antialias=False, a=-0.5))


@pytest.mark.parametrize("arguments, words", [
    (((2, 2), "lanczos"), "method 'lanczos'"), (((0, 2),), "size"), (((2, 2, 2),), "size"),
])
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        ops.resize(np.ones((1, 3, 3, 1)), *arguments)


def test_corners_and_antialias_exclude_each_other():
    with pytest.raises(ValueError, match="align='corners' goes with antialias=False"):
        ops.resize(np.ones((1, 3, 3, 1)), (2, 2), align="corners", antialias=True)
    with pytest.raises(ValueError, match=r"x \(3, 3\) must be \(N, H, W, C\)"):
        ops.resize(np.ones((3, 3)), (2, 2))


def test_upsampling_repeats_pixels():
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(ops.upsample(x, (1, 2)).data[0, :, :, 0], [[0, 0, 1, 1], [2, 2, 3, 3]])
    np.testing.assert_array_equal(ops.upsample(x).data, ops.resize(x, (4, 4), "nearest").data)


# ----------------------------------------------------------------------------------------------------------- blur


@pytest.mark.parametrize("border, scipys", [("symmetric", "reflect"), ("reflect", "mirror"), ("edge", "nearest"),
                                            ("zero", "constant")])
@pytest.mark.parametrize("sigma", [0.4, 1.3, 5.0])      # 5: the filter reaches past the picture
def test_blurring_is_what_scipy_does(rng, border, scipys, sigma):
    x = rng.standard_normal((2, 9, 12, 3))
    expected = gaussian_filter(x, (0, sigma, sigma / 2, 0), mode=scipys)
    np.testing.assert_allclose(ops.gaussian_blur(x, (sigma, sigma / 2), border=border).data, expected, atol=1e-14)


@pytest.mark.parametrize("border", ["symmetric", "reflect", "edge"])
def test_a_constant_survives_blurring(border):
    np.testing.assert_allclose(blur_matrix(7, 3.0, border=border).sum(axis=1), 1, atol=1e-14)
    assert blur_matrix(7, 3.0, border="zero").sum(axis=1).max() < 1


def test_sigma_0_changes_nothing_and_a_wrong_sigma_is_an_error(rng):
    x = rng.standard_normal((1, 4, 5, 2))
    np.testing.assert_array_equal(ops.gaussian_blur(x, 0).data, x)
    for sigma in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="sigma"):
            ops.gaussian_blur(x, sigma)
    with pytest.raises(ValueError, match="border 'wrap'"):
        ops.gaussian_blur(x, 1, border="wrap")
