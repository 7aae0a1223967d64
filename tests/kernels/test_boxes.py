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
    cells, members = boxes.Patches(n + 5), random.permutation(n + 5)[:n]
    batches = [random.standard_normal((20, 9, 8, C)).astype(dtype) for _ in range(3)]
    for k, batch in enumerate(batches):
        some = np.arange(k, n, 4)               # every fourth picture has no cells
        size = random.randint(1, 8, (len(some), 2))
        cells.put(some, batch[:len(some)], random.randint(0, (10, 9) - size), size)
    offsets = random.randint(-9, 7, (n, 2))     # some of them wholly outside the box
    got = boxes.cut_boxes(values, places, shape, cells, members, offsets)
    wanted = boxes.plain(values, places, shape, cells, members, offsets)
    assert np.array_equal(got, wanted) and got.dtype == dtype
    whole = np.full((n, *shape, C + 7), 9, dtype)
    boxes.cut_boxes(values, places, shape, cells, members, offsets, whole[..., 2:2 + C])
    assert np.array_equal(whole[..., 2:2 + C], wanted) and (np.delete(whole, np.s_[2:2 + C], axis=3) == 9).all()
    changed = [not np.array_equal(b, values[0, t:t + 5, le:le + 4]) for b, (t, le) in zip(got, places)]
    assert any(changed) and not all(changed)


def test_patches_are_where_they_were_put():
    patches, batch = boxes.Patches(4), np.arange(2 * 5 * 6 * 3, dtype=np.float32).reshape(2, 5, 6, 3)
    patches.put([3, 1], batch, np.array([[0, 1], [2, 0]]), np.array([[4, 3], [3, 6]]))
    assert np.array_equal(patches[3], batch[0, :4, 1:4]) and np.array_equal(patches[1], batch[1, 2:5])
    assert patches[0] is None and len(patches) == 4
    table = patches.table(np.array([1, 0]))
    assert table.tolist() == [[patches[1].ctypes.data, 3, 6, 18], [0, 0, 0, 0]]
