"""Boxes cut out of one picture, other cells laid over them: compiled as in plain NumPy, to the bit."""
import numpy as np
import pytest

from minivis.kernels.cpu import boxes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1, 3, 16])
def test_compiled_boxes_are_those_of_plain_numpy(dtype, C):
    random = np.random.RandomState(0)
    values = random.standard_normal((1, 11, 13, C)).astype(dtype)
    values[0, 4, 5, 0] = -np.inf                # as padding of a max pooling is
    shape, n = (5, 4), 60
    places = np.stack([random.randint(0, side - s + 1, n) for side, s in zip((11, 13), shape)], axis=1)
    cells = [None if i % 7 == 0 else random.standard_normal((*random.randint(1, 8, 2), C)).astype(dtype)
             for i in range(n)]
    offsets = random.randint(-9, 7, (n, 2))     # some of them wholly outside the box
    got = boxes.cut_boxes(values, places, shape, cells, offsets)
    wanted = boxes.plain(values, places, shape, cells, offsets)
    assert np.array_equal(got, wanted) and got.dtype == dtype
    changed = [not np.array_equal(b, values[0, t:t + 5, le:le + 4]) for b, (t, le) in zip(got, places)]
    assert any(changed) and not all(changed)
