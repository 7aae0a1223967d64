"""Reverse mode: every op once, sums where paths meet, nothing kept that nobody needs, nothing shared between walks."""
import gc
import threading
import weakref

import numpy as np
import pytest

from minivis import ops
from minivis.ops.conv import Conv2d
from minivis.ops.elementwise import Multiply
from minivis.ops.linear import Linear
from minivis.ops.relu import Relu
from minivis.tensor import Op, Tensor, gradient


class Probe(Op):
    """y = 3 x, counting its backward calls."""

    def __init__(self):
        self.calls = 0

    def forward(self, x):
        return 3 * x

    def backward(self, dy):
        self.calls += 1
        return 3 * dy


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), needs_grad=True)


# ---------------------------------------------------------------------------------------------- the chain rule


def test_paths_that_meet_are_summed_and_every_op_is_asked_once():
    probe = Probe()
    x = leaf(4)
    a = probe(x)
    y = a * a + a * x + a              # 9x^2 + 3x^2 + 3x: four paths through the probe
    np.testing.assert_allclose(gradient(y, x), 24 * x.data + 3, rtol=1e-14)
    assert probe.calls == 1


def test_a_tower_of_diamonds_is_walked_in_linear_time():
    x = leaf(2)
    probes, y = [], x
    for _ in range(60):                # 2^60 paths
        probes.append(Probe())
        a = probes[-1](y)
        y = a * (1 / 6) + a * (1 / 6)
    np.testing.assert_allclose(gradient(y, x), np.ones(2), rtol=1e-12)
    assert [p.calls for p in probes] == [1] * 60


def test_a_tensor_used_twice_by_one_op_counts_twice():
    x = leaf(3)
    np.testing.assert_array_equal(gradient(Multiply()(x, x), x), 2 * x.data)


def test_a_chain_of_5000_ops_needs_no_recursion():
    x = leaf(3)
    y = x
    for _ in range(5000):
        y = y + 1
    np.testing.assert_array_equal(gradient(y, x), np.ones(3))
    del y                              # and taking it apart needs none either


def test_gradient_with_respect_to_values_on_the_way():
    x = leaf(3)
    middle = x * 2
    y = middle ** 3 + x
    dm, dx = gradient(y, [middle, x])
    np.testing.assert_allclose(dm, 3 * middle.data ** 2, rtol=1e-13)
    np.testing.assert_allclose(dx, 2 * dm + 1, rtol=1e-13)


def test_the_gradient_of_a_tensor_with_respect_to_itself_is_the_seed():
    x = leaf(3)
    y = x * 2
    seed = np.arange(3.0)
    np.testing.assert_array_equal(gradient(y, y, seed=seed), seed)
    np.testing.assert_array_equal(gradient(x, x), np.ones(3))


def test_what_lies_behind_the_wanted_tensors_is_not_walked():
    probe = Probe()
    x = leaf(3)
    middle = probe(x)
    gradient((middle * middle).sum(), middle)
    assert probe.calls == 0


def test_branches_that_lead_nowhere_wanted_are_not_walked():
    probe = Probe()
    x, other = leaf(3), leaf(3, seed=1)
    gradient(x * probe(other), x)
    assert probe.calls == 0


def test_a_tensor_the_score_does_not_depend_on_gets_zeros():
    x, unused = leaf(3), leaf(2, 5)
    dx, du = gradient((x * x).sum(), [x, unused])
    assert dx.any()
    np.testing.assert_array_equal(du, np.zeros((2, 5)))


def test_backward_fills_grad_of_every_input_anew():
    x, w = leaf(3), leaf(3, seed=1)
    score = (x * w).sum()
    score.backward()
    score.backward()                   # not added to the first
    np.testing.assert_array_equal(x.grad, w.data)
    np.testing.assert_array_equal(w.grad, x.data)


def test_a_seed_weighs_the_entries_of_a_score():
    x = leaf(3)
    seed = np.array([1.0, 0.0, -2.0])
    np.testing.assert_allclose(gradient(x * x, x, seed=seed), 2 * x.data * seed, rtol=1e-14)
    with pytest.raises(ValueError, match=r"seed \(2,\) must have the shape of the score, \(3,\)"):
        gradient(x * x, x, seed=np.ones(2))


def test_several_scores_are_walked_at_once_and_summed():
    x, w = leaf(3), leaf(3, seed=1)
    inner = x * w
    outer = inner * inner
    seeds = [np.array([1.0, 0.0, -2.0]), None, np.array([0.5, 0.5, 3.0])]
    got = gradient([outer, inner, outer], [x, inner], seed=seeds)
    apart = [gradient(s, [x, inner], seed=v) for s, v in zip([outer, inner, outer], seeds)]
    for i in (0, 1):
        np.testing.assert_allclose(got[i], sum(a[i] for a in apart), rtol=1e-13)
    assert np.array_equal(seeds[0], [1, 0, -2])
    with pytest.raises(ValueError, match="zip"):
        gradient([outer, inner], x, seed=[None])


def test_asking_for_a_gradient_that_nobody_can_give_is_an_error():
    x, constant = leaf(3), Tensor(np.ones(3))
    with pytest.raises(ValueError, match="needs_grad=True"):
        gradient((x * constant).sum(), constant)
    with pytest.raises(ValueError, match="does not depend"):
        gradient((constant * 2).sum(), x)
    with pytest.raises(TypeError, match="int64"):
        Tensor(np.arange(3), needs_grad=True)
    with pytest.raises(TypeError, match="a Tensor already"):
        Tensor(x)


def test_a_single_number_is_a_tensor_like_any_other():
    x = leaf()
    y = ops.relu(abs(x) * 2).reshape(1).reshape(()).transpose().max()
    assert isinstance(y.data, np.ndarray) and y.shape == ()
    dx = gradient(y * x, x)
    assert isinstance(dx, np.ndarray) and dx.shape == ()
    np.testing.assert_allclose(dx, 4 * abs(x.data), rtol=1e-14)


def test_an_op_computes_once_only():
    op = Relu()
    op(leaf(3))
    with pytest.raises(RuntimeError, match="make a new one"):
        op(leaf(3))


# --------------------------------------------------------------------------------- gradients belong to the caller


def test_gradients_share_memory_with_nothing():
    x, y = leaf(2, 3), leaf(2, 3, seed=1)
    seed = np.ones((2, 3))
    score = (x + y).reshape(6).reshape(2, 3)
    dx, dy = gradient(score, [x, y], seed=seed)
    dx *= 7                            # writing into one ...
    dy += 1
    np.testing.assert_array_equal(seed, np.ones((2, 3)))
    again = gradient(score, [x, y], seed=seed)
    for g in again:                    # ... changes neither the seed, nor the other, nor the next walk
        np.testing.assert_array_equal(g, np.ones((2, 3)))
    summed = gradient(x.sum(), x)
    assert summed.flags.writeable and summed.flags.c_contiguous


# -------------------------------------------------------------------------------------------------------- memory


@pytest.fixture
def no_collector():
    """Nothing may wait for the collector of cycles: everything dies with its last name."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_graphs_hold_no_reference_cycles(no_collector):
    def watched():
        x, w = leaf(1, 6, 6, 2), leaf(3, 3, 2, 4, seed=1)
        y = ops.max_pool2d(ops.relu(ops.conv2d(x, w)), 2)
        score = (ops.log_softmax(y.reshape(1, -1)) * 2).sum()
        score.backward()
        return [weakref.ref(o) for o in (x, w, y, score, score.op, y.op)]

    watched()               # what compiles a kernel holds the frames it was called from, until they are collected
    assert [ref() for ref in watched()] == [None] * 6


def test_an_activation_dies_when_nobody_needs_it(no_collector):
    x, w = leaf(1, 8, 8, 2), Tensor(np.ones((3, 3, 2, 4)))
    a = ops.conv2d(x, w)               # frozen weights: no input kept
    b = ops.relu(a)                    # keeps signs only
    c = ops.max_pool2d(b, 2)           # keeps switches only
    y = (c + 1).sum()
    arrays = [weakref.ref(t.data) for t in (a, b, c)]
    assert all(ref() is not None for ref in arrays)
    del a, b, c
    assert [ref() for ref in arrays] == [None] * 3
    assert gradient(y, x).any()        # and yet the way back works


def test_an_op_keeps_what_its_backward_reads(no_collector):
    x, w = leaf(1, 5, 5, 2), leaf(3, 3, 2, 4, seed=1)
    a = x * 2
    y = ops.conv2d(a, w).sum()
    kept = weakref.ref(a.data)
    del a
    assert kept() is not None          # the weight gradient reads it
    del y
    assert kept() is None


@pytest.mark.parametrize("train, keep, kept", [(False, False, False), (True, False, True), (False, True, True)])
def test_inputs_are_kept_for_weight_gradients_and_on_request_only(train, keep, kept):
    x = leaf(2, 6)
    w = Tensor(np.ones((6, 3)), needs_grad=train)
    op = Linear(keep_inputs=keep)
    op(x, w)
    assert (op.x is x.data) == kept
    picture = leaf(1, 5, 5, 2)
    op = Conv2d(keep_inputs=keep)
    op(picture, Tensor(np.ones((3, 3, 2, 4)), needs_grad=train))
    assert (op.x is picture.data) == kept


def test_no_gradient_is_computed_that_nobody_asked_for():
    x, w, b = leaf(1, 5, 5, 2), Tensor(np.ones((3, 3, 2, 4))), Tensor(np.ones(4))
    op = Conv2d()
    op(x, w, b)
    dx, dw, db = op.backward(np.ones((1, 3, 3, 4)))
    assert dx is not None and dw is None and db is None
    weights_only = Conv2d()
    weights_only(Tensor(x.data), Tensor(w.data, needs_grad=True), b)
    dx, dw, db = weights_only.backward(np.ones((1, 3, 3, 4)))
    assert dx is None and dw is not None and db is None


def test_without_any_gradient_asked_no_graph_is_made():
    y = ops.relu(Tensor(np.ones((2, 3)))) * 2
    assert y.op is None and not y.needs_grad


# ------------------------------------------------------------------------------------------------- repeated walks


def small_network(x):
    rng = np.random.default_rng(5)
    w1, w2 = (Tensor(rng.standard_normal(s)) for s in ((3, 3, 3, 8), (3, 3, 8, 8)))
    y = ops.relu(ops.conv2d(x, w1, pad=1))
    y = ops.relu(ops.conv2d(y, w2, pad=1) + y)
    return ops.global_avg_pool(ops.max_pool2d(y, 2))


def test_two_walks_give_the_same_bits():
    x = leaf(2, 8, 8, 3, dtype=np.float32)
    score = small_network(x)
    one, two = gradient(score, x), gradient(score, x)
    assert one.any() and one.dtype == np.float32
    np.testing.assert_array_equal(one, two)


def test_two_threads_walk_one_graph_with_different_rules():
    x = leaf(1, 8, 8, 3)
    score = small_network(x)
    names = ["plain", "guided", "deconv"]
    alone = {name: gradient(score, x, rules=name) for name in names}
    assert all(not np.array_equal(alone[a], alone[b]) for a, b in (("plain", "guided"), ("guided", "deconv")))
    start, wrong = threading.Barrier(6), []

    def walk(name):
        start.wait()
        for _ in range(20):
            if not np.array_equal(gradient(score, x, rules=name), alone[name]):
                wrong.append(name)

    threads = [threading.Thread(target=walk, args=(name,)) for name in names * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_gradients_are_added_in_place_only_to_arrays_that_nobody_else_holds():
    class Hand(Op):
        """Twice its input; its gradient is an array that the test looks at afterwards."""

        def __init__(self, new):
            self.new_gradients = new

        def forward(self, x):
            return 2 * x

        def backward(self, dy):
            self.dx = 2 * dy
            self.before = self.dx.copy()
            return self.dx

    x = Tensor(np.arange(6.0), needs_grad=True)
    for kinds in ((False, False, False), (True, False, True), (False, True, False), (True, True, True)):
        hands = [Hand(new) for new in kinds]
        first, second, third = (hand(x) for hand in hands)
        score = (first * first + second * third).sum()
        assert np.array_equal(gradient(score, x), 2 * 4 * x.data + 8 * x.data)
        for hand in hands:
            assert hand.new_gradients or np.array_equal(hand.dx, hand.before)
