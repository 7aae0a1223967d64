"""The weights file of minivis: what is written comes back, and whatever else a file may be is one clear refusal."""
import json

import h5py
import numpy as np
import pytest

import minivis as mv
from minivis.checkpoints import minivis_hdf5, open_network
from minivis.errors import MinivisError, WeightFileError
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.network import Network

LAYERS = [
    Layer("input", "input", shape=[None, None, 3]),
    Layer("conv1", "conv", filters=64, kernel=[3, 3], pad="same", stride=2),
    Layer("norm1", "batch_norm", eps=1e-3),
    Layer("relu1", "relu"),
    Layer("up", "conv_transpose", filters=4, kernel=[3, 3], stride=2, pad="same", bias=False),
    Layer("logits", "global_avg_pool"),
]
PICTURES = {"size": [16, 12], "resize": None, "crop": "none", "interpolation": "bilinear", "antialias": True,
            "channels": "BGR", "range": 255, "mean": [104, 117, 123], "std": [1, 1, 1]}
LABELS = [["n1", "cat"], ["n2", "dog"], ["n3", "gnu, wildebeest"], ["n4", "ant"]]


def network():
    meta = {"architecture": "tiny", "source": "made up", "licence": "MIT"}
    return Network(LAYERS, random_weights(LAYERS), logits_layer="logits", features_layer="relu1",
                   preprocessing=PICTURES, labels=LABELS, meta=meta)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.h5"
    minivis_hdf5.write(network(), path)
    return path


def edit(path):
    return h5py.File(path, "r+")


# ------------------------------------------------------------------------------------------------------ what is right

def test_a_network_comes_back_as_it_was(file):
    net, back = network(), open_network(file)
    assert back.table.to_json() == net.table.to_json()
    assert (back.logits_layer, back.features_layer, back.output_layer) == ("logits", "relu1", "logits")
    assert back.meta == net.meta and back.labels == [tuple(row) for row in LABELS] and back.name == "tiny"
    assert back.preprocessing == net.preprocessing
    for name in net.weights:
        assert np.array_equal(back.weights[name].data, net.weights[name].data)
    x = np.random.default_rng(0).normal(0, 1, (1, 16, 12, 3)).astype(np.float32)
    assert np.array_equal(net(x)["logits"].data, back(x)["logits"].data)


def test_the_same_network_gives_the_same_bytes(file, tmp_path):
    minivis_hdf5.write(network(), tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == file.read_bytes()


def test_networks_without_classes_or_preprocessing_come_back_too(tmp_path):
    net = Network(LAYERS[:5], random_weights(LAYERS[:5]), output_layer="relu1")
    minivis_hdf5.write(net, tmp_path / "n.h5")
    back = open_network(tmp_path / "n.h5")
    assert back.logits_layer is None and back.output_layer == "relu1"
    assert not back.has_preprocessing and back.labels is None


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions_are_stored_and_read(tmp_path, dtype):
    minivis_hdf5.write(network(), tmp_path / "n.h5", dtype=dtype)
    back = open_network(tmp_path / "n.h5", precision="float64")
    w = network().weights["conv1/weight"].data
    assert back.weights["conv1/weight"].dtype == np.float64
    assert np.array_equal(back.weights["conv1/weight"].data, w.astype(dtype).astype(np.float64))


def test_a_value_too_large_for_the_file_leaves_the_old_file_alone(file):
    net, before = network(), file.read_bytes()
    net.weights["conv1/bias"] = np.full(64, 1e6, np.float32)
    with pytest.raises(MinivisError, match="conv1/bias does not fit into float16"):
        minivis_hdf5.write(net, file, dtype="float16")
    assert file.read_bytes() == before and [p.name for p in file.parent.iterdir()] == ["tiny.h5"]


# ------------------------------------------------------------------------------------------------------ what is wrong

def _delete(name):
    def change(f):
        del f[name]
    return change


def _replace(name, **how):
    def change(f):
        del f[name]
        f.create_dataset(name, **how)
    return change


def _text(name, value):
    def change(f):
        del f[name]
        f[name] = value if isinstance(value, str) else json.dumps(value)
    return change


def _attribute(name, value):
    def change(f):
        f.attrs[name] = value
    return change


def _link(name, link):
    def change(f):
        del f[name]
        f[name] = link
    return change


def _table(change_layers=lambda layers: None, **fields):
    def change(f):
        table = json.loads(f["table"][()])
        change_layers(table["layers"])
        del f["table"]
        f["table"] = json.dumps({**table, **fields})
    return change


def _external(f):
    del f["layers/conv1/bias"]
    f["layers/conv1"].create_dataset("bias", (64,), "f4", external=[("/etc/hostname", 0, 256)])


def _virtual(f):
    del f["layers/conv1/bias"]
    layout = h5py.VirtualLayout((64,), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "data", (64,))
    f["layers/conv1"].create_virtual_dataset("bias", layout)


def _filtered(f):
    del f["layers/conv1/bias"]
    f["layers/conv1"].create_dataset("bias", data=np.zeros(64, "f4"), scaleoffset=3)


def _nan(f):
    f["layers/conv1/weight"][0, 0, 0, 0] = np.nan


def _negative_variance(f):
    f["layers/norm1/var"][3] = -1


def _enormous(layers):
    layers[1].update(filters=2**20, kernel=[64, 64])


REFUSED = [
    (_attribute("format", "other"), "not a minivis weights file"),
    (_attribute("version", 2), "is version 2 of the format"),
    (_attribute("version", [1, 1]), "attribute 'version' must be one"),
    (_attribute("source", np.zeros(3)), "attribute 'source' must be one"),
    (_delete("table"), "/table is missing"),
    (_text("table", "{"), "/table is not valid JSON"),
    (_text("table", "[" * 100_000), "/table is not valid JSON"),
    (_text("table", [1]), "/table must be a JSON object with a list of layers"),
    (_replace("table", data=np.zeros(3)), "/table must be one string"),
    (_table(logits_layer="logit"), "no layer 'logit'; did you mean logits"),
    (_table(logits_layer=3), "logits_layer must be a layer name"),
    (_table(hooks="x"), "unknown entry 'hooks'"),
    (_table(lambda layers: layers[1].update(kind="conf")), "no kind 'conf'; did you mean conv"),
    (_table(lambda layers: layers[1].update(filters=63)), r"shape \(3, 3, 3, 64\), but must have \(3, 3, 3, 63\)"),
    (_table(_enormous), "calls for .* of weights"),
    (_table(lambda layers: layers.pop(1)), r"/layers/conv1 is no layer of the table|must have"),
    (_text("preprocessing", {"channels": "RGB"}), "preprocessing: field 'range' is missing"),
    (_text("preprocessing", {**PICTURES, "std": [1, 0, 1]}), "std is"),
    (_text("labels", [["n1", 2]]), "/labels must be null or a list"),
    (_text("labels", "{}"), "/labels must be null or a list"),
    (_delete("layers"), "/layers is missing"),
    (_delete("layers/conv1"), "/layers/conv1 is missing"),
    (_delete("layers/norm1/var"), "/layers/norm1/var is missing"),
    (_replace("layers/conv1", data=np.zeros(3)), "/layers/conv1 must be a group"),
    (_replace("layers/norm1/mean", data=np.zeros(65, "f4")), r"/layers/norm1/mean has shape \(65,\)"),
    (_replace("layers/norm1/mean", data=np.zeros(64, "i4")), "/layers/norm1/mean holds int32"),
    (_replace("layers/norm1/mean", data=np.zeros(64, ">f4")), "/layers/norm1/mean holds >f4"),
    (lambda f: f["layers/norm1"].create_group("mean2"), "/layers/norm1/mean2 is not expected"),
    (lambda f: f["layers"].create_group("relu1"), "/layers/relu1 is a layer without weights"),
    (_nan, "/layers/conv1/weight holds 1 values that are not finite"),
    (_negative_variance, "/layers/norm1/var holds a negative variance"),
    (_link("layers/conv1/bias", h5py.SoftLink("/layers/norm1/mean")), "/layers/conv1/bias is a link"),
    (_link("layers/conv1", h5py.ExternalLink("other.h5", "/layers/conv1")), "/layers/conv1 is a link"),
    (_link("layers", h5py.SoftLink("/")), "/layers is a link"),
    (_external, "/layers/conv1/bias takes its values from another file"),
    (_virtual, "/layers/conv1/bias takes its values from another file"),
    (_filtered, "/layers/conv1/bias uses HDF5 filter"),
]


@pytest.mark.parametrize("change, words", REFUSED)
def test_a_file_that_is_not_as_expected_is_one_clear_refusal(file, change, words):
    with edit(file) as f:
        change(f)
    with pytest.raises(WeightFileError, match=words) as caught:
        open_network(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_bomb_of_compressed_zeros_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.h5"
    layers = [{"name": "input", "kind": "input", "shape": [16, 16, 3]},
              {"name": "conv1", "kind": "conv", "filters": 2**18, "kernel": [16, 16], "bias": False}]
    minivis_hdf5.write(network(), path)
    with edit(path) as f:
        del f["layers"], f["table"]
        f["table"] = json.dumps({"layers": layers})
        f.create_group("layers/conv1").create_dataset("weight", (16, 16, 3, 2**18), "f4", chunks=True,
                                                      compression="gzip")
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightFileError, match="calls for 805 MB of weights, but the file has only"):
        open_network(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_what_is_no_hdf5_is_one_clear_refusal(tmp_path, content):
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(WeightFileError, match=r"x\.h5") as caught:
        minivis_hdf5.read(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_say_so(tmp_path):
    with pytest.raises(WeightFileError, match="does not exist"):
        minivis_hdf5.read(tmp_path / "no.h5")
    with pytest.raises(WeightFileError, match="is a folder"):
        minivis_hdf5.read(tmp_path)


def test_a_truncated_file_is_refused(file):
    whole = file.read_bytes()
    for part in (0.3, 0.6, 0.99):
        file.write_bytes(whole[:int(len(whole) * part)])
        with pytest.raises(WeightFileError):
            open_network(file)


def test_public_names_write_and_read(tmp_path):
    mv.save_network(network(), tmp_path / "n.h5")
    assert mv.load_network(tmp_path / "n.h5", device="cpu", precision="float64").precision == "float64"


@pytest.mark.data
def test_the_example_files_come_back_from_our_own_writing(data_folder, tmp_path):
    for name in ("squeezenet1_0.h5", "fast_style_wave.h5"):
        net = open_network(data_folder / name)
        minivis_hdf5.write(net, tmp_path / name)
        back = open_network(tmp_path / name)
        assert back.weights_hash() == net.weights_hash() and back.table.to_json() == net.table.to_json()
        assert back.preprocessing == net.preprocessing and back.labels == net.labels
