"""Layer tables: what is right survives JSON, what is wrong is one clear error before anything is computed."""
import json

import pytest

from minivis.errors import MinivisError
from minivis.layers import KINDS, Layer, Table, did_you_mean
from minivis.shapes import infer_shapes, weight_shapes

INPUT = Layer("input", "input", shape=[8, 9, 3])
EVERY_KIND = [
    INPUT,
    Layer("conv", "conv", filters=8, kernel=[3, 3], pad="same", stride=2),
    Layer("norm", "batch_norm"),
    Layer("relu", "relu"),
    Layer("lrn", "lrn", size=3),
    Layer("pool", "max_pool", kernel=2, ceil=True),
    Layer("left", "conv", filters=4, kernel=1, groups=2),
    Layer("right", "conv", "pool", filters=4, kernel=[3, 1], pad=[1, 1, 0, 0], dilation=1, bias=False),
    Layer("sum", "add", ["left", "right"]),
    Layer("product", "multiply", ["sum", "left", "right"]),
    Layer("both", "concat", ["product", "left"]),
    Layer("up", "conv_transpose", filters=5, kernel=3, stride=2, pad="same"),
    Layer("instance", "instance_norm", eps=1e-3),
    Layer("leaky", "leaky_relu", slope=0.2),
    Layer("padded", "pad", pad=[1, 0, 0, 1], mode="reflect"),
    Layer("average", "avg_pool", kernel=2, stride=1, count_pad=False),
    Layer("larger", "upsample", factor=2),
    Layer("squash", "tanh"),
    Layer("scaled", "scale", factor=2.0, offset=1),
    Layer("learned", "scale", per_channel=True),
    Layer("held", "clip", low=0, high=1),
    Layer("gate", "sigmoid"),
    Layer("flat", "flatten"),
    Layer("drop", "dropout", rate=0.3),
    Layer("dense", "linear", outputs=7),
    Layer("prob", "softmax"),
    Layer("mean", "global_avg_pool", "gate"),
]


def test_every_kind_of_layer_survives_json():
    table = Table(EVERY_KIND)
    assert {layer.kind for layer in table} == set(KINDS)
    text = json.dumps(table.to_json())
    assert Table(json.loads(text)).to_json() == json.loads(text)
    assert Table(json.loads(text)).layers == table.layers


def test_shapes_follow_from_the_table():
    shapes = infer_shapes(Table(EVERY_KIND))
    assert shapes["conv"] == (4, 5, 8) and shapes["pool"] == (2, 3, 8)
    assert shapes["both"] == (2, 3, 8) and shapes["up"] == (4, 6, 5) and shapes["padded"] == (5, 7, 5)
    assert shapes["larger"] == (8, 12, 5) and shapes["flat"] == (480,) and shapes["dense"] == (7,)
    assert shapes["mean"] == (5,)


def test_weight_shapes_follow_from_the_table():
    shapes = weight_shapes(Table(EVERY_KIND))
    assert shapes["left/weight"] == (1, 1, 4, 4)            # in two groups: half of the 8 channels each
    assert shapes["right/weight"] == (3, 1, 8, 4) and "right/bias" not in shapes
    assert shapes["up/weight"] == (3, 3, 8, 5) and shapes["dense/weight"] == (480, 7)
    assert shapes["norm/var"] == (8,) and shapes["learned/shift"] == (5,) and "scaled/scale" not in shapes


def test_shapes_of_a_free_size_are_unknown_where_they_depend_on_it():
    shapes = infer_shapes(Table([Layer("input", "input", shape=[None, None, 3]), *EVERY_KIND[1:6]]))
    assert shapes["pool"] == (None, None, 8)


@pytest.mark.parametrize("layers, words", [
    ([], "first layer must be of kind 'input'"),
    ([Layer("a", "relu")], "first layer must be of kind 'input'"),
    ([INPUT, Layer("a", "relu"), Layer("a", "relu")], "two layers are called 'a'"),
    ([INPUT, Layer("a", "relu", "inpud")], "no layer; did you mean input?"),
    ([INPUT, Layer("a", "relu", "b"), Layer("b", "relu")], "cycle"),
    ([INPUT, Layer("a", "relu", "a")], "cycle"),
    ([INPUT, Layer("a", "add")], "2 to 256 inputs, not 1"),
    ([INPUT, Layer("a", "relu", ["input", "input"])], "takes one input, not 2"),
    ([INPUT, Layer("again", "input", shape=[8, 9, 3])], "once"),
])
def test_a_wrong_table_is_one_clear_error(layers, words):
    with pytest.raises(MinivisError, match=words):
        Table(layers)


@pytest.mark.parametrize("row, words", [
    ({"name": "a"}, "a name and a kind"),
    ("relu", "a name and a kind"),
    ({"name": "a/b", "kind": "relu"}, "without '/'"),
    ({"name": 3, "kind": "relu"}, "printable characters"),
    ({"name": "a", "kind": "rellu"}, "did you mean relu"),
    ({"name": "a", "kind": ["relu"]}, "no kind"),
    ({"name": "a", "kind": "relu", "self": 1}, "relu has no setting 'self'"),
    ({"name": "a", "kind": "relu", "slope": 1}, "relu has no setting 'slope'"),
    ({"name": "a", "kind": "conv", "filters": 3}, "needs the setting 'kernel'"),
    ({"name": "a", "kind": "conv", "filters": True, "kernel": 3}, "filters is True"),
    ({"name": "a", "kind": "conv", "filters": 10**9, "kernel": 3}, "filters is 1000000000"),
    ({"name": "a", "kind": "conv", "filters": 3, "kernel": [3, 3, 3]}, "kernel is"),
    ({"name": "a", "kind": "conv", "filters": 3, "kernel": 3, "pad": -1}, "pad is -1"),
    ({"name": "a", "kind": "conv", "filters": 3, "kernel": 3, "stride": 0}, "stride is 0"),
    ({"name": "a", "kind": "max_pool", "kernel": 2, "ceil": 1}, "ceil is 1"),
    ({"name": "a", "kind": "pad", "pad": "same"}, "pad is 'same'"),
    ({"name": "a", "kind": "clip", "low": float("nan"), "high": 1}, "low is nan"),
    ({"name": "a", "kind": "clip", "low": 2, "high": 1}, "low 2 is above high 1"),
    ({"name": "a", "kind": "relu", "inputs": "input"}, "inputs must be a list of names"),
    ({"name": "a", "kind": "input", "shape": [8, 8, None]}, "shape is"),
])
def test_a_wrong_row_is_one_clear_error(row, words):
    with pytest.raises(MinivisError, match=words) as caught:
        Layer.from_json(row)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layers, words", [
    ([Layer("a", "conv", filters=4, kernel=11)], "a: nothing is left of its 8 x 9 input"),
    ([Layer("a", "conv", filters=4, kernel=1, groups=2)], "3 channels and 4 filters do not fall into 2 groups"),
    ([Layer("a", "linear", outputs=4)], "flatten it first"),
    ([Layer("a", "upsample"), Layer("b", "add", ["a", "input"])], "b: add of different sizes"),
    ([Layer("a", "pad", pad=8, mode="reflect")], "a: reflecting 8"),
    ([Layer("a", "max_pool", kernel=2, pad=2)], "a: pad 2 reaches past the window 2"),
])
def test_a_table_whose_sizes_do_not_fit_names_the_layer(layers, words):
    with pytest.raises(MinivisError, match=words):
        weight_shapes(Table([INPUT, *layers]))


def test_needed_leaves_out_what_does_not_matter():
    table = Table(EVERY_KIND)
    assert table.needed(["right"]) == ["input", "conv", "norm", "relu", "lrn", "pool", "right"]
    assert table.needed(["sum"], start="pool") == ["pool", "left", "right", "sum"]
    with pytest.raises(MinivisError, match="also depends on the picture by another way"):
        table.needed(["sum"], start="left")


def test_a_wrong_word_gets_the_close_ones():
    assert did_you_mean("conv4_9", ["conv4_1", "relu", "conv4_2"]) == "; did you mean conv4_2, conv4_1?"
    assert did_you_mean("zzz", ["conv4_1"]) == ""
