"""A training step's loss and gradients, and weights after three steps of each optimiser, equal PyTorch's."""
import numpy as np
import pytest

from minivis import golden
from minivis.training import SGD, AdamW, Phase, Pictures, Trainer

ABOUT, ARRAYS = golden.load("training/steps")


def trainer(optimiser, rate, precision):
    net = golden.network(ABOUT, precision)
    net.weights.unfreeze()
    nothing = Pictures(np.zeros((7, 8, 8, 3), np.uint8), np.zeros(7, int), [])
    return Trainer(net, nothing, [Phase(3, 8)], optimiser, rate, batch=7, smoothing=ABOUT["smoothing"],
                   schedule=lambda step, steps: 1.0)


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_gradients_of_a_training_step_equal_pytorchs(precision, tolerance):
    train = trainer(SGD(), 0.1, precision)
    x, classes = golden.training_batch(ABOUT)
    loss, _, gradients, _ = train.evaluate(x.astype(precision), classes, 0)
    assert loss == pytest.approx(ARRAYS["sgd/losses"][0], rel=tolerance)
    assert len(gradients) == sum(name.startswith("gradient/") for name in ARRAYS)
    for name, gradient in gradients.items():
        expected = ARRAYS[f"gradient/{name}"]
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance * abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_three_steps_of_an_optimiser_equal_pytorchs(name):
    how = dict(ABOUT["optimisers"][name])
    rate = how.pop("rate")
    train = trainer(SGD(**how) if name == "sgd" else AdamW(**how), rate, "float64")
    x, classes = golden.training_batch(ABOUT)
    for _ in range(ABOUT["steps"]):
        train.advance(x, classes)
    np.testing.assert_allclose(train.history["loss"], ARRAYS[f"{name}/losses"], rtol=1e-10)
    for weight, tensor in train.weights.items():
        np.testing.assert_allclose(tensor.data, ARRAYS[f"{name}/after/{weight}"], rtol=1e-8, atol=1e-10, err_msg=weight)
