"""The tables of the classic networks: published parameter counts, sizes and names."""
import math

import pytest

from minivis.architectures import TABLES, table
from minivis.errors import MinivisError
from minivis.layers import Table
from minivis.names import aliases
from minivis.shapes import infer_shapes, multiply_adds, weight_shapes


def count(name, head=True):
    return sum(math.prod(shape) for shape in weight_shapes(Table(table(name, head)["layers"])).values())


@pytest.mark.parametrize("name, head, published", [
    ("vgg11", True, 132_863_336), ("vgg13", True, 133_047_848), ("vgg16", True, 138_357_544),
    ("vgg19", True, 143_667_240), ("vgg16", False, 14_714_688), ("vgg19", False, 20_024_384),
    ("alexnet", True, 61_100_840), ("alexnet", False, 2_469_696), ("alexnet_caffe", True, 60_965_224),
    ("squeezenet1_0", True, 1_248_424), ("squeezenet1_1", True, 1_235_496), ("squeezenet1_0_caffe", True, 1_248_424),
])
def test_parameter_counts_are_the_published_ones(name, head, published):
    assert count(name, head) == published


@pytest.mark.parametrize("name, layer, shape", [
    ("vgg16", "pool5", (7, 7, 512)),
    ("alexnet", "conv1", (55, 55, 64)), ("alexnet", "pool5", (6, 6, 256)),
    ("alexnet_caffe", "norm1", (55, 55, 96)), ("alexnet_caffe", "pool5", (6, 6, 256)),
    ("squeezenet1_0", "pool1", (54, 54, 96)), ("squeezenet1_0", "conv10", (13, 13, 1000)),
    ("squeezenet1_0_caffe", "conv10", (15, 15, 1000)),
    ("squeezenet1_1", "conv10", (13, 13, 1000)), ("squeezenet1_1_caffe", "conv10", (14, 14, 1000)),
])
def test_layer_sizes_are_the_published_ones(name, layer, shape):
    assert infer_shapes(Table(table(name)["layers"]))[layer] == shape


def test_vgg16_takes_15_470_264_320_multiply_adds():
    t = Table(table("vgg16")["layers"])
    shapes = infer_shapes(t)
    total = sum(multiply_adds(layer, [shapes[n] for n in t.reads[layer.name]], shapes[layer.name]) for layer in t)
    assert total == 15_470_264_320      # 15.5 G: counted by hand, sum of H W K 9 C over the layers, plus the dense part


@pytest.mark.parametrize("name", TABLES)
def test_every_table_names_layers_that_it_has(name):
    for head in (True, False):
        fields = table(name, head)
        names = [layer.name for layer in fields["layers"]]
        assert fields["features_layer"] is None or fields["features_layer"] in names
        assert (fields["logits_layer"] in names) if head else fields["logits_layer"] is None
        assert ("prob" in names) == head


@pytest.mark.parametrize("name, theirs, ours", [
    ("vgg16", "features.21", "conv4_3"), ("vgg19", "features.21", "conv4_2"), ("vgg16", "features.30", "pool5"),
    ("vgg16", "classifier.0", "fc6"), ("vgg16", "classifier.3", "fc7"), ("vgg16", "classifier.6", "fc8"),
    ("vgg19", "block4_conv2", "conv4_2"), ("vgg19", "block5_pool", "pool5"), ("vgg16", "fc1", "fc6"),
    ("vgg16", "predictions", "fc8"), ("alexnet", "features.10", "conv5"), ("alexnet", "classifier.1", "fc6"),
    ("alexnet", "classifier.6", "fc8"), ("squeezenet1_0", "features.3.squeeze", "fire2_squeeze"),
    ("squeezenet1_0", "features.12", "fire9"), ("squeezenet1_1", "features.12.expand3x3", "fire9_expand3"),
    ("squeezenet1_1", "features.6", "fire4"), ("squeezenet1_0", "classifier.1", "conv10"),
])
def test_other_tools_names_lead_to_ours(name, theirs, ours):
    assert aliases(Table(table(name)["layers"]))[theirs] == ours


def test_an_unknown_architecture_lists_the_known_ones():
    with pytest.raises(MinivisError, match="did you mean vgg16"):
        table("vgg-16")
