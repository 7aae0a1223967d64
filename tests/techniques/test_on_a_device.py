"""Every technique on a network that lies on another device: it runs, mixes no arrays of two memories, leaves nothing
there, and finds what the CPU finds. The device is a stand-in for CuPy's arrays on the host (tools/cuda_shim), which
shows what moves where and not what a GPU computes; and a GPU, where there is one.
"""
import contextlib
import os

import numpy as np
import pytest

from minivis import graphs, image, options, techniques
from minivis.tensor import Tensor, gradient
from tools import cuda_shim
from tools.cuda_shim.cupy_on_host import installed

PICTURE = np.random.RandomState(5).randint(0, 256, (12, 10, 3)).astype(np.uint8)
OTHER = np.random.RandomState(6).randint(0, 256, (12, 10, 3)).astype(np.uint8)
LAYERS = {"content_layers": {"relu2": 1.0}, "style_layers": {"relu1": 1.0, "relu2": 1.0}}
# positional arguments where they are not the picture alone, and options beside the defaults
HOW = {"visualize": ((["scores:1"],), {"steps": 20}), "universal": (([PICTURE, OTHER],), {"passes": 2}),
       "fool": ((PICTURE, "cat"), {"steps": 20}), "filters": ((), {}),
       "style": ((PICTURE,), {"styles": [OTHER], "steps": 20, "size": 24, "scales": 1, **LAYERS}),
       "texture": ((PICTURE,), {"steps": 20}), "invert": ((PICTURE,), {"steps": 20}), "dream": ((PICTURE,), {}),
       "unit_gradient": ((PICTURE,), {"unit": "conv1:1"}), "slide": ((PICTURE,), {"unit": "conv1:1"}),
       "occlusion": ((PICTURE,), {"size": 4, "stride": 3}), "counter_evidence": ((PICTURE,), {"size": 4, "stride": 4}),
       "extremal_perturbation": ((PICTURE,), {"steps": 20, "cell": 2, "smooth": 2.0}),
       "rise": ((PICTURE,), {"samples": 20, "cells": 3}), "lime": ((PICTURE,), {"samples": 20, "segments": 5}),
       "kernel_shap": ((PICTURE,), {"samples": 10, "segments": 5}), "feature_ablation": ((PICTURE,), {"segments": 5}),
       "smoothgrad": ((PICTURE,), {"samples": 3}), "integrated_gradients": ((PICTURE,), {"steps": 5}),
       "linear_explanation": ((PICTURE,), {}),
       "adversarial_patch": (([PICTURE, OTHER],), {"target": "cat", "steps": 5}),
       "expected_gradients": ((PICTURE,), {"samples": 3, "baselines": ...})}
# they need files or networks of their own kind, and run the network as the others do
ELSEWHERE = {"neighbours", "map", "activation_atlas", "cka", "compare_networks", "tcav", "probe", "patch_filters",
             "stylize", "style_strip"}


def takes_a_picture(name):
    return [p.name for p in options.parameters(techniques.load(name)) if p.positional] == ["picture"]


NAMES = [name for name in techniques.TECHNIQUES
         if name not in ELSEWHERE and (name in HOW or takes_a_picture(name))]


@pytest.fixture(autouse=True)
def plain_kernels(monkeypatch):
    """NumPy's own arithmetic on both sides: no compiled kernel has to be made for this."""
    from minivis.kernels import cpu
    monkeypatch.setattr(cpu, "_plain_only", True)


def test_most_techniques_are_in_this_file():
    assert len(NAMES) > 35 and set(HOW) <= set(NAMES)


@pytest.mark.parametrize("device", [pytest.param(installed, id="stand-in"),
                                    pytest.param(contextlib.nullcontext, id="gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", NAMES)
def test_a_technique_finds_the_same_on_another_device(name, device, conv_net, tmp_path):
    args, how = HOW.get(name, ((PICTURE,), {}))
    if how.get("baselines") is ...:
        image.save(OTHER, tmp_path / "other.png")
        how = {**how, "baselines": str(tmp_path)}
    function, net = techniques.load(name), conv_net(precision="float64")
    expected = function(net, *args, **how).arrays()
    with device():
        there = net.to("gpu")
        assert there.device == "gpu"
        found = function(there, *args, **how).arrays()
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        if array is not None:
            assert type(found[key]).__module__ != "cupy", f"{key} was left on the device"
            if np.asarray(array).dtype.kind == "f" and np.size(array):
                assert np.abs(found[key] - array).max() <= 1e-6 * max(1.0, np.abs(array).max()), key


def test_a_picture_of_the_host_gets_its_gradient_on_the_host(conv_net):
    net = conv_net(precision="float64")
    x = Tensor(net.preprocess(PICTURE), needs_grad=True)
    expected = gradient(net(x)["scores"], x)
    with installed():
        there = net.to("gpu")
        scores = there(x)["scores"]
        dx = gradient(scores, x)
        assert type(scores.data).__module__ == "cupy" and isinstance(dx, np.ndarray)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-12)


def test_the_stand_in_refuses_what_cupy_refuses():
    with installed():
        import cupy
        on_device, on_host = cupy.asarray([1.0, 2.0]), np.ones(2)
        for mistake in (lambda: on_device + on_host, lambda: on_host * on_device, lambda: np.asarray(on_device),
                        lambda: cupy.stack([on_host, on_host]), lambda: np.stack([on_host, on_device]),
                        lambda: on_device.__setitem__(slice(None), on_host)):
            with pytest.raises(TypeError):
                mistake()
        with pytest.raises(AttributeError):
            cupy.errstate(invalid="ignore")
        assert type(on_device.sum()).__module__ == "cupy" and float(on_device.sum()) == 3


RECORDED = {    # technique: (positional arguments, options, graphs: one for each set of shapes)
    "style": (*HOW["style"], 1),
    "texture": (*HOW["texture"], 1),
    "dream": ((PICTURE,), {"size": 70, "octaves": 2, "steps": 4}, 2),
    "visualize": ((["scores:1"],), {"steps": 20}, 1),                       # 4 steps after those that wake units
    "visualize of pixels": ((["relu2:1"],), {"preset": "cs231n", "steps": 20, "tv": 1e-3}, 1)}


@pytest.mark.parametrize("device", [pytest.param(installed, id="stand-in"),
                                    pytest.param(contextlib.nullcontext, id="gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_step_is_the_same_step(name, device, conv_net, monkeypatch):
    """With MINIVIS_CUDA_GRAPHS=1. The stand-in refuses what CUDA and CuPy refuse while a stream is recorded."""
    args, how, count = RECORDED[name]
    function, recorded = techniques.load(name.split()[0]), []

    class Counted(graphs.Captured):
        def __init__(self, *arrays):
            recorded.append(self)
            super().__init__(*arrays)
    expected = function(conv_net(precision="float64"), *args, **how).arrays()
    monkeypatch.setattr(graphs, "Captured", Counted)
    monkeypatch.setenv("MINIVIS_CUDA_GRAPHS", "1")
    with device():
        found = function(conv_net(precision="float64").to("gpu"), *args, **how).arrays()
    assert len(recorded) == count
    np.testing.assert_allclose(found["values"], expected["values"], rtol=0, atol=1e-6)


@pytest.mark.skipif(os.environ.get("MINIVIS_SKIP_CUDA_CHECK") == "1" or cuda_shim.compiler() is None,
                    reason="needs g++ (and MINIVIS_SKIP_CUDA_CHECK not to be 1)")
@pytest.mark.parametrize("precision, within", [("float64", 1e-12), ("float32", 1e-5)])
def test_the_cuda_source_finds_what_the_cpu_finds(conv_net, precision, within):
    """From the picture to the map, every kernel being the GPU's own, run by g++."""
    net, look = conv_net(precision=precision), techniques.load("guided_backprop")
    expected = look(net, PICTURE).values
    with installed(kernels="shim") as backend:
        found = look(net.to("gpu"), PICTURE).values
    assert np.abs(found - expected).max() <= within * np.abs(expected).max() > 0
    assert any("conv" in name for name in backend.launches)
