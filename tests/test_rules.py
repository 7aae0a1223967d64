"""Gradient rules: tested by their definitions, found by layer name, glob or kind, and never silently missed."""
import numpy as np
import pytest

from minivis import ops
from minivis.ops.elementwise import Add
from minivis.ops.linear import Linear
from minivis.ops.relu import Relu
from minivis.tensor import Tensor, gradient

pytestmark = pytest.mark.usefixtures("each_kernel_set")


def layer(op, name):
    op.layer = name
    return op


def two_relus(x):
    """relu2(-relu1(x)), with layer names."""
    return layer(Relu(), "block1_relu")(-layer(Relu(), "block2_relu")(x))


X = np.array([[-2.0, -1.0, 3.0, 4.0]])
SEED = np.array([[1.0, -1.0, 1.0, -1.0]])


@pytest.mark.parametrize("rule, expected", [
    ("plain", [0, 0, 1, -1]),               # dy where x > 0
    ("guided", [0, 0, 1, 0]),               # dy where x > 0 and dy > 0
    ("deconv", [1, 0, 1, 0]),               # dy where dy > 0
    (lambda dy, positive: np.where(positive, 5 * dy, dy), [1, -1, 5, -5]),
])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rules_equal_their_definitions(rule, expected, dtype):
    x = Tensor(X.astype(dtype), needs_grad=True)
    for rules in (rule, {"relu": rule}):
        dx = gradient(ops.relu(x), x, seed=SEED, rules=rules)
        np.testing.assert_array_equal(dx, [expected])
        assert dx.dtype == dtype


@pytest.mark.parametrize("rule", ["plain", "guided", "deconv"])
def test_rules_equal_their_definitions_on_random_values(rng, rule):
    x, dy = rng.standard_normal((2, 3, 5, 7)), rng.standard_normal((2, 3, 5, 7))
    mask = {"plain": x > 0, "guided": (x > 0) & (dy > 0), "deconv": dy > 0}[rule]
    t = Tensor(x, needs_grad=True)
    np.testing.assert_array_equal(gradient(ops.relu(t), t, seed=dy, rules=rule), np.where(mask, dy, 0))


def test_zero_is_not_positive():
    x = Tensor(np.zeros(3), needs_grad=True)
    np.testing.assert_array_equal(gradient(ops.relu(x), x), np.zeros(3))


def test_guided_equals_deconv_where_every_relu_is_on(rng):
    x = Tensor(np.abs(rng.standard_normal((1, 20))) + 1, needs_grad=True)
    y = ops.relu(ops.relu(x) * 2)
    seed = rng.standard_normal((1, 20))
    guided = gradient(y, x, seed=seed, rules="guided")
    assert guided.any()
    np.testing.assert_array_equal(guided, gradient(y, x, seed=seed, rules="deconv"))


def test_an_exact_name_wins_over_a_glob_and_a_glob_over_a_kind(rng):
    x = Tensor(rng.standard_normal((1, 50)), needs_grad=True)
    y = layer(Relu(), "a_relu")(layer(Relu(), "b_relu")(x))
    seen = []

    def note(which):
        def rule(dy, positive):
            seen.append(which)
            return dy
        return rule

    gradient(y, x, rules={"relu": note("kind"), "*_relu": note("glob"), "a_relu": note("name")})
    assert seen == ["name", "glob"]
    seen.clear()
    gradient(y, x, rules={"relu": note("kind"), "b*": note("glob")})
    assert seen == ["kind", "glob"]


def test_a_rule_for_one_layer_leaves_the_others_alone():
    x = Tensor(np.array([[-1.0, 2.0]]), needs_grad=True)
    y = layer(Relu(), "relu2")(layer(Relu(), "relu1")(x) * 3)
    seed = np.array([[1.0, -1.0]])
    np.testing.assert_array_equal(gradient(y, x, seed=seed), [[0, -3]])
    np.testing.assert_array_equal(gradient(y, x, seed=seed, rules={"relu2": "guided"}), [[0, 0]])
    np.testing.assert_array_equal(gradient(y, x, seed=seed, rules={"relu1": "deconv"}), [[0, 0]])
    rules = {"relu": "deconv", "relu1": "plain"}
    np.testing.assert_array_equal(gradient(y, x, seed=np.ones((1, 2)), rules=rules), [[0, 3]])


def test_a_rule_for_another_kind_reads_what_the_op_kept():
    """LRP's z rule by hand: R_in = x * (w @ (R_out / z))."""
    x, w = Tensor(np.array([[1.0, 2.0]]), needs_grad=True), np.array([[1.0, 0.5], [3.0, 1.0]])
    y = layer(Linear(keep_inputs=True), "fc")(x, w)

    def z_rule(op, dy):
        return op.x * ((dy / (op.x @ op.w)) @ op.w.T), None

    for key in ("fc", "linear", "f*"):
        np.testing.assert_allclose(gradient(y, x, seed=y.data, rules={key: z_rule}), [[1 * (1 + 0.5), 2 * (3 + 1)]])


def test_arithmetic_is_no_layer():
    """A rule for "add" layers meets layers of a network, not the sums in an objective."""
    x = Tensor(np.ones((1, 3)), needs_grad=True)
    skip = layer(Add(), "skip")(x, x)
    rule = lambda op, dy: (dy * 10, dy)
    np.testing.assert_array_equal(gradient(skip + skip, x, rules={"add": rule}), np.full((1, 3), 22.0))


@pytest.mark.parametrize("rules, words", [
    ("guidde", "no rule 'guidde'"),
    ({"relu": "lrp"}, "plain, guided, deconv"),
    ({"block1_relo": "guided"}, "did you mean block1_relu"),
    ({"block3*": "guided"}, "'block3\\*' is no layer"),
])
def test_a_wrong_name_is_an_error_that_helps(rules, words):
    x = Tensor(X, needs_grad=True)
    with pytest.raises(ValueError, match=words):
        gradient(two_relus(x), x, rules=rules)


def test_a_relu_rule_for_another_layer_is_an_error_but_plain_is_not():
    x = Tensor(X, needs_grad=True)
    y = layer(Linear(), "fc8")(ops.relu(x), np.ones((4, 2)))
    with pytest.raises(ValueError, match="'fc8' is a linear layer"):
        gradient(y, x, rules={"fc*": "guided"})
    np.testing.assert_array_equal(gradient(y, x, rules={"fc*": "plain"}), gradient(y, x))


def test_a_rule_that_matches_nothing_asked_for_but_exists_is_no_error():
    x = Tensor(X, needs_grad=True)
    middle = layer(Relu(), "relu1")(x)
    y = layer(Relu(), "relu2")(middle * 1)
    gradient(y, middle, rules={"relu1": "guided"})      # relu1 lies behind what was asked for


def test_rules_leave_the_tape_as_it_was(rng):
    x = Tensor(rng.standard_normal((2, 40)), needs_grad=True)
    y, seed = two_relus(x), rng.standard_normal((2, 40))
    before = gradient(y, x, seed=seed)
    gradient(y, x, seed=seed, rules="deconv")
    gradient(y, x, seed=seed, rules={"*_relu": lambda dy, positive: -dy})
    np.testing.assert_array_equal(gradient(y, x, seed=seed), before)
