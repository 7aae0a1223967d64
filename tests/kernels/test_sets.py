"""Every kernel set has the names and the signatures of the definition."""
import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

from minivis import kernels
from minivis.kernels import cpu, gpu, reference

NAMES = [name for name, thing in vars(reference).items()
         if inspect.isfunction(thing) and thing.__module__ == reference.__name__ and not name.startswith("_")]


def test_the_definition_has_kernels():
    assert len(NAMES) > 20 and "conv2d_forward" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_cpu_has_every_name_with_the_same_signature(name):
    assert list(inspect.signature(getattr(cpu, name)).parameters.values()) == \
        list(inspect.signature(getattr(reference, name)).parameters.values())


def test_gpu_has_every_name_with_the_same_signature_or_lists_it_as_missing():
    there = {name for name in vars(gpu) if name in NAMES}
    assert set(gpu.NOT_YET) | there == set(NAMES) and not set(gpu.NOT_YET) & there
    for name in there:
        assert list(inspect.signature(getattr(gpu, name)).parameters) == \
            list(inspect.signature(getattr(reference, name)).parameters)
    for name in gpu.NOT_YET:
        with pytest.raises(AttributeError, match="NOT_YET"):
            getattr(gpu, name)


def test_of_gives_the_set_of_the_array_and_refuses_what_it_does_not_know():
    assert kernels.of(np.zeros(3)) is cpu
    with kernels.using("reference"):
        assert kernels.of(np.zeros(3)) is reference
    with pytest.raises(TypeError, match="list"):
        kernels.of([1, 2])


def test_a_kernel_that_cannot_be_compiled_means_plain_numpy_and_one_warning(tmp_path):
    script = """if True:
        import warnings, numpy as np
        from minivis.kernels import cpu
        cpu.compile_cache._compile = lambda function: 1 / 0
        x = np.array([[[[-1, 2]]]], np.float32)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                y, mask = cpu.relu_forward(x)
        assert y.tolist() == [[[[0, 2]]]] and cpu.unpack_mask(mask, x.shape).tolist() == [[[[False, True]]]]
        print(len(caught), cpu._plain_only, "plain NumPy" in str(caught[0].message))
    """
    env = {**os.environ, "MINIVIS_CACHE": str(tmp_path), "MINIVIS_INTRINSICS": "1"}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert out.stdout.split() == ["1", "True", "True"], out.stderr


@pytest.mark.parametrize("setting, plain", [("0", "True"), ("1", "False")])
def test_an_environment_variable_chooses_the_plain_set(setting, plain):
    out = subprocess.run([sys.executable, "-c", "from minivis.kernels import cpu; print(cpu._plain_only)"],
                         env={**os.environ, "MINIVIS_INTRINSICS": setting}, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == plain
