"""Style transfer and texture: what is asked for goes down, controls control, and a run goes on where it stopped."""
import json

import numpy as np
import pytest

from minivis import colours, losses
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.monitor import Stop, read_state, write_state
from minivis.network import Network
from minivis.techniques.matching import Painter, Planner, default_layers, shared, sizes_up_to
from minivis.techniques.style import Frame, style
from minivis.techniques.style_options import ALIASES, translated
from minivis.techniques.style_strip import style_strip
from minivis.techniques.texture import texture


@pytest.fixture(scope="module")
def net():
    """Three resolutions, padded 3x3 convolutions."""
    layers = [Layer("input", "input", shape=[None, None, 3])]
    for b, filters in enumerate((6, 8, 10), 1):
        layers += [Layer(f"conv{b}", "conv", filters=filters, kernel=3, pad=1), Layer(f"relu{b}", "relu"),
                   Layer(f"pool{b}", "max_pool", kernel=2)]
    return Network(layers, random_weights(layers), name="three", precision="float64", preprocessing={
        "channels": "BGR", "range": 1, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]})


@pytest.fixture(scope="module")
def pictures():
    """A photograph's stand-in, smooth, and two textures with stripes in different colours."""
    y, x = np.mgrid[:40, :56]
    ramp = np.stack([4 * x, 5 * y, 255 - 4 * x], -1)
    red = np.where((x // 3 % 2)[..., None], [230, 40, 20], [250, 220, 200])
    blue = np.where((y // 4 % 2)[..., None], [20, 60, 210], [10, 20, 60])
    return [p.astype(np.uint8) for p in (ramp, red, blue)]


FAST = {"size": 56, "scales": 1, "steps": 15}


def closeness(net, levels, source, layer="relu1"):
    """The distance of two pictures' Gram matrices."""
    p = Painter(net)
    a, b = (p.grams(p.z(x), [layer])[layer] for x in (levels, source))
    return float(((a - b) ** 2).mean())


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_style_goes_down_and_content_is_kept(net, pictures, optimizer):
    content, red, _ = pictures
    result = style(net, content, styles=[red], **FAST, optimizer=optimizer)
    assert result.pictures.shape == (1, 40, 56, 3) and result.history["loss"].shape == (15, 1)
    assert result.history["content"][0] == 0        # it begins with the content itself
    assert result.history["style"][-1] < 0.5 * result.history["style"][0]
    total = sum(result.history[name] for name in ("content", "style", "tv"))
    assert np.allclose(result.history["loss"], total)
    assert closeness(net, result.values[0], red) < 0.5 * closeness(net, content, red)
    alike = np.corrcoef(result.values[0].mean(-1).ravel(), content.mean(-1).ravel())[0, 1]
    assert alike > 0.3 and json.dumps(result.recipe)


def test_more_weight_for_the_style_means_less_content(net, pictures):
    content, red, _ = pictures
    little, much = (style(net, content, styles=[red], **FAST, style_weight=w, tv_weight=0.0) for w in (0.2, 200.0))
    assert "tv" not in little.history
    assert much.history["style"][-1] / 200 < 0.8 * little.history["style"][-1] / 0.2
    assert much.history["content"][-1] > 2 * little.history["content"][-1]
    assert np.abs(much.values[0] - content).mean() > np.abs(little.values[0] - content).mean()


def test_a_strip_goes_from_content_to_style(net, pictures):
    content, red, _ = pictures
    ratios = [0.01, 0.3, 10]
    strip = style_strip(net, content, styles=[red], ratios=ratios, size=56, steps=60)
    last = {name: [float(r.history[name][-1, 0]) for r in strip.results] for name in ("content", "style")}
    far = [value / ratio for value, ratio in zip(last["style"], ratios)]
    change = [np.abs(result.values[0] - content).mean() for result in strip.results]
    assert far[0] > far[1] > far[2] and last["content"] == sorted(last["content"]) and change == sorted(change)
    assert strip.captions[2] == "style weight 80"
    with pytest.raises(MinivisError, match="1 to 24 numbers"):
        style_strip(net, content, styles=[red], ratios=[])


def test_blending_with_all_weight_on_one_style_is_that_style(net, pictures):
    content, red, blue = pictures
    alone = style(net, content, styles=[blue], **FAST)
    for blend in ("targets", "losses"):
        both = style(net, content, styles=[red, blue], blend_weights=[0, 3], blend=blend, **FAST)
        assert np.allclose(both.values, alone.values, atol=1e-6)


def test_a_mask_keeps_each_style_in_its_region(net, pictures):
    _, red, blue = pictures
    grey = np.full((40, 56, 3), 128, np.uint8)
    left = np.zeros((40, 56), bool)
    left[:, :28] = True
    made = style(net, grey, styles=[red, blue], masks=[left, ~left], content_weight=0.0, tv_weight=0.0, size=56,
                 scales=1, steps=40).values[0]
    p = Painter(net)

    def distance(mask, source):
        a, b = (p.grams(p.z(x), ["relu2"], mask=m)["relu2"] for x, m in ((made, mask), (source, None)))
        return ((a - b) ** 2).mean()
    assert distance(left, red) < 0.1 * distance(left, blue) and distance(~left, blue) < 0.1 * distance(~left, red)


def test_colours_stay_the_contents(net, pictures):
    content, red, _ = pictures
    made = style(net, content, styles=[red], colours="luminance", **FAST).values[0]
    inside = (made > 1).all(-1) & (made < 254).all(-1)          # clipping moves colours
    change = (made - colours.grey(made)) - (content - colours.grey(content))
    assert inside.mean() > 0.3 and np.abs(change[inside]).max() < 1e-6
    matched = style(net, content, styles=[red], colours="match", **FAST)
    recoloured = np.rint(colours.recoloured(red, content)).astype(np.uint8)
    assert np.array_equal(matched.values, style(net, content, styles=[recoloured], **FAST).values)


def test_tiles_change_nothing(net, pictures):
    content, red, _ = pictures
    whole, tiled = (style(net, content, styles=[red], **FAST, tile=tile) for tile in (None, 16))
    assert np.abs(whole.values - tiled.values).max() < 1e-6 and "tiles of 16 pixels" in " ".join(tiled.notes)


def test_sizes_grow_and_weights_keep_their_meaning(net, pictures):
    assert sizes_up_to((512, 384), 3) == [(256, 192), (362, 272), (512, 384)] and shared(10, 3) == [4, 3, 3]
    content, red, _ = pictures
    small, large = (style(net, np.kron(content, np.ones((k, k, 1), np.uint8)), styles=[red], size=56 * k, scales=1,
                          steps=1, style_scale=1.0) for k in (1, 4))
    assert 0.2 < large.history["style"][0, 0] / small.history["style"][0, 0] < 5
    grown = style(net, content, styles=[red], size=224, scales=3, steps=5, optimizer="adam")
    assert grown.pictures.shape == (1, 160, 224, 3) and len(grown.history["loss"]) == 5
    assert list(grown.recipe["options"]["used"]) == ["88 x 120", "124 x 170", "176 x 240"]      # with the margin


@pytest.mark.parametrize("size, margin", [((40, 56), 8), ((5, 30), 8), ((9, 9), 0), ((1, 4), 8)])
def test_a_margin_is_the_mirror_image_and_is_cut_off_again(size, margin):
    picture = np.random.RandomState(0).randint(0, 256, (*size, 3)).astype(np.uint8)
    frame = Frame(size, margin)
    framed = frame.picture(picture)
    m = min(margin, min(size) - 1)
    assert frame.margin == m and framed.shape[:2] == frame.size == (size[0] + 2 * m, size[1] + 2 * m)
    assert np.array_equal(frame.cut(framed), picture)
    assert not m or np.array_equal(framed[m - 1, m:-m], picture[1])
    mask = np.arange(20.0)[:, None].repeat(10, 1)       # of another size than the picture
    assert frame.mask(mask).shape == tuple(n + 2 * round(m * n / side) for n, side in zip((20, 10), size))
    assert frame.mask(mask).max() == 19


def test_a_margin_keeps_the_padding_out_of_the_picture(net, pictures):
    """A flat picture in a flat style: what the border has and the middle has not comes from the network's padding."""
    flat = np.full((48, 48, 3), 90, np.uint8)
    colour = np.full((48, 48, 3), [200, 60, 40], np.uint8)
    apart = []
    for margin in (0, 8):
        made = style(net, flat, styles=[colour], size=48, scales=1, steps=12, margin=margin).values[0]
        middle = made[12:-12, 12:-12].mean(axis=(0, 1))
        apart.append(np.abs(np.concatenate([made[0], made[-1]]) - middle).mean())
    assert apart[1] < 0.5 * apart[0] and apart[0] > 1


OTHERS = ("moments", "correlations", "histogram", "patches", "sliced")


@pytest.mark.parametrize("loss", OTHERS)
def test_every_style_loss_goes_down_in_style_and_texture(net, pictures, loss):
    content, red, blue = pictures
    result = style(net, content, styles=[red], style_loss=loss, **FAST)
    assert result.history["style"][-1] < 0.6 * result.history["style"][0]
    assert result.recipe["options"]["scale"] == "relative"
    alone = style(net, content, styles=[red, blue], blend_weights=[1.0, 0.0], style_loss=loss, **FAST)
    assert np.array_equal(alone.values, result.values)
    made = texture(net, red, style_loss=loss, height=40, width=40, source_size=None, steps=15, tv_weight=0.0)
    assert made.history["style"][-1] < 0.6 * made.history["style"][0]


def test_moments_may_be_tiled_and_the_others_say_that_they_may_not(net, pictures):
    content, red, _ = pictures
    whole, tiled = (style(net, content, styles=[red], style_loss="moments", **FAST, tile=tile) for tile in (None, 16))
    assert np.abs(whole.values - tiled.values).max() < 1e-4
    for loss in OTHERS[1:]:
        for options, message in (({"tile": 16}, "leave out --tile"), ({"memory": "1MB"}, "takes the picture whole"),
                                 ({"scale": "neural-style"}, "is relative"),
                                 ({"masks": [np.ones((4, 4), bool)]}, "takes the whole picture")):
            with pytest.raises(MinivisError, match=message):
                style(net, content, styles=[red], style_loss=loss, **{**FAST, **options})
    with pytest.raises(MinivisError, match="style loss 'best' must be gram"):
        style(net, content, styles=[red], style_loss="best")


class Interrupted(Exception):
    pass


class Saving:
    """Keeps every state; raises after `stop` steps, if given."""

    def __init__(self, stop=None, state=None, error=Interrupted):
        self.stop, self.state, self.error, self.pictures = stop, state, error, []

    def load(self):
        return self.state

    def save(self, state):
        self.state = state()

    def step(self, done, total, terms=None, picture=None):
        self.pictures.append(picture())
        if done == self.stop:
            raise self.error


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("stop", [1, 4, 6, 7])          # in both sizes, and at the seam between them
def test_an_interrupted_run_goes_on_with_the_same_bits(net, pictures, optimizer, stop, tmp_path):
    content, red, _ = pictures
    options = {"styles": [red], "size": 112, "scales": 2, "steps": 8, "optimizer": optimizer}
    through = style(net, content, **options)
    monitor = Saving(stop)
    with pytest.raises(Interrupted):
        style(net, content, **options, monitor=monitor)
    write_state(tmp_path / "state.h5", monitor.state, {})
    again = style(net, content, **options, monitor=Saving(state=read_state(tmp_path / "state.h5")[0]))
    assert np.array_equal(again.values, through.values)
    assert all(np.array_equal(again.history[key], through.history[key]) for key in through.history)


def test_a_stopped_run_gives_its_best(net, pictures):
    content, red, _ = pictures
    monitor = Saving(5, error=Stop)
    result = style(net, content, styles=[red], size=112, scales=2, steps=8, monitor=monitor)
    assert "stopped" in result.notes[-1] and len(result.history["loss"]) == 5 and len(monitor.pictures) == 5
    assert monitor.pictures[0].dtype == np.uint8


def test_the_memory_limit_cuts_the_history_and_the_picture_and_says_so(net, pictures):
    content, red, _ = pictures
    wanted = style(net, content, styles=[red], size=400, scales=1, steps=2, history=50)
    small = style(net, content, styles=[red], size=400, scales=1, steps=2, history=50, memory="90MB")
    text = " ".join(small.notes)
    assert "steps in place of 50" in text and "in tiles of" in text and not wanted.notes
    assert np.abs(small.values - wanted.values).max() < 1e-4


def test_a_plan_counts_what_is_held_all_the_time(net):
    """Values of relu1 of 512 x 512 pixels, 6 numbers each of 8 bytes: so much less is left for tiles."""
    size, kept = (512, 512), 512 * 512 * 6 * 8
    without, within = (Planner(net, ["relu1"], "adam", 1, "1GB", kept=k)._kept_bytes(size) for k in ((), ["relu1"]))
    assert without == 0 and within == kept
    sides = [Planner(net, ["relu1", "relu3"], "adam", 1, memory)(size).side for memory in ("1GB", "130MB", "106MB")]
    assert sides[0] is None and sides[1] > sides[2]


@pytest.mark.parametrize("options, message", [
    ({"styles": []}, "at least one style picture"),
    ({"blend_weights": [1.0, 2.0]}, "2 blend weights for 1 style pictures"),
    ({"blend_weights": [-1.0]}, "must be at least 0 and not all 0"),
    ({"masks": []}, "0 masks for 1"),
    ({"init": "picture"}, "go together"),
    ({"content_weight": 0.0, "style_weight": 0.0}, "both 0"),
    ({"tv_weight": -1.0}, "tv weight -1.0 must be at least 0"),
    ({"style_layers": {"relu9": 1.0}}, "no layer 'relu9'"),
    ({"scales": 9}, "take fewer"),
    ({"gram": "none", "style_scale": 2.0}, "use chw or hw"),
    ({"history": 0}, "must be at least 1"),
])
def test_what_cannot_be_is_one_clear_error(net, pictures, options, message):
    with pytest.raises(MinivisError, match=message):
        style(net, pictures[0], **{"styles": [pictures[1]], **FAST, **options})


def test_default_layers_are_the_papers_or_one_for_each_resolution(net):
    from minivis.loading import random_network
    content, wanted = default_layers(random_network("vgg19", head=False))
    assert list(content) == ["relu4_2"] and list(wanted) == [f"relu{b}_1" for b in range(1, 6)]
    content, wanted = default_layers(net)
    assert list(content) == ["relu2"]
    assert list(wanted) == ["relu1", "relu2", "relu3"]


def test_neural_styles_words_are_understood():
    words = ("-content_image a.jpg -style_image b.jpg,c.jpg -style_blend_weights 1,2 -image_size 256 -init random "
             "-original_colors 1 -gpu -1 -save_iter 10 -cudnn_autotune -style_layers relu1_1,relu2_1 "
             "-output_image o.png")
    ours = ("a.jpg --styles b.jpg c.jpg --blend-weights 1 2 --size 256 --init noise --colours luminance --device cpu "
            "--style-layers relu1_1,relu2_1 -o o.png")
    assert translated(words.split()) == ours.split()
    ours = ["a.jpg", "--styles", "b.jpg", "-o", "x.png", "-q"]
    assert translated(ours) == ours
    with pytest.raises(MinivisError, match="--scale relative"):
        translated(["-content_image", "a.jpg", "-normalize_gradients"])
    from minivis.options import parameters
    flags = {p.flag for p in parameters(style)} | {"--seed", "--network", "--device", "-o"}
    assert {flag for flag in ALIASES.values() if flag} <= flags


def test_a_texture_has_the_sources_gram_matrices_and_histogram(net, pictures):
    red = pictures[1]
    result = texture(net, red, height=48, width=64, source_size=None, steps=40, tv_weight=0.0, histogram=False)
    assert result.pictures.shape == (1, 48, 64, 3)
    assert result.history["style"][-1] < 0.05 * result.history["style"][0]
    noise = np.random.RandomState(0).randint(0, 256, (48, 64, 3))
    assert closeness(net, result.values[0], red) < 0.3 * closeness(net, noise, red)
    matched = texture(net, red, height=48, width=64, source_size=None, steps=3)
    for c in range(3):
        assert np.abs(np.percentile(matched.values[0, ..., c], [10, 50, 90])
                      - np.percentile(red[..., c], [10, 50, 90])).max() < 1.5


def test_a_tileable_texture_knows_no_border(net, pictures):
    """The loss of the result, shifted round, is the loss of the result; without the option it is not."""
    options = {"height": 46, "width": 61, "source_size": None, "steps": 10, "histogram": False, "scale": "paper",
               "tv_weight": 0.0}
    result = texture(net, pictures[1], tileable=True, **options)
    assert result.values.shape == (1, 48, 60, 3) and "multiples of 4: 60 x 48" in result.notes[0]
    p = Painter(net, "avg")
    z = p.z(result.values[0])
    here, there = (p.grams(x, ["relu3"], wrap=True)["relu3"] for x in (z, np.roll(z, (8, 20), (1, 2))))
    assert np.allclose(here, there, rtol=1e-10)
    assert not np.allclose(p.grams(z, ["relu3"])["relu3"], here, rtol=1e-3)


def test_the_papers_loss_is_the_published_formula(net, pictures):
    """E = sum_l w_l / (4 N^2 M^2) sum (G - G')^2, equations 3 to 5 of Gatys et al. 2015."""
    red = pictures[1]
    result = texture(net, red, source_size=None, steps=1, scale="paper", normalize="quarter", tv_weight=0.0,
                     layers={"relu1": 1.0, "relu3": 0.5}, pool=None, noise=30.0, margin=0)
    assert result.pictures.shape == (1, 40, 56, 3)
    p = Painter(net)
    start, source = p.noise((40, 56), 0, 30.0), p.z(red)
    wanted = 0.0
    for name, weight in (("relu1", 1.0), ("relu3", 0.5)):
        a, b = (p.values(z, [name])[name][0].reshape(-1, net.channels(name)) for z in (start, source))
        wanted += weight / (4 * a.shape[1]**2 * a.shape[0]**2) * ((a.T @ a - b.T @ b) ** 2).sum()
    assert np.isclose(result.history["loss"][0, 0], wanted, rtol=1e-9)


def test_a_texture_that_cannot_be_says_why(net, pictures):
    with pytest.raises(MinivisError, match="too few"):
        texture(net, pictures[1], height=4)
    with pytest.raises(MinivisError, match="use chw or hw"):
        texture(net, pictures[1], height=64, gram="none")
    with pytest.raises(MinivisError, match="margin -1"):
        texture(net, pictures[1], margin=-1)
    with pytest.raises(MinivisError, match="normalize"):
        losses.style(net, "relu1", np.eye(6), normalize="half")
