"""Recomputing what a box can change gives what the whole network gives, in every layer kind, at every border."""
import numpy as np
import pytest

import minivis as mv
from minivis.incremental import Incremental
from minivis.layers import Layer, Table
from minivis.network import Network
from minivis.shapes import weight_shapes

TABLES = {
    "same, stride and dilation": [
        Layer("c1", "conv", filters=4, kernel=5, stride=2, pad="same"), Layer("r1", "relu"),
        Layer("c2", "conv", filters=4, kernel=3, dilation=2, pad=2, groups=2)],
    "a stride beyond the kernel leaves cells unread": [
        Layer("c1", "conv", filters=4, kernel=2, stride=4), Layer("p1", "max_pool", kernel=1, stride=2)],
    "pooling in ceil mode": [
        Layer("c1", "conv", filters=4, kernel=3), Layer("p1", "max_pool", kernel=3, stride=2, ceil=True, pad=1),
        Layer("p2", "max_pool", kernel=2, ceil=True)],
    "averages that count padding": [
        Layer("c1", "conv", filters=4, kernel=3), Layer("p1", "avg_pool", kernel=3, stride=2, pad=1, ceil=True)],
    "averages that do not": [
        Layer("c1", "conv", filters=4, kernel=3),
        Layer("p1", "avg_pool", kernel=[3, 2], stride=2, pad=1, ceil=True, count_pad=False)],
    "branches": [
        Layer("c1", "conv", filters=4, kernel=3, pad=1), Layer("r1", "relu"),
        Layer("c2", "conv", filters=4, kernel=1), Layer("c3", "conv", ["r1"], filters=4, kernel=5, pad=2),
        Layer("sum", "add", ["r1", "c2", "c3"]), Layer("mul", "multiply", ["sum", "r1"]),
        Layer("cat", "concat", ["mul", "c3"])],
    "normalisation": [
        Layer("c1", "conv", filters=4, kernel=3), Layer("n1", "lrn", size=3, alpha=0.5), Layer("b1", "batch_norm"),
        Layer("s1", "scale", factor=0.5, offset=0.2), Layer("t1", "tanh"), Layer("l1", "leaky_relu", slope=0.3)],
    "kinds that run whole": [
        Layer("c1", "conv", filters=4, kernel=3), Layer("i1", "instance_norm"), Layer("u1", "upsample", factor=2),
        Layer("pad", "pad", pad=2, mode="reflect"), Layer("c2", "conv", filters=2, kernel=3, stride=2)],
}
HEADS = {
    "a map": [],
    "an average": [Layer("mean", "global_avg_pool")],
    "dense layers": [Layer("flat", "flatten", order="chw"), Layer("f1", "linear", outputs=7), Layer("fr", "leaky_relu"),
                     Layer("f2", "linear", outputs=3)],
}
BOXES = [(0, 0, 4, 4), (13, 0, 19, 3), (15, 17, 19, 23), (6, 7, 10, 13), (9, 11, 10, 12), (5, 5, 5, 5), (0, 0, 19, 23),
         (0, 9, 19, 10)]
SIZE = (19, 23)


def build(layers, precision):
    size = [*SIZE, 3]
    layers = [Layer("input", "input", shape=size), *layers]
    random = np.random.RandomState(0)
    weights = {name: np.abs(random.standard_normal(shape)) + 0.1 if name.endswith("/var")
               else random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[:-1])))
               for name, shape in weight_shapes(Table(layers)).items()}
    return Network(layers, weights, precision=precision)


def compare(net, boxes, layer=None, tolerance=1e-12):
    """Run with changed boxes both ways; the largest difference is within tolerance of the largest value."""
    size = net.input_size or SIZE
    random = np.random.RandomState(1)
    x = random.standard_normal((1, *size, 3)).astype(net.dtype)
    contents, whole = [], []
    for top, left, bottom, right in boxes:
        content = random.standard_normal((bottom - top, right - left, 3)).astype(net.dtype)
        picture = x[0].copy()
        picture[top:bottom, left:right] = content
        contents.append(content)
        whole.append(picture)
    incremental = Incremental(net, x, layer)
    wanted = net(np.stack(whole), layers=[incremental.layer])[incremental.layer].numpy()
    got = incremental.run(boxes, contents)
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    scale = np.abs(wanted).max()
    assert np.abs(wanted - incremental.clean).max() > 1e-6 * scale, "no box changed anything"
    assert np.abs(got - wanted).max() <= tolerance * scale


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("table", TABLES)
def test_incremental_is_the_whole_network_in_float64(table, head):
    compare(build([*TABLES[table], *HEADS[head]], "float64"), BOXES)


@pytest.mark.parametrize("table", TABLES)
def test_incremental_is_the_whole_network_in_float32(table):
    compare(build([*TABLES[table], *HEADS["dense layers"]], "float32"), BOXES, tolerance=2e-5)


@pytest.mark.parametrize("name, size", [("vgg16", 48), ("squeezenet1_0", 63), ("squeezenet1_1_caffe", 64),
                                        ("alexnet", 95), ("alexnet_caffe", 99)])
def test_incremental_is_the_whole_network_for_the_classic_forms(name, size):
    net = mv.random_network(name, head=False)
    boxes = [(0, 0, 16, 16), (7, 3, 23, 19), (size - 9, size - 5, size, size), (20, 11, 21, 12),
             (0, size - 8, size, size)]
    random = np.random.RandomState(2)
    x = random.standard_normal((1, size, size, 3)).astype(np.float32)
    for fill in (0.0, 3.0):
        contents = [np.full((b - t, r - left, 3), fill, np.float32) for t, left, b, r in boxes]
        pictures = np.repeat(x, len(boxes), axis=0)
        for picture, (t, left, b, r) in zip(pictures, boxes):
            picture[t:b, left:r] = fill
        incremental = Incremental(net, x)
        wanted = net(pictures)[net.output_layer].numpy()
        assert np.abs(wanted - incremental.clean).max() > 0.05 * np.abs(wanted).max()
        assert np.abs(incremental.run(boxes, contents) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_any_layer_can_be_asked_for():
    net = build(TABLES["branches"], "float64")
    for layer in ("input", "r1", "sum"):
        compare(net, BOXES, layer)


def test_the_bits_do_not_depend_on_the_batch():
    net = build([*TABLES["branches"], *HEADS["dense layers"]], "float32")
    random = np.random.RandomState(3)
    x = random.standard_normal((1, *SIZE, 3)).astype(np.float32)
    boxes = [(i, 2 * i, i + 5, 2 * i + 4) for i in range(9)]
    content = np.ones((5, 4, 3), np.float32)
    incremental = Incremental(net, x)
    assert np.array_equal(incremental.run_all(boxes, lambda i: content, memory="1GB"),
                          incremental.run_all(boxes, lambda i: content, memory=1))


@pytest.mark.parametrize("count", [16, 19])
def test_rows_that_wait_for_a_dense_layer_come_in_their_order(monkeypatch, count):
    net = build([*TABLES["branches"], *HEADS["dense layers"]], "float64")
    x = np.random.RandomState(3).standard_normal((1, *SIZE, 3))
    boxes = [(i % 9, i % 7, i % 9 + 5, i % 7 + 4) for i in range(count)]
    incremental = Incremental(net, x)
    wanted = np.concatenate([incremental.run([box], [np.ones((5, 4, 3))]) for box in boxes])
    monkeypatch.setattr("minivis.incremental.DENSE_ROWS", 8)
    got = incremental.run_all(boxes, lambda i: np.ones((5, 4, 3)), memory=1)
    assert incremental.joint != incremental.layer and np.ptp(wanted, axis=0).min() > 0
    assert np.abs(got - wanted).max() <= 1e-12 * np.abs(wanted).max()


def test_a_small_box_takes_less_memory_than_the_picture():
    net = mv.random_network("vgg16", head=False)
    incremental = Incremental(net, np.zeros((1, 64, 64, 3), np.float32))
    assert incremental.bytes_each(4, 4) < incremental.bytes_each(64, 64) / 3
