"""A generator learns to give back the picture that a code was taken from; its training goes on after a stop."""
import numpy as np
import pytest

from minivis.checkpoints import minivis_hdf5
from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.monitor import read_state, write_state
from minivis.network import Network
from minivis.priors.deep import GeneratorPrior
from minivis.provenance import network_identity
from minivis.training.generator import GeneratorTask
from minivis.training.style import StyleTrainer


@pytest.fixture
def net():
    random = np.random.RandomState(1)
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv1", "conv", filters=8, kernel=3, pad=1),
              Layer("relu1", "relu"), Layer("pool1", "max_pool", kernel=2)]
    weights = {"conv1/weight": random.standard_normal((3, 3, 3, 8)) * 0.4, "conv1/bias": np.zeros(8)}
    eats = {"size": None, "channels": "RGB", "range": 1, "mean": [0.5] * 3, "std": [0.25] * 3}
    return Network(layers, weights, preprocessing=eats, name="eye")


@pytest.fixture
def task(net):
    y, x = np.mgrid[0:16, 0:16] / 16
    pictures = np.stack([255 * np.stack([(y * a + x * b) % 1, (x * a) % 1, y], -1) for a in (1, 2) for b in (1, 3)])
    return GeneratorTask(net, "pool1", pictures.astype(np.uint8), seen={"relu1": 1.0}, batch=4, width=16)


def test_it_learns_and_comes_back_from_its_file(net, task, tmp_path):
    steps = list(StyleTrainer(task, 40, 1e-2))
    assert sum(steps[-1].terms.values()) < 0.4 * sum(steps[0].terms.values())
    assert set(steps[0].terms) >= {"pixels", "content"}
    generator = task.trained()
    assert not any(t.needs_grad for t in generator.weights.values())
    minivis_hdf5.write(generator, tmp_path / "g.h5", "float32")
    again = minivis_hdf5.read(tmp_path / "g.h5")
    assert again.meta["source"] == f"codes of pool1 of eye, weights {network_identity(net)['weights'][:16]}"
    prior = GeneratorPrior(net, (16, 16), again)
    code = task._code(task.pictures[:1])
    z = (code - again.weights["code/shift"].data) / again.weights["code/scale"].data
    off = np.abs(prior.levels(z.astype(np.float32))[0] - task.pictures[0]).mean()
    mean_colour = np.abs(task.pictures[0] - task.pictures[0].mean((0, 1))).mean()
    assert off < 0.6 * mean_colour


def test_codes_are_counted_in_deviations_from_their_mean(task):
    code = task._code(task.pictures)
    z = (code - task.net.weights["code/shift"].data) / task.net.weights["code/scale"].data
    assert np.abs(z.mean((0, 1, 2))).max() < 1e-3 and np.abs(z.std((0, 1, 2)) - 1).max() < 1e-3
    assert "code/scale" not in task.tensors()


def test_interrupted_and_resumed_the_weights_are_the_same(net, task, tmp_path):
    def fresh():
        return GeneratorTask(net, "pool1", task.pictures, seen={"relu1": 1.0}, batch=4, width=16)
    whole = StyleTrainer(fresh(), 6, 1e-2)
    list(whole)
    part, again = StyleTrainer(fresh(), 6, 1e-2), fresh()
    for _ in range(3):
        part.advance(part.task.prepare(part.done))
    write_state(tmp_path / "s.h5", part.state(), {})
    resumed = StyleTrainer(again, 6, 1e-2, start=read_state(tmp_path / "s.h5")[0])
    list(resumed)
    for name, tensor in whole.task.tensors().items():
        assert np.array_equal(tensor.data, again.tensors()[name].data), name


def test_too_few_pictures_are_one_clear_error(net):
    with pytest.raises(MinivisError, match="several pictures"):
        GeneratorTask(net, "pool1", np.zeros((1, 16, 16, 3), np.uint8), seen={"relu1": 1.0})
