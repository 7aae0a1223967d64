"""The functions behind `minivis weights`."""
import gzip
from pathlib import Path

import numpy as np
import pytest

from minivis.checkpoints import registry
from minivis.commands import weights
from minivis.errors import MinivisError
from minivis.loading import load_network

SAMPLES = Path(__file__).parents[1] / "checkpoints" / "samples"


@pytest.fixture
def vgg(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVIS_WEIGHTS", str(tmp_path / "cache"))
    path = tmp_path / "my_vgg.pth"
    path.write_bytes(gzip.decompress((SAMPLES / "torch_vgg16.pth.gz").read_bytes()))
    return path


def test_list_names_every_published_network_with_size_licence_and_hash():
    report = weights.list_weights()
    assert report.table["name"] == list(registry.entries())
    text = report.text()
    assert "vgg16-notop" in text and "58.9 MB" in text and "CC BY 4.0" in text and "sha256 dcbb9e9d..." in text


def test_convert_says_what_it_found_and_the_result_opens(vgg, tmp_path):
    report = weights.convert(str(vgg), out=str(tmp_path / "out.h5"))
    assert report.rows()[0]["form"] == "PyTorch (zip)" and report.rows()[0]["parameters"] == 134638
    assert load_network(tmp_path / "out.h5").logits_layer == "fc8"


def test_convert_without_head_and_with_another_preprocessing(vgg, tmp_path):
    weights.convert(str(vgg), out=str(tmp_path / "out.h5"), preprocessing="caffe", head=False)
    net = load_network(tmp_path / "out.h5")
    assert net.preprocessing.channels == "BGR" and "fc6" not in net.table


@pytest.mark.parametrize("how, says", [({"out": "out.png"}, r"end the name in \.h5"),
                                       ({"preprocessing": "odd"}, "is not one of caffe")])
def test_convert_refuses_before_it_begins(vgg, tmp_path, how, says):
    with pytest.raises(MinivisError, match=says):
        weights.convert(**{"file": str(vgg), "out": str(tmp_path / "out.h5"), **how})


def test_check_writes_nothing(vgg, tmp_path):
    report = weights.check(str(vgg))
    assert report.rows()[0]["network"] == "vgg16" and "finite" in report.text()
    assert [path.name for path in tmp_path.iterdir()] == ["my_vgg.pth"]


def test_get_of_a_file_keeps_it_in_the_cache(vgg, tmp_path):
    assert weights.get(str(vgg)).rows() == [{"name": "my_vgg", "file": str(tmp_path / "cache" / "my_vgg.h5")}]


def test_get_of_an_unknown_name_offers_close_ones(vgg):
    with pytest.raises(MinivisError, match="vgg16-torchvision"):
        weights.get("vgg16-torchvison")


def test_published_name_that_is_not_here_says_how_to_fetch_it(vgg):
    with pytest.raises(MinivisError, match=r"`minivis weights get vgg16` does it \(553.5 MB\)"):
        load_network("vgg16")


def test_published_name_opens_once_it_is_here(vgg, tmp_path):
    weights.convert(str(vgg), out=str(tmp_path / "vgg16.h5"))
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "vgg16.h5").rename(tmp_path / "cache" / "vgg16.h5")
    assert load_network("vgg16").logits_layer == "fc8"


def test_normalise_writes_a_network_that_scores_alike(vgg, tmp_path):
    weights.convert(str(vgg), out=str(tmp_path / "vgg.h5"))
    net = load_network(tmp_path / "vgg.h5")
    picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    weights.normalise(net, [picture], out=str(tmp_path / "normalised.h5"))
    after = load_network(tmp_path / "normalised.h5")
    x = net.preprocess(picture)
    old, new = net(x)["fc8"].numpy(), after(x)["fc8"].numpy()
    np.testing.assert_allclose(new, old, rtol=0, atol=1e-4 * np.abs(old).max())
    assert "normalised" in after.meta["source"]
