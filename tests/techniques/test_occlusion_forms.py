"""Incremental occlusion is naive occlusion on the classic forms, whatever is drawn: patch, stride, place, filling.

The forms are those of the published networks, with an eighth of their filters and on smaller pictures, in float64.
"""
import numpy as np
import pytest

from minivis import architectures
from minivis.layers import Table
from minivis.loading import random_weights
from minivis.network import Network
from minivis.techniques.occlusion import FILLS, occlusion

SIDES = {"vgg16": (40, 47), "squeezenet1_0": (55, 60), "squeezenet1_0_caffe": (59, 54), "squeezenet1_1": (56, 61),
         "alexnet": (71, 79), "alexnet_caffe": (83, 75)}
UNITS = {"vgg16": "conv4_2", "alexnet": "conv3", "alexnet_caffe": "conv4"}
MOST = 40           # windows of one draw
DRAWS = 8


def thin(name):
    """(Network with an eighth of the filters, a picture)"""
    table, rows = architectures.table(name, True), []
    height, width = SIDES[name]
    random = np.random.RandomState(len(name))
    for row in Table(table["layers"]).to_json():
        if row["kind"] == "input":
            row["shape"] = [height, width, 3]
        elif row["kind"] == "conv":
            row["filters"] = max(2, row["filters"] // 8)
        elif row["kind"] == "linear":
            row["outputs"] = 20
        rows.append(row)
    table_of = Table(rows)
    weights = {key: w.astype(np.float64) + (0.05 * random.standard_normal(w.shape) if key.endswith("/bias") else 0)
               for key, w in random_weights(table_of, seed=1).items()}
    net = Network(table_of, weights, table["logits_layer"], precision="float64", preprocessing={
        "size": [height, width], "channels": "RGB", "range": 1, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]})
    return net, random.randint(0, 256, (height, width, 3)).astype(np.uint8)


def draw(name, number):
    """Options of one run: every filling comes up, windows from a pixel to the whole picture, strides beside them."""
    rng = np.random.default_rng([number, *name.encode()])
    sides = SIDES[name]
    size = tuple(int(rng.integers(1, side + 1) if rng.random() < 0.3 else rng.integers(1, 24)) for side in sides)
    stride = []
    for a in (0, 1):
        least = max(1, -(-(sides[a] - size[a]) // 5))           # at most six windows along a side
        stride.append(int(rng.integers(least, least + 9)))
    fills = sorted(FILLS)
    return {"size": size, "stride": tuple(stride), "fill": fills[number % len(fills)], "seed": number,
            "value": int(rng.integers(0, 256)), "hide": "rest" if number % 3 == 2 else "window",
            "memory": ("200kB", "1GB")[number % 2]}


@pytest.fixture(scope="module", params=SIDES)
def form(request):
    return request.param, *thin(request.param)


@pytest.mark.parametrize("number", range(DRAWS))
def test_any_window_stride_place_and_filling(form, number):
    name, net, picture = form
    options = draw(name, number)
    naive, fast = (occlusion(net, picture, method=method, **options) for method in ("naive", "incremental"))
    assert 1 <= naive.scores.shape[0] * naive.scores.shape[1] <= MOST
    assert np.ptp(naive.scores - naive.clean) > 1e-3 * np.abs(naive.clean).max(), "nothing that was hidden mattered"
    scale = np.abs(naive.scores).max()
    assert np.abs(naive.scores - fast.scores).max() <= 1e-11 * scale
    assert np.abs(naive.values - fast.values).max() <= 1e-11 * scale


@pytest.mark.parametrize("positions", ["strongest", "all"])
def test_units_and_channels_are_targets_too(form, positions):
    name, net, picture = form
    unit = f"{UNITS.get(name, 'fire4')}:1"
    naive, fast = (occlusion(net, picture, unit=unit, positions=positions, size=(9, 13), stride=(11, 12), fill="mean",
                             method=method, memory="1MB") for method in ("naive", "incremental"))
    assert np.ptp(naive.scores) > 0 and naive.scores.shape[2] == 1 and naive.score_kind == "activation"
    assert np.abs(naive.scores - fast.scores).max() <= 1e-11 * np.abs(naive.scores).max()


def test_the_draws_reach_the_borders_and_all_fillings():
    """What is drawn: windows that hang over an edge, gaps between windows, single pixels' rows, the whole side."""
    drawn = [(name, draw(name, n)) for name in SIDES for n in range(DRAWS)]
    assert {options["fill"] for _, options in drawn} == set(FILLS)
    assert any(options["stride"][a] > options["size"][a] for _, options in drawn for a in (0, 1))
    assert any((SIDES[name][a] - options["size"][a]) % options["stride"][a] for name, options in drawn for a in (0, 1))
    assert any(options["size"][a] > SIDES[name][a] * 0.7 for name, options in drawn for a in (0, 1))
    assert min(min(options["size"]) for _, options in drawn) <= 2
