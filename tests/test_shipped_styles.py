"""The style networks that come with minivis: small, documented, painting their style on photographs of any size."""
import importlib.resources
import json
import os

import numpy as np
import pytest

from minivis import image, load_network, losses, style_pictures
from minivis.loading import embedded, embedded_names
from minivis.preprocessing import resize
from minivis.techniques.matching import Painter, default_layers
from minivis.techniques.stylize import network_for, stylize

STYLES = [name for name in embedded_names() if name.startswith("style_")]
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def photograph():
    path = importlib.resources.files("sklearn.datasets") / "images" / "china.jpg"
    return image.read(str(path))


def test_the_first_one_is_what_stylize_takes_when_none_is_named():
    assert STYLES and network_for() == STYLES[0]


@pytest.mark.parametrize("name", STYLES)
def test_it_is_small_and_says_how_it_came_about(name):
    net = load_network(name, device="cpu")
    recipe, found = json.loads(net.meta["recipe"]), json.loads(net.meta["losses"])
    assert os.path.getsize(embedded(name)) <= MOST_BYTES
    assert recipe["technique"] == "train_style" and "seed" in recipe and not any(
        os.path.isabs(str(where)) for where in recipe["options"]["data"])
    assert net.meta["style"] in style_pictures.names() and net.meta["date"] and net.meta["licence"]
    assert found["style"] < 1


@pytest.mark.parametrize("name", STYLES)
def test_a_redrawn_photograph_has_the_style_and_keeps_the_content(name, photograph):
    """By minivgg's eyes, each loss relative to that of noise: the style comes much nearer, and the content stays nearer
    than another photograph's."""
    net, painter = load_network(name, device="cpu"), Painter(load_network("minivgg", device="cpu"))
    options = json.loads(net.meta["recipe"])["options"]
    shown = painter.net.see(photograph, 256, "longest").picture
    painting = image.read(style_pictures.find(net.meta["style"]))
    if options["style_size"]:
        painting = painter.net.see(painting, options["style_size"], "longest").picture
    content, layers = default_layers(painter.net)
    wanted = painter.grams(painter.z(painting), layers)
    terms = [("style", 1.0, losses.style(painter.net, layer, wanted[layer])) for layer in layers]
    values = painter.values(painter.z(shown), content)
    terms += [("content", 1.0, losses.content(painter.net, layer, values[layer])) for layer in content]
    loss = painter.loss(shown.shape[:2], terms)

    def far(picture):
        """Mean distance of all layers from the style, and that from the content."""
        found = np.array(loss.losses(painter.z(picture))) / far_noise
        return found[:-1].mean(), found[-1]
    far_noise = np.array(loss.losses(painter.noise(shown.shape[:2], 0)))
    other = resize(photograph[::-1], shown.shape[:2])
    style, kept = far(stylize(net, shown).pictures[0])
    assert style < 0.35 * far(shown)[0] and kept < far(other)[1]


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("size", [(1, 1), (7, 30), (65, 34)])
def test_any_size(name, size, photograph):
    made = stylize(load_network(name, device="cpu"), photograph[:size[0], :size[1]])
    assert made.pictures.shape == (1, *size, 3)
