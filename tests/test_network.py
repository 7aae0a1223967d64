"""Networks: what net(x, ...) promises."""
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import minivis as mv
from minivis import kernels
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.loading import random_weights
from minivis.network import Network
from minivis.tensor import Tensor, gradient

RGB = {"size": [12, 12], "resize": 14, "crop": "centre", "channels": "BGR", "range": 255, "mean": [104, 117, 123],
       "std": [1, 1, 1]}
DENSE = [
    Layer("input", "input", shape=[12, 12, 3]),
    Layer("conv1", "conv", filters=6, kernel=[3, 3], pad=1),
    Layer("norm1", "batch_norm"),
    Layer("relu1", "relu"),
    Layer("pool1", "max_pool", kernel=[2, 2]),
    Layer("conv2", "conv", filters=6, kernel=[3, 3], pad=1),
    Layer("sum", "add", ["conv2", "pool1"]),
    Layer("relu2", "relu"),
    Layer("flatten", "flatten"),
    Layer("drop6", "dropout", rate=0.5),
    Layer("fc6", "linear", outputs=10),
    Layer("relu6", "relu"),
    Layer("fc8", "linear", outputs=4),
    Layer("prob", "softmax"),
]


def network(**how):
    return Network(DENSE, random_weights(DENSE, 1), logits_layer="fc8", preprocessing=RGB, **how)


def picture(N=2, size=12, dtype=np.float32):
    return np.random.default_rng(0).normal(0, 1, (N, size, size, 3)).astype(dtype)


# --------------------------------------------------------------------------------------------------------- what is run

def test_the_logits_alone_unless_more_is_asked():
    values = network()(picture())
    assert list(values) == ["fc8"] and values["fc8"].shape == (2, 4)


def test_values_come_under_the_names_given_in_their_order():
    net = network()
    x = picture()
    assert list(net(x, ["prob", "conv1", "fc8"])) == ["prob", "conv1", "fc8"]
    assert np.allclose(net(x, "prob")["prob"].data.sum(axis=1), 1)
    assert np.array_equal(net(x, "input")["input"].data, x)


def test_nothing_beyond_the_last_layer_asked_for_is_computed(monkeypatch):
    from minivis import network as module
    ran = []

    def spy(layer, *args, **kwargs):
        ran.append(layer.name)
        return run(layer, *args, **kwargs)

    run = module.run_layer
    monkeypatch.setattr(module, "run_layer", spy)
    network(precision="float64")(picture(), "relu1")
    assert ran == ["conv1", "norm1", "relu1"]


def test_going_on_from_an_activation_gives_the_same(each_kernel_set):
    net, x = network(), picture()
    whole = net(x, ["pool1", "relu2", "prob"])
    for start in ("pool1", "relu2"):
        assert np.array_equal(net(whole[start], "prob", start=start)["prob"].data, whole["prob"].data)
    with pytest.raises(MinivisError, match="another way"):
        net(whole["relu2"], "fc8", start="conv2")


def test_a_gradient_reaches_activations_and_inputs():
    net, x = network(), Tensor(picture(), needs_grad=True)
    values = net(x, ["relu1", "fc8"])
    middle, whole = gradient(values["fc8"], [values["relu1"], x])
    assert middle.shape == values["relu1"].shape and whole.shape == x.shape and np.abs(whole).max() > 0
    start = Tensor(values["relu1"].data, needs_grad=True)
    again = gradient(net(start, start="relu1")["fc8"], start)
    assert np.allclose(again, middle, rtol=1e-5, atol=1e-7)


def test_without_a_gradient_nothing_is_linked():
    assert all(v.op is None for v in network()(picture(), ["relu1", "fc8"]).values())


def test_kept_inputs_are_in_the_ops():
    net, x = network(), Tensor(picture(), needs_grad=True)
    values = net(x, ["conv1", "sum", "fc8"], keep="inputs")
    assert values["conv1"].op.x is x.data and values["conv1"].op.layer == "conv1"
    assert [a.shape for a in values["sum"].op.x] == [(2, 6, 6, 6)] * 2
    assert values["fc8"].op.x.shape == (2, 10)


def test_pool_avg_replaces_the_maximum():
    net, x = network(), picture()
    a = net(x, ["relu1", "pool1"], pool="avg")
    blocks = a["relu1"].data.reshape(2, 6, 2, 6, 2, 6).mean(axis=(2, 4))
    assert np.allclose(a["pool1"].data, blocks, atol=1e-6)


def test_training_mode_is_an_argument_and_statistics_are_values():
    net, x = network(), picture(8)
    values = net(x, ["conv1", "norm1", "fc8"], train=np.random.default_rng(0))
    conv = values["conv1"].data
    assert np.allclose(values["norm1/mean"].data, conv.mean(axis=(0, 1, 2)), atol=1e-6)
    assert np.allclose(values["norm1/var"].data, conv.var(axis=(0, 1, 2)), rtol=1e-4)
    assert np.abs(values["norm1"].data.mean(axis=(0, 1, 2))).max() < 1e-5
    again = net(x, train=np.random.default_rng(0))["fc8"].data
    assert np.array_equal(again, values["fc8"].data)                     # the same seed drops the same values
    assert not np.allclose(again, net(x, train=np.random.default_rng(1))["fc8"].data)
    assert list(net(x)) == ["fc8"]


def test_any_size_without_a_dense_head():
    net = mv.random_network("squeezenet1_1")
    for size in (63, 80):
        assert net(np.zeros((1, size, size, 3), np.float32))["logits"].shape == (1, 1000)
    assert network()(picture(1, 30), "relu2")["relu2"].shape == (1, 15, 15, 6)


def test_a_dense_head_at_another_size_says_which_it_wants():
    with pytest.raises(MinivisError, match="fc6 is dense: it takes 216 values, which is an input of 12 x 12"):
        network()(picture(1, 30))
    with pytest.raises(MinivisError, match="12 x 12"):
        network().shapes((30, 30))


@pytest.mark.parametrize("x, words", [
    (np.zeros((12, 12, 3), np.float32), "must|is .N, H, W, 3"),
    (np.zeros((1, 12, 12, 4), np.float32), r"\(N, H, W, 3\)"),
    (np.zeros((1, 12, 12, 3), np.uint8), "net.preprocess"),
    (Tensor(np.zeros((1, 12, 12, 3))), "float64, but the network computes in float32"),
])
def test_a_wrong_input_is_one_clear_error(x, words):
    with pytest.raises(MinivisError, match=words):
        network()(x)


def test_a_wrong_layer_lists_the_close_ones():
    with pytest.raises(MinivisError, match="has no layer 'relu9'; did you mean relu6, relu2"):
        network()(picture(), "relu9")
    with pytest.raises(MinivisError, match="keep='all'"):
        network()(picture(), keep="all")


def test_aliases_are_answered_under_their_own_name():
    net = mv.random_network("vgg11", head=False)
    x = np.ones((1, 32, 32, 3), np.float32)
    values = net(x, ["features.3", "block2_conv1", "conv2_1"])
    assert list(values) == ["features.3", "block2_conv1", "conv2_1"]
    assert np.array_equal(values["features.3"].data, values["conv2_1"].data)


# ----------------------------------------------------------------------------------------------------------- weights

def test_frozen_weights_cannot_be_written_to():
    net = network()
    with pytest.raises(ValueError, match="read-only"):
        net.weights["conv1/weight"].data[0] = 1
    view = np.zeros((5, 6), np.float32)
    net.weights["conv1/bias"] = view[0]
    view[0] = 7                                             # somebody else's array was copied
    assert net.weights["conv1/bias"].data.max() == 0


@pytest.mark.parametrize("name, value, words", [
    ("conv1/weigth", np.zeros(1), "no place for 'conv1/weigth'; did you mean conv1/weight"),
    ("conv1/bias", np.zeros(7), r"is \(7,\), but the table wants \(6,\)"),
    ("conv1/bias", np.zeros(6, int), "holds int64"),
])
def test_a_weight_that_does_not_fit_is_one_clear_error(name, value, words):
    with pytest.raises(MinivisError, match=words):
        network().weights[name] = value


def test_a_missing_weight_is_one_clear_error():
    weights = random_weights(DENSE)
    del weights["fc8/bias"]
    with pytest.raises(MinivisError, match=r"fc8/bias \(4,\) is missing"):
        Network(DENSE, weights)


def test_weights_get_gradients_once_unfrozen(each_kernel_set):
    net, x = network(), picture()
    net.weights.unfreeze(["conv1/weight", "fc8/bias"])
    w = net.weights["conv1/weight"]
    assert w.needs_grad and w.data.flags.writeable
    dw, db = gradient(net(x)["fc8"], [w, net.weights["fc8/bias"]])
    assert dw.shape == w.shape and np.abs(dw).max() > 0 and np.allclose(db, 2)      # one for each picture
    before = net(x)["fc8"].data
    w.data += 1
    assert not np.allclose(net(x)["fc8"].data, before)
    net.weights.freeze()
    assert not net.weights.trainable() and not net.weights["conv1/weight"].data.flags.writeable


def test_precision_copies_share_what_they_can_and_notice_changes():
    net = network()
    double = net.with_precision("float64")
    assert net.with_precision("float64") is double and net.with_precision("float32") is net
    assert double.weights["conv1/weight"].dtype == np.float64
    direct = net.with_precision("float32-direct")
    assert direct.weights["conv1/weight"].data is net.weights["conv1/weight"].data
    x = picture()
    assert np.allclose(net(x)["fc8"].data, double(x.astype(np.float64))["fc8"].data, rtol=1e-4, atol=1e-5)
    net.weights["fc8/bias"] = np.ones(4, np.float32)
    assert net.with_precision("float64") is not double
    with pytest.raises(MinivisError, match="float16' needs a GPU"):
        net.with_precision("float16")
    with pytest.raises(MinivisError, match="did you mean float32"):
        net.with_precision("float31")


def test_other_weights_leave_the_network_alone():
    net, x = network(), picture()
    before, digest = net(x)["fc8"].data, net.weights_hash()
    other = net.with_weights({"fc8/weight": np.zeros((10, 4), np.float32)})
    assert np.array_equal(other(x)["fc8"].data, np.zeros((2, 4)))
    assert np.array_equal(net(x)["fc8"].data, before) and net.weights_hash() == digest != other.weights_hash()


def test_random_networks_are_he_initialised_and_repeatable():
    net, again, other = (mv.random_network("squeezenet1_0", seed=s) for s in (0, 0, 1))
    w = net.weights["fire9_expand3/weight"].data
    assert np.array_equal(w, again.weights["fire9_expand3/weight"].data)
    assert not np.array_equal(w, other.weights["fire9_expand3/weight"].data)
    assert abs(w.std() / np.sqrt(2 / (9 * 64)) - 1) < 0.02 and abs(w.mean()) < 1e-3
    first = np.random.RandomState(0).standard_normal(7 * 7 * 3 * 96).reshape(7, 7, 3, 96) * np.sqrt(2 / 147)
    assert np.allclose(net.weights["conv1/weight"].data, first, rtol=1e-6)


# ------------------------------------------------------------------------------------------------------- bookkeeping

def test_the_summary_adds_up():
    net = network()
    rows = {row.name: row for row in net.summary()}
    assert sum(row.parameters for row in rows.values()) == net.parameters == 3 * 9 * 6 + 6 + 12 + 330 + 2170 + 44
    assert rows["conv2"].multiply_adds == 6 * 6 * 6 * 9 * 6 and rows["conv2"].receptive_field == (8, 8)
    assert rows["fc6"].receptive_field is None and rows["pool1"].shape == (6, 6, 6)


def test_the_layers_command_prints_every_layer():
    from minivis.commands.layers import layers
    report = layers(network(name="small"))
    lines = report.text().splitlines()
    assert lines[0].startswith("small") and lines[1].split()[:2] == ["layer", "kind"]
    assert [line.split()[0] for line in lines[2:2 + len(DENSE)]] == [layer.name for layer in DENSE]
    assert report.to_dict()["rows"][1]["output"] == (12, 12, 6)


def test_bytes_needed_grow_with_the_batch_and_with_what_is_asked():
    net = mv.random_network("vgg11", head=False)
    shape = (2, 64, 64, 3)
    largest = 2 * 64 * 64 * 64 * 4                          # conv1_1's output, and relu1_1's as large again
    needed = net.bytes_needed(shape, "pool5")
    assert 2 * largest < needed < 8 * largest
    assert net.bytes_needed((4, 64, 64, 3), "pool5") == 2 * needed
    more = [net.bytes_needed(shape, names) for names in (["conv1_1", "relu1_1", "pool5"], net.table.names)]
    assert needed < more[0] < more[1] <= net.bytes_needed(shape, net.table.names, backward=True)


@pytest.mark.parametrize("name, size", [("vgg11", 64), ("squeezenet1_1", 127)])
@pytest.mark.parametrize("backward", [False, True])
def test_a_pass_takes_no_more_than_bytes_needed(name, size, backward):
    net = mv.random_network(name, head=False)
    x = np.ones((2, size, size, 3), np.float32)

    def run():
        start = Tensor(x, needs_grad=backward)
        y = net(start)[net.output_layer]
        return gradient(y, start) if backward else y

    run()                                                   # what is kept between calls exists now
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < peak <= net.bytes_needed(x.shape, backward=backward)


def test_features_default_to_what_the_network_has():
    assert mv.random_network("squeezenet1_1").features_layer == "fire9"
    assert network().features_layer == "relu6"              # no relu7: what the logits read
    layers = [*DENSE[:2], Layer("mean", "global_avg_pool"), Layer("dense", "linear", outputs=2)]
    assert Network(layers, random_weights(layers), logits_layer="dense").features_layer == "mean"


def test_pictures_go_in_and_come_back_exactly():
    net = network()
    shown = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    x = net.preprocess(shown)
    assert x.shape == (1, 12, 12, 3) and x.dtype == np.float32
    assert np.array_equal(net.restore(x), net.see(shown).picture)
    assert np.array_equal(net.to_rgb(x)[..., 0], x[..., 2])
    assert net.with_precision("float64").preprocess(shown).dtype == np.float64


def test_a_network_without_preprocessing_says_so():
    net = Network(DENSE, random_weights(DENSE))
    with pytest.raises(MinivisError, match="no preprocessing"):
        net.preprocess(np.zeros((4, 4, 3), np.uint8))


def test_a_name_that_is_no_network_is_one_clear_error():
    with pytest.raises(MinivisError, match="no network 'nosuchnet'"):
        mv.load_network("nosuchnet")
    with pytest.raises(MinivisError, match=r"missing\.h5 does not exist"):
        mv.load_network("missing.h5")
    with pytest.raises(MinivisError, match="no device 'tpu'"):
        mv.load_network(__file__, device="tpu")


def test_import_is_fast_and_the_public_names_are_there():
    code = ("import time; t = time.perf_counter(); import minivis as mv; t = time.perf_counter() - t\n"
            "assert t < 0.5, t\n"
            "assert {'load_network', 'random_network', 'Tensor', 'gradient', 'ops', 'read_image', 'saliency'} "
            "<= set(dir(mv))\n"
            "mv.random_network, mv.Tensor, mv.gradient, mv.ops.relu, mv.read_image\n"
            "try: mv.nonsense\nexcept AttributeError: pass\nelse: raise SystemExit('no AttributeError')")
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


# ------------------------------------------------------------------------------------------------------- outside data

@pytest.mark.data
def test_squeezenet_file_classifies_as_published(data_folder):
    net = mv.load_network(data_folder / "squeezenet1_0.h5", device="cpu")
    for index, logit in ((3, 21.326), (283, 26.487), (963, 27.045)):
        path, = (data_folder / "imagenet_samples").glob(f"{index:03}_*")
        scores = net(net.preprocess(mv.read_image(path)))["logits"].data[0]
        assert scores.argmax() == index and abs(scores[index] - logit) < 0.002


@pytest.mark.data
@pytest.mark.slow
def test_squeezenet_file_is_right_61_times_in_100(data_folder):
    net = mv.load_network(data_folder / "squeezenet1_0.h5", device="cpu")
    paths = sorted((data_folder / "imagenet_samples").iterdir())
    right = [net(net.preprocess(mv.read_image(p)))["logits"].data.argmax() == int(p.name[:3]) for p in paths]
    assert (sum(right), len(right)) == (61, 100)


@pytest.mark.data
def test_style_network_file_makes_a_picture(data_folder):
    net = mv.load_network(data_folder / "fast_style_wave.h5", device="cpu")
    shown = mv.read_image(data_folder / "tubingen.jpg")[:60, :101]
    y = net(net.preprocess(shown))["picture"].data
    assert y.shape == (1, 60, 104, 3) and y.min() >= 0 and y.max() <= 255 and y.std() > 20
    with kernels.using("reference"):
        assert np.abs(net(net.preprocess(shown))["picture"].data - y).max() < 0.05
