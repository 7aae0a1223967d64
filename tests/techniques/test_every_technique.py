"""What holds for every technique: its place in the list, a network left as it was, numbers that come out again."""
import inspect
import json

import numpy as np
import pytest

from minivis import image, options, results, techniques

# what a technique needs beside a network and a picture, to run on the small network
NEEDED = {"unit_gradient": {"unit": "conv1:1"}, "slide": {"unit": "conv1:1"}, "expected_gradients": {"samples": 3},
          "occlusion": {"size": 4, "stride": 3}, "counter_evidence": {"size": 4, "stride": 4},
          "extremal_perturbation": {"steps": 5, "cell": 2, "smooth": 2.0}, "rise": {"samples": 20, "cells": 3},
          "lime": {"samples": 20, "segments": 5}, "kernel_shap": {"samples": 10, "segments": 5},
          "feature_ablation": {"segments": 5}, "smoothgrad": {"samples": 3}, "integrated_gradients": {"steps": 5}}
EXPLAIN = ("classify", "filters", "activations", "slide",
           *(name for name, entry in techniques.TECHNIQUES.items() if entry.family in "DE"))
# a cut is made or not, a pixel has one rank or the next: rounding may move these by a pixel, and what follows with it
STEPPED = ("grabcut", "extremal_perturbation")


@pytest.fixture(scope="module")
def baselines(tmp_path_factory):
    """A folder with a picture to compare with."""
    folder = tmp_path_factory.mktemp("baselines")
    image.save(np.random.RandomState(6).randint(0, 256, (12, 10, 3)).astype(np.uint8), folder / "other.png")
    return str(folder)


@pytest.fixture
def run(baselines):
    def run(name, net, picture, **more):
        function = techniques.load(name)
        wants_picture = any(p.name == "picture" and p.positional for p in options.parameters(function))
        needed = NEEDED.get(name, {}) | ({"baselines": baselines} if name == "expected_gradients" else {})
        return function(net, *([picture] if wants_picture else []), **needed, **more)
    return run


def test_the_list_names_functions_of_their_own_name_and_known_families():
    for name, entry in techniques.TECHNIQUES.items():
        assert techniques.load(name).__name__ == name and entry.family in techniques.FAMILIES and entry.summary
    with pytest.raises(KeyError, match="no technique 'nothing'"):
        techniques.load("nothing")
    assert set(NEEDED) | set(EXPLAIN) <= set(techniques.TECHNIQUES)


@pytest.mark.parametrize("name", techniques.TECHNIQUES)
def test_every_parameter_is_read_by_the_command_line_and_explained(name):
    function = techniques.load(name)
    for parameter in options.parameters(function):
        assert parameter.help or parameter.name == "picture", f"{name}: the docstring says nothing of {parameter.name}"
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", EXPLAIN)
def test_the_network_and_the_picture_are_left_as_they_were(run, conv_net, picture, name):
    net = conv_net(precision="float32")
    before, weights_hash, given = {k: t.data.copy() for k, t in net.weights.items()}, net.weights_hash(), picture.copy()
    result = run(name, net, picture)
    assert isinstance(result, results.Result)
    assert np.array_equal(picture, given) and net.weights_hash() == weights_hash
    for key, tensor in net.weights.items():
        assert np.array_equal(tensor.data, before[key]) and not tensor.needs_grad and tensor.grad is None


@pytest.mark.parametrize("name", EXPLAIN)
def test_the_same_call_gives_the_same_bits_and_the_same_recipe(run, conv_net, picture, name):
    net = conv_net(precision="float32")
    one, two = run(name, net, picture), run(name, net, picture)
    for key, array in one.arrays().items():
        assert array is None or np.array_equal(array, two.arrays()[key]), key
    assert one.recipe == two.recipe and json.loads(json.dumps(one.recipe)) == one.recipe
    assert one.recipe["technique"] == name and one.recipe["network"]["weights"] == net.weights_hash()
    assert json.dumps(one.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", EXPLAIN)
@pytest.mark.parametrize("precision", ["float32", "float32-direct", "float64"])
def test_every_precision_runs_and_gives_nearly_the_same(run, conv_net, picture, name, precision):
    net = conv_net(precision="float64")
    exact, other = run(name, net, picture), run(name, net.with_precision(precision), picture)
    assert other.recipe["precision"] == precision
    for key, array in exact.arrays().items():
        if array is not None and np.asarray(array).dtype.kind == "f" and np.any(array):
            off = np.abs(other.arrays()[key] - array).max()
            assert off <= 1e-3 * np.abs(array).max() or name in STEPPED, key


def test_kernel_sets_agree(run, conv_net, picture):
    from minivis import kernels
    for name in EXPLAIN:
        found = []
        for kernel_set in ("reference", "cpu"):
            with kernels.using(kernel_set):
                found.append(run(name, conv_net(), picture).arrays())
        for key, array in found[0].items():
            if array is not None and np.asarray(array).dtype.kind == "f":
                assert np.allclose(array, found[1][key], rtol=0, atol=1e-10 * max(1, np.abs(array).max())), (name, key)


def test_a_technique_writes_no_file_and_prints_nothing(run, conv_net, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in EXPLAIN:
        run(name, conv_net(), picture)
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())
