"""model_config: the form of Keras 2, layers one by one, and what is refused."""
import json

import h5py
import numpy as np
import pytest

from minivis.checkpoints.keras_config import network_from_config
from minivis.checkpoints.recognise import read_draft
from minivis.errors import WeightFileError
from minivis.layers import Table
from minivis.network import Network


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def model(*layers, shape=(None, 6, 8, 3)):
    start = {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": list(shape)}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [start, *layers]}}


def draft_of(config, arrays=None):
    def weights_of(name, place):
        return lambda role, number: arrays[role]
    return network_from_config(config, weights_of, "file.h5")


def run(config, x, arrays=None):
    draft = draft_of(config, arrays)
    net = Network(Table(draft.rows), draft.weights, precision="float64", output_layer=draft.output)
    return net(x)[draft.output].data


X = np.random.default_rng(0).standard_normal((1, 6, 8, 3)) * 4
KERNEL = np.random.default_rng(1).standard_normal((3, 3, 3, 2))


@pytest.mark.parametrize("config, expected", [
    (layer("ReLU", "a"), np.maximum(X, 0)),
    (layer("ReLU", "a", max_value=6.0), np.clip(X, 0, 6)),
    (layer("ReLU", "a", negative_slope=0.5), np.where(X > 0, X, X / 2)),
    (layer("LeakyReLU", "a"), np.where(X > 0, X, 0.3 * X)),
    (layer("LeakyReLU", "a", alpha=0.25), np.where(X > 0, X, 0.25 * X)),
    (layer("Activation", "a", activation="relu6"), np.clip(X, 0, 6)),
    (layer("Activation", "a", activation="leaky_relu"), np.where(X > 0, X, 0.2 * X)),
    (layer("Activation", "a", activation={"class_name": "function", "config": "tanh"}), np.tanh(X)),
    (layer("Rescaling", "a", scale=1 / 127.5, offset=-1), X / 127.5 - 1),
    (layer("Rescaling", "a", scale=[1, 2, 3], offset=[0, 1, 0]), X * [1, 2, 3] + [0, 1, 0]),
    (layer("ZeroPadding2D", "a", padding=2), np.pad(X, ((0, 0), (2, 2), (2, 2), (0, 0)))),
    (layer("ZeroPadding2D", "a", padding=[1, 2]), np.pad(X, ((0, 0), (1, 1), (2, 2), (0, 0)))),
    (layer("UpSampling2D", "a", size=[2, 2]), X.repeat(2, 1).repeat(2, 2)),
    (layer("RandomFlip", "a"), X),
    (layer("SpatialDropout2D", "a", rate=0.5), X),
    (layer("GlobalAveragePooling2D", "a"), X.mean((1, 2))),
    (layer("GlobalMaxPooling2D", "a"), X.max((1, 2))),
    (layer("Flatten", "a"), X.reshape(1, -1)),
    (layer("MaxPooling2D", "a"), X.reshape(1, 3, 2, 4, 2, 3).max((2, 4))),
    (layer("AveragePooling2D", "a", pool_size=[2, 2], strides=[2, 2]), X.reshape(1, 3, 2, 4, 2, 3).mean((2, 4))),
    (layer("Softmax", "a"), np.exp(X) / np.exp(X).sum(-1, keepdims=True)),
], ids=lambda value: value["class_name"] if isinstance(value, dict) else "")
def test_layer_computes_what_keras_documents(config, expected):
    found = run(model(layer("Dropout", "d", rate=0.1), config), X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("stride, dilation, size, pads", [
    (1, 1, 3, (1, 1)), (1, 2, 3, (2, 2)), (1, 1, 4, (1, 2)), (1, 1, 1, (0, 0)),
])
def test_same_padding_with_stride_one_is_the_same_at_any_size(stride, dilation, size, pads):
    kernel = np.ones((size, size, 3, 2))
    config = layer("Conv2D", "c", filters=2, kernel_size=[size] * 2, strides=[stride] * 2, padding="same",
                   dilation_rate=[dilation] * 2, use_bias=False, activation="linear")
    assert list(draft_of(model(config), {"kernel": kernel}).row("c")["pad"]) == [*pads, *pads]
    assert run(model(config), X, {"kernel": kernel}).shape == (1, 6, 8, 2)


def test_file_of_keras_2_computes_the_same(sample, answers, tmp_path):
    """The sample of Keras 3, rewritten in the way of version 2: other inbound nodes and names of shapes and weights."""
    path = tmp_path / "keras2.h5"
    path.write_bytes(sample("keras_functional.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for row in config["config"]["layers"]:
            if "batch_shape" in row["config"]:
                row["config"]["batch_input_shape"] = row["config"].pop("batch_shape")
            for node in row["inbound_nodes"]:
                tensors = node["args"][0] if isinstance(node["args"][0], list) else node["args"]
                row["inbound_nodes"] = [[[*tensor["config"]["keras_history"], {}] for tensor in tensors]]
        config["class_name"] = "Model"
        config["config"]["output_layers"] = [config["config"]["output_layers"]]
        file.attrs["model_config"] = json.dumps(config).encode()
        for name, group in file["model_weights"].items():
            for inner in group.values():
                for part in list(inner) if isinstance(inner, h5py.Group) else ():
                    depthwise = name.startswith("depthwise") and part == "kernel"
                    inner.move(part, "depthwise_kernel:0" if depthwise else f"{part}:0")
    draft, known = read_draft(path), answers("keras_functional")
    weights = {name: np.asarray(array, np.float64) for name, array in draft.weights.items()}
    logits = Network(draft.rows, weights, draft.logits_layer, precision="float64")(known["x"])[draft.logits_layer].data
    np.testing.assert_allclose(logits, known["logits"], rtol=0, atol=1e-9 * np.abs(known["logits"]).max())


@pytest.mark.parametrize("config, says", [
    (layer("LSTM", "odd"), "layer odd: its class LSTM is not among"),
    (layer("Functional", "inner", layers=3), "class 'Functional'"),
    (layer("Conv2D", "c", data_format="channels_first"), "layer c: is channels_first"),
    (layer("Conv2D", "c", filters=2, kernel_size=3, padding="causal", use_bias=False), "layer c: padding 'causal'"),
    (layer("Conv2D", "c", filters=2, kernel_size=3, use_bias=False, activation="swish"), "layer c: activation 'swish'"),
    (layer("Conv2D", "c"), "damaged"),
    (layer("Dense", "d", units=2, use_bias=False), "d: linear reads vectors|d: weight|vectors"),
    (layer("ReLU", "r", threshold=1.0), "layer r: a ReLU with a threshold"),
    (layer("Softmax", "s", axis=1), "layer s: a softmax over"),
    (layer("Concatenate", "c", axis=1), "layer c: only a concatenation of channels|takes 2"),
    (layer("GlobalAveragePooling2D", "g", keepdims=True), "layer g: keepdims"),
    (layer("UpSampling2D", "u", interpolation="bilinear"), "layer u: only upsampling"),
    (layer("BatchNormalization", "b", axis=1), "layer b: normalises axis 1"),
])
def test_what_is_not_read_is_refused_with_the_name_of_the_layer(config, says):
    from minivis.checkpoints.draft import settle
    with pytest.raises(WeightFileError, match=says) as error:
        settle(draft_of(model(config), {"kernel": KERNEL}), "file.h5")
    assert "file.h5" in str(error.value)


@pytest.mark.parametrize("config, says", [
    (None, "describes no model"),
    ({"class_name": "MyModel", "config": {"layers": []}}, "class 'MyModel'; only Sequential and functional"),
    ({"class_name": "Sequential", "config": {"layers": 3}}, "only Sequential and functional"),
    ({"class_name": "Sequential", "config": {"layers": [3]}}, "damaged"),
    (model(shape=(None, 6, 8)), "its input shape is"),
    ({"class_name": "Functional", "config": {"layers": [
        {"class_name": "ReLU", "config": {"name": "r"}, "inbound_nodes": [[["nowhere", 0, 0, {}]]]}]}},
     "layer r: its inputs"),
    ({"class_name": "Functional", "config": {"layers": [
        {"class_name": "ReLU", "config": {"name": "r"}, "inbound_nodes": [[["r", 0, 0]], [["r", 0, 0]]]}]}},
     "is used 2 times"),
])
def test_configurations_that_are_none_are_refused(config, says):
    with pytest.raises(WeightFileError, match=says):
        draft_of(config)
