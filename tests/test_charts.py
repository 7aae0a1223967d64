"""Charts: every point, number and name is where it belongs."""
import numpy as np

from minivis import charts, show


def test_colours_of_a_palette_differ():
    for count in (1, 10, 17, 60):
        table = charts.palette(count)
        assert table.shape == (count, 3) and table.dtype == np.uint8 and len({tuple(c) for c in table}) == count


def test_a_map_keeps_its_shape_and_points_upwards():
    points = np.array([[0.0, 0], [4, 0], [4, 2]])
    places = charts.on_sheet(points, 200, 200, 10)
    assert np.allclose(places, [[10, 145], [190, 145], [190, 55]])      # both axes alike, in the middle, y up
    assert np.allclose(charts.on_sheet(np.zeros((3, 2)), 200, 100, 10), [100, 50])


def test_a_scatter_has_a_dot_of_the_right_colour_at_every_point():
    points, colours = np.array([[0.0, 0], [1, 1]]), np.array([[200, 0, 0], [0, 0, 200]], np.uint8)
    sheet = charts.scatter(points, colours, side=200)
    for (x, y), colour in zip(charts.on_sheet(points, 200, 200, charts.MARGIN * 200 + 6), colours):
        assert np.abs(sheet[int(y), int(x)].astype(int) - colour).max() < 30
    marked = charts.scatter(points, colours, side=200, marks=["1", "2"])
    assert (marked != 255).any() and not np.array_equal(marked, sheet)


def test_thumbnails_and_boards_show_every_picture_in_its_cell():
    pictures = np.stack([np.full((8, 8, 3), 40 * k, np.uint8) for k in range(1, 4)])
    sheet = charts.thumbnails(np.array([[0.0, 0], [5, 0], [5, 5]]), pictures, side=120)
    assert all((sheet == 40 * k).all(axis=2).sum() >= 64 for k in range(1, 4))
    board = charts.board(pictures, 2, 2, [3, 0, 1], padding=0)
    assert (board[8:, 8:] == 40).all() and (board[:8, :8] == 80).all() and (board[:8, 8:] == 120).all()
    assert (board[8:, :8] == 255).all()
    red = charts.framed(pictures[0], (255, 0, 0), 2)
    assert (red[:2] == (255, 0, 0)).all() and (red[2:-2, 2:-2] == 40).all() and (pictures[0] == 40).all()


def test_a_table_has_the_colour_of_each_value_and_grey_where_there_is_none():
    values = np.array([[0.0, 1.0], [0.5, np.nan]])
    sheet = charts.table(values, ["a", "b"], ["left", "right"])
    cell, shades = 38, show.colour_table("viridis")
    corner = np.array(sheet.shape[:2]) - 2 * cell
    for (i, j), wanted in {(0, 0): shades[0], (0, 1): shades[255], (1, 0): shades[128], (1, 1): [200] * 3}.items():
        assert np.array_equal(sheet[corner[0] + i * cell + 2, corner[1] + j * cell + 2], wanted)


def test_bars_are_as_long_as_their_values():
    sheet = charts.bars(["one", "half", "none"], [1.0, 0.5, 0.0], width=200)
    lengths = [(sheet[30 * i + 15] == (33, 102, 172)).all(axis=1).sum() for i in range(3)]
    assert abs(lengths[0] - 2 * lengths[1]) <= 4 and lengths[0] > 190 and lengths[2] <= 1
    pale = charts.bars(["one"], [1.0], width=200, emphasised=[False])
    assert not (pale == (33, 102, 172)).all(axis=2).any()


def test_a_legend_shows_every_colour():
    colours = charts.palette(12)
    sheet = charts.legend([f"name {i}" for i in range(12)], colours, height=100)
    assert all((sheet == colour).all(axis=2).any() for colour in colours)
