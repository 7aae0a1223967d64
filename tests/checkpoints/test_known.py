"""Weights without an architecture: recognised by names and shapes, permuted into our order, in any width."""
import numpy as np
import pytest

from minivis import architectures
from minivis.checkpoints.draft import (
    Draft,
    Rearranged,
    blocks,
    flatten_in_our_order,
    fold_batch_norms,
    spell_out_inputs,
)
from minivis.checkpoints.recognise import read_draft
from minivis.errors import WeightFileError
from minivis.layers import Layer, Table
from minivis.loading import random_weights
from minivis.names import aliases
from minivis.network import Network

VGG16_NAMES = aliases(Table(architectures.table("vgg16")["layers"]))        # {"features.0": "conv1_1", ...}


def torch_state(rows, weights):
    """The state_dict that torchvision would have for these weights: OIHW, (out, in), flattened channels first."""
    table, state = Table(rows), {}
    ours_to_theirs = {ours: theirs for theirs, ours in aliases(table).items() if theirs.startswith(("feat", "class"))}
    for name, array in weights.items():
        layer, part = name.split("/")
        if part == "weight" and array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif part == "weight":
            if layer == "fc6":
                H, W, C = {"vgg": (2, 2), "ale": (6, 6)}["vgg" if "conv1_1" in table else "ale"] + (array.shape[0],)
                array = array.reshape(H, W, C // (H * W), -1).transpose(2, 0, 1, 3).reshape(array.shape)
            array = array.T
        state[f"{ours_to_theirs[layer]}.{part}"] = np.ascontiguousarray(array)
    return state


@pytest.mark.parametrize("architecture, head", [
    ("vgg11", True), ("vgg13", True), ("vgg16", True), ("vgg19", True), ("vgg16", False), ("vgg19", False),
    ("alexnet", True), ("squeezenet1_0", True), ("squeezenet1_1", True), ("squeezenet1_1", False),
])
def test_torchvision_state_dict_gives_back_the_network(tmp_path, narrow, write_safetensors, architecture, head):
    rows = narrow(architecture, head)
    weights = random_weights(rows, seed=3)
    draft = read_draft(write_safetensors(tmp_path / "x", torch_state(rows, weights)))
    assert (draft.architecture, draft.family) == (architecture, "torchvision")
    assert [row.to_json() for row in draft.rows if row.kind == "conv"] \
        == [{**row.to_json(), "inputs": list(Table(rows).reads[row.name])} for row in rows if row.kind == "conv"]
    for name, array in weights.items():
        np.testing.assert_array_equal(np.asarray(draft.weights[name]), array, err_msg=name)


@pytest.mark.parametrize("rename, family", [
    (lambda name: name, "torchvision"),
    (lambda name: f"module.{name}", "torchvision"),
    (lambda name: f"state_dict.module.{name}", "torchvision"),
    (lambda name: name.replace("classifier.0", "classifier.1").replace("classifier.3", "classifier.4"), "caffe"),
    (lambda name: "{}.{}".format(VGG16_NAMES[name.rsplit(".", 1)[0]], name.rsplit(".", 1)[1]), "caffe"),
], ids=["torchvision", "data parallel", "in a checkpoint", "jcjohnson", "Gatys"])
def test_every_naming_of_vgg_is_recognised_with_its_preprocessing(tmp_path, narrow, write_safetensors, rename, family):
    rows = narrow("vgg16")
    weights = random_weights(rows, seed=4)
    state = {rename(name): array for name, array in torch_state(rows, weights).items()}
    draft = read_draft(write_safetensors(tmp_path / "x", state))
    assert (draft.architecture, draft.family) == ("vgg16", family)
    np.testing.assert_array_equal(np.asarray(draft.weights["fc6/weight"]), weights["fc6/weight"])


def test_vgg_with_batch_norm_is_folded_exactly(tmp_path, narrow, write_safetensors, rng):
    rows = narrow("vgg11")
    weights = random_weights(rows, seed=5)
    state, at = {}, 0
    scale_of = {}
    for name, array in torch_state(rows, weights).items():
        if name.startswith("classifier"):
            state[name] = array
    for block, depth in enumerate((1, 1, 2, 2, 2), 1):
        for i in range(1, depth + 1):
            conv = f"conv{block}_{i}"
            K = weights[f"{conv}/bias"].size
            scale, shift, mean, var = (rng.uniform(0.5, 2, K).astype(np.float32) for _ in range(4))
            scale_of[conv] = scale.astype(float), shift.astype(float), mean.astype(float), var.astype(float)
            state |= {f"features.{at}.weight": weights[f"{conv}/weight"].transpose(3, 2, 0, 1),
                      f"features.{at}.bias": weights[f"{conv}/bias"], f"features.{at + 1}.weight": scale,
                      f"features.{at + 1}.bias": shift, f"features.{at + 1}.running_mean": mean,
                      f"features.{at + 1}.running_var": var}
            at += 3
        at += 1
    draft = read_draft(write_safetensors(tmp_path / "x", state))
    assert draft.architecture == "vgg11" and not [row for row in draft.rows if row.kind == "batch_norm"]
    for conv, (scale, shift, mean, var) in scale_of.items():
        s = scale / np.sqrt(var + 1e-5)
        np.testing.assert_allclose(draft.weights[f"{conv}/weight"], weights[f"{conv}/weight"] * s, rtol=1e-13)
        bias = (weights[f"{conv}/bias"] - mean) * s + shift
        np.testing.assert_allclose(draft.weights[f"{conv}/bias"], bias, rtol=1e-12)


def test_first_dense_layer_of_vgg_is_permuted_from_c_h_w_to_h_w_c():
    C, H, W, K = 512, 7, 7, 2
    rows = [Layer("input", "input", shape=[H, W, C]), Layer("flatten", "flatten", ["input"], order="chw"),
            Layer("fc6", "linear", ["flatten"], outputs=K)]
    chw = np.arange(C * H * W * K, dtype=np.float32).reshape(C * H * W, K)
    draft = Draft("test", rows=rows, weights={"fc6/weight": chw, "fc6/bias": np.zeros(K, np.float32)}, output="fc6")
    flatten_in_our_order(draft)
    hwc = np.concatenate(list(blocks(draft.weights["fc6/weight"])))
    assert draft.rows[1]["order"] == "hwc" and hwc.shape == (25088, K)
    for c, h, w in [(0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 1, 0), (511, 6, 6), (300, 2, 5)]:
        np.testing.assert_array_equal(hwc[(h * W + w) * C + c], chw[c * H * W + h * W + w])


def test_flatten_that_something_else_reads_keeps_its_order(rng):
    rows = [Layer("input", "input", shape=[2, 3, 4]), Layer("flatten", "flatten", ["input"], order="chw"),
            Layer("a", "linear", ["flatten"], outputs=2), Layer("prob", "softmax", ["flatten"])]
    draft = Draft("test", rows=rows, weights={"a/weight": np.ones((24, 2)), "a/bias": np.zeros(2)}, output="a")
    flatten_in_our_order(draft)
    assert draft.rows[1]["order"] == "chw"


def test_blocks_of_a_rearranged_array_are_the_array(monkeypatch, rng):
    monkeypatch.setattr("minivis.checkpoints.draft.BLOCK_BYTES", 1000)
    array = rng.random((6, 5, 7))
    moved = Rearranged(array.transpose(1, 2, 0), (35, 6))
    parts = list(blocks(moved))
    assert len(parts) == 3 and all(part.flags.c_contiguous for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), array.transpose(1, 2, 0).reshape(35, 6))


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_folding_keeps_the_function(kind, rng):
    shape = [5, 6, 3]
    weight = rng.standard_normal((3, 3, 3, 4) if kind == "conv" else (90, 4))
    how = {"filters": 4, "kernel": 3} if kind == "conv" else {"outputs": 4}
    rows = [Layer("input", "input", shape=shape)] + ([Layer("flatten", "flatten")] if kind == "linear" else [])
    rows += [Layer("a", kind, bias=False, **how), Layer("norm", "batch_norm", eps=1e-3), Layer("relu", "relu")]
    norm = {f"norm/{part}": rng.uniform(0.5, 2, 4) for part in ("scale", "shift", "mean", "var")}
    weights = {"a/weight": weight, **norm}
    draft = Draft("test", rows=list(rows), weights=dict(weights), output="relu")
    spell_out_inputs(draft)
    fold_batch_norms(draft)
    assert "norm" not in [row.name for row in draft.rows]
    x = rng.standard_normal((2, *shape))
    before = Network(rows, weights, precision="float64")(x)["relu"].data
    after = Network(draft.rows, draft.weights, precision="float64")(x)["relu"].data
    assert before.max() > 0
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-12 * before.max())


@pytest.mark.parametrize("change, says", [
    (lambda s: s.update({"extra.weight": np.zeros(3, np.float32)}), "without an architecture"),
    (lambda s: s.pop("features.0.bias"), "conv1_1 has weight"),
    (lambda s: s.update({"features.2.weight": s["features.2.weight"][:, :, :2]}), "conv1_2"),
    (lambda s: s.update({"features.2.weight": s["features.2.weight"][:, :3]}), "conv1_2"),
    (lambda s: s.update({"classifier.0.weight": s["classifier.0.weight"][:, 1:]}), "fc6"),
    (lambda s: s.update({"classifier.3.weight": s["classifier.3.weight"][:, 1:]}), "fc7"),
    (lambda s: s.update({"features.5.weight": np.zeros((3, 0), np.float32)}), "conv2_1"),
])
def test_wrong_arrays_are_refused_with_the_name_of_the_layer(tmp_path, narrow, write_safetensors, change, says):
    rows = narrow("vgg16")
    state = torch_state(rows, random_weights(rows))
    change(state)
    with pytest.raises(WeightFileError, match=says) as error:
        read_draft(write_safetensors(tmp_path / "x.safetensors", state))
    assert "x.safetensors" in str(error.value) and "\n" not in str(error.value)
