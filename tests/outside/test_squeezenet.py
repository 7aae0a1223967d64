"""A real ImageNet network on real pictures: what is published about it comes out, and its maps are not empty."""
import numpy as np
import pytest

from minivis import image
from minivis.loading import load_network
from minivis.techniques.classify import classify
from minivis.techniques.compare_rules import compare_rules
from minivis.techniques.filters import filters

pytestmark = pytest.mark.data
FIRST_LOGIT = {"003": 21.326, "283": 26.487, "963": 27.045}


@pytest.fixture(scope="module")
def net(data_folder):
    return load_network(data_folder / "squeezenet1_0.h5")


@pytest.fixture(scope="module")
def pictures(data_folder):
    """File names begin with the index of the class."""
    return sorted((data_folder / "imagenet_samples").glob("*.jpg"))


def test_61_of_100_pictures_are_classified_right(net, pictures):
    assert len(pictures) == 100
    first = {p.name[:3]: classify(net, image.read(p), top=1).rows[0] for p in pictures}
    assert sum(row["index"] == int(name) for name, row in first.items()) == 61
    for name, logit in FIRST_LOGIT.items():
        assert first[name]["index"] == int(name) and abs(first[name]["logit"] - logit) <= 0.002


@pytest.mark.parametrize("unit", [None, "fire3", "fire5", "fire9"])
def test_the_three_rules_draw_something_from_every_depth(net, pictures, unit):
    plain, deconv, guided = compare_rules(net, image.read(pictures[29]), unit=unit).results
    assert plain.values.any() and guided.values.any()
    if unit is None:
        assert "all zero" in " ".join(deconv.notes) or deconv.values.any()
    else:
        assert deconv.values.any()
        assert not np.allclose(guided.values, deconv.values)


def test_float64_and_float32_agree_on_the_scores(net, pictures):
    for path in pictures[::25]:
        one, other = (classify(n, image.read(path), top=1000).rows for n in (net, net.with_precision("float64")))
        one, other = ({row["index"]: row["logit"] for row in rows} for rows in (one, other))
        assert max(abs(one[k] - other[k]) for k in one) <= 1e-5 * max(other.values())


def test_its_first_layer_is_trained(net):
    result = filters(net)
    assert result.values.shape == (7, 7, 3, 96) and np.median(result.noise) < 0.3 and result.noise.max() < 0.5
