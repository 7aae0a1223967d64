"""Steps of the weight optimisers and schedules, against the formulas worked by hand."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.tensor import Tensor
from minivis.training import SGD, AdamW, constant, cosine, cycles, one_cycle


def run(optimiser, gradients, rate=0.1, start=1.0, name="conv/weight"):
    weights = {name: Tensor(np.array([start]), needs_grad=True)}
    path = []
    for g in gradients:
        optimiser.step(weights, {name: np.array([g])}, rate)
        path.append(float(weights[name].data[0]))
    return path


def test_sgd_with_momentum_and_nesterovs_look_ahead():
    # v1 = 2, v2 = 0.5 * 2 + 4 = 5
    assert run(SGD(0.5, nesterov=False), [2.0, 4.0]) == pytest.approx([1 - 0.2, 0.8 - 0.5])
    # the step is along g + m v: 2 + 1, then 4 + 2.5
    assert run(SGD(0.5), [2.0, 4.0]) == pytest.approx([1 - 0.3, 0.7 - 0.65])


def test_weight_decay_pulls_on_weights_and_on_nothing_else():
    assert run(SGD(0.0, weight_decay=0.5), [0.0]) == pytest.approx([1 - 0.1 * 0.5])
    assert run(SGD(0.0, weight_decay=0.5), [0.0], name="norm/scale") == [1.0]
    assert run(AdamW(weight_decay=0.5), [0.0]) == pytest.approx([1 - 0.1 * 0.5])
    assert run(AdamW(weight_decay=0.5), [0.0], name="conv/bias") == [1.0]


def test_the_first_adam_step_is_the_rate_whatever_the_gradients_size():
    for g in (1e-3, 5.0, -70.0):
        assert run(AdamW(weight_decay=0.0), [g]) == pytest.approx([1 - 0.1 * np.sign(g)], abs=1e-4)


def test_adam_by_hand_over_two_steps():
    m1, v1 = 0.1 * 2, 0.001 * 4
    m2, v2 = 0.9 * m1 + 0.1 * -1, 0.999 * v1 + 0.001 * 1
    first = 1 - 0.1 * (m1 / 0.1) / (np.sqrt(v1 / 0.001) + 1e-8)
    second = first - 0.1 * (m2 / (1 - 0.9**2)) / (np.sqrt(v2 / (1 - 0.999**2)) + 1e-8)
    assert run(AdamW(weight_decay=0.0), [2.0, -1.0]) == pytest.approx([first, second], rel=1e-12)


@pytest.mark.parametrize("make", [lambda: SGD(0.9, 0.01), AdamW])
def test_an_optimiser_goes_on_from_its_state_with_the_same_bits(make):
    gradients = list(np.random.default_rng(0).standard_normal(6))
    whole = run(make(), gradients)
    optimiser = make()
    half = run(optimiser, gradients[:3])
    later = make()
    later.restore(optimiser.state())
    assert half + run(later, gradients[3:], start=half[-1]) == whole


def test_schedules_rise_to_one_and_fall():
    assert constant(3, 10) == 1
    rates = [one_cycle(i, 100) for i in range(100)]
    assert rates[0] == pytest.approx(0.04) and max(rates) == rates[25] == 1 and rates[-1] == pytest.approx(1e-4)
    assert rates[:26] == sorted(rates[:26]) and rates[25:] == sorted(rates[25:], reverse=True)
    rates = [cosine(i, 101, warm_up=0, last=0.2) for i in range(101)]
    assert rates[0] == 1 and rates[50] == pytest.approx(0.6) and rates[100] == pytest.approx(0.2)
    assert [cosine(i, 10, warm_up=0.2) for i in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])


def test_cycles_repeat_a_schedule_and_what_is_appended_changes_nothing_before_it():
    short, long = cycles([(20, 1.0)]), cycles([(20, 1.0), (10, 0.5)])
    whole = [one_cycle(i, 20) for i in range(20)]
    assert [short(i, 20) for i in range(20)] == [long(i, 30) for i in range(20)] == whole
    assert [long(20 + i, 30) for i in range(10)] == [0.5 * one_cycle(i, 10) for i in range(10)]
    with pytest.raises(MinivisError, match="30"):
        long(0, 40)


def test_nonsense_is_one_clear_error():
    for make in (lambda: SGD(1.0), lambda: SGD(weight_decay=-1), lambda: AdamW(beta1=1.0), lambda: one_cycle(10, 10)):
        with pytest.raises(MinivisError):
            make()
