"""`minivis demo`: every technique can be shown, the page says how, and what cannot be shown is said."""
import re
import shlex

import pytest

from minivis import commandline, load_network, techniques
from minivis.commands.demo import chosen, command, demo
from minivis.demonstration import materials
from minivis.errors import MinivisError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return materials.Materials(folder, load_network("digits"))


def test_the_photographs_that_come_with_the_dependencies_are_there(made):
    assert set(materials.photographs()) == {"portrait", "flower", "temple"}
    assert len(list(made.cutouts.rglob("*.jpg"))) == 3 * materials.CROPS
    assert len(list((made.folder / "textures").rglob("*.jpg"))) % materials.CROPS == 0


@pytest.mark.parametrize("name", techniques.TECHNIQUES)
def test_every_entry_says_all_that_a_demonstration_needs_and_its_command_line_is_right(made, name, monkeypatch):
    monkeypatch.setattr(made, "index", lambda: "index.h5")
    function, settings = techniques.load(name), techniques.TECHNIQUES[name].demo
    try:
        values, texts = made.arguments(function, settings)
    except materials.Unavailable as why:
        assert "comes with minivis" in str(why)
        return
    words = shlex.split(command(name, function, texts, settings, "x.png"))
    assert words[:2] == ["minivis", name.replace("_", "-")]
    monkeypatch.chdir(made.folder)
    parsed = commandline.parser_for(name, function).parse_args(words[2:])
    for key, value in values.items():
        got = getattr(parsed, key, None)
        if key != "net" and isinstance(value, int | float | str):
            assert str(got) == str(value) or str(got) in texts[key]


def test_the_page_has_a_picture_and_a_command_for_each_technique_and_names_what_is_missing(tmp_path, monkeypatch):
    broken = techniques.TECHNIQUES["gradcam"]._replace(demo={"layer": "nowhere"})
    monkeypatch.setitem(techniques.TECHNIQUES, "gradcam", broken)
    report = demo(load_network("digits"), out=str(tmp_path / "d"), only=["filters", "saliency", "gradcam"])
    page = (tmp_path / "d" / "index.html").read_text()
    assert re.findall(r'<img src="([^"]+)"', page) == ["filters.png", "saliency.png"]
    assert all((tmp_path / "d" / name).stat().st_size > 1000 for name in ("filters.png", "saliency.png"))
    assert "minivis saliency photographs/portrait.jpg -o saliency.png" in page
    assert "nowhere" in page and "nowhere" in report.text()
    assert "2 pictures" in report.text() and "http" not in page


def test_families_and_names_choose_techniques_and_others_are_an_error():
    assert chosen(None) == list(techniques.TECHNIQUES)
    assert chosen(["I"]) == [n for n, e in techniques.TECHNIQUES.items() if e.family == "I"]
    assert chosen(["guided-backprop"]) == ["guided_backprop"]
    with pytest.raises(MinivisError, match="'nonsense' is no family"):
        chosen(["nonsense"])


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(MinivisError, match="is a file"):
        demo(load_network("digits"), out=str(tmp_path / "x"))
    assert (tmp_path / "x").read_text() == "mine"
