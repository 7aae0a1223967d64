"""The fixture `kernels`: each kernel set in turn."""
import pytest

from minivis.kernels import cpu, reference


class PlainCpu:
    """The CPU set as it is where no vector instructions can be built."""

    def __getattr__(self, name):
        def call(*args, **settings):
            before, cpu._plain_only = cpu._plain_only, True
            try:
                return getattr(cpu, name)(*args, **settings)
            finally:
                cpu._plain_only = before
        return call


SETS = {"reference": reference, "cpu": cpu, "cpu without intrinsics": PlainCpu()}


@pytest.fixture(params=SETS)
def kernels(request):
    return SETS[request.param]


@pytest.fixture(params=[name for name in SETS if name != "reference"])
def fast(request):
    """The sets that are not the definition itself."""
    return SETS[request.param]
