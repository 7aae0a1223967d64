"""Preprocessing has an exact inverse, and resizes as the tools did that trained the networks."""

import json

import numpy as np
import pytest
from PIL import Image

from minivis.errors import MinivisError
from minivis.preprocessing import Preprocessing, resize

CAFFE = {"channels": "BGR", "range": 255, "mean": [104, 117, 123], "std": [1, 1, 1]}
TORCH = {"channels": "RGB", "range": 1, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
ALL_VALUES = np.stack([np.roll(np.arange(256, dtype=np.uint8).reshape(16, 16), s) for s in (0, 5, 77)], axis=-1)


def random_picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("form", [CAFFE, TORCH, {**CAFFE, "range": 1, "mean": [0, 0, 0]}])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_restore_undoes_apply_bit_for_bit(channels, form, dtype):
    p = Preprocessing.from_json({**form, "channels": channels})
    x = p.apply(ALL_VALUES, dtype)
    assert x.shape == (1, 16, 16, 3) and x.dtype == dtype and x.flags.c_contiguous
    assert np.array_equal(p.restore(x), ALL_VALUES)


def test_units_and_channel_order_by_hand():
    pixel = np.array([[[255, 10, 0]]], np.uint8)
    assert Preprocessing.from_json(CAFFE).apply(pixel)[0, 0, 0].tolist() == [0 - 104, 10 - 117, 255 - 123]
    expected = (pixel[0, 0] / 255 - np.array(TORCH["mean"])) / np.array(TORCH["std"])
    assert np.array_equal(Preprocessing.from_json(TORCH).apply(pixel, np.float64)[0, 0, 0], expected)


@pytest.mark.parametrize("form", [CAFFE, TORCH])
def test_unit_range_colours_go_both_ways(form):
    p, rgb = Preprocessing.from_json(form), np.random.default_rng(0).random((4, 5, 3))
    assert np.allclose(p.to_picture01(p.from_picture01(rgb, np.float64)), rgb, rtol=0, atol=1e-14)
    assert np.allclose(p.from_picture01(ALL_VALUES / 255, np.float64), p.normalize(ALL_VALUES, np.float64), atol=1e-12)
    black, white = p.limits()
    assert np.allclose(p.to_picture01(black), 0, atol=1e-15) and np.allclose(p.to_picture01(white), 1)


def test_restore_clips_rounds_half_to_even_and_refuses_nan():
    p = Preprocessing.from_json({**CAFFE, "channels": "RGB", "mean": [0, 0, 0]})
    assert p.restore(np.array([[[[-9, 0.5, 1.5]], [[2.5, 254.5, 300]]]])).tolist() == [[[0, 0, 2]], [[2, 254, 255]]]
    with pytest.raises(MinivisError, match="1 of 3 values are not finite"):
        p.restore(np.array([[[0, 1, np.nan]]]))


def test_to_rgb_reorders_and_changes_nothing_else():
    gradient = np.random.default_rng(0).normal(size=(2, 3, 3))
    assert np.array_equal(Preprocessing.from_json(CAFFE).to_rgb(gradient), gradient[..., ::-1])
    assert np.array_equal(Preprocessing.from_json(TORCH).to_rgb(gradient), gradient)


@pytest.mark.parametrize("height, width, resized, top, left", [
    (300, 400, (256, 341), 14, 57),     # the long side is truncated, 341.33 -> 341; (341 - 227) / 2 = 57
    (400, 300, (341, 256), 57, 14),     # (256 - 227) / 2 = 14.5 rounds to the even 14
    (256, 256, (256, 256), 14, 14),     # no resize
    (100, 90, (284, 256), 28, 14),      # enlarged; 28.5 rounds to the even 28
])
def test_network_policy_is_short_side_then_centre_crop(height, width, resized, top, left):
    picture = random_picture(height, width)
    p = Preprocessing.from_json({**CAFFE, "size": [227, 227], "resize": 256, "crop": "centre"})
    seen = p.see(picture)
    expected = np.asarray(Image.fromarray(picture).resize(resized[::-1], Image.BILINEAR))
    assert np.array_equal(seen.picture, expected[top:top + 227, left:left + 227])
    factor = np.array([height / resized[0], width / resized[1]])
    assert np.allclose(seen.box, [*np.array([top, left]) * factor, *np.array([top + 227, left + 227]) * factor])
    assert np.array_equal(p.restore(p.apply(picture)), seen.picture)


@pytest.mark.parametrize("height, width", [(10, 500), (500, 10), (1, 1)])
@pytest.mark.parametrize("size", [None, 64, (300, 40)])
def test_network_policy_never_pads(height, width, size):
    p = Preprocessing.from_json({**CAFFE, "size": [32, 48], "resize": 40, "crop": "centre"})
    seen = p.see(np.full((height, width, 3), 9, np.uint8), size)
    assert seen.picture.shape[:2] == ((32, 48) if size is None else (64, 64) if size == 64 else size)
    assert (seen.picture == 9).all()
    top, left, bottom, right = seen.box
    assert -1e-9 <= top < bottom <= height + 1e-9 and -1e-9 <= left < right <= width + 1e-9


def test_a_resize_that_would_fill_the_memory_is_refused():
    p = Preprocessing.from_json({**CAFFE, "size": [224, 224], "resize": 256, "crop": "centre"})
    with pytest.raises(MinivisError, match="more than the limit"):
        p.apply(np.zeros((1, 20_000, 3), np.uint8))


def test_another_size_shows_the_same_part():
    p = Preprocessing.from_json({**CAFFE, "size": [224, 224], "resize": 256, "crop": "centre"})
    picture = random_picture(300, 400)
    assert np.allclose(p.see(picture, 448).box, p.see(picture).box, atol=1)


def test_other_policies():
    picture, p = random_picture(30, 60), Preprocessing.from_json({**CAFFE, "size": [24, 24], "resize": 28})
    keras = p.see(picture, policy="keras")
    assert np.array_equal(keras.picture, np.asarray(Image.fromarray(picture).resize((24, 24), Image.NEAREST)))
    assert p.see(picture, 40, "longest").picture.shape == (20, 40, 3)
    assert np.array_equal(p.see(picture, policy="none").picture, picture)
    for policy in ("keras", "longest", "none"):
        assert p.see(picture, policy=policy).box == (0, 0, 30, 60)
    with pytest.raises(MinivisError, match="'fancy' is not one of"):
        p.see(picture, policy="fancy")


def test_a_network_of_any_size_gets_the_picture_as_it_is():
    picture = random_picture(31, 57)
    assert np.array_equal(Preprocessing.from_json(CAFFE).see(picture).picture, picture)


def test_bilinear_without_antialias_mixes_the_two_nearest_rows():
    column = np.array([0, 10, 20, 40], np.uint8)[:, None, None].repeat(3, axis=2)
    assert resize(column, (2, 1), "bilinear", antialias=False)[:, 0, 0].tolist() == [5, 30]
    ramp = np.arange(0, 160, 10, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    assert resize(ramp, (4, 1), "bilinear", antialias=False)[:, 0, 0].tolist() == [15, 55, 95, 135]
    spike = np.zeros((16, 1, 3), np.uint8)
    spike[0] = 160                                              # point sampling at 1.5 does not see it, averaging does
    assert resize(spike, (4, 1), "bilinear", antialias=False)[0, 0, 0] == 0
    assert resize(spike, (4, 1), "bilinear", antialias=True)[0, 0, 0] > 0


def test_json_goes_both_ways():
    text = ('{"size": [227, 227], "resize": 256, "crop": "centre", "interpolation": "bilinear", "antialias": true, '
            '"channels": "BGR", "range": 255, "mean": [104, 117, 123], "std": [1, 1, 1]}')
    assert json.loads(Preprocessing.from_json(text).to_json()) == json.loads(text)
    assert Preprocessing.from_json(Preprocessing.from_json(text.encode()).to_json()) == Preprocessing.from_json(text)


@pytest.mark.parametrize("change, reason", [
    ({"size": [0, 4]}, "size"), ({"size": 4}, "size"), ({"size": [4.5, 4]}, "size"), ({"resize": -1}, "resize"),
    ({"crop": "left"}, "crop"), ({"interpolation": "magic"}, "interpolation"), ({"interpolation": []}, "interpolation"),
    ({"antialias": "no"}, "antialias"), ({"channels": "GBR"}, "channels"), ({"range": 2}, "range"),
    ({"range": True}, "range"), ({"range": [1]}, "range"), ({"mean": [1, 2]}, "mean"),
    ({"mean": [1, 2, float("nan")]}, "mean"), ({"std": [1, 1, 0]}, "std"), ({"colour": 1}, "unknown field 'colour'"),
    ({"interpolation": "bicubic", "antialias": False}, "bicubic without antialias"),
])
def test_impossible_fields_are_named(change, reason):
    with pytest.raises(MinivisError, match=f"preprocessing: .*{reason}|preprocessing: {reason}"):
        Preprocessing.from_json({**CAFFE, **change})


@pytest.mark.parametrize("text, reason", [
    ("{", "not valid JSON"), ("[1]", "JSON object"), ("{}", "'range' is missing"),
])
def test_what_is_no_preprocessing_is_refused(text, reason):
    with pytest.raises(MinivisError, match=reason):
        Preprocessing.from_json(text)
