"""Films: pictures in, pictures out, whatever the form; and what is no film is one clear error."""
import numpy as np
import pytest
from PIL import Image

from minivis.commands.stylize_film import Steadier, stylize_film
from minivis.errors import MinivisError
from minivis.film import _natural, open_film, writer
from minivis.style_networks import style_network, transformer
from minivis.techniques.stylize import stylize


def pictures(count=5, size=(24, 32)):
    """A square that moves over a ramp."""
    y, x = np.mgrid[:size[0], :size[1]]
    ramp = np.stack([4 * x, 5 * y, 0 * x + 90], -1).astype(np.uint8)
    found = []
    for n in range(count):
        found.append(ramp.copy())
        found[-1][8:16, 4 * n:4 * n + 8] = [250, 240, 20]
    return found


def written(path, films, rate=10.0):
    with writer(path, rate) as write:
        for picture in films:
            write(picture)


def test_a_folder_gives_back_the_same_pictures_in_natural_order(tmp_path):
    films = pictures(12)
    written(f"{tmp_path}/frames/", films)
    again = open_film(tmp_path / "frames")
    assert again.count == 12 and all(np.array_equal(a, b) for a, b in zip(again, films, strict=True))
    names = ["f10.png", "f2.png", "e3.png", "f2b.png", "f.png"]
    ordered = sorted(map(tmp_path.__truediv__, names), key=_natural)
    assert [f.name for f in ordered] == ["e3.png", "f2.png", "f2b.png", "f10.png", "f.png"]


@pytest.mark.parametrize("name, tolerance", [("film.gif", 12), ("film.webp", 12), ("film.mp4", 20), ("film.mkv", 20)])
def test_a_film_gives_back_its_pictures_and_rate(tmp_path, name, tolerance):
    if name.endswith((".mp4", ".mkv")):
        pytest.importorskip("av", reason="PyAV is not installed")
    films = pictures()
    written(tmp_path / name, films)
    again = open_film(tmp_path / name)
    assert abs(again.rate - 10.0) < 0.1 and again.count in (5, None)
    read = list(again)
    assert len(read) == 5 and read[0].shape == (24, 32, 3) and read[0].dtype == np.uint8
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(read, films)) < tolerance
    assert np.abs(read[0].astype(int) - read[4]).mean() > 5             # it moves


def test_an_odd_row_of_a_video_is_left_out(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    written(tmp_path / "odd.mp4", pictures(3, (25, 33)))
    assert next(iter(open_film(tmp_path / "odd.mp4"))).shape == (24, 32, 3)


def test_what_is_no_film_is_one_clear_error(tmp_path):
    (tmp_path / "broken.gif").write_bytes(b"GIF89a nothing")
    (tmp_path / "empty").mkdir()
    for name, message in (("none.gif", "there is no file"), ("broken.gif", "not a readable picture|damaged"),
                          ("empty", "there is no picture in")):
        with pytest.raises(MinivisError, match=message):
            open_film(tmp_path / name)
    for name, message in (("out.txt", "a film ends in"), ("none/out.gif", "there is no folder"),
                          ("out.gif", "has no picture")):
        with pytest.raises(MinivisError, match=message):
            written(tmp_path / name, [])
    assert not (tmp_path / "out.gif").exists()


def test_a_broken_video_is_one_clear_error(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "broken.mp4").write_bytes(b"no film at all")
    with pytest.raises(MinivisError, match="cannot be read as a film"):
        open_film(tmp_path / "broken.mp4")
    with pytest.raises(MinivisError, match="has no picture"):
        written(tmp_path / "out.mp4", [])
    assert [f.name for f in tmp_path.iterdir()] == ["broken.mp4"]


@pytest.fixture(scope="module")
def net():
    return style_network(transformer(3, 1))


def test_every_picture_of_the_film_is_stylized(net, tmp_path):
    films = pictures()
    written(f"{tmp_path}/in/", films)
    report = stylize_film(net, str(tmp_path / "in"), out=f"{tmp_path}/out/", steady=0.0)
    made = list(open_film(tmp_path / "out"))
    assert report.rows()[0]["pictures"] == 5 and report.rows()[0]["pictures a second"] > 0
    assert all(np.array_equal(a, stylize(net, b).pictures[0]) for a, b in zip(made, films, strict=True))
    stylize_film(net, str(tmp_path / "in"), out=str(tmp_path / "out.gif"), size=16, frames=3, rate=5.0)
    gif = open_film(tmp_path / "out.gif")
    assert gif.count == 3 and abs(gif.rate - 5.0) < 1e-9
    assert Image.open(tmp_path / "out.gif").size == (16, 12)


def test_what_stands_still_is_held_and_what_moves_is_not():
    shown, moved = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    moved[0] = 200
    hold = Steadier(0.5)
    first = hold(np.full((2, 2, 3), 10.0), shown)
    second = hold(np.full((2, 2, 3), 20.0), moved)
    assert np.array_equal(first, np.full((2, 2, 3), 10.0))
    assert np.allclose(second[0], 20.0) and np.allclose(second[1], 15.0)
    assert np.array_equal(Steadier(0.0)(second, shown), second)


def test_a_still_film_flickers_less_when_steady(net, tmp_path):
    noisy = [np.clip(pictures()[0] + np.random.default_rng(n).normal(0, 2, (24, 32, 3)), 0, 255).astype(np.uint8)
             for n in range(4)]
    written(f"{tmp_path}/in/", noisy)
    flicker = []
    for steady in (0.0, 0.8):
        stylize_film(net, str(tmp_path / "in"), out=f"{tmp_path}/{steady}/", steady=steady)
        made = np.stack(list(open_film(tmp_path / str(steady)))).astype(float)
        flicker.append(np.abs(np.diff(made, axis=0)).mean())
    assert 0 < flicker[1] < 0.6 * flicker[0]


@pytest.mark.parametrize("options, message", [
    ({"steady": 1.0}, "from 0 to 0.95"), ({"strength": 2.0}, "strength 2.0"), ({"rate": 0.0}, "must be above 0"),
    ({"frames": 0}, "at least 1"), ({"style": "red"}, "has one style"),
])
def test_options_that_cannot_be(net, tmp_path, options, message):
    with pytest.raises(MinivisError, match=message):
        stylize_film(net, str(tmp_path), out=f"{tmp_path}/out/", **options)
