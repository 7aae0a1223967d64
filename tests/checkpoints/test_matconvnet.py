"""MatConvNet files in both layouts, written with scipy in the shapes MATLAB gives them."""
import numpy as np
import pytest
import scipy.io

from minivis.checkpoints.convert import convert
from minivis.checkpoints.recognise import read_draft
from minivis.errors import WeightFileError
from minivis.loading import random_weights
from minivis.network import Network


def struct(**fields):
    """A 1 x 1 MATLAB struct."""
    out = np.empty((1, 1), [(name, object) for name in fields])
    for name, value in fields.items():
        out[name][0, 0] = value
    return out


def cells(*items):
    out = np.empty((1, len(items)), object)
    for i, item in enumerate(items):
        out[0, i] = item
    return out


def matlab(array):
    """Trailing axes of one are dropped, and bias is a row."""
    array = array[None] if array.ndim == 1 else array
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    return array


def vgg_layers(rows, weights, old):
    layers = []
    for row in rows:
        if row.kind == "relu":
            layers.append(struct(type="relu", name=row.name))
        elif row.kind == "softmax":
            layers.append(struct(type="softmax", name=row.name))
        elif row.kind == "max_pool":
            layers.append(struct(type="pool", name=row.name, method="max", pool=[2.0, 2.0], stride=2.0, pad=0.0))
        elif row.kind in ("conv", "linear"):
            w, b = weights[f"{row.name}/weight"], weights[f"{row.name}/bias"]
            if row.kind == "linear":
                side = 2 if row.name == "fc6" else 1
                w = w.reshape(side, side, -1, w.shape[1])
            parts = {"filters": matlab(w), "biases": b[None]} if old else {"weights": cells(matlab(w), matlab(b))}
            layers.append(struct(type="conv", name=row.name, stride=[1.0, 1.0],
                                 pad=[1.0, 1.0, 1.0, 1.0] if row.kind == "conv" else [0.0] * 4, **parts))
    return cells(*layers)


def save(path, rows, weights, old, compress=False):
    mean = np.broadcast_to(np.array([123.68, 116.779, 103.939]), (64, 64, 3))
    norm = struct(imageSize=[64.0, 64.0, 3.0], averageImage=mean if old else mean[:1, :1].reshape(1, 1, 3))
    classes = struct(name=cells(*(f"n{i:08}" for i in range(7))),
                     description=cells(*(f"thing {i}, or so" for i in range(7))))
    layers = vgg_layers(rows, weights, old)
    content = {"layers": layers, "normalization": norm, "classes": classes} if old \
        else {"layers": layers, "meta": struct(normalization=norm, classes=classes)}
    scipy.io.savemat(path, content, do_compression=compress)
    return path


@pytest.mark.parametrize("old", [False, True], ids=["1.0", "beta"])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_vgg_in_either_layout_gives_back_the_network(tmp_path, narrow, old, compress):
    rows = [row for row in narrow("vgg16") if row.kind != "dropout"]
    weights = random_weights(rows, seed=1)
    draft = read_draft(save(tmp_path / "x", rows, weights, old, compress))
    assert (draft.form, draft.architecture, draft.logits_layer) == ("MatConvNet", "vgg16", "fc8")
    assert [(row.name, row.kind) for row in draft.rows] == [(row.name, row.kind) for row in rows]
    for name, array in weights.items():
        np.testing.assert_array_equal(draft.weights[name], array, err_msg=name)
    assert draft.preprocessing["channels"] == "RGB" and draft.preprocessing["range"] == 255
    np.testing.assert_allclose(draft.preprocessing["mean"], [123.68, 116.779, 103.939])
    assert draft.labels[3] == ["n00000003", "thing 3"]


def test_grouped_convolution_lrn_and_leak(tmp_path, rng):
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 3, 3, 4), (1, 1, 2, 6)))
    layers = cells(
        struct(type="conv", name="conv1", weights=cells(w1, np.zeros((1, 4), np.float32)), stride=2.0,
               pad=[0.0, 1, 0, 1]),
        struct(type="relu", name="relu1", leak=0.25),
        struct(type="lrn", name="norm1", param=[3.0, 1.0, 0.1, 0.75]),
        struct(type="conv", name="conv2", weights=cells(w2, np.ones((1, 6), np.float32))),
        struct(type="pool", name="pool1", method="avg", pool=[2.0, 2.0], stride=1.0, pad=[0.0, 1, 0, 1]),
    )
    scipy.io.savemat(tmp_path / "x", {"net": struct(layers=layers, meta=struct(
        normalization=struct(imageSize=[9.0, 8.0, 3.0], averageImage=[1.0, 2.0, 3.0])))})
    draft = read_draft(tmp_path / "x")
    assert [row.kind for row in draft.rows] == ["input", "conv", "leaky_relu", "lrn", "conv", "avg_pool"]
    assert draft.row("conv2")["groups"] == 2 and list(draft.row("conv1")["pad"]) == [0, 1, 0, 1]
    net = Network(draft.rows, {k: np.asarray(v) for k, v in draft.weights.items()})
    assert np.isfinite(net(rng.random((1, 9, 8, 3), np.float32))["pool1"].data).all()


@pytest.mark.parametrize("content, says", [
    ({"a": np.zeros(3)}, "no cell array called layers"),
    ({"layers": np.zeros(3)}, "no cell array called layers"),
    ({"layers": cells(struct(type="dagnn", name="odd"))}, "odd: type 'dagnn'"),
    ({"layers": cells(struct(type="conv", name="c"))}, "c: has no 4-D array"),
    ({"layers": cells(struct(type="pool", name="p", method="sum"))}, "pooling by 'sum'"),
    ({"layers": cells(struct(type="pool", name="p", stride=[1.5, 1.0]))}, "whole numbers"),
])
def test_what_is_no_network_is_refused(tmp_path, content, says):
    scipy.io.savemat(tmp_path / "x.mat", content)
    with pytest.raises(WeightFileError, match=says) as error:
        read_draft(tmp_path / "x.mat")
    assert "x.mat" in str(error.value)


def test_zlib_bomb_is_refused_before_it_unfolds(tmp_path, reader, monkeypatch):
    path = tmp_path / "bomb.mat"
    scipy.io.savemat(path, {"layers": np.zeros(12_000_000)}, do_compression=True)
    assert path.stat().st_size < 200_000
    with pytest.raises(WeightFileError, match="unpacks to more than"):
        convert(path, tmp_path / "out.h5", reader=reader)
