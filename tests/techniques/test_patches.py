"""Patches: the pixels that a unit sees, all of them and no others, and its guided gradient there."""
import h5py
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.indexing import build, open_index
from minivis.layers import Layer
from minivis.monitor import SilentMonitor, Stop
from minivis.network import Network
from minivis.preprocessing import Preprocessing
from minivis.techniques.guided_backprop import guided_backprop
from minivis.techniques.patches import patches

SIDES = 30, 34


@pytest.fixture(scope="module")
def net():
    random = np.random.RandomState(0)
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=5, kernel=3, pad=1),
              Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2), Layer("conv2", "conv", filters=6, kernel=3),
              Layer("relu2", "relu"), Layer("gap", "global_avg_pool"), Layer("scores", "linear", outputs=3)]
    weights = {"conv1/weight": random.standard_normal((3, 3, 3, 5)), "conv1/bias": np.zeros(5),
               "conv2/weight": random.standard_normal((3, 3, 5, 6)), "conv2/bias": np.array([0, 0, 0, 0, 0, -1e3]),
               "scores/weight": random.standard_normal((6, 3)), "scores/bias": np.zeros(3)}
    return Network(layers, weights, "scores", preprocessing=Preprocessing(size=SIDES, range=1), name="small")


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (25, *SIDES, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def index(net, pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("index")
    with h5py.File(path / "pictures.h5", "w") as file:
        file["x"] = pictures
    build(net, path / "pictures.h5", path / "index.h5", ["relu1", "relu2", "gap"], ["relu2"], keep=4)
    return path / "index.h5"


@pytest.mark.parametrize("unit", ["relu1:2", "relu2:3"])
def test_a_patch_is_what_the_unit_sees_and_its_value_what_the_network_gives(net, index, pictures, unit):
    result = patches(net, index, unit, count=4)
    layer, channel = unit.split(":")
    a = net(net.preprocessing.normalize(pictures), layers=layer)[layer].numpy()[..., int(channel)]
    assert np.array_equal(result.values[0], np.sort(a.max(axis=(1, 2)))[::-1][:4]) and result.values.all()
    for row in result.rows[0]:
        assert np.isclose(a[row["picture"], row["row"], row["column"]], row["value"], rtol=1e-5)
        top, left, bottom, right = row["box"]
        assert row["patch"].shape == (bottom - top, right - left, 3) == ((3, 3, 3) if layer == "relu1" else (8, 8, 3))
        grey = np.full((SIDES[0] + 40, SIDES[1] + 40, 3), 128, np.uint8)
        grey[20:-20, 20:-20] = pictures[row["picture"]]
        assert np.array_equal(row["patch"], grey[top + 20:bottom + 20, left + 20:right + 20])
        top, left, bottom, right = row["exact"]
        only = np.zeros((*SIDES, 3), np.uint8)              # everything outside the exact box is black: no change
        only[top:bottom, left:right] = pictures[row["picture"], top:bottom, left:right]
        again = net(net.preprocess(only), layers=layer)[layer].numpy()[0, row["row"], row["column"], int(channel)]
        assert np.isclose(again, row["value"], rtol=1e-5)


@pytest.mark.parametrize("unit", ["relu1:2", "relu2:3", "gap:1"])
def test_beside_it_is_the_guided_gradient_of_that_unit(net, index, pictures, unit):
    for row in patches(net, index, unit).rows[0]:
        place = "" if unit.startswith("gap") else f"@{row['row']},{row['column']}"
        whole = guided_backprop(net, pictures[row["picture"]], unit=unit + place).values
        top, left, bottom, right = row["box"]
        inside = np.pad(whole, ((20, 20), (20, 20), (0, 0)))[top + 20:bottom + 20, left + 20:right + 20]
        assert row["gradient"].any() and np.abs(row["gradient"] - inside).max() <= 1e-5 * np.abs(whole).max()
        assert np.isclose(np.abs(inside).sum(), np.abs(whole).sum(), rtol=1e-5)        # nothing is outside
        assert row["guided"].shape == row["patch"].shape


def test_context_and_borders(net, index):
    plain, wide = patches(net, index, "relu2:3"), patches(net, index, "relu2:3", context=0.5)
    for one, two in zip(plain.rows[0], wide.rows[0]):
        assert two["patch"].shape == (16, 16, 3) and np.array_equal(two["patch"][4:-4, 4:-4], one["patch"])
        assert not two["gradient"][:4].any() and np.array_equal(two["gradient"][4:-4, 4:-4], one["gradient"])
    top = open_index(index).top("relu1")
    k = next(k for k in range(5) if 0 in top.row[k])
    for border, wanted in (("grey", 128), ("white", 255)):
        rows = patches(net, index, f"relu1:{k}", border=border).rows[0]
        assert any((row["patch"][0] == wanted).all() for row in rows if row["row"] == 0)
    edge = next(row for row in patches(net, index, f"relu1:{k}", border="edge").rows[0] if row["row"] == 0)
    assert np.array_equal(edge["patch"][0], edge["patch"][1])


def test_the_sheet_of_a_layer_has_every_channel_and_none_for_a_silent_one(net, index):
    result = patches(net, index, "relu2")
    assert result.channels == list(range(6)) and [len(rows) > 2 for rows in result.rows] == [True] * 5 + [False]
    assert np.isnan(result.values[5]).all() and "1 of them are never active" in result.facts()[1]
    assert "gradient" not in result.rows[0][0] and min(result.picture().shape[:2]) > 200
    assert patches(net, index, "relu2", channels=2).channels == [0, 1]
    silent = patches(net, index, "relu2:5")
    assert silent.rows == [[]] and "never active" in silent.notes[0] and silent.picture().size


def test_ranked_by_the_mean_it_shows_the_strongest_place(net, index, pictures):
    a = net(net.preprocessing.normalize(pictures), layers="relu2")["relu2"].numpy()[..., 3]
    result = patches(net, index, "relu2:3", count=6, by="mean")
    assert [row["picture"] for row in result.rows[0]] == np.argsort(-a.mean(axis=(1, 2)))[:6].tolist()
    for row in result.rows[0]:
        assert a[row["picture"], row["row"], row["column"]] == a[row["picture"]].max()
    with pytest.raises(MinivisError, match="no features of relu1"):
        patches(net, index, "relu1:0", by="mean")


def test_a_changed_picture_is_noticed(net, index, pictures, tmp_path):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["x"] = pictures
    build(net, tmp_path / "p.h5", tmp_path / "i.h5", ["relu1"], [])
    assert not patches(net, tmp_path / "i.h5", "relu1:2").notes
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        file["x"][...] = pictures[::-1]
    assert "pictures have changed" in patches(net, tmp_path / "i.h5", "relu1:2").notes[0]


def test_a_picture_that_has_gone_is_left_out_and_said(net, pictures, tmp_path):
    from PIL import Image
    (tmp_path / "p").mkdir()
    for i in range(6):
        Image.fromarray(pictures[i]).save(tmp_path / "p" / f"{i}.png")
    build(net, tmp_path / "p", tmp_path / "i.h5", ["relu1"], [])
    (tmp_path / "p" / "2.png").unlink()
    result = patches(net, tmp_path / "i.h5", "relu1:2")
    assert sorted(row["name"] for row in result.rows[0]) == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert "1 of 6 pictures" in result.notes[0] and "2.png" in result.notes[0]


def test_stopped_it_shows_what_it_has(net, index):
    class StopSoon(SilentMonitor):
        def step(self, done, total, terms=None, picture=None):
            if done == 3:
                raise Stop
    result = patches(net, index, "relu2:3", monitor=StopSoon())
    assert len(result.rows[0]) == 3 and result.notes == ["Stopped after 3 of 4 patches."]


def test_wrong_questions_are_one_clear_error(net, index):
    for unit, more, message in [("relu2:3@1,1", {}, "is one place"), ("conv1:0", {}, "no layer 'conv1'"),
                                ("relu2:3", {"count": 0}, "count 0"), ("relu2:99", {}, "99")]:
        with pytest.raises(MinivisError, match=message):
            patches(net, index, unit, **more)
    with pytest.raises(MinivisError, match="other weights"):
        patches(net.with_weights({"conv1/bias": np.ones(5)}), index, "relu1:0")
