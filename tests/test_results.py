"""Results keep their numbers and recipe in every file, and every figure can be drawn."""

import json

import numpy as np
import pytest

from minivis import image
from minivis.errors import MinivisError
from minivis.preprocessing import Box, Preprocessing, Seen
from minivis.provenance import hash_weights, jsonable, make_recipe
from minivis.results import Activations, Attribution, Classification, Comparison, Filters, Occlusion
from minivis.results.base import describe_target, seen_line

RNG = np.random.default_rng(0)


class Net:
    name = "tiny"
    meta = {"architecture": "tiny_vgg"}
    weights = {"conv1/weight": np.ones((3, 3, 3, 2), np.float32)}


RECIPE = make_recipe("guided_backprop", {"target": 3, "mask": np.zeros((2, 2))}, Net, seed=4)
SEEN = Preprocessing(size=(20, 30), resize=30, crop="centre").see(RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8))
TARGET = {"index": 283, "wnid": "n02123394", "label": "Persian cat"}


def occlusion(changes=((0.0, 2.0), (-1.0, 0.5))):
    clean = np.array([1.0, 5.0])
    scores = clean - np.stack([np.zeros((2, 2)), np.array(changes)], axis=2)
    values = np.kron(np.array(changes), np.ones((10, 15)))
    return Occlusion(values, None, TARGET, 5.0, "logit", SEEN, scores=scores, clean=clean, window=(10, 15), column=1,
                     positions=([0, 10], [0, 15]), recipe=RECIPE)


def every_result():
    gradient = RNG.normal(size=(20, 30, 3))
    attribution = Attribution(np.abs(gradient).max(axis=2), gradient, TARGET, 3.5, "logit", SEEN, recipe=RECIPE,
                              notes=["a caution"])
    rows = [{"index": 1, "wnid": "n1", "label": "cat", "probability": 0.75, "logit": 2.0},
            {"index": 0, "wnid": None, "label": None, "probability": 0.25, "logit": -1.0}]
    return {
        "heat": attribution,
        "signed": Attribution(gradient[:, :, 0], recipe=RECIPE, gap=0.5),
        "colour": Attribution(gradient, gradient, {"layer": "conv1", "channel": 0, "position": (1, 2)}, 1.0,
                              "activation", SEEN, recipe=RECIPE),
        "zero": Attribution(np.zeros((20, 30)), seen=SEEN, recipe=RECIPE),
        "nan": Attribution(np.full((20, 30), np.nan), score=np.nan, recipe=RECIPE),
        "occlusion": occlusion(),
        "maps": Activations({"conv1": RNG.normal(size=(1, 5, 7, 300)), "fc": RNG.random((1, 40))}, seen=SEEN),
        "maps_layer": Activations({"relu1": RNG.random((200, 200, 3)), "dead": np.zeros((4, 4, 2))}, scaling="layer"),
        "maps_nan": Activations({"relu1": np.full((4, 4, 2), np.nan)}, scaling="layer"),
        "filters": Filters(RNG.normal(size=(3, 3, 3, 300)), "conv1", noise=RNG.random(300)),
        "filters_layer": Filters(RNG.normal(size=(7, 7, 3, 5)), "conv1", scaling="layer"),
        "slices": Filters(RNG.normal(size=(1, 1, 64, 64)), "squeeze", scaling="layer"),
        "slices_dead": Filters(np.zeros((3, 3, 2, 2)), "conv2"),
        "classes": Classification(rows, seen=SEEN, recipe=RECIPE),
        "comparison": Comparison([attribution, occlusion()], ["one", "two"], recipe=RECIPE),
    }


@pytest.mark.parametrize("name", list(every_result()))
def test_every_result_has_a_figure_files_json_and_axes(tmp_path, name):
    result = every_result()[name]
    with np.errstate(all="raise"):
        picture = result.picture()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and np.ptp(picture) > 200
    result.save(tmp_path / "r.png")
    assert np.array_equal(image.read(tmp_path / "r.png"), picture)
    assert json.loads(image.read_text(tmp_path / "r.png")["minivis"]) == result.recipe
    assert result._repr_png_() == (tmp_path / "r.png").read_bytes()
    result.save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz", allow_pickle=False) as arrays:
        assert json.loads(str(arrays["recipe"])) == result.recipe
        for key, array in result.arrays().items():
            assert array is None or np.array_equal(arrays[key], array, equal_nan=np.asarray(array).dtype.kind == "f")
    assert json.dumps(result.to_dict(), allow_nan=False)
    ax = result.plot()
    assert (ax.images or ax.patches) and result.plot(ax) is ax


def test_an_unknown_extension_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    result = every_result()["heat"]
    monkeypatch.setattr(type(result), "picture", lambda self: pytest.fail("drawn in vain"))
    for path, reason in [("r.xyz", "extension"), ("r", "extension"), ("gone/r.png", "no folder")]:
        with pytest.raises(MinivisError, match=reason):
            result.save(tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_figures_state_target_score_layer_network_and_what_was_seen():
    result = Attribution(np.eye(20), None, TARGET, 26.487, "logit", SEEN, 0.25, layer="conv10", recipe=RECIPE)
    text = " / ".join(result.facts())
    for part in ("Persian cat (n02123394, class 283)", "logit 26.49", "at layer conv10", "network tiny", "gap",
                 "0.25", "float32", "the network saw rows"):
        assert part in text
    assert result.heading() == "Guided backprop"


@pytest.mark.parametrize("target, words", [
    (None, ""), (7, "class 7"), (np.int64(7), "class 7"), ("tench", "tench"),
    (TARGET, "Persian cat (n02123394, class 283)"),
    ({"index": 5, "wnid": None, "label": None}, "class 5"), ({"layer": "fire9", "channel": 3}, "fire9 channel 3"),
    ({"layer": "fire9", "channel": 3, "position": (1, 2)}, "fire9 channel 3 at row 1, column 2"),
])
def test_targets_in_words(target, words):
    assert describe_target(target) == words


def test_what_was_seen_in_words():
    picture = np.zeros((20, 30, 3), np.uint8)
    assert "as it is" in seen_line(Seen(picture, Box(0, 0, 20, 30), (20, 30)))
    whole = seen_line(Seen(picture, Box(0, 0, 40, 60), (40, 60)))
    assert "the whole picture (40 × 60) at 20 × 30" in whole.replace("\N{NO-BREAK SPACE}", " ")
    assert "rows 5 to 25 and columns 0 to 30" in seen_line(Seen(picture, Box(5, 0, 25, 30), (30, 30)))


def test_occlusion_lists_drops_and_rises_with_their_windows():
    drops, rises = occlusion().extremes(sign=1), occlusion().extremes(sign=-1)
    assert drops == [(2.0, (0, 15, 10, 30)), (0.5, (10, 15, 20, 30))]
    assert rises == [(-1.0, (10, 0, 20, 15))]
    report = occlusion().to_dict()
    assert report["drops"][0] == {"change": -2.0, "box": [0, 15, 10, 30]} and report["rises"][0]["change"] == 1.0
    assert occlusion(((0, 0), (0, 0))).extremes() == []


def test_listed_windows_do_not_overlap():
    result = occlusion()
    result.positions, result.window = ([0, 5], [0, 5]), (10, 15)
    assert [change for change, _ in result.extremes()] == [2.0]


def test_occlusion_is_shown_signed_even_when_no_part_speaks_against():
    shown = occlusion(((0.0, 2.0), (1.0, 0.5))).shown()
    assert (shown.low, shown.high) == (-2.0, 2.0)


def test_many_channels_are_cut_and_the_cut_is_stated():
    panel = Activations({"conv10": RNG.random((2, 2, 1000))}, limit=10).main_panel()
    assert panel.title == "conv10: first 10 of 1000 channels"
    assert "all 12 channels" in Activations({"x": RNG.random((2, 2, 12))}).main_panel().title
    assert Filters(RNG.random((3, 3, 64, 128))).main_panel().title \
        == "First 24 of 128 filters, first 32 of 64 input channels"


def test_per_layer_scaling_prints_its_scale_and_per_channel_scaling_none():
    layers = {"relu1": RNG.random((4, 4, 3)) * [1, 2, 3]}
    shown = Activations(layers, scaling="layer").main_panel().shown
    assert (shown.low, shown.high) == (0, layers["relu1"].max())
    assert Activations(layers).main_panel().shown is None


def test_a_small_map_gets_a_close_up_and_a_large_one_none():
    gradient = np.zeros((20, 30, 3))
    gradient[4:9, 10:13] = 1
    panels = Attribution(gradient, gradient, TARGET, 1.0, "activation", SEEN).panels()
    close = next(panel for panel in panels if panel.title == "Close-up of the picture")
    assert np.array_equal(close.picture, SEEN.picture[4:9, 10:13]) and "Rows 4 to 9" in close.caption
    assert len(Attribution(np.ones((20, 30, 3)), None, TARGET, 1.0, "logit", SEEN).panels()) == len(panels) - 2


@pytest.mark.parametrize("make, reason", [
    (lambda: Activations({}), "no layer"), (lambda: Activations({"a": np.zeros((2, 3, 4, 5))}), "shape"),
    (lambda: Activations({"a": np.zeros(3)}, scaling="best"), "'best'"), (lambda: Comparison([]), "no result"),
    (lambda: Comparison([occlusion()], ["a", "b"]), "2 captions for 1"),
])
def test_impossible_results_are_refused(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


# Recipes

def test_a_recipe_is_json_and_names_what_is_needed_to_run_again():
    assert json.loads(json.dumps(RECIPE)) == RECIPE
    assert set(RECIPE) == {"technique", "options", "network", "seed", "precision", "device", "versions"}
    assert {"minivis", "numpy", "numba"} <= set(RECIPE["versions"])
    assert RECIPE["network"]["architecture"] == "tiny_vgg"
    assert RECIPE["network"]["weights"] == hash_weights(Net.weights)
    assert RECIPE["options"]["mask"]["shape"] == [2, 2]


def test_the_weights_hash_sees_names_values_shapes_and_types_but_not_order():
    a, b = np.arange(6, dtype=np.float32), np.ones(3, np.float32)
    first = hash_weights({"a": a, "b": b})
    assert first == hash_weights({"b": b, "a": a})
    for other in ({"a": a, "c": b}, {"a": a + 1, "b": b}, {"a": a.reshape(2, 3), "b": b},
                  {"a": a.astype(np.float64), "b": b}):
        assert hash_weights(other) != first


def test_jsonable_takes_what_techniques_are_given():
    value = {"x": np.float32(0.5), "n": np.int64(3), "t": (1, 2), "s": {2, 1}, "nan": float("nan"), "f": np.sum,
             3: None}
    assert jsonable(value) == {"x": 0.5, "n": 3, "t": [1, 2], "s": [1, 2], "nan": "nan", "f": "sum", "3": None}


def test_the_ends_of_the_colours_can_be_set_for_pictures_that_are_to_be_compared():
    values = np.linspace(-1, 3, 600).reshape(20, 30)
    usual = Attribution(values, None, TARGET, 5.0, "logit", SEEN, signed=True)
    assert usual.shown().high == pytest.approx(np.percentile(np.abs(values), 99.5), rel=1e-6)
    usual.set_scale(scale=8.0)
    assert (usual.shown().low, usual.shown().high) == (-8, 8) and not usual.shown().clipped
    usual.set_scale(percentile=100)
    assert usual.shown().high == 3
    heat = Attribution(np.abs(values), None, TARGET, 5.0, "logit", SEEN, signed=False)
    Comparison([usual, heat]).set_scale(scale=2.0)
    assert heat.shown().high == 2 and heat.shown().low == 0 and usual.shown().high == 2
    colour = Attribution(np.repeat(values[:, :, None], 3, axis=2), None, TARGET, 5.0, "logit", SEEN)
    colour.set_scale(percentile=50)
    assert colour.shown().clipped == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("ends, words", [
    ({"scale": 0.0}, "above 0"), ({"percentile": 0.0}, "percentile 0"), ({"percentile": 101.0}, "101"),
    ({"scale": 1.0, "percentile": 9.0}, "not both")])
def test_impossible_ends_are_refused(ends, words):
    with pytest.raises(MinivisError, match=words):
        Attribution(np.ones((2, 2)), None).set_scale(**ends)
