"""A file of activations is enough to find the picture again, and nothing else of it is used."""
import numpy as np
import pytest

from minivis import image, options
from minivis.errors import MinivisError
from minivis.techniques.activations import activations
from minivis.techniques.invert import invert
from minivis.techniques.invert_codes import invert_codes

FAST = {"optimizer": "lbfgs", "parameterization": "pixels", "tv": 0.0, "steps": 40, "good": 0.0}


@pytest.fixture
def codes(conv_net, picture, tmp_path):
    activations(conv_net(), picture, layers=["conv1", "relu1"]).save(tmp_path / "codes.npz")
    return options._read_codes(tmp_path / "codes.npz")


def test_the_file_gives_what_the_picture_gives(conv_net, picture, codes):
    net = conv_net()
    r, whole = invert_codes(net, codes, **FAST), invert(net, picture, layers=["conv1", "relu1"], **FAST)
    assert np.allclose(r.values, whole.values, atol=1e-6) and r.values.std() > 10 and not r.notes
    assert r.numbers["layers"][0]["error"] < 0.05 and "psnr" not in r.numbers["layers"][0]
    assert [row["layer"] for row in r.numbers["layers"]] == ["conv1", "relu1"]
    assert invert_codes(net, codes, layers=["relu1"], **FAST).pictures.shape == (1, 12, 10, 3)


def test_half_the_bytes_are_nearly_as_good(conv_net, picture, tmp_path):
    net = conv_net()
    activations(net, picture, layers=["conv1"], dtype="float16").save(tmp_path / "half.npz")
    codes = options._read_codes(tmp_path / "half.npz")
    assert codes["conv1"].dtype == np.float16
    assert invert_codes(net, codes, **FAST).numbers["layers"][0]["error"] < 0.05


def test_codes_of_other_weights_are_remarked_and_of_other_shapes_refused(conv_net, codes):
    assert "other weights" in invert_codes(conv_net(seed=7), codes, **{**FAST, "steps": 1}).notes[0]
    net = conv_net()
    for wrong, message in (({"relu9": np.ones((2, 2))}, "named after a layer"),
                           ({"relu1": np.ones((3, 3, 5))}, "shape"),
                           ({"relu1": np.full((12, 10, 5), np.nan)}, "finite")):
        with pytest.raises(MinivisError, match=message):
            invert_codes(net, wrong, **FAST)
    with pytest.raises(MinivisError, match="no code of layer conv2"):
        invert_codes(net, codes, layers=["conv2"], **FAST)


def test_a_file_that_is_none_is_one_clear_error(tmp_path, picture):
    image.save(picture, tmp_path / "a.png")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 nonsense")
    np.savez(tmp_path / "c.npz", a=np.array([object()]))
    for name in ("a.png", "b.npz", "c.npz", "none.npz"):
        with pytest.raises(ValueError, match="no file of activations"):
            options._read_codes(tmp_path / name)
