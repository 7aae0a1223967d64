"""The stages, the most valuable first."""
import os
from typing import NamedTuple

from .known import KERNEL_TESTS

_CONV_TESTS = "tests/kernels/gpu/test_conv_kernels.py"


class Stage(NamedTuple):
    """name; what it shows; seconds it may take; seconds without news after which a case counts as hanging; the
    arguments of Python; how many processes share it; variables of their environment; seconds under which it is not
    begun."""
    name: str
    about: str
    limit: float
    quiet: float
    command: tuple
    shares: int = 1
    environment: dict = {}
    least: float = 5.0


def _pytest(*what):
    return ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tools.gpu_check.pytest_lines", "-m", "gpu", *what)


def _worker(module):
    return ("-m", "tools.gpu_check.worker", module)


def stages():
    """Every stage in order. On the host the plain kernels of NumPy are the measure: none has to be compiled first."""
    shares = max(1, min(4, (os.cpu_count() or 1) // 2))
    plain = {"MINIVIS_INTRINSICS": "0"}
    return [
        Stage("first", "CuPy, the driver, the card, the compilers; one kernel", 80, 60, _worker("first"), 1, plain),
        Stage("compile", "every .cu file compiled and loaded, every kernel found", 90, 60, _worker("compiled"), shares,
              plain),
        Stage("kernels", "every kernel against its definition", 150, 60, _pytest(*KERNEL_TESTS, _CONV_TESTS), shares,
              plain),
        Stage("networks", "whole networks in every precision against float64 on the CPU", 90, 45, _worker("whole"), 1,
              plain),
        Stage("graphs", "recorded steps give the same bits as the steps themselves", 45, 30, _worker("recorded"), 1,
              plain),
        Stage("times", "speed: ceilings, VGG-16, its layers, style steps, memory-bound kernels", 120, 40,
              _worker("times"), 1, plain),
        Stage("torch", "the same by PyTorch, where it is installed", 90, 45, _worker("torch_times"), 1, plain),
        Stage("techniques", "every technique against the CPU, steps recorded too", 150, 60,
              _pytest("tests/techniques/test_on_a_device.py"), shares, plain),
        Stage("sanitizer", "compute-sanitizer over one launch of everything", 150, 60, _worker("sanitized"), 1, plain),
        Stage("rest", "what other tests want a GPU", 60, 60, _pytest("tests"), shares, plain),
    ]
