"""Sums on several threads are the sums."""
import numpy as np
import pytest

from minivis import kernels
from minivis.kernels.cpu import elementwise, threads


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", [(), (3, 5), (2 * elementwise.SLAB + 7,), (3, elementwise.SLAB)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_add_is_numpys_sum_in_memory_of_its_own(n, shape, order):
    threads.set_threads(n)
    rng = np.random.default_rng(0)
    x, y = (np.asarray(rng.standard_normal(shape, np.float32), order=order) for _ in range(2))
    before = x.copy(), y.copy()
    out = kernels.add(x, y)
    assert kernels.add(x, y, x) is x and np.array_equal(x, out)
    x[...] = before[0]
    threads.set_threads(None)
    assert np.array_equal(out, before[0] + before[1]) and out.dtype == np.float32 and out.shape == shape
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])
    assert not np.shares_memory(out, x) and not np.shares_memory(out, y)
