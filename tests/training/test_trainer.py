"""The training loop on tiny networks: gradients, resuming, folding, learning."""
import copy

import numpy as np
import pytest

from minivis import architectures, monitor
from minivis.errors import MinivisError
from minivis.layers import Table
from minivis.loading import random_weights
from minivis.network import Network
from minivis.tensor import Tensor, gradient
from minivis.training import SGD, AdamW, Phase, Pictures, Trainer, accuracy, folded, unfolded

PREPROCESSING = {"size": [8, 8], "resize": 8, "crop": "centre", "channels": "RGB", "range": 255, "mean": [120] * 3,
                 "std": [70] * 3}


def network(precision="float32", norm=True, widths=(8, 16), seed=0):
    table = architectures.minivgg(widths=widths, depths=(1,) * len(widths), classes=4, norm=norm)
    layers = Table(table.pop("layers"))
    net = Network(layers, random_weights(layers, seed), **table, preprocessing=PREPROCESSING, precision=precision)
    net.weights.unfreeze()
    return net


def data(count=40, seed=0):
    """Four classes that differ in which quarter of the picture is bright."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 4
    pictures = rng.integers(0, 80, (count, 8, 8, 3))
    for picture, c in zip(pictures, classes):
        picture[4 * (c // 2):, 4 * (c % 2):][:4, :4] += 150
    return Pictures(pictures.astype(np.uint8), classes, [(str(i), str(i)) for i in range(4)])


def trainer(net, steps=12, start=None, optimiser=None, **settings):
    settings = {"batch": 10, "augment": {"sharp": 0.5, "flip": 0}, **settings}
    return Trainer(net, data(), [Phase(steps / 8, 8), Phase(steps / 8, 12)], optimiser or SGD(0.9, 1e-3), 0.05,
                   start=start, **settings)


def test_gradients_equal_finite_differences_of_the_loss():
    net = network("float64")
    train = trainer(net)
    x, classes = train.make_batch(0)
    assert x.dtype == np.float64
    _, _, gradients, _ = train.evaluate(x, classes, 0)
    assert set(gradients) == set(net.weights.trainable())
    rng = np.random.default_rng(1)
    for name, found in gradients.items():
        array = net.weights[name].data
        direction = rng.standard_normal(array.shape)
        before = array.copy()
        losses = []
        for h in (1e-6, -1e-6):
            array[...] = before + h * direction
            losses.append(train.evaluate(x, classes, 0)[0])
        array[...] = before
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx((found * direction).sum(), rel=1e-5, abs=1e-8), name


def test_the_relu_in_the_normalisations_pass_changes_nothing():
    net = network()
    x, _ = trainer(net).make_batch(0)
    weights = [net.weights[name] for name in net.weights.trainable()]
    results = []
    for keep in (None, "inputs"):                               # "inputs": every layer is an op of its own
        logits = net(x, train=np.random.default_rng(0), keep=keep)[net.logits_layer]
        results.append([logits.data, *gradient(logits, weights, seed=np.cos(logits.data))])
    for fused, single in zip(*results):
        np.testing.assert_array_equal(fused, single)


@pytest.mark.parametrize("optimiser", [lambda: SGD(0.9, 1e-3), AdamW])
@pytest.mark.parametrize("stop", [1, 5, 11])
def test_resumed_training_gives_the_same_bits_as_uninterrupted(tmp_path, optimiser, stop):
    whole = trainer(network(), optimiser=optimiser())
    for _ in whole:
        pass
    first = trainer(network(), optimiser=optimiser())
    for step in first:
        if step.done == stop:
            break
    monitor.write_state(tmp_path / "state.h5", first.state(), {})
    second = trainer(network(seed=9), start=monitor.read_state(tmp_path / "state.h5")[0], optimiser=optimiser())
    for _ in second:
        pass
    assert whole.done == second.done == whole.steps == 12
    assert whole.history == second.history
    for name, tensor in whole.trained().weights.items():
        np.testing.assert_array_equal(second.trained().weights[name].data, tensor.data)


def test_every_epoch_shows_every_picture_once_in_an_order_of_its_own():
    seen = trainer(network(), steps=16)
    orders = [np.concatenate([seen.make_batch(4 * epoch + i)[1] for i in range(4)]) for epoch in range(2)]
    assert all(np.bincount(order).tolist() == [10] * 4 for order in orders)
    assert (orders[0] != orders[1]).any()
    assert seen.make_batch(0)[0].shape == (10, 8, 8, 3) and seen.make_batch(9)[0].shape == (10, 12, 12, 3)


def test_the_mean_of_the_weights_at_chosen_steps_survives_a_resume():
    train, seen = trainer(network(), average_at=[4, 9]), []
    for step in train:
        if step.done in (4, 9):
            seen.append(train.trained())
        if step.done == 6:
            train_later = trainer(network(seed=5), average_at=[4, 9], start=copy.deepcopy(train.state()))
    for _ in train_later:
        pass
    for finished in (train, train_later):
        for name, tensor in finished.trained(average=True).weights.items():
            mean = (seen[0].weights[name].data.astype(float) + seen[1].weights[name].data) / 2
            np.testing.assert_array_equal(tensor.data, mean.astype(np.float32))


def test_a_phase_of_several_sizes_draws_one_for_each_batch():
    train = Trainer(network(), data(), [Phase(10, (8, 12, 16))], SGD(), 0.1, batch=10)
    sizes = [train.make_batch(i)[0].shape[1] for i in range(40)]
    assert set(sizes) == {8, 12, 16} and sizes == [train.make_batch(i)[0].shape[1] for i in range(40)]


def test_training_learns_and_the_folded_network_is_the_same_function():
    train = trainer(network(), steps=80)
    steps = list(train)
    assert [steps[0].size, steps[-1].size] == [8, 12] and steps[-1].loss < steps[0].loss
    net = train.trained()
    assert not net.weights.trainable()
    assert accuracy(net, data(seed=5))[0] == 1.0
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 3))
    exact = net.with_precision("float64")
    ready = folded(exact)
    assert {row.kind for row in ready.table} == {"input", "conv", "relu", "max_pool", "global_avg_pool", "linear",
                                                 "softmax"}
    np.testing.assert_allclose(ready(x)["fc8"].data, exact(x)["fc8"].data, rtol=1e-12, atol=1e-12)
    assert [row.name for row in ready.table][:4] == ["input", "conv1_1", "relu1_1", "pool1"]


def test_running_statistics_are_those_of_the_data_in_the_end():
    train = trainer(network(), steps=8, optimiser=SGD(0), schedule=lambda step, steps: 0.0)
    for _ in train:
        pass
    means = [train.evaluate(*train.make_batch(i), i)[3]["norm1_1/mean"] for i in range(8)]
    np.testing.assert_allclose(train.statistics["norm1_1/mean"], np.mean(means, axis=0), atol=0.1)
    assert (train.statistics["norm1_1/var"] > 0).all()


def test_accuracy_counts_the_best_and_the_best_five_at_any_size():
    net = network(norm=False)
    net.weights.freeze()
    pictures = data(12)
    logits = net(net.preprocessing.normalize(pictures.pictures))["fc8"].data
    best = Pictures(pictures.pictures, logits.argmax(axis=1), pictures.labels)
    worst = Pictures(pictures.pictures, logits.argmin(axis=1), pictures.labels)
    assert accuracy(net, best, batch=5) == (1.0, 1.0) and accuracy(net, worst) == (0.0, 1.0)
    assert 0 <= accuracy(net, best, size=16)[0] <= 1


def test_what_cannot_be_trained_is_one_clear_error():
    net = network()
    net.weights.freeze()
    with pytest.raises(MinivisError, match="unfreeze"):
        trainer(net)
    with pytest.raises(MinivisError, match="batch 999"):
        trainer(network(), batch=999)
    with pytest.raises(MinivisError, match="no logits"):
        layers = Table(architectures.minivgg(widths=(4,), depths=(1,), head=False)["layers"])
        trainer(Network(layers, random_weights(layers), preprocessing=PREPROCESSING))


def test_a_diverging_run_stops_with_advice():
    net = network()
    train = trainer(net)
    net.weights["fc8/weight"] = Tensor(np.full((16, 4), np.nan, np.float32), needs_grad=True)
    train.weights["fc8/weight"] = net.weights["fc8/weight"]
    with pytest.raises(MinivisError, match="smaller rate"):
        next(iter(train))


def test_unfolded_is_the_function_of_the_folded_network_and_trains():
    table = network("float64").table
    plain = network("float64", norm=False)
    weights = {name: t.data * 1.7 + 0.1 * ("bias" in name) for name, t in plain.weights.items()}
    plain = plain.with_weights(weights)
    x = np.random.default_rng(0).standard_normal((6, 8, 8, 3))
    other = np.random.default_rng(1).standard_normal((6, 8, 8, 3))
    again = network("float64").with_weights(unfolded(plain, table, x))

    def logits(net, x, **settings):
        return net(x, **settings)[net.logits_layer].numpy()
    assert abs(logits(plain, x)).max() > 0.1
    np.testing.assert_allclose(logits(again, other), logits(plain, other), atol=1e-12)
    np.testing.assert_allclose(logits(folded(again), other), logits(plain, other), atol=1e-12)
    # what was measured are the statistics of this batch, so training begins with the same function
    again.weights.unfreeze()
    np.testing.assert_allclose(logits(again, x, train=np.random.default_rng(0)), logits(plain, x), atol=1e-12)
    lengths = [np.sqrt((t.data ** 2).sum(axis=(0, 1, 2))) for name, t in again.weights.items() if t.data.ndim == 4]
    np.testing.assert_allclose(np.concatenate(lengths), np.sqrt(2))
