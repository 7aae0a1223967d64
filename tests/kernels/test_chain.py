"""Chains on the CPU: fused stages give what the single layers give, for every rule, shape, thread count and batch."""
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.kernels import cpu, reference
from minivis.kernels.chain import Step

compiled = pytest.mark.skipif(cpu._plain_only, reason="of the compiled kernels")
CONV3 = {"stride": (1, 1), "pad": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1}
POOL2 = {"size": (2, 2), "stride": (2, 2), "pad": (0, 0, 0, 0), "ceil": False}
POOL3 = {"size": (3, 3), "stride": (2, 2), "pad": (0, 0, 0, 0), "ceil": True}
RELU, MAX2, MAX3 = Step("relu", {}), Step("max_pool", POOL2), Step("max_pool", POOL3)
AVG2 = Step("avg_pool", POOL2 | {"count_pad": False})


def conv(**changed):
    return Step("conv", CONV3 | changed)


def draw(rng, channels, *steps_and_filters):
    """(steps, weights) from steps, where a conv is given as (Step, kh, kw, K); K is split by the step's groups."""
    steps, weights = [], []
    for item in steps_and_filters:
        if isinstance(item, Step):
            steps.append(item)
            weights.append(None)
        else:
            step, kh, kw, K = item
            fan = kh * kw * channels
            w = rng.standard_normal((kh, kw, channels // step.settings["groups"], K), np.float32) * np.sqrt(2 / fan)
            steps.append(step)
            weights.append((w.astype(np.float32), rng.standard_normal(K).astype(np.float32)))
            channels = K
    return steps, weights


CHAINS = {      # name: (input shape, steps)
    "vgg, three blocks": ((1, 24, 24, 3), [(conv(), 3, 3, 16), RELU, (conv(), 3, 3, 32), RELU, MAX2,
                                           (conv(), 3, 3, 48), RELU, MAX2, (conv(), 3, 3, 32), RELU]),
    "odd sides and channels": ((2, 13, 11, 13), [(conv(), 3, 3, 17), RELU, MAX2, (conv(), 3, 3, 21), RELU]),
    "ends in a pooling": ((1, 16, 20, 16), [(conv(), 3, 3, 32), RELU, (conv(), 3, 3, 16), RELU, MAX2]),
    "overlapping pooling": ((1, 17, 15, 16), [(conv(), 3, 3, 16), RELU, MAX3, (conv(), 3, 3, 32), RELU, MAX3]),
    "average pooling": ((1, 16, 16, 16), [(conv(), 3, 3, 16), RELU, AVG2, (conv(), 3, 3, 16), RELU]),
    "no relu": ((1, 12, 12, 16), [(conv(), 3, 3, 16), (conv(), 3, 3, 24), MAX2, (conv(), 3, 3, 16)]),
    "squeeze": ((1, 15, 15, 3), [(conv(stride=(2, 2), pad=(0, 0, 0, 0)), 7, 7, 24), RELU, MAX3,
                                 (conv(pad=(0,) * 4), 1, 1, 16), RELU, (conv(), 3, 3, 32), RELU]),
    "groups and dilation": ((1, 14, 14, 16), [(conv(groups=2), 3, 3, 32), RELU,
                                              (conv(dilation=(2, 2), pad=(2,) * 4), 3, 3, 16), RELU]),
    "no padding": ((2, 15, 18, 16), [(conv(pad=(0,) * 4), 3, 3, 16), RELU,
                                     (conv(pad=(2, 2, 2, 2)), 3, 3, 16), RELU, MAX2]),
    "uneven padding": ((1, 9, 10, 16), [(conv(pad=(0, 1, 2, 0)), 3, 3, 16), RELU,
                                        (conv(pad=(1, 0, 1, 2)), 3, 3, 16), RELU, MAX2]),
    "begins with relu and pooling": ((1, 12, 12, 16), [RELU, MAX2, (conv(), 3, 3, 16), RELU]),
    "tiny": ((1, 2, 3, 16), [(conv(), 3, 3, 16), RELU, (conv(), 3, 3, 16), RELU, MAX2]),
}


def imposed(saved_reference, saved, steps):
    """The reference's record with our decisions in it: rounding may turn a sign, and then gradients really differ."""
    result = list(saved_reference)
    if isinstance(saved, list):             # nothing is compiled: single kernels, one record per step
        unpack = {"relu": cpu.unpack_mask, "max_pool": cpu.unpack_switch}
        return [(step, weight, shape, unpack[step.kind](ours[3], note.shape) if step.kind in unpack else note)
                for (step, weight, shape, note), ours in zip(result, saved)]
    for _, plan, kept in saved.parts:
        for (stage, indices), decisions in zip(plan, kept):
            for i in indices:
                step, weight, shape, note = result[i]
                if step.kind == "relu" and stage.pool:
                    chosen, flags = stage.spread(np.ones(stage.y_shape, np.float32), decisions)
                    note = np.where(chosen > 0, flags, note)
                elif step.kind == "relu":
                    note = decisions.positive()
                elif step.kind == "max_pool" and stage.pool:
                    note = decisions.cells().astype(np.int64)
                result[i] = (step, weight, shape, note)
    return result


def close(a, b, tolerance=1e-5):
    return np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("rule", ["plain", "guided", "deconv"])
def test_fused_chain_equals_single_layers(name, rule):
    rng = np.random.default_rng(1)
    shape, layers = CHAINS[name]
    steps, weights = draw(rng, shape[3], *layers)
    x = rng.standard_normal(shape, np.float32)
    y, saved = cpu.chain_forward(x, steps, weights, keep=True)
    wide = [None if w is None else tuple(a.astype(np.float64) for a in w) for w in weights]
    y_true, saved_true = reference.chain_forward(x.astype(np.float64), steps, wide, keep=True)
    assert close(y, y_true)
    dy = rng.standard_normal(y.shape, np.float32)
    rules = [rule if step.kind == "relu" else None for step in steps]
    dx = cpu.chain_backward_input(dy, saved, rules)
    dx_true = reference.chain_backward_input(dy.astype(np.float64), imposed(saved_true, saved, steps), rules)
    assert np.abs(dx_true).max() > 0
    assert close(dx, dx_true)


@pytest.mark.parametrize("name", CHAINS)
def test_a_gradient_that_arrives_in_two_parts_is_their_sum(name):
    rng = np.random.default_rng(7)
    shape, layers = CHAINS[name]
    steps, weights = draw(rng, shape[3], *layers)
    y, saved = cpu.chain_forward(rng.standard_normal(shape, np.float32), steps, weights, keep=True)
    wide = rng.standard_normal((*y.shape[:3], 2 * y.shape[3]), np.float32)
    for own in (False, True):
        for dy in (rng.standard_normal(y.shape, np.float32), wide[..., :y.shape[3]]):       # and a part of channels
            more = rng.standard_normal(y.shape, np.float32)
            before = dy.copy(), more.copy()
            for rules in (["guided" if step.kind == "relu" else None for step in steps],
                          [(lambda dy, positive: dy * positive) if step.kind == "relu" else None for step in steps]):
                got = cpu.chain_backward_input(dy, saved, rules, more, own)
                assert np.array_equal(got, cpu.chain_backward_input(before[0] + before[1], saved, rules))
                assert np.array_equal(more, before[1]) and (own or np.array_equal(dy, before[0]))
                dy[...] = before[0]


@compiled
def test_both_parts_of_a_gradient_have_the_shape_of_the_output():
    steps, weights, x, _ = vgg_like()
    y, saved = cpu.chain_forward(x, steps, weights, keep=True)
    for dy, more in ((y[:, 1:], None), (y, y[:, 1:]), (y[:, 1:], y[:, 1:])):
        with pytest.raises(ValueError, match="must have the shape of the chain's output"):
            cpu.chain_backward_input(dy, saved, [None] * len(steps), more)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("channels", [1, 40])
def test_a_chain_may_fill_some_of_the_channels_of_a_larger_array(name, channels):
    rng = np.random.default_rng(9)
    shape, layers = CHAINS[name]
    steps, weights = draw(rng, shape[3], *layers)
    if channels == 1:                   # fewer than a tile's
        steps, weights = draw(rng, shape[3], (conv(), 3, 3, channels), RELU)
    x = rng.standard_normal(shape, np.float32)
    alone, _ = cpu.chain_forward(x, steps, weights, keep=True)
    K = alone.shape[3]
    for first, total in ((0, K), (0, K + 3), (16, K + 16), (5, K + 17)):
        for keep in (True, False):
            for memory in (None, 1):
                whole = np.full((*alone.shape[:3], total), 7, np.float32)
                out = whole[..., first:first + K]
                y, saved = cpu.chain_forward(x, steps, weights, keep=keep, memory=memory, out=out)
                assert y is out and np.array_equal(y, alone)
                assert (np.delete(whole, np.s_[first:first + K], axis=3) == 7).all()
    scattered = np.full((*alone.shape[:2], 2 * alone.shape[2], K), 7, np.float32)[:, :, ::2]
    assert np.array_equal(cpu.chain_forward(x, steps, weights, keep=False, out=scattered)[0], alone)
    if not cpu._plain_only:
        with pytest.raises(ValueError, match="must be"):
            cpu.chain_forward(x, steps, weights, keep=False, out=scattered[:, 1:])
    dy, rules = rng.standard_normal(alone.shape, np.float32), [None] * len(steps)
    _, saved = cpu.chain_forward(x, steps, weights, keep=True, out=np.empty((*alone.shape[:3], K + 8), "f")[..., 8:])
    _, saved_alone = cpu.chain_forward(x, steps, weights, keep=True)
    assert np.array_equal(*(cpu.chain_backward_input(dy, s, rules) for s in (saved, saved_alone)))


@pytest.mark.parametrize("name", CHAINS)
def test_a_pass_without_a_gradient_to_follow_has_the_same_bits(name):
    rng = np.random.default_rng(8)
    shape, layers = CHAINS[name]
    steps, weights = draw(rng, shape[3], *layers)
    x = rng.standard_normal(shape, np.float32)
    kept, bare = (cpu.chain_forward(x, steps, weights, keep=keep)[0] for keep in (True, False))
    assert np.array_equal(kept, bare)


def test_rules_may_differ_from_layer_to_layer_and_be_functions():
    rng = np.random.default_rng(2)
    shape, layers = CHAINS["vgg, three blocks"]
    steps, weights = draw(rng, shape[3], *layers)
    x = rng.standard_normal(shape, np.float32)
    y, saved = cpu.chain_forward(x, steps, weights, keep=True)
    wide = [None if w is None else tuple(a.astype(np.float64) for a in w) for w in weights]
    _, saved_true = reference.chain_forward(x.astype(np.float64), steps, wide, keep=True)

    def half(dy, positive):
        return np.where(positive, dy, 0) / 2
    relus = [i for i, step in enumerate(steps) if step.kind == "relu"]
    for chosen in (["plain", half, "guided", "deconv"], [half, "guided", half, half], ["guided", "plain", None, half]):
        rules = [None] * len(steps)
        for i, rule in zip(relus, chosen):
            rules[i] = rule
        dy = rng.standard_normal(y.shape, np.float32)
        dx = cpu.chain_backward_input(dy, saved, rules)
        true = reference.chain_backward_input(dy.astype(np.float64), imposed(saved_true, saved, steps), rules)
        assert close(dx, true)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_chains_equal_the_reference(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    channels = data.draw(st.integers(1, 40))
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 21)), data.draw(st.integers(1, 21)), channels)
    layers, low = [], min(shape[1:3])
    for _ in range(data.draw(st.integers(1, 3))):
        layers.append((conv(), 3, 3, data.draw(st.integers(1, 70))))
        if data.draw(st.booleans()):
            layers.append(RELU)
            if low >= 2 and data.draw(st.booleans()):
                layers.append(MAX2)
                low //= 2
    steps, weights = draw(rng, channels, *layers)
    x = rng.standard_normal(shape, np.float32)
    y, saved = cpu.chain_forward(x, steps, weights, keep=True)
    wide = [None if w is None else tuple(a.astype(np.float64) for a in w) for w in weights]
    y_true, saved_true = reference.chain_forward(x.astype(np.float64), steps, wide, keep=True)
    assert close(y, y_true)
    dy = rng.standard_normal(y.shape, np.float32)
    rules = [data.draw(st.sampled_from(["plain", "guided", "deconv"])) if s.kind == "relu" else None for s in steps]
    dx = cpu.chain_backward_input(dy, saved, rules)
    assert close(dx, reference.chain_backward_input(dy.astype(np.float64), imposed(saved_true, saved, steps), rules))


def vgg_like():
    rng = np.random.default_rng(3)
    shape, layers = CHAINS["vgg, three blocks"]
    steps, weights = draw(rng, shape[3], *layers)
    return steps, weights, rng.standard_normal((5, 40, 36, 3), np.float32), rng


def test_same_bits_for_any_number_of_threads_and_any_batch():
    steps, weights, x, rng = vgg_like()
    rules = ["guided" if s.kind == "relu" else None for s in steps]
    seen = []
    dy = None
    for threads in (1, 2, 3, 5):
        cpu.set_threads(threads)
        try:
            y, saved = cpu.chain_forward(x, steps, weights, keep=True)
            dy = rng.standard_normal(y.shape, np.float32) if dy is None else dy
            seen.append((y, cpu.chain_backward_input(dy, saved, rules)))
        finally:
            cpu.set_threads(None)
    for memory in (1, 1 << 20):             # bytes: parts of one picture, parts of a few
        y, saved = cpu.chain_forward(x, steps, weights, keep=True, memory=memory)
        seen.append((y, cpu.chain_backward_input(dy, saved, rules)))
    singles = [cpu.chain_forward(x[i:i + 1], steps, weights, keep=True) for i in range(5)]
    seen.append((np.concatenate([y for y, _ in singles]),
                 np.concatenate([cpu.chain_backward_input(dy[i:i + 1], singles[i][1], rules) for i in range(5)])))
    for y, dx in seen[1:]:
        assert np.array_equal(y, seen[0][0])
        assert np.array_equal(dx, seen[0][1])


def test_python_threads_may_run_one_chain_with_different_rules_at_once():
    steps, weights, x, rng = vgg_like()
    y, saved = cpu.chain_forward(x, steps, weights, keep=True)
    dy = rng.standard_normal(y.shape, np.float32)
    rules = {name: [name if s.kind == "relu" else None for s in steps] for name in ("plain", "guided", "deconv")}
    expected = {name: cpu.chain_backward_input(dy, saved, r) for name, r in rules.items()}
    wrong = []

    def work(name):
        for _ in range(10):
            y2, saved2 = cpu.chain_forward(x, steps, weights, keep=True)
            if not np.array_equal(y, y2):
                wrong.append("forward")
            for s in (saved, saved2):
                if not np.array_equal(cpu.chain_backward_input(dy, s, rules[name]), expected[name]):
                    wrong.append(name)
    workers = [threading.Thread(target=work, args=(name,)) for name in rules]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_input_may_be_strided_and_is_left_alone():
    steps, weights, x, _ = vgg_like()
    big = np.zeros((5, 80, 36, 3), np.float32)
    big[:, ::2] = x
    before = big.copy()
    y, _ = cpu.chain_forward(big[:, ::2], steps, weights, keep=False)
    assert np.array_equal(big, before)
    assert np.array_equal(y, cpu.chain_forward(x, steps, weights, keep=False)[0])


def test_float64_chain_is_exact_to_rounding():
    steps, weights, x, rng = vgg_like()
    wide = [None if w is None else tuple(a.astype(np.float64) for a in w) for w in weights]
    x = x[:1].astype(np.float64)
    y, saved = cpu.chain_forward(x, steps, wide, keep=True, precision="float64")
    y_true, saved_true = reference.chain_forward(x, steps, wide, keep=True)
    dy = rng.standard_normal(y.shape)
    rules = [None] * len(steps)
    assert close(y, y_true, 1e-13)
    dx_true = reference.chain_backward_input(dy, saved_true, rules)
    assert close(cpu.chain_backward_input(dy, saved, rules), dx_true, 1e-13)


def test_float32_direct_avoids_winograd_and_is_exact_on_integers():
    rng = np.random.default_rng(5)
    steps = [conv(), RELU, conv()]
    weights = [(rng.integers(-3, 4, (3, 3, 16, 16)).astype(np.float32), None), None,
               (rng.integers(-3, 4, (3, 3, 16, 32)).astype(np.float32), None)]
    x = rng.integers(-4, 5, (2, 9, 7, 16)).astype(np.float32)
    y, saved = cpu.chain_forward(x, steps, weights, keep=True, precision="float32-direct")
    true, saved_true = reference.chain_forward(x, steps, weights, keep=True)
    assert np.array_equal(y, true)
    dy = rng.integers(-3, 4, y.shape).astype(np.float32)
    assert np.array_equal(cpu.chain_backward_input(dy, saved, [None] * 3),
                          reference.chain_backward_input(dy, saved_true, [None] * 3))


@compiled
def test_wrong_channels_are_refused_in_one_line():
    steps, weights, _, _ = vgg_like()
    with pytest.raises(ValueError, match="4 channels meet a convolution"):
        cpu.chain_forward(np.zeros((1, 8, 8, 4), np.float32), steps, weights, keep=False)


def test_unknown_rule_is_refused():
    steps, weights, x, _ = vgg_like()
    y, saved = cpu.chain_forward(x, steps, weights, keep=True)
    with pytest.raises(ValueError, match="no rule 'gudied'"):
        cpu.chain_backward_input(np.ones_like(y), saved, ["gudied" if s.kind == "relu" else None for s in steps])


@compiled
def test_gradient_of_the_wrong_shape_is_refused():
    steps, weights, x, _ = vgg_like()
    y, saved = cpu.chain_forward(x, steps, weights, keep=True)
    with pytest.raises(ValueError, match="must have the shape of the chain's output"):
        cpu.chain_backward_input(y[:, 1:], saved, [None] * len(steps))


@compiled
def test_plan_names_algorithms_and_the_bytes_that_are_really_kept():
    steps, weights, x, _ = vgg_like()
    plan = cpu.describe_chain(x.shape, steps, weights)
    assert [text for _, text, _ in plan] == [
        "direct 3x3 from few channels + ReLU", "Winograd F(4x4,3x3) + ReLU + 2x2 max pooling",
        "Winograd F(4x4,3x3) + ReLU + 2x2 max pooling", "Winograd F(4x4,3x3) + ReLU"]
    assert [i for indices, _, _ in plan for i in indices] == list(range(len(steps)))
    _, saved = cpu.chain_forward(x, steps, weights, keep=True)
    assert [size for _, _, size in plan] == [kept.memory.nbytes for kept in saved.parts[0][2]]
