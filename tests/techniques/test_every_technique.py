"""What holds for every technique: its place in the list, a network left as it was, numbers that come out again."""
import inspect
import json

import numpy as np
import pytest

from minivis import options, results, techniques

# what a technique needs beside a network and a picture, to run on the small network
NEEDED = {"unit_gradient": {"unit": "conv1:1"}}
EARLY = ("classify", "filters", "activations", "occlusion", "saliency", "unit_gradient", "deconvnet", "guided_backprop",
         "compare_rules")


def run(name, net, picture, **more):
    function = techniques.load(name)
    wants_picture = any(p.name == "picture" and p.positional for p in options.parameters(function))
    return function(net, *([picture] if wants_picture else []), **NEEDED.get(name, {}), **more)


def test_the_list_names_functions_of_their_own_name_and_known_families():
    for name, entry in techniques.TECHNIQUES.items():
        assert techniques.load(name).__name__ == name and entry.family in techniques.FAMILIES and entry.summary
    with pytest.raises(KeyError, match="no technique 'nothing'"):
        techniques.load("nothing")
    assert set(EARLY) <= set(techniques.TECHNIQUES)


@pytest.mark.parametrize("name", techniques.TECHNIQUES)
def test_every_parameter_is_read_by_the_command_line_and_explained(name):
    function = techniques.load(name)
    for parameter in options.parameters(function):
        assert parameter.help or parameter.name == "picture", f"{name}: the docstring says nothing of {parameter.name}"
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", EARLY)
def test_the_network_and_the_picture_are_left_as_they_were(conv_net, picture, name):
    net = conv_net(precision="float32")
    before, weights_hash, given = {k: t.data.copy() for k, t in net.weights.items()}, net.weights_hash(), picture.copy()
    result = run(name, net, picture)
    assert isinstance(result, results.Result)
    assert np.array_equal(picture, given) and net.weights_hash() == weights_hash
    for key, tensor in net.weights.items():
        assert np.array_equal(tensor.data, before[key]) and not tensor.needs_grad and tensor.grad is None


@pytest.mark.parametrize("name", EARLY)
def test_the_same_call_gives_the_same_bits_and_the_same_recipe(conv_net, picture, name):
    net = conv_net(precision="float32")
    one, two = run(name, net, picture), run(name, net, picture)
    for key, array in one.arrays().items():
        assert array is None or np.array_equal(array, two.arrays()[key]), key
    assert one.recipe == two.recipe and json.loads(json.dumps(one.recipe)) == one.recipe
    assert one.recipe["technique"] == name and one.recipe["network"]["weights"] == net.weights_hash()
    assert json.dumps(one.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("precision", ["float32", "float32-direct", "float64"])
def test_every_precision_runs_and_gives_nearly_the_same(conv_net, picture, name, precision):
    net = conv_net(precision="float64")
    exact, other = run(name, net, picture), run(name, net.with_precision(precision), picture)
    assert other.recipe["precision"] == precision
    for key, array in exact.arrays().items():
        if array is not None and np.asarray(array).dtype.kind == "f" and np.any(array):
            assert np.abs(other.arrays()[key] - array).max() <= 1e-3 * np.abs(array).max(), key


def test_kernel_sets_agree(conv_net, picture):
    from minivis import kernels
    for name in EARLY:
        found = []
        for kernel_set in ("reference", "cpu"):
            with kernels.using(kernel_set):
                found.append(run(name, conv_net(), picture).arrays())
        for key, array in found[0].items():
            if array is not None and np.asarray(array).dtype.kind == "f":
                assert np.allclose(array, found[1][key], rtol=0, atol=1e-10 * max(1, np.abs(array).max())), (name, key)


def test_a_technique_writes_no_file_and_prints_nothing(conv_net, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in EARLY:
        run(name, conv_net(), picture)
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())
