"""Nearest neighbours: what sorting all distances gives, in features and in pixels."""
import h5py
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.indexing import build, open_index
from minivis.preprocessing import resize
from minivis.techniques.neighbours import neighbours


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (60, 12, 10, 3)).astype(np.uint8)


@pytest.fixture
def made(conv_net, pictures, tmp_path):
    """(network, index file) with features of every kind; conv_net takes pictures of 12 x 10."""
    net = conv_net(precision="float32", classes=3)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["x"] = pictures
    build(net, tmp_path / "p.h5", tmp_path / "i.h5", [], ["relu1", "scores"], pixels=6)
    return net, tmp_path / "i.h5"


def cosine(a, b):
    return 1 - (a @ b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("layer", ["relu1", "scores"])
def test_exact_neighbours_are_those_of_a_search_through_all(made, pictures, metric, layer):
    net, path = made
    query = np.random.default_rng(1).integers(0, 256, (12, 10, 3)).astype(np.uint8)
    a = net(net.preprocessing.normalize(np.concatenate([pictures, query[None]])), layers=layer)[layer].numpy()
    f = (a.mean(axis=(1, 2)) if a.ndim == 4 else a).astype(np.float64)
    p = np.array([resize(one, (6, 6)) for one in [*pictures, query]]).reshape(61, -1) / 255
    measure = cosine if metric == "cosine" else lambda a, b: np.linalg.norm(a - b, axis=1)
    result = neighbours(net, path, query, layer=layer, count=7, metric=metric, memory="100KB")
    for rows, values, space in ((result.rows, result.values, f), (result.pixel_rows, result.pixel_values, p)):
        wanted = measure(space[:-1], space[-1])
        assert [row["picture"] for row in rows] == np.argsort(wanted)[:7].tolist()
        assert np.allclose(values, np.sort(wanted)[:7], atol=1e-6) and values.all()
    assert min(result.picture().shape[:2]) > 200


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_a_picture_of_the_index_is_left_out_unless_asked_for(made, pictures, metric):
    net, path = made
    assert neighbours(net, path, pictures[5], itself=True, metric=metric).rows[0]["picture"] == 5
    result = neighbours(net, path, pictures[5], count=59, metric=metric)
    assert len(result.rows) == 59 and 5 not in {row["picture"] for row in result.rows + result.pixel_rows}
    assert "Left out: 5" in result.notes[0]


def test_a_scaled_copy_has_cosine_distance_0_and_is_no_copy(made, pictures):
    """Half as bright: the same direction in pixels, other pixels."""
    net, path = made
    half = (pictures[8] // 2).astype(np.uint8)
    assert neighbours(net, path, half, metric="cosine").pixel_rows[0]["picture"] == 8


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_approximate_neighbours(conv_net, made, pictures, tmp_path, metric):
    pytest.importorskip("faiss", reason="neighbours: the extra is not installed")
    net, path = made
    with pytest.raises(MinivisError, match="has no graph of relu1"):
        neighbours(net, path, pictures[5], approximate=True)
    one, two = tmp_path / "g.h5", tmp_path / "h.h5"
    for file in (one, two):
        build(net, tmp_path / "p.h5", file, [], ["relu1"], graph=metric)
    assert np.array_equal(open_index(one).graph("relu1"), open_index(two).graph("relu1"))
    exact = neighbours(net, one, pictures[5], count=6, metric=metric)
    about = neighbours(net, one, pictures[5], count=6, metric=metric, approximate=True)
    common = {row["picture"] for row in exact.rows} & {row["picture"] for row in about.rows}
    assert len(common) >= 5 and "approximately" in " ".join(about.notes) and (np.diff(about.values) >= 0).all()
    other = {"l2": "cosine", "cosine": "l2"}[metric]
    with pytest.raises(MinivisError, match=f"a graph only for {metric}"):
        neighbours(net, one, pictures[5], metric=other, approximate=True)


def test_without_the_files_the_small_pictures_are_shown(made, pictures, tmp_path):
    net, path = made
    (tmp_path / "p.h5").unlink()
    result = neighbours(net, path, pictures[5])
    assert "small pictures" in result.notes[-1] and result.pictures[0].shape == (12, 10, 3)


def test_wrong_questions_are_one_clear_error(made, conv_net, pictures):
    net, path = made
    for more, message in [({"count": 0}, "count 0"), ({"layer": "conv2"}, "no layer 'conv2'")]:
        with pytest.raises(MinivisError, match=message):
            neighbours(net, path, pictures[0], **more)
    with pytest.raises(MinivisError, match="other weights"):
        neighbours(conv_net(precision="float32", seed=2), path, pictures[0])
