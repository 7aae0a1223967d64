"""Chains: where the table is cut, and that a fused run computes what the single layers do, forward and backward."""
import numpy as np
import pytest

from minivis import kernels
from minivis.accounting import plan
from minivis.chains import Chain, cut
from minivis.errors import MinivisError
from minivis.layers import Layer, Table
from minivis.loading import random_network, random_weights
from minivis.network import Network
from minivis.tensor import Tensor, gradient

LAYERS = [
    Layer("input", "input", shape=[17, 15, 3]),
    Layer("conv1", "conv", filters=8, kernel=[3, 3], pad=1),
    Layer("relu1", "relu"),
    Layer("conv2", "conv", filters=8, kernel=[3, 3], pad="same", stride=2),
    Layer("relu2", "relu"),
    Layer("pool2", "max_pool", kernel=[3, 3], stride=2, ceil=True),
    Layer("squeeze", "conv", filters=4, kernel=[1, 1]),
    Layer("squeeze_relu", "relu"),
    Layer("left", "conv", filters=6, kernel=[1, 1]),
    Layer("left_relu", "relu"),
    Layer("right", "conv", "squeeze_relu", filters=6, kernel=[3, 3], pad=1, groups=2),
    Layer("right_relu", "relu"),
    Layer("both", "concat", ["left_relu", "right_relu"]),
    Layer("drop", "dropout"),
    Layer("conv3", "conv", filters=5, kernel=[3, 3], pad=[1, 0, 2, 1], bias=False),
    Layer("relu3", "relu"),
    Layer("average", "avg_pool", kernel=[2, 2]),
    Layer("logits", "global_avg_pool"),
]
FUSED = {"conv", "relu", "max_pool", "avg_pool", "dropout"}


def small_network(precision="float32"):
    weights = random_weights(LAYERS, seed=3)
    random = np.random.default_rng(3)
    for name in weights:
        if name.endswith("/bias"):
            weights[name] = random.normal(0, 0.3, weights[name].shape).astype(np.float32)
    return Network(LAYERS, weights, logits_layer="logits", precision=precision)


def picture(N=2, dtype=np.float32):
    return np.random.default_rng(4).normal(0, 1, (N, 17, 15, 3)).astype(dtype)


def runs(asked, start="input", fusible=lambda layer: layer.kind in FUSED):
    table = Table(LAYERS)
    return cut(table, table.needed(asked, start), set(asked), start, fusible)


def test_runs_are_maximal():
    assert runs(["logits"]) == [
        ["conv1", "relu1", "conv2", "relu2", "pool2", "squeeze", "squeeze_relu"], ["left", "left_relu"],
        ["right", "right_relu"], ["both"], ["drop", "conv3", "relu3", "average"], ["logits"]]


def test_nothing_asked_for_lies_inside_a_run():
    assert runs(["conv2", "logits"])[:2] == [["conv1", "relu1", "conv2"],
                                             ["relu2", "pool2", "squeeze", "squeeze_relu"]]
    assert runs(["relu3"])[-1] == ["drop", "conv3", "relu3"]


def test_runs_without_a_convolution_stay_single():
    assert runs(["pool2"], start="conv2") == [["relu2"], ["pool2"]]


def test_layers_that_may_not_be_fused_stay_single():
    single = runs(["pool2"], fusible=lambda layer: layer.kind in FUSED and layer.name != "conv2")
    assert single == [["conv1", "relu1"], ["conv2"], ["relu2"], ["pool2"]]


def ops_of(tensor):
    todo, seen = [tensor.op], []
    while todo:
        op = todo.pop()
        if op is not None and hasattr(op, "parents") and op not in seen:
            seen.append(op)
            todo += op.parents
    return seen


def test_a_pass_is_fused_unless_somebody_needs_the_parts():
    net, x = small_network(), Tensor(picture(), needs_grad=True)
    assert sum(isinstance(op, Chain) for op in ops_of(net(x)["logits"])) == 4
    assert not any(isinstance(op, Chain) for op in ops_of(net(x, keep="inputs")["logits"]))
    x64 = Tensor(picture(dtype=np.float64), needs_grad=True)
    assert not any(isinstance(op, Chain) for op in ops_of(net.with_precision("float64")(x64)["logits"]))
    net.weights.unfreeze(["conv3/weight"])
    fused = {name for op in ops_of(net(x)["logits"]) if isinstance(op, Chain) for name, _ in op.layers}
    assert "conv3" not in fused and "conv1" in fused


@pytest.mark.parametrize("rules", ["plain", "guided", "deconv", {"relu2": "guided", "fire*": "plain", "relu": "deconv"},
                                   {"relu": lambda dy, positive: np.where(positive, 2 * dy, 0)}])
def test_fused_equals_single_layers(each_kernel_set, rules):
    """Bit for bit where the reference defines a chain by the single layers, to rounding elsewhere."""
    if isinstance(rules, dict) and "fire*" in rules:
        rules = {k: v for k, v in rules.items() if k != "fire*"} | {"squeeze_*": "plain"}
    net = small_network()
    results = []
    for keep in (None, "inputs"):
        x = Tensor(picture(), needs_grad=True)
        values = net(x, ["pool2", "logits"], keep=keep)
        results.append([values["pool2"].data, values["logits"].data, gradient(values["logits"], x, rules=rules)])
    for fused, single in zip(*results):
        assert np.abs(single).max() > 0
        if each_kernel_set == "reference":
            assert np.array_equal(fused, single)
        else:
            assert np.abs(fused - single).max() <= 1e-5 * np.abs(single).max()


@pytest.mark.parametrize("asked", [["conv1"], ["relu1", "conv2"], ["pool2", "left"], ["both", "average"]])
def test_values_do_not_depend_on_what_else_was_asked(each_kernel_set, asked):
    net, x = small_network(), picture()
    alone = net(x)["logits"].data
    assert np.array_equal(net(x, [*asked, "logits"])["logits"].data, alone)


def test_a_picture_alone_gives_the_bits_it_has_in_a_batch(each_kernel_set):
    net, x = small_network(), picture(3)
    together = net(x, ["pool2", "logits"])
    for i in range(3):
        alone = net(x[i:i + 1], ["pool2", "logits"])
        assert np.array_equal(alone["pool2"].data[0], together["pool2"].data[i])
        assert np.array_equal(alone["logits"].data[0], together["logits"].data[i])


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_poolings_change_inside_chains_too(each_kernel_set, pool):
    net, x = small_network(), picture()
    fused, single = (net(x, pool=pool, keep=keep)["logits"].data for keep in (None, "inputs"))
    assert np.allclose(fused, single, rtol=1e-4, atol=1e-6)
    assert not np.allclose(fused, net(x)["logits"].data, rtol=1e-3)


def test_a_rule_for_a_fused_convolution_says_what_to_do():
    x = Tensor(picture(), needs_grad=True)
    net = small_network()
    rule = {"conv2": lambda op, dy: op.backward(dy)}
    with pytest.raises(ValueError, match=r"conv2.*keep='inputs'"):
        gradient(net(x)["logits"], x, rules=rule)
    kept = net(x, keep="inputs")["logits"]
    assert np.array_equal(gradient(kept, x, rules=rule), gradient(kept, x))


def test_a_new_weight_is_seen_at_once(each_kernel_set):
    net, x = small_network(), picture()
    before = net(x)["logits"].data
    for name in ("conv1/weight", "right/bias"):
        net.weights[name] = net.weights[name].data * 2
    after = net(x)["logits"].data
    assert not np.allclose(before, after)
    assert np.allclose(after, net(x, keep="inputs")["logits"].data, rtol=1e-4, atol=1e-6)


def test_an_array_exchanged_behind_our_back_is_seen_too(each_kernel_set):
    net, x = small_network(), picture()
    before = net(x)["logits"].data
    net.weights["conv1/weight"].data = net.weights["conv1/weight"].data * 2
    after = net(x)["logits"].data
    assert not np.allclose(before, after)
    assert np.allclose(after, net(x, keep="inputs")["logits"].data, rtol=1e-4, atol=1e-6)


def test_a_picture_too_small_for_the_chain_is_one_clear_error():
    layers = [*LAYERS[:3], Layer("big", "conv", filters=2, kernel=[9, 9]), Layer("relu", "relu")]
    net = Network(layers, random_weights(layers))
    with pytest.raises(MinivisError, match="big: nothing is left of its 4 x 4 input"):
        net(np.zeros((1, 4, 4, 3), np.float32))


def test_a_memory_limit_changes_no_bit():
    net = random_network("vgg11", head=False)
    x = np.random.default_rng(0).standard_normal((1, 48, 40, 3), dtype=np.float32)
    results = []
    for memory in (None, "200MB", "1MB"):
        given = Tensor(x, needs_grad=True)
        y = net.with_memory(memory)(given)[net.output_layer]
        results.append((y.data, gradient(y, given)))
    for y, dx in results[1:]:
        assert np.array_equal(y, results[0][0]) and np.array_equal(dx, results[0][1])


@pytest.mark.parametrize("kernel_set", ["cpu", "reference"])
def test_the_plan_names_every_layer_once_and_says_what_is_kept(kernel_set):
    net = random_network("squeezenet1_1", head=False)
    with kernels.using(kernel_set):
        rows = plan(net, 64)
    assert [name for names, _, _ in rows for name in names] == [
        name for name in net.table.needed([net.output_layer])[1:] if net.table[name].kind != "dropout"]
    assert any(kept for _, _, kept in rows) and all(how for _, how, _ in rows)


@pytest.mark.parametrize("name, side", [("squeezenet1_0", 67), pytest.param("vgg16", 96, marks=pytest.mark.slow)])
def test_rounding_turns_fewer_than_one_in_a_hundred_thousand_decisions(name, side):
    """Which units are positive, in float32 by the fastest algorithm and in float64, through a whole network."""
    net = random_network(name, head=False)
    relus = [layer for layer in net.table.names if net.table[layer].kind == "relu"]
    x = np.random.default_rng(0).standard_normal((1, side, side, 3)).astype(np.float32)
    single, double = net(x, layers=relus), net.with_precision("float64")(x.astype(np.float64), layers=relus)
    turned = sum(np.count_nonzero((single[r].data > 0) != (double[r].data > 0)) for r in relus)
    assert turned <= 1e-5 * sum(single[r].data.size for r in relus)
    for r in relus:
        error = np.abs(single[r].data - double[r].data).max()
        assert 0 < error <= 1e-5 * np.abs(double[r].data).max()


JOINED = [
    Layer("input", "input", shape=[9, 8, 3]),
    Layer("a", "conv", filters=20, kernel=[3, 3], pad=1), Layer("ar", "relu"),
    Layer("b", "conv", "ar", filters=24, kernel=[1, 1]), Layer("br", "relu"),
    Layer("c", "conv", "ar", filters=18, kernel=[3, 3], pad=1),
    Layer("d", "conv", "ar", filters=4, kernel=[3, 3], pad=1, groups=2), Layer("dr", "relu"),
    Layer("first", "concat", ["br", "c", "dr"]),
    Layer("e", "conv", "first", filters=17, kernel=[3, 3], pad=1), Layer("er", "relu"),
    Layer("f", "conv", "ar", filters=19, kernel=[3, 3], pad=1), Layer("fr", "relu"),
    Layer("second", "concat", ["first", "er", "fr"]),           # like a dense block; one part is no chain's
    Layer("twice", "conv", "second", filters=16, kernel=[1, 1]),
    Layer("third", "concat", ["twice", "twice"]),
    Layer("logits", "global_avg_pool"),
]


def joined_network(precision="float32"):
    return Network(JOINED, random_weights(JOINED, seed=5), logits_layer="logits", precision=precision)


def places(asked):
    net = joined_network()
    found = net._plan(frozenset(asked), (9, 8, 3), "input", None, True, False)
    return {run.names[-1]: run.into and (run.into[0], *run.into[2:]) for run in found if run.steps}


def test_what_is_made_only_to_be_joined_is_made_in_its_place():
    assert places(["logits"]) == {"ar": None, "br": ("first", 0, 24), "c": ("first", 24, 42), "dr": ("first", 42, 46),
                                  "er": ("second", 46, 63), "fr": ("second", 63, 82), "twice": None}
    assert places(["logits", "c", "er"]) == places(["logits"]) | {"c": None, "er": None}


@pytest.mark.parametrize("asked", [["logits"], ["logits", "c", "first"], ["er", "third", "second"]])
def test_joined_in_place_or_copied_values_and_gradients_are_the_same(asked):
    x = np.random.default_rng(6).normal(0, 1, (2, 9, 8, 3)).astype(np.float32)
    found = []
    for net, keep in ((joined_network(), None), (joined_network(), "inputs"), (joined_network("float64"), None)):
        t = Tensor(x.astype(net.dtype), needs_grad=True)
        values = net(t, layers=asked, keep=keep)
        arrays = [values[name].numpy() for name in asked]
        assert len({id(a if a.base is None else a.base) for a in arrays}) == len(asked)      # each its own
        found.append([*arrays, *(gradient(values[name], t) for name in asked)])
    for one, plain, exact in zip(*found):
        assert np.abs(one - exact).max() <= 1e-5 * np.abs(exact).max()
        assert np.abs(plain - exact).max() <= 1e-5 * np.abs(exact).max()
