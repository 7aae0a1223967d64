"""Colours stand for values: zero is neutral, scales are true, nothing divides by zero."""

import subprocess
import sys

import numpy as np
import pytest

from minivis import figures, show

MAP = np.random.default_rng(0).normal(size=(12, 9))


def luminance(picture):
    return picture @ np.array([0.2126, 0.7152, 0.0722])


def test_signed_maps_show_zero_as_white_and_opposite_values_symmetrically():
    shown = show.signed(np.array([[-2.0, -1, 0, 1, 2]]))
    assert (shown.low, shown.high, shown.clipped, shown.problem) == (-2, 2, 0, "")
    row = shown.picture[0].astype(int)
    assert row[2].min() > 240                                   # zero: nearly white
    assert row[0, 2] > row[0, 0] + 40 and row[4, 0] > row[4, 2] + 40        # blue below, red above
    assert np.array_equal(show.signed(-np.array([[-2.0, -1, 0, 1, 2]])).picture[0, ::-1], shown.picture[0])


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e200])
def test_the_picture_does_not_depend_on_the_unit(scale):
    for render in (show.signed, show.heat):
        assert np.abs(render(np.abs(MAP) * scale).picture.astype(int) - render(np.abs(MAP)).picture).max() <= 2
    assert show.signed(MAP * scale).high == pytest.approx(show.signed(MAP).high * scale)


def test_the_percentile_keeps_one_outlier_from_hiding_the_rest_and_says_so():
    values = np.ones((40, 40))
    values[0, 0] = 1e6
    shown = show.signed(values)
    assert shown.high == 1 and shown.clipped == 1 / 1600
    assert show.signed(values, percentile=None).high == 1e6
    sparse = np.zeros((40, 40))
    sparse[0, 0] = 3                                            # its 99.5th percentile is zero
    assert show.signed(sparse).high == show.heat(sparse).high == 3


def test_heat_grows_brighter_with_the_value():
    shown = show.heat(np.arange(256.0)[None], percentile=None)
    assert (np.diff(luminance(shown.picture[0])) > -1).all() and luminance(shown.picture[0])[-1] > 200
    assert (shown.low, shown.high) == (0, 255)


def test_signed_colour_is_grey_at_zero_with_one_scale_for_all_channels():
    gradient = np.zeros((1, 3, 3))
    gradient[0, 0] = (0, 0, 4)
    gradient[0, 1] = (-1, 2, 0)
    shown = show.signed_rgb(gradient, percentile=None)
    assert shown.high == 4
    assert shown.picture[0].tolist() == [[128, 128, 255], [96, 192, 128], [128, 128, 128]]


@pytest.mark.parametrize("render, shape", [(show.signed, (3, 4)), (show.heat, (3, 4)), (show.signed_rgb, (3, 4, 3))])
def test_maps_without_a_scale_are_flat_and_say_why(render, shape):
    with np.errstate(all="raise"):
        for fill, reason in [(0, "zero everywhere"), (np.nan, "12 of|36 of"), (np.inf, "not finite")]:
            shown = render(np.full(shape, fill))
            assert np.array_equal(shown.picture, np.broadcast_to(shown.picture[0, 0], (3, 4, 3)))
            assert any(part in shown.problem for part in reason.split("|"))
            assert shown.low == shown.high == 0
        assert show.signed(MAP, scale=0).problem and show.heat(-np.abs(MAP)).problem


def test_overlay_without_effect_is_the_grey_picture_and_with_full_effect_the_map():
    picture = np.random.default_rng(0).integers(0, 256, (24, 18, 3), dtype=np.uint8)
    shown = show.signed(MAP)
    grey = show.overlay(picture, shown, np.zeros_like(MAP))
    assert np.ptp(grey.astype(int), axis=2).max() == 0 and np.ptp(grey) > 100
    assert np.array_equal(show.overlay(picture[:12, :9], shown, alpha=1.0), shown.picture)


def test_grid_places_tiles_row_by_row():
    tiles = [np.full((2, 3, 3), i, np.uint8) for i in range(5)]
    sheet = show.grid(tiles, columns=2, padding=1, ground=255)
    assert sheet.shape == (8, 7, 3)
    assert [sheet[r * 3, c * 4, 0] for r in range(3) for c in range(2)] == [0, 1, 2, 3, 4, 255]
    assert (sheet[2] == 255).all() and (sheet[:, 3] == 255).all()
    for bad, reason in [([], "no tile"), ([tiles[0], tiles[0][:1]], "differ")]:
        with pytest.raises(ValueError, match=reason):
            show.grid(bad)


def test_filters_keep_zero_grey_and_every_weight_one_block():
    w = np.random.default_rng(0).normal(size=(3, 3, 3, 4))
    w[1, 1] = 0
    for scaling in ("filter", "layer"):
        sheet = show.filters(w, scaling, columns=2, side=12)
        assert sheet.shape == (26, 26, 3)
        assert (sheet[4:8, 4:8] == show.GREY).all()
    tiles, scale = show.filter_tiles(w, "layer", 3)
    assert scale == np.abs(w).max() and np.array_equal(tiles[2], np.rint(128 + 127 * w[..., 2] / scale))
    assert {0, 255} <= set(show.filter_tiles(w, "minmax", 3)[0][0].ravel().tolist())
    with pytest.raises(ValueError, match="'best' is not"):
        show.filters(w, "best")


@pytest.mark.parametrize("text", ["a few words that need several lines", "onelongwordwithoutanyspaceatall" * 3, "",
                                  "a\n\nb"])
@pytest.mark.parametrize("width", [30, 80, 400])
def test_wrapped_lines_fit_and_lose_nothing(text, width):
    face = show.font(13)
    lines = show.wrap(text, width, face)
    assert all(face.getlength(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_percent_sign_stays_with_its_number():
    face = show.font(13)
    lines = show.wrap("the network says goldfish, 100.0 %", face.getlength("the network says goldfish, 100.0"), face)
    assert [line.split() for line in lines] == [["the", "network", "says", "goldfish,"], ["100.0", "%"]]


def test_montage_holds_every_picture_under_its_title():
    pictures = [np.full((20, 60 + 10 * i, 3), 40 * i, np.uint8) for i in range(3)]
    sheet = show.montage(pictures, ["first", "a longer title of the second", "third"], columns=2)
    for i, picture in enumerate(pictures):
        assert np.count_nonzero((sheet == 40 * i).all(axis=2)) >= picture.shape[0] * picture.shape[1]
    assert sheet.shape[1] == 60 + 12 + 70


def test_a_colour_bar_has_the_colours_of_the_map():
    shown = show.signed(MAP)
    bar = figures.colour_bar(shown, 401)
    assert bar.shape[1] == 401
    assert np.array_equal(bar[3, 1], show.colour_table(shown.colours)[1])
    assert (bar[2:12, 200] == 0).all()                          # zero is marked through the bar


def test_panels_of_any_size_fill_a_figure_without_losing_pixels():
    panels = [figures.Panel("One", np.zeros((5, 5, 3), np.uint8)),
              figures.Panel("A title that is far too long for the width of its little picture", np.full(
                  (400, 30, 3), 9, np.uint8), show.signed(MAP), "unit", "caption " * 40)]
    sheet = figures.figure("Heading", ["fact", ""], panels, ["note"])
    assert np.count_nonzero((sheet == 9).all(axis=2)) >= 400 * 30
    assert (sheet[:20] == 255).all() and (sheet[:, -20:] == 255).all() and (sheet[-20:] == 255).all()


@pytest.mark.parametrize("side, factor", [(50, 8), (1600, 0.5)])
def test_frames_lie_where_their_boxes_are_at_any_size(side, factor):
    black, box = np.zeros((side, side, 3), np.uint8), (side // 5, 0, side // 2, side)
    marked = figures.mark_boxes(black, [(box, "", (9, 99, 9))])
    rows = np.flatnonzero((marked == 255).all(axis=2).any(axis=1))
    assert abs(rows.min() - side // 5 * factor) <= 2 and abs(rows.max() - side // 2 * factor) <= 2


def test_a_bar_chart_marks_the_largest_unit_highest():
    values = np.zeros(10)
    values[3], values[7] = 2.0, -1.0
    chart = figures.bar_chart(values, width=100, height=90)
    red = np.argwhere((chart == (178, 24, 43)).all(axis=2))
    blue = np.argwhere((chart == (33, 102, 172)).all(axis=2))
    assert red[:, 0].max() <= blue[:, 0].min() and np.ptp(red[:, 0]) == pytest.approx(2 * np.ptp(blue[:, 0]), abs=3)
    assert red[:, 1].max() < blue[:, 1].min()


def test_pictures_need_no_pyplot():
    program = ("import sys, numpy as np\nfrom minivis import show, figures, results\n"
               "assert 'matplotlib' not in sys.modules\n"
               "r = results.Attribution(np.eye(9))\nr.picture()\nr.plot()\n"
               "assert 'matplotlib.pyplot' not in sys.modules")
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_zeros_do_not_count_in_a_scale():
    """A unit low in the network sees few pixels; most of its map is zero, and what is not must not be all clipped."""
    values = np.zeros((100, 100))
    values[:5, :5] = np.linspace(-1, 1, 25).reshape(5, 5)
    assert show.symmetric_scale(values) > 0.9 and show.heat(np.abs(values)).high > 0.9
    assert show.signed(values).clipped < 0.0005 and show.symmetric_scale(np.zeros(4)) == 0


def test_a_no_break_space_breaks_no_line():
    face = show.font(13)
    text = "at 128\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}128"
    assert show.wrap(text, face.getlength(text) - 2, face) == ["at", text[3:]]
