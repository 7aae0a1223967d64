"""map, activation_atlas, cka, compare_networks, tcav, probe and patch_filters on small sets whose answer is known."""
import json

import numpy as np
import pytest
from PIL import Image

import minivis as mv
from minivis import results
from minivis.commands.health import health
from minivis.errors import MinivisError
from minivis.representation import similarity
from minivis.representation.health import Tally
from minivis.techniques.compare_networks import read_options


def check(result, kind):
    """It is JSON, has a figure and arrays, and says where it comes from."""
    assert isinstance(result, kind)
    assert json.dumps(result.to_dict(), allow_nan=False) and json.dumps(result.recipe)
    picture = result.picture()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 0
    assert all(np.asarray(a).dtype.kind != "O" for a in result.arrays().values() if a is not None)
    return result


# maps

def test_a_map_keeps_classes_together_and_puts_every_picture_on_the_grid_once(small_net, two_folders):
    found = check(mv.map(small_net(), str(two_folders), layer="relu1", perplexity=5.0, steps=300), results.Map)
    assert len(found.points) == 24 and found.labels == ["red", "stripes"]
    assert found.views == ("scatter", "thumbnails", "grid")
    rows, columns, cells = found.grid
    assert rows * columns >= 24 and len(set(cells)) == 24
    centres = [found.points[found.label == k].mean(axis=0) for k in (0, 1)]
    own = [np.linalg.norm(found.points - c, axis=1) for c in centres]
    assert ((own[1] < own[0]) == found.label).mean() > 0.9
    assert found.quality["trustworthiness"] > 0.8 and "KL divergence" in found.said()
    assert np.array_equal(found.points, mv.map(small_net(), str(two_folders), layer="relu1", perplexity=5.0,
                                               steps=300).points)


def test_pixels_need_no_network_and_both_spaces_stand_side_by_side(small_net, two_folders):
    alone = check(mv.map(None, str(two_folders), space="pixels", method="pca", views=["scatter"]), results.Map)
    both = check(mv.map(small_net(), str(two_folders), space="both", method="pca", views=["scatter", "grid"]),
                 results.Comparison)
    assert len(both.results) == 4 and both.results[0].space == "pixels" and both.results[1].space == "gap (8 values)"
    assert alone.explained.sum() <= 1 + 1e-9 and (np.diff(alone.explained) <= 1e-12).all()
    with pytest.raises(MinivisError, match="need a network"):
        mv.map(None, str(two_folders))


def test_a_map_of_predictions_is_coloured_by_what_the_network_says(small_net, two_folders):
    net = small_net()
    found = mv.map(net, str(two_folders), method="pca", colour="prediction")
    for name, k in zip(found.names, found.label):
        said = int(net(net.preprocess(mv.read_image(two_folders / name)))["scores"].data.argmax())
        assert found.labels[k] == net.labels[said][1]


def test_a_map_of_given_features_is_coloured_by_their_value(tmp_path):
    X, value = np.random.RandomState(0).standard_normal((40, 6)), np.linspace(-1, 3, 40)
    np.savez(tmp_path / "states.npz", features=X, value=value)
    found = check(mv.map(None, features=str(tmp_path / "states.npz"), method="pca"), results.Map)
    assert np.array_equal(found.value, value) and found.views == ("scatter",)
    colours, _, _, shown = found.colours()
    assert (shown.low, shown.high) == (-1, 3) and tuple(colours[0]) != tuple(colours[-1])
    with pytest.raises(MinivisError, match="no pictures are known"):
        mv.map(None, features=str(tmp_path / "states.npz"), method="pca", views=["grid"])
    np.savez(tmp_path / "two.npz", a=X, b=X)
    with pytest.raises(MinivisError, match="must hold an array `features`"):
        mv.map(None, features=str(tmp_path / "two.npz"))
    np.savez(tmp_path / "odd.npz", features=X, value=value[1:])
    with pytest.raises(MinivisError, match="value has 39 entries for 40"):
        mv.map(None, features=str(tmp_path / "odd.npz"))


def test_a_map_from_an_index_equals_the_map_of_the_pictures(small_net, two_folders, tmp_path):
    from minivis import indexing
    indexing.build(small_net(), str(two_folders), str(tmp_path / "i.h5"), features=["relu2"])
    one = mv.map(small_net(), str(tmp_path / "i.h5"), method="pca")
    two = mv.map(small_net(), str(two_folders), layer="relu2", method="pca")
    assert one.names == two.names and one.labels == two.labels and np.array_equal(one.label, two.label)
    assert np.allclose(one.points, two.points, atol=1e-5)
    alone = mv.map(None, str(tmp_path / "i.h5"), method="pca")
    assert np.array_equal(alone.points, one.points)
    assert alone.recipe["network"]["weights"] == one.recipe["network"]["weights"] == small_net().weights_hash()
    with pytest.raises(MinivisError, match="other weights than another"):
        mv.map(small_net(1, name="another"), str(tmp_path / "i.h5"))
    with pytest.raises(MinivisError, match="an index holds its features as they were pooled"):
        mv.map(small_net(), str(tmp_path / "i.h5"), space="both")


def test_a_missing_extra_is_named(small_net, two_folders, monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MinivisError, match=r"needs umap-learn: pip install 'minivis\[maps\]'"):
        mv.map(small_net(), str(two_folders), method="umap")


# activation atlas

def test_atlas_icons_climb_towards_the_mean_of_their_cell(small_net, two_folders):
    found = check(mv.activation_atlas(small_net(), str(two_folders), layer="relu1", per_picture=2, columns=2, steps=24,
                                      icon=12, method="pca"), results.Atlas)
    assert len(found.cells) == 48 and len(found.icons) == len(found.filled) <= 4
    assert found.icons.shape[1:] == (12, 12, 3)
    for i, cell in enumerate(found.filled):
        assert cell in found.cells and np.isfinite(found.means[i]).all()
    scores = found.history["score"]
    assert scores.shape == (24, len(found.icons)) and (scores[-4:].mean(axis=0) > scores[:2].mean(axis=0)).all()
    tight = mv.activation_atlas(small_net(), str(two_folders), layer="relu1", per_picture=2, columns=2, steps=24,
                                icon=12, method="pca", memory=1)
    assert np.array_equal(tight.icons, found.icons)     # one at a time: the same bits
    with pytest.raises(MinivisError, match="gap has no positions"):
        mv.activation_atlas(small_net(), str(two_folders), layer="gap")


def test_atlas_cells_follow_the_map():
    from minivis.techniques.activation_atlas import into_cells
    points = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]])
    assert list(into_cells(points, 2))[:4] == [2, 3, 0, 1]      # y upwards: the lower row of cells comes last


# similarity and comparison

def test_cka_of_a_network_with_itself_is_one_on_the_diagonal_and_symmetric(small_net, two_folders):
    net = small_net()
    found = check(mv.cka(net, str(two_folders), batch=8, passes=3), results.Similarity)
    assert found.rows == found.columns and np.allclose(np.diag(found.values), 1) and found.batches == 9
    assert np.allclose(found.values, found.values.T) and found.values.min() < 0.9


def test_full_cka_equals_the_definition_and_does_not_depend_on_memory(small_net, two_folders):
    net, other = small_net(), small_net(1, name="other")
    found = check(mv.cka(net, str(two_folders), other=other, layers=["relu1", "gap"], other_layers=["relu2"],
                         estimate="full"), results.Similarity)
    files = sorted(p for p in two_folders.rglob("*.png") if p.name != "broken.png")
    x = np.concatenate([net.preprocess(mv.read_image(p)) for p in files])
    values, theirs = net(x, layers=["relu1", "gap"]), other(x, layers=["relu2"])["relu2"].data.reshape(24, -1)
    for i, name in enumerate(["relu1", "gap"]):
        wanted = similarity.linear_cka(values[name].data.reshape(24, -1).astype(float), theirs.astype(float))
        assert found.values[i, 0] == pytest.approx(wanted, rel=1e-5)
    tight = mv.cka(net, str(two_folders), other=other, layers=["relu1", "gap"], other_layers=["relu2"],
                   estimate="full", memory=200_000)
    assert np.array_equal(tight.values, found.values)
    with pytest.raises(MinivisError, match="use --pool mean"):
        mv.cka(net, str(two_folders), estimate="full", memory=20_000)


def test_compare_networks_runs_the_same_on_each(small_net):
    nets = [small_net(), small_net(1), small_net(2, name="third")]
    picture = np.random.RandomState(0).randint(0, 256, (20, 20, 3)).astype(np.uint8)
    found = check(mv.compare_networks(nets[0], "saliency", nets[1:], picture=picture, options="target=1 reduce=l2"),
                  results.Comparison)
    for net, result in zip(nets, found.results):
        assert np.array_equal(result.values, mv.saliency(net, picture, target=1, reduce="l2").values)
    assert found.captions[2] == "third" and found.captions[0].startswith("small, weights ") != found.captions[1]
    check(mv.compare_networks(nets[0], "filters", nets[1:]), results.Comparison)
    with pytest.raises(MinivisError, match="needs picture; give --picture"):
        mv.compare_networks(nets[0], "saliency", nets[1:])
    with pytest.raises(MinivisError, match="'taget=1' is no option"):
        mv.compare_networks(nets[0], "saliency", nets[1:], picture=picture, options="taget=1")


def test_options_are_read_as_on_the_command_line():
    from minivis import techniques
    assert read_options(techniques.load("occlusion"), "targets=1,cat stride=4 fill=noise") == {
        "targets": [1, "cat"], "stride": 4, "fill": "noise"}
    assert read_options(techniques.load("gradcam"), "relu=no layer=x") == {"relu": False, "layer": "x"}
    with pytest.raises(MinivisError, match="not an integer"):
        read_options(techniques.load("occlusion"), "stride=wide")


# concepts and probes

def test_a_class_that_reads_a_concept_heeds_it_and_one_that_does_not_does_not(small_net, two_folders, tmp_path):
    net = small_net(classes=3)
    random = tmp_path / "random"
    random.mkdir()
    for i in range(40):
        noise = np.random.RandomState(100 + i).randint(0, 256, (20, 20, 3)).astype(np.uint8)
        Image.fromarray(noise).save(random / f"{i:02d}.png")
    x = {key: np.concatenate([net.preprocess(mv.read_image(p)) for p in sorted(folder.glob("[0-9]*.png"))])
         for key, folder in (("red", two_folders / "red"), ("noise", random))}
    mean = {key: net(v, layers=["gap"])["gap"].data.mean(axis=0) for key, v in x.items()}
    direction = (mean["red"] - mean["noise"]) / np.linalg.norm(mean["red"] - mean["noise"])
    across = np.random.RandomState(3).standard_normal(8)
    across -= across @ direction * direction
    net = net.with_weights({"scores/weight": np.stack([direction, -direction, across], axis=1).astype(np.float32)})
    up, down = (check(mv.tcav(net, str(two_folders / "red"), str(random), target=k, layers=["relu2"], pool="mean",
                              runs=8), results.Concepts).rows[0] for k in (0, 1))
    assert up["score"] == 1 and up["p"] < 0.05 and up["accuracy"] > 0.9 and up["significant"]
    assert down["score"] == 0 and down["p"] < 0.05 and up["linear"]     # an average and a dense layer above relu2
    with pytest.raises(MinivisError, match="at least 6 and 12"):
        mv.tcav(net, str(two_folders / "red"), str(random), target=0, limit=5)


def test_a_probe_reads_labels_from_the_layer_that_holds_them(small_net, two_folders):
    found = check(mv.probe(small_net(), str(two_folders), layers=["relu1", "gap"], folds=3), results.Probes)
    assert [row["layer"] for row in found.rows] == ["pixels", "relu1", "gap"] and found.chance == 0.5
    assert found.rows[1]["accuracy"] > 0.9 and found.pictures == 24
    with pytest.raises(MinivisError, match="at least two classes"):
        mv.probe(small_net(), str(two_folders / "red"))


# health

def test_health_counts_what_was_broken_on_purpose(small_net, two_folders):
    net = small_net()
    b1, w2 = net.weights["conv1/bias"].data.copy(), net.weights["conv2/weight"].data.copy()
    b1[1], b1[2] = -100, 100                # never on; always on
    w2[..., 5] = 0                          # only its bias is left: the same on every picture
    net = net.with_weights({"conv1/bias": b1, "conv2/weight": w2})
    rows = {row["layer"]: row for row in health(net, str(two_folders)).rows()}
    assert list(rows) == ["relu1", "relu2"]
    assert rows["relu1"]["dead"] == 1 and rows["relu1"]["dead channels"] == "1" and rows["relu1"]["always on"] >= 1
    assert rows["relu2"]["same"] >= 1 and rows["relu2"]["channels"] == 8


def test_tally_knows_noise_from_structure_and_does_not_depend_on_batches():
    random = np.random.RandomState(0)
    noise = random.standard_normal((6, 12, 12))
    smooth = np.cumsum(np.cumsum(random.standard_normal((6, 12, 12)), axis=1), axis=2)
    a = np.stack([noise, smooth, np.full_like(noise, 2.0), -np.abs(noise)], axis=3)
    whole, parts = Tally(4), Tally(4)
    whole.add(a)
    for part in np.split(a, 3):
        parts.add(part)
    assert abs(whole.smoothness[0]) < 0.1 < 0.7 < whole.smoothness[1] and np.isnan(whole.smoothness[2])
    assert list(whole.dead) == [False, False, False, True] and list(whole.same) == [False, False, True, False]
    assert np.allclose(parts.smoothness, whole.smoothness, equal_nan=True) and parts.pictures == 6
    rare = Tally(1)
    rare.add(np.array([[-1.0]] * 99 + [[1.0]]))
    assert rare.rare(0.02)[0] and not rare.rare(0.01)[0] and np.isnan(rare.smoothness[0])


# patches

def test_patch_filters_stand_beside_the_networks_own(small_net, two_folders):
    found = check(mv.patch_filters(small_net(), pictures=str(two_folders), learners=["kmeans"], count=6, size=5,
                                   patches=400), results.PatchFilters)
    assert list(found.filters) == ["network", "kmeans"] and found.filters["kmeans"].shape == (6, 5, 5, 3)
    assert found.filters["network"].shape == (6, 3, 3, 3)


def test_labels_that_are_wordnet_ids_get_their_names(two_folders, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{two_folders / key}/{i:02d}.png\t{wnid}\n" for wnid, key in
                              (("n01443537", "red"), ("zebra crossing", "stripes")) for i in range(4)))
    found = mv.map(None, str(listed), space="pixels", method="pca", views=["scatter"])
    assert found.labels == ["goldfish", "zebra crossing"] and len(found.points) == 8
